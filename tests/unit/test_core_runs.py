"""Proves the rules of runs: starting and its policies, signals, continue-as-new, retry, run timeouts, queries, tokens."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import WorkflowExecutionStatus as S
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy as Conflict
from temporalio.api.enums.v1 import WorkflowIdReusePolicy as Reuse
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionResponse

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import Driver, payload, payloads, seconds, start_request

from perdure.engine.core import (
    CurrentRun,
    QueryRoute,
    StartDecision,
    current_run,
    decide_start,
    decode_token,
    encode_token,
    limits,
    query_route,
    start,
    validate_start,
)
from perdure.engine.core import retry as retries
from perdure.model.rpc import RpcError, StatusCode

A, F, R, T = (
    Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
    Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
    Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
    Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING,
)
FAIL, USE, END = (
    Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
    Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
    Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
)
RUNNING, COMPLETED = S.WORKFLOW_EXECUTION_STATUS_RUNNING, S.WORKFLOW_EXECUTION_STATUS_COMPLETED
BAD_ENDS = (
    S.WORKFLOW_EXECUTION_STATUS_FAILED,
    S.WORKFLOW_EXECUTION_STATUS_CANCELED,
    S.WORKFLOW_EXECUTION_STATUS_TERMINATED,
    S.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
)


def decision(status: Any, reuse: Any = 0, conflict: Any = 0, request_id: str = "new") -> StartDecision | None:
    request = start_request(request_id=request_id, workflow_id_reuse_policy=reuse, workflow_id_conflict_policy=conflict)
    try:
        return decide_start(CurrentRun("wf", "run", "run", status, "start-1", {"attached"}), request)
    except RpcError as error:
        assert error.code == StatusCode.ALREADY_EXISTS and error.detail is not None
        return None


def test_the_policy_matrix() -> None:
    assert decide_start(None, start_request()) is StartDecision.START
    for reuse in (A, F, R):
        assert decision(RUNNING, reuse) is None and decision(RUNNING, reuse, FAIL) is None
        assert decision(RUNNING, reuse, USE) is StartDecision.USE_EXISTING
        assert decision(RUNNING, reuse, END) is StartDecision.TERMINATE_EXISTING
        assert decision(COMPLETED, reuse) is (StartDecision.START if reuse == A else None)
        for status in BAD_ENDS:
            assert decision(status, reuse) is (None if reuse == R else StartDecision.START)
    assert decision(RUNNING, T) is StartDecision.TERMINATE_EXISTING and decision(COMPLETED, T) is StartDecision.START
    for status in (RUNNING, COMPLETED, *BAD_ENDS):
        assert decision(status, R, FAIL, "start-1") is StartDecision.DEDUP
        assert decision(status, R, FAIL, "attached") is StartDecision.ATTACHED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"workflow_id": ""}, StatusCode.INVALID_ARGUMENT),
        ({"workflow_id": "é" * 501}, StatusCode.INVALID_ARGUMENT),
        ({"request_id": "x" * 1001}, StatusCode.INVALID_ARGUMENT),
        ({"workflow_run_timeout": seconds(-1)}, StatusCode.INVALID_ARGUMENT),
        ({"retry_policy": RetryPolicy(backoff_coefficient=0.5)}, StatusCode.INVALID_ARGUMENT),
        ({"retry_policy": RetryPolicy(non_retryable_error_types=["TemporalTimeout:Nap"])}, StatusCode.INVALID_ARGUMENT),
        ({"workflow_id_reuse_policy": T, "workflow_id_conflict_policy": FAIL}, StatusCode.INVALID_ARGUMENT),
        ({"workflow_id_reuse_policy": R, "workflow_id_conflict_policy": END}, StatusCode.INVALID_ARGUMENT),
        ({"input": payloads("x" * (2 << 20))}, StatusCode.INVALID_ARGUMENT),
        ({"cron_schedule": "* * * *"}, StatusCode.INVALID_ARGUMENT),
        ({"cron_schedule": "0 0 30 2 *"}, StatusCode.INVALID_ARGUMENT),
        ({"cron_schedule": "* * * * *", "workflow_start_delay": seconds(1)}, StatusCode.INVALID_ARGUMENT),
    ],
)
def test_what_cannot_be_started(fields: dict[str, Any], code: StatusCode) -> None:
    request = start_request()
    for name, value in fields.items():
        if hasattr(value, "CopyFrom"):
            getattr(request, name).CopyFrom(value)
        else:
            setattr(request, name, value)
    with pytest.raises(RpcError) as caught:
        validate_start(request)
    assert caught.value.code == code


def test_timeouts_of_a_run() -> None:
    driver = Driver(
        start_request(workflow_execution_timeout=seconds(100), workflow_task_timeout=seconds(500), workflow_start_delay=seconds(30))
    )
    run = driver.run
    assert (run.run_timeout, run.task_timeout) == (100 * 10**9, 100 * 10**9)
    assert run.run_expiration == run.execution_expiration == run.start_time + 100 * 10**9
    assert run.execution_time == run.start_time + 30 * 10**9
    short = Driver(start_request(workflow_run_timeout=seconds(7), workflow_start_delay=seconds(30))).run
    assert short.run_expiration == short.start_time + 37 * 10**9 and short.task_timeout == 7 * 10**9
    assert Driver().run.task_timeout == 10 * 10**9


def test_a_start_may_replace_the_open_run_in_one_transaction() -> None:
    driver = Driver()
    old = driver.run
    run, outcome = start(start_request(request_id="start-2"), driver.env, replacing=old)
    assert outcome.terminated is not None and outcome.terminated.run is old and old.closed
    driver.ledger.commit(outcome.terminated)
    ended = driver.events[-1].workflow_execution_terminated_event_attributes
    assert run.run_id in ended.details.payloads[0].data.decode() and ended.reason.startswith("TerminateIfRunning")
    assert not run.closed


def signal_with_start(**fields: Any) -> SignalWithStartWorkflowExecutionRequest:
    request = SignalWithStartWorkflowExecutionRequest(namespace="ns", workflow_id="wf", signal_name="go", **fields)
    request.workflow_type.name = "Flow"
    request.task_queue.name = "queue"
    return request


def test_signal_with_start_starts_or_signals() -> None:
    driver = Driver(signal_with_start(request_id="s"))
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    assert decide_start(current_run(driver.run), signal_with_start(request_id="other")) is StartDecision.USE_EXISTING
    outcome = driver.do(signal_with_start(request_id="other"))
    assert (
        driver.run.signal_count == 2 and isinstance(outcome.reply, SignalWithStartWorkflowExecutionResponse) and not outcome.reply.started
    )
    assert not driver.do(signal_with_start(request_id="other")).changed
    with pytest.raises(RpcError):
        validate_start(signal_with_start(workflow_id_conflict_policy=FAIL))


def test_a_signal_is_taken_once_and_known_even_after_the_end() -> None:
    driver = Driver()
    assert driver.signal("go", "once").changed and not driver.signal("go", "once").changed
    driver.complete(c.complete())
    driver.reload()
    assert not driver.signal("go", "once").changed
    with pytest.raises(RpcError) as caught:
        driver.signal("go", "twice")
    assert caught.value.code == StatusCode.NOT_FOUND


# One run after another.


def test_continue_as_new_carries_what_the_command_says_and_is_spaced() -> None:
    driver = Driver(start_request(workflow_execution_timeout=seconds(100), memo={"fields": {"k": payload("v")}}))
    first = driver.run
    driver.complete(c.timer(), c.continue_as_new(retry_policy=RetryPolicy(maximum_attempts=2)))
    closed = driver.ledgers[0].events()[-1].workflow_execution_continued_as_new_event_attributes
    run = driver.run
    assert run is not first and closed.new_execution_run_id == run.run_id and first.status == S.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
    s = run.start
    assert s.first_execution_run_id == first.run_id == s.continued_execution_run_id and s.attempt == 1
    assert s.input == payloads("again") and not run.memo and s.retry_policy.maximum_attempts == 2
    assert run.execution_expiration == first.execution_expiration and s.workflow_type.name == "Flow"
    assert driver.kinds == ["WorkflowExecutionStarted"] and run.next_due() == driver.env.now + 10**9
    driver.later(1)
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


def test_the_event_says_what_was_asked_for_and_the_next_run_how_long_it_waits() -> None:
    for asked, waits in ((timedelta(milliseconds=1), timedelta(seconds=1)), (timedelta(seconds=3), timedelta(seconds=3))):
        driver = Driver()
        driver.complete(c.continue_as_new(backoff_start_interval=asked))
        closed = driver.ledgers[0].events()[-1].workflow_execution_continued_as_new_event_attributes
        assert closed.backoff_start_interval.ToTimedelta() == asked
        assert driver.run.start.first_workflow_task_backoff.ToTimedelta() == waits


def test_a_run_that_lived_a_second_continues_at_once() -> None:
    driver = Driver()
    driver.env.now += 10**9
    driver.complete(c.continue_as_new())
    assert driver.kinds == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


def test_a_failed_run_is_tried_again_as_it_was_started() -> None:
    request = start_request(retry_policy=RetryPolicy(maximum_attempts=2), memo={"fields": {"k": payload("v")}}, input=payloads("in"))
    driver = Driver(request)
    driver.complete(c.memo(k=None, other="x"), c.fail("first"))
    old = driver.ledgers[0].events()[-1].workflow_execution_failed_event_attributes
    run = driver.run
    assert old.new_execution_run_id == run.run_id and driver.ledgers[0].run.status == S.WORKFLOW_EXECUTION_STATUS_FAILED
    assert run.start.attempt == 2 and run.start.continued_failure.message == "first" and list(run.memo) == ["k"]
    assert run.start.input == payloads("in") and run.next_due() == driver.env.now + 10**9
    driver.later(1)
    driver.complete(c.fail("second"))
    ended = driver.events[-1].workflow_execution_failed_event_attributes
    assert not ended.new_execution_run_id and ended.retry_state == 4 and len(driver.ledgers) == 2


def test_a_run_that_times_out_is_tried_again_until_the_execution_does() -> None:
    driver = Driver(start_request(retry_policy=RetryPolicy(), workflow_run_timeout=seconds(10), workflow_execution_timeout=seconds(15)))
    driver.take()
    driver.later(10)
    assert driver.ledgers[0].events()[-2].event_type != 0 and len(driver.ledgers) == 2
    assert driver.run.start.continued_failure.HasField("timeout_failure_info")
    driver.later(5)
    assert driver.kinds[-1] == "WorkflowExecutionTimedOut" and len(driver.ledgers) == 2
    assert driver.events[-1].workflow_execution_timed_out_event_attributes.retry_state == 3


def test_memo_and_search_attributes_are_merged_and_null_removes() -> None:
    driver = Driver(start_request(memo={"fields": {"a": payload("1")}}, search_attributes={"indexed_fields": {"x": payload("1")}}))
    driver.complete(c.memo(a=None, b="2"), c.upsert(x="2", y="3"))
    assert driver.outcome.visibility_changed
    driver.reload()
    assert list(driver.run.memo) == ["b"] and {k: v.data for k, v in driver.run.search_attributes.items()} == {"x": b'"2"', "y": b'"3"'}


def test_a_memo_may_be_replaced_as_often_as_it_fits() -> None:
    """What counts is the memo as it will be, within one completion as well."""
    most = "x" * (limits.MEMO_BYTES_MAX * 2 // 3)
    driver = Driver()
    for _ in range(3):
        driver.complete(c.memo(a=None, b=most), c.memo(a=most, b=None))
        assert list(driver.run.memo) == ["a"]
        driver.signal()
    driver.complete(c.memo(b=most))
    assert driver.kinds[-1] == "WorkflowExecutionTerminated"


def test_a_history_that_is_too_long_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_EVENTS_MAX", 20)
    driver = Driver()
    for _ in range(30):
        if not driver.run.closed:
            driver.signal()
    assert driver.kinds[-1] == "WorkflowExecutionTerminated"
    assert driver.events[-1].workflow_execution_terminated_event_attributes.reason == "Workflow history count exceeds limit."


# Queries.


def test_where_a_query_goes() -> None:
    none, not_open, not_clean = 1, 2, 3
    driver = Driver()
    assert query_route(driver.run, none) is QueryRoute.BUFFER  # type: ignore[arg-type]
    driver.complete(c.timer())
    assert query_route(driver.run, none) is QueryRoute.DIRECT  # type: ignore[arg-type]
    driver.signal()
    assert query_route(driver.run, none) is QueryRoute.BUFFER  # type: ignore[arg-type]
    driver.complete(c.cancel())
    assert query_route(driver.run, none) is QueryRoute.DIRECT  # type: ignore[arg-type]
    assert query_route(driver.run, not_open) is QueryRoute.REJECTED  # type: ignore[arg-type]
    assert query_route(driver.run, not_clean) is QueryRoute.REJECTED  # type: ignore[arg-type]
    failing = Driver()
    failing.fail_task()
    failing.fail_task()
    with pytest.raises(RpcError) as caught:
        query_route(failing.run, none)  # type: ignore[arg-type]
    assert caught.value.code == StatusCode.FAILED_PRECONDITION


# Arithmetic and tokens.


@given(st.integers(1, 10**10), st.floats(1, 10), st.one_of(st.just(0), st.integers(10**9, 10**13)), st.integers(1, 500))
@settings(derandomize=True, database=None, max_examples=200)
def test_an_interval_grows_and_is_bounded(initial: int, coefficient: float, maximum: int, attempt: int) -> None:
    policy = RetryPolicy(backoff_coefficient=coefficient)
    policy.initial_interval.FromNanoseconds(initial)
    policy.maximum_interval.FromNanoseconds(max(maximum, initial) if maximum else 0)
    retries.fill(policy)
    this, following = retries.interval(policy, attempt), retries.interval(policy, attempt + 1)
    assert min(initial, policy.maximum_interval.ToNanoseconds()) <= this <= following <= policy.maximum_interval.ToNanoseconds()


def test_the_default_intervals() -> None:
    assert [retries.interval(retries.DEFAULT_POLICY, n) // 10**9 for n in (1, 2, 3, 7, 8, 5000)] == [1, 2, 4, 64, 100, 100]


def test_which_failures_are_tried_again() -> None:
    policy = RetryPolicy(non_retryable_error_types=["Bad", "TemporalTimeout:Heartbeat"])

    def failure(**fields: Any) -> Failure:
        return Failure(**fields)

    assert retries.retryable(None, policy) and retries.retryable(failure(), policy)
    assert retries.retryable(failure(application_failure_info={"type": "Good"}), policy)
    assert not retries.retryable(failure(application_failure_info={"type": "Bad"}), policy)
    assert not retries.retryable(failure(application_failure_info={"non_retryable": True}), policy)
    assert retries.retryable(failure(timeout_failure_info={"timeout_type": 1}), policy)
    assert not retries.retryable(failure(timeout_failure_info={"timeout_type": 4}), policy)
    assert not retries.retryable(failure(timeout_failure_info={"timeout_type": 3}), policy)
    assert not retries.retryable(failure(canceled_failure_info={}), policy)
    assert not retries.retryable(failure(terminated_failure_info={}), policy)
    assert not retries.retryable(failure(server_failure_info={"non_retryable": True}), policy)
    wrapped = failure(activity_failure_info={}, cause=failure(application_failure_info={"type": "Bad"}))
    assert retries.retryable(wrapped, policy)


@given(st.text(), st.text(), st.text(), st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**31))
@settings(derandomize=True, database=None, max_examples=100)
def test_a_token_comes_back_as_it_was(
    namespace: str, workflow_id: str, activity_id: str, scheduled: int, started: int, attempt: int
) -> None:
    run_id = "01890000-0000-7000-8000-000000000001"
    data = encode_token(2, namespace, workflow_id, run_id, scheduled, started, attempt, activity_id)
    assert decode_token(data, 2) == (2, namespace, workflow_id, run_id, scheduled, started, attempt, activity_id)


@given(st.binary(max_size=120))
@settings(derandomize=True, database=None, max_examples=200)
def test_garbage_is_no_token(data: bytes) -> None:
    with pytest.raises(RpcError) as caught:
        decode_token(data, 1)
    assert caught.value.code == StatusCode.INVALID_ARGUMENT
