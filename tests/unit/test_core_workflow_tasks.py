"""Proves the rules of workflow tasks: order and buffering (B1 to B8), attempts, sticky queues, timeouts, heartbeats."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Priority
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.enums.v1 import TimeoutType, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    ResetStickyTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import Driver, Poller, effects, kinds, payload, seconds, start_request

from perdure.engine.core import (
    AbandonInProcess,
    StartWorkflowTask,
    StickyUnavailable,
    TaskKind,
    WorkflowTaskReady,
    WorkflowTaskStarted,
    poll_response,
    transient_events,
)
from perdure.model.rpc import RpcError, StatusCode

FIRST = ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]


def refusal(driver: Driver, request: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        driver.do(request)
    return caught.value


def test_start_with_a_poller_waiting_starts_the_first_task_in_the_same_transaction() -> None:
    driver = Driver()
    assert effects(driver.outcome) == ["WorkflowTaskReady"]
    driver.env.polled = {(TaskKind.WORKFLOW, "queue")}
    fused = Driver(env=driver.env)
    assert fused.kinds == FIRST and effects(fused.outcome) == ["WorkflowTaskStarted"]
    response = poll_response(fused.handed_task())
    assert kinds(response.history.events) == FIRST and response.started_event_id == 3 and response.attempt == 1
    assert fused.events[2].workflow_task_started_event_attributes.history_size_bytes > 0


def test_signals_during_a_task_wait_for_its_commands_and_bring_another_task() -> None:
    driver = Driver()
    task = driver.take()
    driver.signal("one")
    driver.signal("two")
    assert driver.kinds == FIRST and driver.run.buffered_count == 2
    driver.complete(c.timer("t"), c.marker("m"), task=task)
    assert driver.kinds[3:] == [
        "WorkflowTaskCompleted",
        "TimerStarted",
        "MarkerRecorded",
        "WorkflowExecutionSignaled",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
    ]
    assert driver.outcome.buffer_cleared and not driver.ledger.buffered


def test_what_comes_while_a_task_waits_goes_between_its_scheduling_and_its_start() -> None:
    driver = Driver()
    driver.signal()
    driver.take()
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowExecutionSignaled", "WorkflowTaskStarted"]


def test_activity_closes_are_flushed_after_everything_else_and_know_their_start() -> None:
    driver = Driver()
    driver.complete(c.activity("a"))
    activity = driver.take_activity()
    driver.signal()
    task = driver.take()
    driver.complete_activity(activity)
    driver.signal()
    assert not driver.run.activities
    driver.complete(task=task)
    assert driver.kinds[-5:] == [
        "WorkflowTaskCompleted",
        "ActivityTaskStarted",
        "WorkflowExecutionSignaled",
        "ActivityTaskCompleted",
        "WorkflowTaskScheduled",
    ]
    started, completed = driver.events[-4], driver.events[-2]
    assert completed.activity_task_completed_event_attributes.started_event_id == started.event_id


def test_closing_over_unseen_events_is_refused_and_the_workflow_is_asked_again() -> None:
    driver = Driver()
    task = driver.take()
    driver.signal()
    outcome = driver.complete(c.marker(), c.complete(), task=task)
    assert outcome.error is not None and outcome.error.message == "UnhandledCommand"
    assert driver.kinds[3:] == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    assert driver.run.task is not None and driver.run.task.attempt == 1
    again = driver.take()
    with pytest.raises(RpcError) as caught:
        driver.signal("late")
    assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
    driver.complete(c.complete(), task=again)
    assert driver.run.closed


def test_cancelling_a_timer_whose_firing_is_buffered_unfires_it_and_lets_the_run_close() -> None:
    driver = Driver()
    driver.complete(c.timer("t", 5))
    driver.signal()
    task = driver.take()
    driver.later(6)
    assert driver.run.buffered_count == 1
    driver.complete(c.cancel_timer("t"), c.complete(), task=task)
    assert driver.kinds[-2:] == ["TimerCanceled", "WorkflowExecutionCompleted"] and "TimerFired" not in driver.kinds
    canceled = driver.events[-2].timer_canceled_event_attributes
    assert (canceled.started_event_id, canceled.workflow_task_completed_event_id, canceled.identity) == (5, 9, "worker")


def test_a_timer_id_is_free_again_while_its_firing_is_still_buffered() -> None:
    driver = Driver()
    driver.complete(c.timer("t", 5))
    driver.signal()
    task = driver.take()
    driver.later(6)
    driver.complete(c.timer("t", 100), task=task)
    assert driver.kinds[-3:] == ["TimerStarted", "TimerFired", "WorkflowTaskScheduled"]
    assert list(driver.run.timer_ids) == ["t"] and len(driver.run.timers) == 1
    driver.reload()
    assert list(driver.run.timer_ids) == ["t"]


def test_more_than_a_hundred_buffered_events_fail_the_task() -> None:
    driver = Driver()
    driver.take()
    for _ in range(100):
        driver.signal()
    assert driver.run.buffered_count == 100 and driver.kinds == FIRST
    driver.signal()
    assert driver.kinds[3] == "WorkflowTaskFailed" and driver.kinds[-1] == "WorkflowTaskScheduled"
    assert driver.kinds.count("WorkflowExecutionSignaled") == 101
    cause = driver.events[3].workflow_task_failed_event_attributes.cause
    assert cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND


COMMANDS = [
    c.activity("b"),
    c.timer("b"),
    c.cancel_activity(5),
    c.cancel_timer("t"),
    c.marker(),
    c.upsert(x="1"),
    c.memo(a="1"),
    c.start_child(),
    c.signal_external(),
    c.cancel_external(),
    c.schedule_operation(),
    c.complete(),
    c.fail(),
    c.cancel(),
    c.continue_as_new(),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.WhichOneof("attributes").removesuffix("_command_attributes"))
def test_what_a_command_says_of_its_event_goes_on_it(command: Command) -> None:
    driver = Driver()
    driver.complete(c.activity(), c.timer())
    driver.signal()
    told = Command()
    told.CopyFrom(command)
    told.user_metadata.summary.CopyFrom(payload("nap"))
    told.event_group_markers.add().label.id = "group"
    driver.complete(told)
    (done,) = [e for e in driver.ledgers[0].events() if e.event_type == E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED and e.event_id > 4]
    event = driver.ledgers[0].events()[done.event_id]
    assert event.user_metadata.summary.data == b'"nap"' and list(event.event_group_markers) == list(told.event_group_markers)


# Attempts.


def test_from_the_second_attempt_on_a_task_leaves_no_events_until_it_completes() -> None:
    driver = Driver()
    driver.fail_task()
    assert driver.kinds == [*FIRST, "WorkflowTaskFailed"]
    second = driver.take()
    assert second.attempt == 2 and (second.started_event_id, second.last_event_id) == (6, 4)
    assert kinds(poll_response(second).history.events)[-2:] == ["WorkflowTaskScheduled", "WorkflowTaskStarted"]
    driver.fail_task(task=second)
    driver.later(11)
    assert driver.kinds == [*FIRST, "WorkflowTaskFailed"]
    third = driver.take()
    assert third.attempt == 3
    driver.later(11)
    fourth = driver.take()
    assert driver.run.task is not None and [e.event_id for e in transient_events(driver.run, driver.run.task, 4096)] == [5, 6]
    driver.reload()
    driver.complete(c.timer(), task=fourth)
    assert driver.kinds[4:] == ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted", "TimerStarted"]
    assert driver.events[4].workflow_task_scheduled_event_attributes.attempt == 4
    assert driver.run.task_failures == 0


def test_an_event_before_the_start_of_a_transient_task_makes_it_an_ordinary_one() -> None:
    driver = Driver()
    driver.fail_task()
    driver.signal()
    task = driver.take()
    assert task.attempt == 1
    assert driver.kinds[4:] == ["WorkflowExecutionSignaled", "WorkflowTaskScheduled", "WorkflowTaskStarted"]


def test_an_event_during_a_task_that_fails_resets_the_attempt() -> None:
    driver = Driver()
    task = driver.take()
    driver.signal()
    driver.fail_task(task=task)
    assert driver.kinds[3:] == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    assert driver.take().attempt == 1


def test_later_attempts_get_more_time() -> None:
    driver = Driver()
    for attempt in range(1, 7):
        task = driver.take()
        assert task.attempt == attempt and driver.run.task is not None
        extra = driver.run.task.timeout / 1e9 - 10
        slow = 5 * 2 ** (attempt - 4)
        assert (extra == 0) if attempt <= 3 else (0.8 * slow <= extra <= slow)
        driver.fail_task(task=task)


def test_a_wrong_command_fails_the_first_attempt_and_leaves_later_ones_alone() -> None:
    driver = Driver()
    outcome = driver.complete(c.timer(), c.timer())
    assert outcome.error is not None and outcome.error.code == StatusCode.INVALID_ARGUMENT
    assert outcome.error.message.startswith("StartTimerDuplicateId")
    assert driver.kinds[3:] == ["WorkflowTaskFailed"] and not driver.run.timers
    task = driver.take()
    with pytest.raises(RpcError):
        driver.complete(c.timer(), c.timer(), task=task)
    assert driver.run.task is not None and driver.run.task.started_event_id == task.started_event_id


@pytest.mark.parametrize("wrong", [{"priority_key": -1}, {"fairness_key": "k" * 65}, {"fairness_weight": -0.5}])
@pytest.mark.parametrize("make", [c.activity, c.start_child])
def test_a_command_with_a_priority_that_makes_no_sense_fails_the_task(make: Any, wrong: dict[str, Any]) -> None:
    driver = Driver()
    outcome = driver.complete(make(priority=Priority(**wrong)))
    assert outcome.error is not None and outcome.error.code == StatusCode.INVALID_ARGUMENT
    assert driver.kinds[3:] == ["WorkflowTaskFailed"] and not driver.run.activities and not driver.run.children


@pytest.mark.parametrize("command", [c.activity(queue="/_sys/q"), c.start_child(task_queue={"name": "/_sys/q"})])
def test_a_command_for_a_reserved_queue_fails_the_task(command: Any) -> None:
    outcome = (driver := Driver()).complete(command)
    assert outcome.error is not None and "/_sys/" in outcome.error.message and driver.kinds[3:] == ["WorkflowTaskFailed"]


def test_a_close_command_must_be_the_last_one() -> None:
    driver = Driver()
    task = driver.take()
    with pytest.raises(RpcError) as caught:
        driver.complete(c.complete(), c.timer(), task=task)
    assert caught.value.code == StatusCode.INVALID_ARGUMENT
    driver.complete(c.complete(), task=task)


def test_an_oversized_result_ends_the_run() -> None:
    driver = Driver()
    outcome = driver.complete(c.complete("x" * (2 << 20)))
    assert outcome.error is not None and driver.kinds[3:] == ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]
    assert "exceeds size limit" in driver.events[-1].workflow_execution_terminated_event_attributes.reason


def test_a_stale_or_foreign_token_is_not_found_and_garbage_is_invalid() -> None:
    driver = Driver()
    task = driver.take()
    driver.fail_task(task=task)
    driver.take()
    assert refusal(driver, RespondWorkflowTaskCompletedRequest(task_token=task.token)).code == StatusCode.NOT_FOUND
    assert refusal(driver, RespondWorkflowTaskCompletedRequest(task_token=b"rubbish")).code == StatusCode.INVALID_ARGUMENT
    assert refusal(driver, RespondWorkflowTaskCompletedRequest()).code == StatusCode.INVALID_ARGUMENT


def test_events_say_all_that_commands_and_workers_say_of_versions() -> None:
    driver = Driver()
    stamp = {"build_id": "b1", "use_versioning": True}
    driver.do(RespondWorkflowTaskFailedRequest(task_token=driver.take().token, worker_version=stamp))
    assert driver.events[3].workflow_task_failed_event_attributes.worker_version.build_id == "b1"
    driver.complete(c.activity(use_workflow_build_id=True), c.activity("b"), worker_version_stamp=stamp)
    assert [e.activity_task_scheduled_event_attributes.use_workflow_build_id for e in driver.events[-2:]] == [True, False]
    driver.signal()
    driver.complete(c.continue_as_new(inherit_build_id=True, initial_versioning_behavior=1))
    continued = driver.ledgers[0].events()[-1].workflow_execution_continued_as_new_event_attributes
    assert continued.inherit_build_id and continued.initial_versioning_behavior == 1


def test_a_worker_may_name_any_cause() -> None:
    """One that only the engine has a use for resets nothing, and one of a newer SDK is written down as it is."""
    driver = Driver(start_request(workflow_run_timeout=seconds(60)))
    expiration = driver.run.run_expiration
    driver.later(5)
    driver.fail_task(cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW)
    assert (driver.run.run_expiration, driver.run.reset_time) == (expiration, 0)
    newer = RespondWorkflowTaskFailedRequest(task_token=driver.take().token).SerializeToString() + b"\x10\xe7\x07"  # cause: 999
    driver.do(RespondWorkflowTaskFailedRequest.FromString(newer))
    (*_, failed) = [e for e in driver.events if e.event_type == E.EVENT_TYPE_WORKFLOW_TASK_FAILED]
    assert failed.workflow_task_failed_event_attributes.cause == 999
    assert driver.run.task is not None and driver.run.task.attempt == 2


def test_five_failures_in_a_row_are_reported_until_one_completes() -> None:
    from perdure.engine.core import describe

    driver = Driver()
    for _ in range(5):
        driver.fail_task()
    assert driver.outcome.visibility_changed
    attributes = describe(driver.run).workflow_execution_info.search_attributes.indexed_fields
    assert b"NonDeterministicError" in attributes["TemporalReportedProblems"].data
    driver.complete(c.timer())
    assert "TemporalReportedProblems" not in describe(driver.run).workflow_execution_info.search_attributes.indexed_fields


def test_a_cause_of_a_newer_worker_is_recorded_as_it_is() -> None:
    driver = Driver()
    driver.fail_task(cause=9_999)
    assert driver.events[-1].workflow_task_failed_event_attributes.cause == 9_999
    driver.complete(c.timer())


# Sticky queues.


def sticky_driver() -> Driver:
    driver = Driver()
    driver.complete(c.timer("t", 100), sticky="sticky")
    driver.signal()
    return driver


def test_a_sticky_task_carries_only_what_is_new() -> None:
    driver = sticky_driver()
    assert driver.outcome.effects == [WorkflowTaskReady("sticky", True)]
    queue = driver.events[-1].workflow_task_scheduled_event_attributes.task_queue
    assert (queue.name, queue.normal_name) == ("sticky", "queue")
    task = driver.take(sticky=True)
    response = poll_response(task)
    assert [e.event_id for e in response.history.events] == [4, 5, 6, 7, 8] and response.previous_started_event_id == 3
    assert response.workflow_execution_task_queue.name == "queue"
    assert task.full().events is None and task.full().first_event_id == 1


def test_nobody_on_the_sticky_queue_for_its_timeout_clears_it_without_counting() -> None:
    driver = sticky_driver()
    driver.later(10)
    assert driver.kinds[-2:] == ["WorkflowTaskTimedOut", "WorkflowTaskScheduled"]
    timed_out = driver.events[-2].workflow_task_timed_out_event_attributes
    assert timed_out.timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
    assert driver.run.sticky_queue == "" and driver.take().attempt == 1


def test_an_unavailable_sticky_worker_sends_the_same_task_to_the_normal_queue() -> None:
    driver = sticky_driver()
    driver.do(StickyUnavailable())
    assert driver.outcome.effects == [WorkflowTaskReady("queue", False)]
    driver.reload()
    assert driver.run.waiting_queue == ("queue", False)
    assert not driver.do(StickyUnavailable()).changed and driver.outcome.effects == [WorkflowTaskReady("queue", False)]
    task = driver.take()
    assert task.first_event_id == 1 and task.events is None and driver.run.sticky_queue == ""


def test_a_normal_poller_clears_stickiness_and_a_sticky_one_comes_too_late() -> None:
    driver = sticky_driver()
    driver.do(ResetStickyTaskQueueRequest())
    assert driver.outcome.effects == [WorkflowTaskReady("queue", False)]
    assert refusal(driver, StartWorkflowTask(Poller(), True)).code == StatusCode.NOT_FOUND
    driver.do(StartWorkflowTask(Poller(), False))
    assert refusal(driver, StartWorkflowTask(Poller(), False)).code == StatusCode.NOT_FOUND


def test_a_poller_of_an_older_sticky_queue_comes_too_late() -> None:
    driver = Driver()
    driver.complete(sticky="older")
    driver.signal()
    driver.complete(sticky="newer")
    driver.signal()
    assert refusal(driver, StartWorkflowTask(Poller(), True, "older")).code == StatusCode.NOT_FOUND
    assert effects(driver.do(StartWorkflowTask(Poller(), True, "newer"))) == ["WorkflowTaskStarted"]


def test_a_failure_while_sticky_does_not_count() -> None:
    driver = sticky_driver()
    driver.fail_task()
    assert driver.run.sticky_queue == "" and driver.kinds[-2:] == ["WorkflowTaskFailed", "WorkflowTaskScheduled"]
    assert driver.take().attempt == 1


# Timeouts, heartbeats, the task in the reply.


def test_a_task_that_takes_too_long_times_out() -> None:
    driver = Driver()
    driver.take()
    assert driver.run.next_due() == driver.env.now + 10 * 10**9
    driver.later(9.9)
    assert driver.kinds == FIRST
    driver.later(0.1)
    assert driver.kinds[3:] == ["WorkflowTaskTimedOut"] and driver.run.task is not None and driver.run.task.attempt == 2


def test_the_next_task_can_come_with_the_reply() -> None:
    driver = Driver()
    outcome = driver.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
    assert driver.kinds[3:] == ["WorkflowTaskCompleted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]
    effect = outcome.effects[-1]
    assert isinstance(effect, WorkflowTaskStarted) and effect.reservation is None
    assert [e.event_id for e in poll_response(effect.task).history.events] == [4, 5, 6]


def test_a_chain_of_heartbeats_ends_after_half_an_hour() -> None:
    driver = Driver()
    for _ in range(200):
        outcome = driver.complete(force_create_new_workflow_task=True)
        if outcome.error is not None:
            break
        driver.env.now += 20 * 10**9
    assert outcome.error is not None and outcome.error.message == "workflow task heartbeat timeout"
    assert driver.kinds[-2:] == ["WorkflowTaskStarted", "WorkflowTaskTimedOut"]
    driver.complete(c.timer(), force_create_new_workflow_task=True)
    assert driver.run.task is not None and driver.run.task.original_scheduled_time == driver.env.now


def test_terminating_while_a_task_runs_fails_it_and_keeps_what_was_buffered() -> None:
    driver = Driver()
    driver.take()
    driver.signal()
    driver.do(TerminateWorkflowExecutionRequest())
    assert driver.kinds[3:] == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowExecutionTerminated"]
    ended = driver.events[-1].workflow_execution_terminated_event_attributes
    assert (ended.reason, ended.identity) == ("terminated by user via frontend", "frontend-service")


def test_a_task_held_in_process_is_lost_with_its_engine_and_a_remote_one_is_not() -> None:
    for in_process, expected in ((True, ["WorkflowTaskTimedOut"]), (False, [])):
        driver = Driver()
        driver.env.in_process = in_process
        driver.take()
        driver.reload()
        driver.env.incarnation = 2
        driver.do(AbandonInProcess(2))
        assert driver.kinds[3:] == expected


def test_a_cancel_request_wakes_a_delayed_run_and_a_signal_does_not() -> None:
    driver = Driver(start_request(workflow_start_delay=seconds(60)))
    driver.signal()
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
    driver.reload()
    driver.do(RequestCancelWorkflowExecutionRequest(reason="why"))
    assert driver.kinds[2:] == ["WorkflowExecutionCancelRequested", "WorkflowTaskScheduled"]
    assert not driver.do(RequestCancelWorkflowExecutionRequest(reason="again")).changed


def test_a_delayed_run_begins_when_its_delay_is_over() -> None:
    driver = Driver(start_request(workflow_start_delay=seconds(60)))
    assert driver.run.next_due() == driver.env.now + 60 * 10**9
    driver.later(59)
    assert driver.kinds == ["WorkflowExecutionStarted"]
    driver.later(1)
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"] and driver.run.next_due() is None


def test_many_timers_at_once_bring_one_task_after_all_of_them() -> None:
    driver = Driver()
    driver.complete(c.timer("a", 1), c.timer("b", 2), c.timer("c", 3))
    driver.later(2)
    assert driver.kinds[-3:] == ["TimerFired", "TimerFired", "WorkflowTaskScheduled"]


def test_a_long_history_suggests_to_continue_as_new() -> None:
    driver = Driver()
    driver.complete()
    driver.ledger.check = lambda: None  # type: ignore[method-assign]
    for _ in range(4095):
        driver.signal()
    driver.take()
    assert driver.events[-1].workflow_task_started_event_attributes.suggest_continue_as_new
