"""Proves the rules of a paused run (4.11), whole event sequences included."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest, UnpauseWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import SECOND, Driver, effects, kinds, seconds, start_request
from core_updates import update_request

from perdure.engine.core import QueryRoute, StartDecision, TaskKind, current_run, decide_start, describe, query_route
from perdure.model.rpc import RpcError, StatusCode

PAUSE = PauseWorkflowExecutionRequest(identity="operator", reason="look at it", request_id="p1")
UNPAUSE = UnpauseWorkflowExecutionRequest(identity="operator", reason="seen", request_id="u1")
PAUSED, UNPAUSED = "WorkflowExecutionPaused", "WorkflowExecutionUnpaused"
IDLE = ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]


def idle() -> Driver:
    driver = Driver()
    driver.complete()
    return driver


def refused(driver: Driver, request: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        driver.do(request)
    return caught.value


def test_what_reaches_a_paused_run_is_kept_until_it_is_unpaused() -> None:
    driver = idle()
    assert driver.do(PAUSE).visibility_changed
    driver.signal()
    driver.reload()
    driver.signal()
    assert driver.run.task is None and driver.run.next_due() is None
    driver.do(UNPAUSE)
    signaled = "WorkflowExecutionSignaled"
    assert kinds(driver.events)[4:] == [PAUSED, signaled, signaled, UNPAUSED, "WorkflowTaskScheduled"]
    event = driver.events[4]
    assert event.worker_may_ignore and event.workflow_execution_paused_event_attributes.reason == "look at it"


def test_describe_says_who_paused_it_and_why() -> None:
    driver = idle()
    driver.do(PAUSE)
    shown = describe(driver.run)
    assert shown.workflow_execution_info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
    pause = shown.workflow_extended_info.pause_info
    assert (pause.identity, pause.reason, pause.paused_time.ToNanoseconds()) == ("operator", "look at it", driver.env.now)
    keywords = shown.workflow_execution_info.search_attributes.indexed_fields["TemporalPauseInfo"].data
    assert keywords == b'["Workflow:wf","Reason:look at it"]'
    driver.do(UNPAUSE)
    shown = describe(driver.run)
    assert shown.workflow_execution_info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
    assert not shown.workflow_extended_info.HasField("pause_info")


def test_a_workflow_task_that_nobody_has_fails() -> None:
    driver = Driver()
    driver.do(PAUSE)
    assert kinds(driver.events) == [*IDLE[:2], PAUSED, "WorkflowTaskFailed"]
    failed = driver.events[3].workflow_task_failed_event_attributes
    assert failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED
    driver.do(UNPAUSE)
    assert driver.run.task is not None and driver.run.task.attempt == 1
    driver.complete()


def test_a_workflow_task_that_a_worker_has_goes_on_and_none_follows() -> None:
    driver = Driver()
    task = driver.take()
    driver.do(PAUSE)
    assert kinds(driver.events) == IDLE[:3]  # buffered, and counts already
    assert refused(driver, update_request("u")).code == StatusCode.FAILED_PRECONDITION
    driver.signal()
    with pytest.raises(RpcError) as caught:
        driver.complete(task=task, force_create_new_workflow_task=True)
    assert caught.value.code == StatusCode.FAILED_PRECONDITION
    driver.complete(c.timer("t", 5), task=task)
    assert kinds(driver.events) == [*IDLE, "TimerStarted", PAUSED, "WorkflowExecutionSignaled"]
    driver.later(5)
    assert kinds(driver.events)[7:] == ["TimerFired"]
    driver.do(UNPAUSE)
    assert kinds(driver.events)[8:] == [UNPAUSED, "WorkflowTaskScheduled"]


def test_a_failed_workflow_task_is_not_tried_again_until_then() -> None:
    driver = Driver()
    task = driver.take()
    driver.do(PAUSE)
    driver.fail_task(task=task)
    assert driver.run.task is None and driver.run.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
    driver.do(UNPAUSE)
    assert driver.run.waiting_queue is not None


def test_activities_wait_and_those_under_way_end() -> None:
    driver = Driver()
    driver.complete(c.activity("a"), c.activity("b"))
    held = driver.take_activity("a")
    driver.do(PAUSE)
    driver.env.polled.add((TaskKind.ACTIVITY, "queue"))
    with pytest.raises(RpcError) as caught:
        driver.take_activity("b")
    assert caught.value.code == StatusCode.NOT_FOUND
    driver.complete_activity(held)
    assert kinds(driver.events)[-2:] == ["ActivityTaskStarted", "ActivityTaskCompleted"] and driver.run.task is None
    driver.reload()
    assert effects(driver.do(UNPAUSE)) == ["ActivityStarted", "WorkflowTaskReady"]


def test_an_attempt_whose_backoff_ends_meanwhile_begins_when_it_is_unpaused() -> None:
    driver = Driver()
    driver.complete(c.activity("a"))
    held = driver.take_activity("a")
    driver.do(PAUSE)
    driver.fail_activity(held)
    driver.env.polled.add((TaskKind.ACTIVITY, "queue"))
    assert driver.later(1).effects == []
    assert driver.run.next_due() is None
    assert "ActivityStarted" in effects(driver.do(UNPAUSE))


def test_the_first_workflow_task_of_a_delayed_run_waits_too() -> None:
    driver = Driver(start_request(workflow_start_delay=seconds(5), workflow_run_timeout=seconds(100)))
    driver.do(PAUSE)
    assert driver.run.next_due() == driver.run.run_expiration
    driver.env.now += 6 * SECOND
    driver.do(UNPAUSE)
    assert driver.run.task is None
    driver.later(0)
    assert kinds(driver.events)[-1] == "WorkflowTaskScheduled"


def test_a_paused_run_times_out_all_the_same() -> None:
    driver = Driver(start_request(workflow_start_delay=seconds(5), workflow_run_timeout=seconds(5), workflow_execution_timeout=seconds(5)))
    driver.do(PAUSE)
    driver.later(10)
    assert driver.events[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT


def test_requests_that_do_not_fit() -> None:
    driver = idle()
    assert refused(driver, UNPAUSE).code == StatusCode.FAILED_PRECONDITION
    driver.do(PAUSE)
    assert not driver.do(PAUSE).changed
    assert refused(driver, PauseWorkflowExecutionRequest(request_id="p2")).code == StatusCode.FAILED_PRECONDITION
    assert refused(driver, PauseWorkflowExecutionRequest(reason="r" * 1001)).code == StatusCode.INVALID_ARGUMENT
    assert decide_start(current_run(driver.run), start_request(request_id="x", workflow_id_conflict_policy=2)) is StartDecision.USE_EXISTING
    assert query_route(driver.run, 1) is QueryRoute.REJECTED
    driver.do(UNPAUSE)
    driver.complete(c.complete())
    assert refused(driver, PAUSE).code == StatusCode.NOT_FOUND
