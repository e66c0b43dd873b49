"""Proves what operators may do to pending activities (3.7), and completion by id (3.3): states, attempts, times, tokens, answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import PendingActivityState as P
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatRequest,
    ResetActivityRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskFailedByIdRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import Driver, effects, payloads, seconds

from perdure.engine.core import StartActivityTask, UnstartActivity, describe
from perdure.model.rpc import RpcError, StatusCode


def scheduled(**fields: Any) -> Driver:
    """A run with one activity, that waits for a worker."""
    driver = Driver()
    driver.complete(commands.activity("a", **fields))
    return driver


def info(driver: Driver) -> PendingActivityInfo:
    (found,) = describe(driver.run).pending_activities
    return found


def pause(**fields: Any) -> PauseActivityRequest:
    return PauseActivityRequest(**{"id": "a", "identity": "op", "reason": "look", **fields})


def refused(driver: Driver, request: Any) -> StatusCode:
    with pytest.raises(RpcError) as raised:
        driver.do(request)
    return raised.value.code


def test_a_paused_activity_waits_for_nobody_and_comes_back_when_it_is_unpaused() -> None:
    driver = scheduled()
    driver.do(pause())
    shown = info(driver)
    assert shown.paused and shown.state == P.PENDING_ACTIVITY_STATE_PAUSED
    assert (shown.pause_info.manual.identity, shown.pause_info.manual.reason) == ("op", "look")
    assert refused(driver, StartActivityTask(driver.run.activity_ids["a"], None)) is StatusCode.NOT_FOUND  # type: ignore[arg-type]
    driver.reload()
    outcome = driver.do(UnpauseActivityRequest(id="a"))
    assert effects(outcome) == ["ActivityReady"]
    assert not info(driver).paused
    driver.complete_activity(driver.take_activity())


def test_pausing_again_is_refused_unless_the_same_request_comes_again() -> None:
    driver = scheduled()
    driver.do(pause(request_id="r"))
    assert not driver.do(pause(request_id="r")).changed
    assert refused(driver, pause(request_id="other")) is StatusCode.FAILED_PRECONDITION
    assert refused(driver, pause()) is StatusCode.FAILED_PRECONDITION


def test_a_running_activity_hears_of_the_pause_and_its_failure_is_not_tried_again_until_unpaused() -> None:
    driver = scheduled()
    task = driver.take_activity()
    driver.do(pause())
    assert info(driver).state == P.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
    reply = driver.do(RecordActivityTaskHeartbeatRequest(task_token=task.response.task_token)).reply
    assert reply is not None and reply.activity_paused and not reply.cancel_requested and not reply.activity_reset  # type: ignore[attr-defined]
    driver.fail_activity(task)
    driver.later(100)
    shown = info(driver)
    assert (shown.state, shown.attempt) == (P.PENDING_ACTIVITY_STATE_PAUSED, 2)
    driver.do(UnpauseActivityRequest(id="a"))
    assert driver.take_activity().attempt == 2


@pytest.mark.parametrize("fields", [{"retry_policy": {"maximum_attempts": 1}}, {"close": 10}], ids=["attempts", "time"])
def test_what_fails_while_it_is_paused_goes_on_whatever_is_left(fields: dict[str, Any]) -> None:
    """Whether there are attempts and time left is asked when it goes on."""
    driver = scheduled(**fields)
    task = driver.take_activity()
    driver.do(pause())
    driver.later(9.5)
    driver.fail_activity(task)
    assert info(driver).state == P.PENDING_ACTIVITY_STATE_PAUSED and info(driver).attempt == 2
    driver.reload()
    driver.do(UnpauseActivityRequest(id="a"))
    driver.fail_activity(driver.take_activity())
    assert not driver.run.activities and driver.kinds[-2:] == ["ActivityTaskFailed", "WorkflowTaskScheduled"]


def test_what_fails_for_good_while_it_is_paused_has_failed() -> None:
    driver = scheduled()
    task = driver.take_activity()
    driver.do(pause())
    driver.fail_activity(task, non_retryable=True)
    assert "ActivityTaskFailed" in driver.kinds


def test_a_paused_activity_has_no_timeouts_and_gets_them_back() -> None:
    driver = scheduled(close=20, schedule_to_start_timeout=seconds(5))
    driver.do(pause())
    driver.later(100)
    assert "ActivityTaskTimedOut" not in driver.kinds
    driver.do(UnpauseActivityRequest(id="a"))
    driver.later(0)
    assert driver.kinds[-2:] == ["ActivityTaskTimedOut", "WorkflowTaskScheduled"]


def test_unpausing_may_reset_attempts_and_heartbeats_and_spread_the_start() -> None:
    driver = scheduled()
    driver.fail_activity(driver.take_activity())
    driver.do(pause())
    driver.run.activities[driver.run.activity_ids["a"]].heartbeat_details = payloads("h")
    driver.do(UnpauseActivityRequest(id="a", reset_attempts=True, reset_heartbeat=True, jitter=seconds(10)))
    shown = info(driver)
    assert shown.attempt == 1 and not shown.heartbeat_details.payloads
    driver.later(10)
    assert driver.take_activity().response.attempt == 1


def test_a_poller_that_was_gone_gives_a_paused_activity_back_without_offering_it() -> None:
    driver = scheduled()
    task = driver.take_activity()
    driver.do(pause())
    assert effects(driver.do(UnstartActivity(task.scheduled_event_id, task.attempt))) == []
    assert info(driver).state == P.PENDING_ACTIVITY_STATE_PAUSED


def test_a_reset_counts_at_once_if_the_attempt_under_way_never_ran() -> None:
    driver = scheduled()
    driver.fail_activity(driver.take_activity())
    driver.later(1)
    driver.take_activity()
    driver.do(ResetActivityRequest(id="a", reset_heartbeat=True))
    driver.do(UnstartActivity(driver.run.activity_ids["a"], 2))
    task = driver.take_activity()
    assert task.attempt == 1
    reply = driver.do(RecordActivityTaskHeartbeatRequest(task_token=task.response.task_token, details=payloads("x"))).reply
    assert reply is not None and not reply.activity_reset
    driver.fail_activity(task)
    (a,) = driver.run.activities.values()
    assert a.attempt == 2 and a.heartbeat_details == payloads("x")


def test_reset_begins_at_the_first_attempt_and_unpauses_unless_told_otherwise() -> None:
    driver = scheduled()
    driver.fail_activity(driver.take_activity())
    driver.do(pause())
    driver.do(ResetActivityRequest(id="a", keep_paused=True))
    assert info(driver).paused and info(driver).attempt == 1
    assert effects(driver.do(ResetActivityRequest(id="a"))) == ["ActivityReady"]
    assert not info(driver).paused
    assert driver.take_activity().response.attempt == 1


def test_reset_of_a_running_attempt_is_told_and_takes_effect_when_it_fails() -> None:
    driver = scheduled(retry_policy={"maximum_attempts": 3})
    driver.fail_activity(driver.take_activity())
    driver.later(1)
    second = driver.take_activity()
    driver.do(RecordActivityTaskHeartbeatRequest(task_token=second.response.task_token, details=payloads("old")))
    driver.do(ResetActivityRequest(id="a", reset_heartbeat=True))
    reply = driver.do(RecordActivityTaskHeartbeatRequest(task_token=second.response.task_token, details=payloads("old"))).reply
    assert reply is not None and reply.activity_reset  # type: ignore[attr-defined]
    driver.fail_activity(second)
    driver.later(1)
    again = driver.take_activity()
    assert again.response.attempt == 1 and not again.response.HasField("heartbeat_details")


def test_an_attempt_with_a_number_used_before_has_another_token() -> None:
    driver = scheduled()
    first = driver.take_activity()
    driver.do(ResetActivityRequest(id="a"))
    driver.fail_activity(first)
    driver.later(1)
    again = driver.take_activity()
    assert again.attempt == first.attempt
    with pytest.raises(RpcError):
        driver.complete_activity(first)
    driver.reload()
    driver.complete_activity(again)


def test_a_reset_attempt_counts_as_the_first_when_it_fails() -> None:
    driver = scheduled(retry_policy={"maximum_attempts": 1})
    task = driver.take_activity()
    driver.do(ResetActivityRequest(id="a"))
    driver.fail_activity(task)
    assert driver.kinds[-2:] == ["ActivityTaskFailed", "WorkflowTaskScheduled"]


def options(**fields: Any) -> UpdateActivityOptionsRequest:
    request = UpdateActivityOptionsRequest(id="a", activity_options=fields)
    return request


def test_options_are_changed_by_mask_and_hold_at_once() -> None:
    driver = scheduled(start_to_close=10)
    request = options(start_to_close_timeout=seconds(3), heartbeat_timeout=seconds(60), task_queue={"name": "other"})
    request.update_mask.paths.extend(["startToCloseTimeout", "task_queue.name"])
    outcome = driver.do(request)
    found = outcome.reply.activity_options  # type: ignore[union-attr]
    assert found.start_to_close_timeout.seconds == 3 and found.task_queue.name == "other" and not found.heartbeat_timeout.seconds
    assert [(type(e).__name__, e.queue) for e in outcome.effects] == [("ActivityReady", "other")]  # type: ignore[union-attr]
    assert refused(driver, StartActivityTask(driver.run.activity_ids["a"], None, "queue")) is StatusCode.NOT_FOUND  # type: ignore[arg-type]
    driver.reload()
    task = driver.take_activity()
    assert task.response.start_to_close_timeout.seconds == 3
    driver.later(3)
    assert info(driver).attempt == 2
    driver.do(UpdateActivityOptionsRequest(id="a", restore_original=True))
    assert info(driver).activity_options.start_to_close_timeout.seconds == 10


def test_a_new_retry_policy_moves_the_attempt_that_waits() -> None:
    driver = scheduled(retry_policy={"initial_interval": seconds(100)})
    driver.fail_activity(driver.take_activity())
    request = options(retry_policy={"initial_interval": seconds(2)})
    request.update_mask.paths.append("retry_policy.initial_interval")
    driver.do(request)
    driver.later(2)
    assert driver.take_activity().attempt == 2


@pytest.mark.parametrize("path", ["input", "start_delay", "retry_policy.nonsense", ""])
def test_a_mask_names_options_only(path: str) -> None:
    driver = scheduled()
    request = options(start_to_close_timeout=seconds(3))
    request.update_mask.paths.append(path)
    assert refused(driver, request) is StatusCode.INVALID_ARGUMENT


def test_options_that_make_no_sense_are_refused() -> None:
    driver = scheduled()
    assert refused(driver, options(start_to_close_timeout=seconds(3))) is StatusCode.INVALID_ARGUMENT
    negative = options(start_to_close_timeout=seconds(-3))
    negative.update_mask.paths.append("start_to_close_timeout")
    assert refused(driver, negative) is StatusCode.INVALID_ARGUMENT
    nowhere = options()
    nowhere.activity_options.SetInParent()
    nowhere.update_mask.paths.append("task_queue")
    assert refused(driver, nowhere) is StatusCode.INVALID_ARGUMENT
    both = options(start_to_close_timeout=seconds(3))
    both.update_mask.paths.append("start_to_close_timeout")
    both.restore_original = True
    assert refused(driver, both) is StatusCode.INVALID_ARGUMENT


def test_requests_choose_by_id_by_type_or_all() -> None:
    driver = Driver()
    driver.complete(commands.activity("a"), commands.activity("b"))
    driver.do(PauseActivityRequest(type="Act"))
    assert all(a.paused for a in describe(driver.run).pending_activities)
    driver.do(UnpauseActivityRequest(unpause_all=True))
    assert not any(a.paused for a in describe(driver.run).pending_activities)
    assert refused(driver, pause(id="none")) is StatusCode.NOT_FOUND
    assert refused(driver, PauseActivityRequest(type="None")) is StatusCode.NOT_FOUND
    assert refused(driver, PauseActivityRequest()) is StatusCode.INVALID_ARGUMENT


# By id.


def test_completion_by_id_ends_an_activity_that_nobody_took() -> None:
    driver = scheduled()
    driver.do(RespondActivityTaskCompletedByIdRequest(activity_id="a", result=payloads("r"), identity="outside"))
    assert driver.kinds[-3:] == ["ActivityTaskStarted", "ActivityTaskCompleted", "WorkflowTaskScheduled"]
    started = driver.events[-3].activity_task_started_event_attributes
    assert (started.identity, started.attempt) == ("outside", 1)


@pytest.mark.parametrize(
    "request_",
    [
        RespondActivityTaskFailedByIdRequest(activity_id="a"),
        RespondActivityTaskCanceledByIdRequest(activity_id="a"),
        RecordActivityTaskHeartbeatByIdRequest(activity_id="a"),
    ],
)
def test_other_reports_by_id_need_a_started_activity(request_: Any) -> None:
    assert refused(scheduled(), request_) is StatusCode.NOT_FOUND


def test_reports_by_id_are_as_those_by_token() -> None:
    driver = scheduled()
    task = driver.take_activity()
    reply = driver.do(RecordActivityTaskHeartbeatByIdRequest(activity_id="a", details=payloads("h"))).reply
    assert reply is not None and not reply.cancel_requested  # type: ignore[attr-defined]
    driver.do(RespondActivityTaskFailedByIdRequest(activity_id="a"))
    assert info(driver).attempt == 2 and info(driver).heartbeat_details == payloads("h")
    with pytest.raises(RpcError):
        driver.complete_activity(task)  # the token is of the attempt that failed
    driver.later(1)
    driver.take_activity()
    driver.signal()  # a workflow task, in which the cancellation can be requested
    driver.complete(commands.cancel_activity(driver.run.activity_ids["a"]))
    driver.do(RespondActivityTaskCanceledByIdRequest(activity_id="a", details=payloads("c")))
    assert "ActivityTaskCanceled" in driver.kinds
    assert refused(driver, RespondActivityTaskCompletedByIdRequest(activity_id="a")) is StatusCode.NOT_FOUND
    assert refused(driver, RespondActivityTaskCompletedByIdRequest()) is StatusCode.INVALID_ARGUMENT
