"""Proves the rules of activities: life cycle, timeouts, retries, heartbeats, cancellation, hand-over."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import Driver, Poller, effects, payloads, seconds, start_request

from perdure.engine.core import (
    AbandonInProcess,
    Activity,
    ActivityReady,
    StartActivityTask,
    StartedActivity,
    TaskKind,
    UnstartActivity,
    activities,
)
from perdure.engine.core.codes import BACKOFF, READY, STARTED
from perdure.engine.core.cut_failures import cut
from perdure.engine.core.rows import read_activity
from perdure.model.rpc import RpcError, StatusCode


def with_activity(**fields: Any) -> Driver:
    driver = Driver()
    driver.complete(c.activity("a", **fields))
    return driver


def heartbeat(driver: Driver, task: StartedActivity, details: str = "at 5") -> RecordActivityTaskHeartbeatResponse:
    outcome = driver.do(RecordActivityTaskHeartbeatRequest(task_token=task.response.task_token, details=payloads(details)))
    assert isinstance(outcome.reply, RecordActivityTaskHeartbeatResponse)
    return outcome.reply


def retry_state(driver: Driver) -> int:
    event = driver.events[-2]
    return event.activity_task_failed_event_attributes.retry_state or event.activity_task_timed_out_event_attributes.retry_state


def test_the_life_of_an_activity_is_the_table_and_nothing_else() -> None:
    steps = ("start", "take back", "retry", "due", "close")
    allowed = {(state, step) for state, step in product((READY, BACKOFF, STARTED), steps) if (state, step) in activities.LIFE}
    assert allowed == {
        (READY, "start"),
        (READY, "close"),
        (BACKOFF, "due"),
        (BACKOFF, "close"),
        (STARTED, "take back"),
        (STARTED, "retry"),
        (STARTED, "close"),
    }


def test_a_poller_that_waits_gets_the_activity_from_the_transaction_that_schedules_it() -> None:
    driver = Driver()
    driver.env.polled = {(TaskKind.ACTIVITY, "queue")}
    driver.complete(c.activity("a"), c.activity("b", queue="other"))
    assert effects(driver.outcome) == ["ActivityStarted", "ActivityReady"]
    response = driver.handed_activity().response
    assert (response.activity_id, response.activity_type.name, response.attempt) == ("a", "Act", 1)
    assert response.workflow_execution.workflow_id == "wf" and response.input == payloads("in")
    assert response.retry_policy.backoff_coefficient == 2.0 and response.start_to_close_timeout.seconds == 10


def test_a_start_leaves_no_event_until_the_activity_closes() -> None:
    driver = with_activity()
    driver.env.now += 10**9
    started_at = driver.env.now
    task = driver.take_activity()
    assert driver.kinds[-1] == "ActivityTaskScheduled"
    driver.reload()
    driver.env.now += 10**9
    driver.complete_activity(task)
    assert driver.kinds[-3:] == ["ActivityTaskStarted", "ActivityTaskCompleted", "WorkflowTaskScheduled"]
    assert driver.events[-3].event_time.ToNanoseconds() == started_at
    assert driver.events[-2].activity_task_completed_event_attributes.started_event_id == driver.events[-3].event_id


def test_a_failure_is_retried_without_events_and_the_last_one_is_told() -> None:
    driver = with_activity(retry_policy=RetryPolicy(maximum_attempts=3))
    length = len(driver.events)
    for wait in (1, 2):
        driver.fail_activity(driver.take_activity(), f"boom {wait}")
        assert len(driver.events) == length and driver.run.next_due() == driver.env.now + wait * 10**9
        driver.reload()
        driver.later(wait)
        assert driver.outcome.effects == [ActivityReady("queue", 5)]
    driver.fail_activity(driver.take_activity(), "boom 3")
    started, failed = driver.events[-3:-1]
    assert started.activity_task_started_event_attributes.attempt == 3
    assert started.activity_task_started_event_attributes.last_failure.message == "boom 2"
    assert failed.activity_task_failed_event_attributes.failure.message == "boom 3"
    assert retry_state(driver) == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED


@pytest.mark.parametrize(
    ("info", "state"),
    [
        ({"non_retryable": True}, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE),
        ({"type": "Fatal"}, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE),
        ({"next_retry_delay": seconds(0)}, RetryState.RETRY_STATE_TIMEOUT),
        ({"next_retry_delay": seconds(100)}, RetryState.RETRY_STATE_TIMEOUT),
    ],
)
def test_what_is_not_tried_again(info: dict[str, object], state: int) -> None:
    driver = with_activity(close=60, retry_policy=RetryPolicy(non_retryable_error_types=["Fatal"]))
    driver.fail_activity(driver.take_activity(), **info)
    assert driver.kinds[-2] == "ActivityTaskFailed" and retry_state(driver) == state


def test_the_failure_may_say_when_to_try_again_beyond_the_maximum() -> None:
    driver = with_activity()
    driver.fail_activity(driver.take_activity(), next_retry_delay=seconds(500))
    assert driver.run.next_due() == driver.env.now + 500 * 10**9


def test_heartbeat_details_survive_the_retry() -> None:
    driver = with_activity(heartbeat_timeout=seconds(5))
    task = driver.take_activity()
    driver.env.now += 4 * 10**9
    assert not heartbeat(driver, task).cancel_requested
    driver.later(4)
    assert driver.run.activities[5].attempt == 1
    driver.later(1)
    assert driver.run.activities[5].attempt == 2
    driver.reload()
    driver.later(1)
    again = driver.take_activity()
    assert again.attempt == 2 and again.response.heartbeat_details == payloads("at 5")
    with pytest.raises(RpcError) as caught:
        heartbeat(driver, task)
    assert caught.value.code == StatusCode.NOT_FOUND


def test_the_details_of_a_failure_are_kept_for_the_next_attempt() -> None:
    driver = with_activity()
    request = RespondActivityTaskFailedRequest(
        task_token=driver.take_activity().response.task_token, last_heartbeat_details=payloads("end")
    )
    driver.do(request)
    driver.later(1)
    assert driver.take_activity().response.heartbeat_details == payloads("end")


ONCE = RetryPolicy(maximum_attempts=1)


@pytest.mark.parametrize(
    ("fields", "started", "after", "name"),
    [
        ({"schedule_to_start_timeout": seconds(3)}, None, 3, "SCHEDULE_TO_START"),
        ({"close": 4}, None, 4, "SCHEDULE_TO_START"),
        ({"close": 4}, 1, 3, "SCHEDULE_TO_CLOSE"),
        ({"retry_policy": ONCE}, 0, 10, "START_TO_CLOSE"),
        ({"retry_policy": ONCE, "heartbeat_timeout": seconds(2)}, 0, 2, "HEARTBEAT"),
    ],
)
def test_each_timeout_has_its_name(fields: dict[str, Any], started: int | None, after: float, name: str) -> None:
    driver = with_activity(**fields)
    if started is not None:
        driver.env.now += started * 10**9
        driver.take_activity()
    driver.later(after - 0.1)
    assert driver.kinds[-1] == "ActivityTaskScheduled"
    driver.later(0.1)
    assert driver.kinds[-2] == "ActivityTaskTimedOut"
    event = driver.events[-2].activity_task_timed_out_event_attributes
    assert TimeoutType.Name(event.failure.timeout_failure_info.timeout_type) == f"TIMEOUT_TYPE_{name}"
    assert event.failure.message == f"activity {name.title().replace('_', '')} timeout"
    assert bool(event.started_event_id) == (started is not None)


def test_no_room_for_another_attempt_is_a_schedule_to_close_timeout() -> None:
    driver = with_activity(close=12, start_to_close=8)
    driver.fail_activity(driver.take_activity(), "first", next_retry_delay=seconds(3))
    driver.later(3)
    driver.take_activity()
    driver.later(8)
    event = driver.events[-2].activity_task_timed_out_event_attributes
    assert event.failure.timeout_failure_info.timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
    assert event.failure.cause.message == "first"
    assert retry_state(driver) == RetryState.RETRY_STATE_TIMEOUT


def test_timeouts_default_to_each_other_and_to_the_run() -> None:
    def of(driver: Driver) -> tuple[int, ...]:
        a = driver.events[-1].activity_task_scheduled_event_attributes
        spans = (a.schedule_to_close_timeout, a.schedule_to_start_timeout, a.start_to_close_timeout, a.heartbeat_timeout)
        return tuple(span.seconds for span in spans)

    assert of(with_activity(close=20, start_to_close=0)) == (20, 20, 20, 0)
    assert of(with_activity(close=20, start_to_close=90, heartbeat_timeout=seconds(99))) == (20, 20, 20, 20)
    assert of(with_activity(start_to_close=7)) == (0, 0, 7, 0)
    bounded = Driver(start_request(workflow_run_timeout=seconds(5)))
    bounded.complete(c.activity("a", start_to_close=7))
    assert of(bounded) == (5, 5, 5, 0)
    refused = Driver().complete(c.activity("a", start_to_close=0))
    assert refused.error is not None and "StartToClose" in refused.error.message


def test_cancelling_what_has_not_started_ends_it_at_once() -> None:
    driver = with_activity()
    driver.signal()
    driver.complete(c.cancel_activity(5), c.activity("a"))
    assert driver.kinds[-5:] == [
        "WorkflowTaskCompleted",
        "ActivityTaskCancelRequested",
        "ActivityTaskScheduled",
        "ActivityTaskCanceled",
        "WorkflowTaskScheduled",
    ]
    canceled = driver.events[-2].activity_task_canceled_event_attributes
    assert canceled.details.payloads[0].data == b'"ACTIVITY_ID_NOT_STARTED"' and canceled.started_event_id == 0
    assert canceled.identity == "worker"
    assert len(driver.run.activities) == 1


def test_a_running_activity_hears_of_its_cancellation_with_its_heartbeat() -> None:
    driver = with_activity()
    task = driver.take_activity()
    request = RespondActivityTaskCanceledRequest(task_token=task.response.task_token, details=payloads("bye"))
    with pytest.raises(RpcError) as caught:
        driver.do(request)
    assert caught.value.code == StatusCode.INVALID_ARGUMENT
    driver.signal()
    driver.complete(c.cancel_activity(5))
    driver.reload()
    assert heartbeat(driver, task).cancel_requested
    driver.do(request)
    assert driver.kinds[-3:] == ["ActivityTaskStarted", "ActivityTaskCanceled", "WorkflowTaskScheduled"]


def test_after_a_cancel_request_nothing_is_retried() -> None:
    driver = with_activity()
    task = driver.take_activity()
    driver.signal()
    driver.complete(c.cancel_activity(5))
    driver.fail_activity(task)
    assert retry_state(driver) == RetryState.RETRY_STATE_CANCEL_REQUESTED


def test_a_second_cancel_request_is_wrong() -> None:
    driver = with_activity()
    driver.take_activity()
    driver.signal()
    outcome = driver.complete(c.cancel_activity(5), c.cancel_activity(5))
    assert outcome.error is not None and "requested already" in outcome.error.message


def test_a_hand_over_that_failed_costs_no_attempt() -> None:
    driver = with_activity()
    task = driver.take_activity()
    driver.do(UnstartActivity(5, 1))
    assert driver.outcome.effects == [ActivityReady("queue", 5)]
    driver.reload()
    with pytest.raises(RpcError):
        driver.complete_activity(task)
    assert driver.take_activity().attempt == 1
    assert not driver.do(UnstartActivity(5, 7)).changed


def test_a_hand_over_that_failed_of_an_activity_to_be_cancelled_ends_it() -> None:
    driver = with_activity()
    driver.take_activity()
    driver.signal()
    driver.complete(c.cancel_activity(5))
    outcome = driver.do(UnstartActivity(5, 1))
    assert driver.kinds[-2:] == ["ActivityTaskCanceled", "WorkflowTaskScheduled"] and "ActivityReady" not in effects(outcome)
    canceled = driver.events[-2].activity_task_canceled_event_attributes
    assert (canceled.started_event_id, canceled.latest_cancel_requested_event_id) == (0, 10)


def test_an_attempt_in_process_is_lost_with_its_engine() -> None:
    for in_process, attempt in ((True, 2), (False, 1)):
        driver = with_activity()
        driver.env.in_process = in_process
        driver.take_activity()
        driver.reload()
        driver.do(AbandonInProcess(2))
        assert driver.run.activities[5].attempt == attempt


def test_only_one_worker_takes_an_activity() -> None:
    driver = with_activity()
    driver.take_activity()
    for scheduled in (5, 6):
        with pytest.raises(RpcError) as caught:
            driver.do(StartActivityTask(scheduled, Poller()))
        assert caught.value.code == StatusCode.NOT_FOUND


def test_oversized_reports_fail_the_activity() -> None:
    driver = with_activity()
    large = payloads("x" * (2 << 20))
    driver.do(RespondActivityTaskCompletedRequest(task_token=driver.take_activity().response.task_token, result=large))
    assert driver.kinds[-2] == "ActivityTaskFailed"
    driver = with_activity()
    outcome = driver.do(RecordActivityTaskHeartbeatRequest(task_token=driver.take_activity().response.task_token, details=large))
    assert outcome.reply == RecordActivityTaskHeartbeatResponse(cancel_requested=True) and driver.kinds[-2] == "ActivityTaskFailed"


def test_a_large_failure_is_cut_before_it_is_kept() -> None:
    driver = with_activity()
    driver.fail_activity(driver.take_activity(), "é" * 5000)
    kept = driver.run.activities[5].last_failure
    assert kept is not None and kept.ByteSize() < 4096 and kept.HasField("server_failure_info")
    assert kept.cause.application_failure_info.type == "Boom" and kept.cause.message == "é" * 1022


def test_of_a_chain_of_causes_the_outermost_are_kept() -> None:
    failure = inner = Failure(message="0", stack_trace="s" * 500)
    for number in range(1, 30):
        inner.server_failure_info.non_retryable = True
        inner = inner.cause
        inner.message = f"{number}"
        inner.stack_trace = "t" * 500
    short = cut(failure, 1200, non_retryable=False)
    assert short.ByteSize() < 1300 and not short.server_failure_info.non_retryable
    assert (short.cause.message, short.cause.stack_trace) == ("0", "s" * 500) and short.cause.server_failure_info.non_retryable
    assert short.cause.cause.cause.message == "2" and not short.cause.cause.cause.HasField("cause")
    failure = inner = Failure()
    for _ in range(30):
        inner.cause.SetInParent()
        inner = inner.cause
    assert str(cut(failure, 100, non_retryable=True)).count("cause") == 20


def test_a_failure_that_is_too_large_is_tried_again_as_if_it_were_not() -> None:
    policy = {"non_retryable_error_types": ["Fatal"]}
    for kind, tried_again in (("Fatal", False), ("Boom", True)):
        driver = with_activity(retry_policy=policy)
        driver.fail_activity(driver.take_activity(), "x" * (2 << 20), type=kind)
        assert (5 in driver.run.activities) is tried_again


def test_a_timeout_that_is_tried_again_is_kept_without_the_heartbeats_details() -> None:
    """They are kept once, whatever their size."""
    driver = with_activity(heartbeat_timeout=seconds(1))
    large = payloads("x" * 100_000)
    driver.do(RecordActivityTaskHeartbeatRequest(task_token=driver.take_activity().response.task_token, details=large))
    driver.later(2)
    (a,) = driver.run.activities.values()
    assert a.attempt == 2 and a.heartbeat_details == large
    assert a.last_failure is not None and a.last_failure.message == "activity Heartbeat timeout" and a.last_failure.ByteSize() < 200


def test_a_failure_must_be_an_applications() -> None:
    driver = with_activity()
    request = RespondActivityTaskFailedRequest(task_token=driver.take_activity().response.task_token)
    request.failure.message = "what"
    with pytest.raises(RpcError) as caught:
        driver.do(request)
    assert caught.value.code == StatusCode.INVALID_ARGUMENT


def test_no_more_than_two_thousand_are_pending() -> None:
    driver = Driver()
    outcome = driver.complete(*[c.activity(str(n)) for n in range(2001)])
    assert outcome.error is not None and outcome.error.message.startswith("PendingActivitiesLimitExceeded")
    driver.complete(*[c.activity(str(n)) for n in range(2000)], task=driver.take())
    assert len(driver.run.activities) == 2000


def test_closing_the_run_makes_reports_pointless() -> None:
    driver = with_activity()
    task = driver.take_activity()
    driver.signal()
    driver.complete(c.complete())
    with pytest.raises(RpcError) as caught:
        driver.complete_activity(task)
    assert caught.value.message == "workflow execution already completed"


def test_deadlines_of_what_is_gone_do_not_pile_up() -> None:
    driver = with_activity()
    driver.ledger.check = lambda: None  # type: ignore[method-assign]
    for _ in range(300):
        driver.complete_activity(driver.take_activity())
        driver.complete(c.activity("a", start_to_close=3600))
        assert len(driver.run.heap) < 100
    driver.ledger.__class__.check(driver.ledger)


@given(
    st.integers(0, 2),
    st.integers(1, 2**31),
    st.integers(0, 2**62),
    st.text(),
    st.text(),
    st.booleans(),
    st.none() | st.text(),
    st.none() | st.text(),
)
@settings(derandomize=True, database=None, max_examples=100)
def test_a_row_comes_back_as_it_was(
    state: int, attempt: int, time: int, identity: str, request_id: str, in_process: bool, details: str | None, failure: str | None
) -> None:
    one, other = Activity(HistoryEvent()), Activity(HistoryEvent())
    one.state, one.attempt, one.scheduled_time, one.heartbeat_time = state, attempt, time, time // 2
    one.started_time, one.last_completed_time, one.incarnation = time // 3, time // 5, attempt // 2
    one.identity, one.request_id, one.in_process = identity, request_id, in_process
    one.heartbeat_details = payloads(details) if details is not None else None
    one.last_failure = Failure(message=failure) if failure is not None else None
    read_activity(other, one.row())
    for name in Activity.__slots__:
        if name not in ("event", "attributes"):
            assert getattr(one, name) == getattr(other, name)
    assert other.row() == one.row()


def test_a_row_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 9"):
        read_activity(Activity(HistoryEvent()), b"\x09" + Activity(HistoryEvent()).row()[1:])
