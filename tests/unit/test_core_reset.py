"""Proves reset (4.8): where it is possible, what the new run's history is, what happens again, and what becomes of the current run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.enums.v1 import ResetReapplyExcludeType as X
from temporalio.api.enums.v1 import ResetReapplyType as R
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PostResetOperation
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest, ResetWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import Driver, effects, kinds, payloads, seconds, start_request

from perdure.engine.core import describe
from perdure.engine.core.reset import WasReset, reset
from perdure.model.rpc import RpcError, StatusCode


def finished() -> Driver:
    """Started, an activity scheduled, it completed, a signal received, the run completed."""
    driver = Driver()
    driver.complete(commands.activity("a"))
    driver.complete_activity(driver.take_activity())
    driver.signal("one")
    driver.complete(commands.timer("t", 100))
    driver.signal("two")
    driver.complete(commands.complete())
    return driver


def test_the_new_run_has_the_history_up_to_the_point_and_what_is_reapplied() -> None:
    driver = finished()
    old, base = driver.kinds, driver.run
    point = old.index("WorkflowTaskCompleted") + 1
    driver.env.now += 5_000_000_000
    driver.reset(point, request_id="r1")
    assert driver.kinds == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
    ]
    failed = driver.events[3].workflow_task_failed_event_attributes
    assert failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
    assert (failed.base_run_id, failed.new_run_id) == (base.run_id, driver.run.run_id)
    assert failed.failure.HasField("reset_workflow_failure_info") and failed.failure.message == "again"
    assert [e.workflow_execution_signaled_event_attributes.signal_name for e in driver.events[4:6]] == ["one", "two"]
    assert driver.run.start_request_id == "r1" and driver.run.first_run_id == base.first_run_id
    shown = describe(driver.run)
    assert shown.workflow_execution_info.start_time == driver.events[3].event_time
    assert shown.workflow_extended_info.original_start_time == driver.events[0].event_time


def test_a_task_that_was_not_started_is_started_and_failed() -> None:
    driver = finished()
    driver.reset(driver.kinds.index("WorkflowTaskStarted") + 1)
    assert driver.kinds[:4] == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskFailed"]
    assert driver.events[2].workflow_task_started_event_attributes.identity == "history-service"


def test_an_open_run_is_terminated_and_its_buffered_signal_is_not_lost() -> None:
    driver = Driver()
    driver.take()
    driver.signal("buffered")
    assert driver.run.buffered
    old = driver.ledger
    driver.reset(3)
    assert kinds(old.events())[-3:] == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowExecutionTerminated"]
    ended = old.events()[-1].workflow_execution_terminated_event_attributes
    assert (ended.identity, ended.reason) == ("history-resetter", "again")
    assert driver.kinds[-3:] == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]


def test_pending_activities_begin_again_and_timers_keep_their_time() -> None:
    driver = Driver()
    driver.complete(commands.activity("a", close=100), commands.timer("t", 50))
    driver.fail_activity(driver.take_activity())
    driver.signal()
    driver.take()
    driver.env.now += 40_000_000_000
    outcome = driver.reset(driver.run.next_event_id - 1)
    assert effects(outcome) == ["ActivityReady", "WorkflowTaskReady"]
    driver.reload()
    again = driver.take_activity()
    assert (
        again.response.attempt == 1 and again.response.scheduled_time == driver.events[driver.kinds.index("WorkflowTaskFailed")].event_time
    )
    driver.complete_activity(again)
    driver.later(10)
    assert driver.kinds[-1] == "TimerFired"


def test_deadlines_of_the_run_count_from_the_reset() -> None:
    driver = Driver(start_request(workflow_run_timeout=seconds(100), workflow_execution_timeout=seconds(300)))
    driver.complete()
    driver.env.now += 90_000_000_000
    driver.reset(3)
    driver.later(90)
    assert not driver.run.closed
    driver.later(10)
    assert driver.run.closed and driver.kinds[-1] == "WorkflowExecutionTimedOut"


@pytest.mark.parametrize(
    "fields",
    [
        {"reset_reapply_exclude_types": [X.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL]},
        {"reset_reapply_type": R.RESET_REAPPLY_TYPE_NONE},
    ],
)
def test_signals_may_be_left_out(fields: dict[str, object]) -> None:
    driver = finished()
    driver.reset(4, **fields)
    assert "WorkflowExecutionSignaled" not in driver.kinds


def test_a_reset_run_can_be_reset() -> None:
    driver = finished()
    driver.reset(4)
    driver.complete(commands.activity("a"))
    driver.reset(driver.kinds.index("WorkflowTaskFailed") + 1)
    assert driver.kinds.count("WorkflowTaskFailed") == 1
    driver.complete(commands.complete())
    driver.reset(driver.run.next_event_id - 2)
    assert driver.kinds.count("WorkflowTaskFailed") == 2
    driver.complete(commands.complete())


def test_cancel_requests_are_not_reapplied_and_a_signal_may_follow_a_reset() -> None:
    driver = Driver()
    driver.complete(commands.timer())
    driver.signal("keep", request_id="s1")
    driver.do(RequestCancelWorkflowExecutionRequest())
    after = PostResetOperation()
    after.signal_workflow.signal_name = "after"
    after.signal_workflow.input.CopyFrom(payloads("in"))
    driver.reset(4, post_reset_operations=[after])
    assert not driver.run.cancel_requested
    names = [e.workflow_execution_signaled_event_attributes.signal_name for e in driver.events if e.event_type == 26]
    assert names == ["keep", "after"]
    assert not driver.signal("keep", request_id="s1").changed  # it is still known


@pytest.mark.parametrize("point", [2, 6, 7])
def test_a_point_without_a_workflow_task_is_refused_and_changes_nothing(point: int) -> None:
    driver = Driver()
    driver.complete(commands.activity("a"), commands.marker("m"))
    driver.signal()
    with pytest.raises(RpcError) as refused:
        driver.reset(point)
    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    assert not driver.run.closed


def test_what_no_run_can_be_reset_by_is_refused() -> None:
    for point, fields in ((0, {}), (1, {}), (4, {"request_id": "x" * 2000}), (4, {"post_reset_operations": [PostResetOperation()]})):
        with pytest.raises(RpcError):
            finished().reset(point, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("excluded", [[], [X.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE]])
def test_an_accepted_update_waits_again(excluded: list[int]) -> None:
    driver = Driver()
    driver.complete(commands.timer())
    driver.signal()
    task = driver.take()
    accepted = HistoryEvent(event_id=driver.run.next_event_id, event_type=E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
    request = accepted.workflow_execution_update_accepted_event_attributes.accepted_request
    request.meta.update_id, request.input.name = "u1", "change"
    events = driver.events
    new = reset(
        driver.run,
        events[: task.started_event_id - 1],
        [accepted],
        continues=False,
        request=ResetWorkflowExecutionRequest(workflow_task_finish_event_id=task.started_event_id, reset_reapply_exclude_types=excluded),  # type: ignore[arg-type]
        env=driver.env,
    )
    found = [e for e in new.events if e.event_type == E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED]
    assert len(found) == (0 if excluded else 1)
    if found:
        assert found[0].workflow_execution_update_admitted_event_attributes.request.input.name == "change"
        assert new.run.updates is not None and "u1" in new.run.updates.admitted


def test_a_closed_run_notes_to_which_run_it_was_reset() -> None:
    driver = finished()
    outcome = driver.do(WasReset("01890000-0000-7000-8000-000000000000"))
    assert outcome.changed and not outcome.events.parts
    assert describe(driver.run).workflow_extended_info.reset_run_id == "01890000-0000-7000-8000-000000000000"
    assert not driver.do(WasReset("01890000-0000-7000-8000-000000000000")).changed
