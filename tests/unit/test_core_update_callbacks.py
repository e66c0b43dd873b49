"""Proves that who waits for an update by a callback is told of its end once, whatever becomes of the run: what is due, and what is not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import CallbackState, EventType
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskFailedRequest, TerminateWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import Driver, payloads
from core_updates import acceptance, callback, rejection, response, update_request, waiting_request

from perdure.engine.core import check_update, describe, outbound
from perdure.engine.core.callbacks import CALLBACKS_MAX
from perdure.engine.core.outbound import Discharged, UpdateEnded
from perdure.engine.core.updates import CLOSED_ACCEPTED, link_of
from perdure.model.rpc import RpcError, StatusCode

ACCEPTED = "WorkflowExecutionUpdateAccepted"
COMPLETED = "WorkflowExecutionUpdateCompleted"
OPTIONS = "WorkflowExecutionOptionsUpdated"


def asked(*requests: Any) -> Driver:
    """A run whose worker has accepted what it was asked."""
    driver = Driver()
    driver.complete()
    for request in requests:
        driver.do(request)
    updates = driver.run.updates
    assert updates is not None
    driver.complete(messages=[acceptance(update_id) for update_id in updates.admitted])
    return driver


def due(driver: Driver) -> list[UpdateEnded]:
    messages = [outbound.message(driver.run, key) for key in driver.run.unsent]
    return [each for each in messages if isinstance(each, UpdateEnded)]


def test_the_end_of_an_update_is_told_until_it_was() -> None:
    link = Link(workflow_event=Link.WorkflowEvent(namespace="ns", workflow_id="caller"))
    request = waiting_request()
    request.request.links.append(link)
    driver = asked(request)
    assert list(driver.events[driver.kinds.index(ACCEPTED)].links) == [link] and not due(driver)
    back = link_of(driver.run, request.request)
    assert back is not None and back.workflow_event.request_id_ref.request_id == "r1"
    assert back.workflow_event.request_id_ref.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    (shown,) = describe(driver.run).callbacks
    assert shown.trigger.update_workflow_execution_completed.update_id == "u" and shown.state == CallbackState.CALLBACK_STATE_STANDBY
    driver.do(update_request("v"))
    driver.complete(messages=[response("u"), acceptance("v")])
    driver.reload()
    (ended,) = due(driver)
    assert ended.outcome.success == payloads("done") and [each.request_id for each in ended.callbacks] == ["r1"]
    assert describe(driver.run).callbacks[0].state == CallbackState.CALLBACK_STATE_SCHEDULED
    driver.do(Discharged(ended.key))
    driver.reload()
    assert not driver.run.unsent and not describe(driver.run).callbacks
    driver.do(Discharged(ended.key))
    driver.complete(c.complete(), messages=[response("v")], task=driver.signal("go") and driver.take())
    driver.reload()
    assert driver.run.closed and not driver.run.unsent


def test_facts_say_what_was_told_beside_a_task_that_is_tried_again() -> None:
    driver = asked(waiting_request("u"), waiting_request("v"))
    driver.signal("go")
    driver.complete(messages=[response("u"), response("v")])
    first, second = due(driver)
    driver.signal("again")
    driver.do(RespondWorkflowTaskFailedRequest(task_token=driver.take().token, cause=24))
    driver.do(Discharged(first.key))
    driver.reload()
    assert [each.key for each in due(driver)] == [second.key] and driver.run.task is not None and driver.run.task.attempt == 2
    driver.do(Discharged(second.key))
    driver.reload()
    assert not due(driver)


def test_further_requests_are_attached() -> None:
    driver = Driver()
    driver.complete()
    driver.do(waiting_request(request_id="r1"))
    driver.do(waiting_request(request_id="r2"))
    driver.do(waiting_request(request_id="r2"))
    driver.complete(messages=[acceptance("u")])
    driver.do(waiting_request(request_id="r3"))
    driver.do(waiting_request(request_id="r3"))
    driver.do(update_request())
    assert driver.kinds.count(OPTIONS) == 2 and driver.kinds.count(ACCEPTED) == 1
    driver.reload()
    options = driver.events[-1].workflow_execution_options_updated_event_attributes.workflow_update_options
    assert [(each.update_id, each.attached_request_id) for each in options] == [("u", "r3")]
    back = link_of(driver.run, waiting_request(request_id="r3").request)
    assert back is not None and back.workflow_event.request_id_ref.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
    driver.signal("go")
    driver.complete(messages=[response("u")])
    (ended,) = due(driver)
    assert [each.request_id for each in ended.callbacks] == ["r1", "r2", "r3"]
    driver.do(waiting_request(request_id="r4"))
    assert driver.kinds.count(OPTIONS) == 2 and len(due(driver)[0].callbacks) == 3


def test_a_request_that_is_attached_makes_an_ordinary_task_of_a_speculative_one() -> None:
    driver = asked(waiting_request(request_id="r1"))
    driver.do(update_request("v"))
    driver.do(waiting_request(request_id="r2"))
    assert driver.kinds[-2:] == ["WorkflowTaskScheduled", OPTIONS]
    driver.reload()
    driver.complete(messages=[response("u")])
    assert len(due(driver)[0].callbacks) == 2


def test_a_run_that_closes_before_the_update_ends_says_so() -> None:
    driver = asked(waiting_request())
    driver.do(TerminateWorkflowExecutionRequest())
    driver.reload()
    (ended,) = due(driver)
    assert ended.outcome == CLOSED_ACCEPTED
    driver.do(Discharged(ended.key))
    driver.reload()
    assert not driver.run.unsent


def test_a_rejected_update_calls_nobody_back() -> None:
    driver = Driver()
    driver.complete()
    driver.do(waiting_request())
    driver.complete(messages=[rejection("u")])
    assert not due(driver) and not describe(driver.run).callbacks
    assert link_of(driver.run, waiting_request().request) is None


def test_a_reset_asks_again_and_the_new_run_tells() -> None:
    driver = asked(waiting_request())
    old = driver.run
    driver.reset(driver.kinds.index("WorkflowTaskCompleted") + 1)
    assert not old.unsent
    driver.complete(messages=[acceptance("u")])
    driver.signal("go")
    driver.complete(messages=[response("u")])
    driver.reload()
    (ended,) = due(driver)
    assert [each.request_id for each in ended.callbacks] == ["r1"]


def test_wrong_callbacks() -> None:
    request = waiting_request()
    request.request.completion_callbacks[0].nexus.url = "http://elsewhere"
    with pytest.raises(RpcError) as refused:
        check_update(request)
    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    driver = asked(waiting_request())
    many = waiting_request(request_id="r2")
    many.request.completion_callbacks.extend([callback()] * (CALLBACKS_MAX - 1))
    with pytest.raises(RpcError) as refused:
        driver.do(many)
    assert refused.value.code is StatusCode.FAILED_PRECONDITION, "one is attached already"
    many.request.completion_callbacks.append(callback())
    with pytest.raises(RpcError) as refused:
        check_update(many)
    assert refused.value.code is StatusCode.INVALID_ARGUMENT, "too many of itself"
