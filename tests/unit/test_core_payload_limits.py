"""Proves what becomes of what is too large or too long (section 9): wherever payloads come in, and what goes with a start."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.enums.v1 import RetryState, WorkflowTaskFailedCause
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatRequest,
    ResetActivityRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartActivityExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import SECOND, Driver, FakeEnv, payloads, seconds, start_request

from perdure.engine.core import limits, validate_start
from perdure.engine.core.search_attributes import size_complaint
from perdure.engine.core.standalone import check_start
from perdure.engine.core.update_requests import check_update
from perdure.model.rpc import RpcError, StatusCode

LIMIT = 1000
"""An operator's, for these tests; `limits.PAYLOAD_BYTES_MAX` is taken as it is elsewhere."""


def small() -> Driver:
    """A run where no more than `LIMIT` bytes are taken."""
    env = FakeEnv()
    env.payload_bytes_max = LIMIT
    return Driver(env=env)


def of_size(name: str, size: int) -> Any:
    text = "x" * size
    made: dict[str, Callable[[], Any]] = {
        "activity": lambda: c.activity(input=payloads(text)),
        "complete": lambda: c.complete(text),
        "fail": lambda: c.fail(text),
        "continue": lambda: c.continue_as_new(input=payloads(text)),
        "child": lambda: c.start_child(input=payloads(text)),
        "signal": lambda: c.signal_external(input=payloads(text)),
        "marker": lambda: _marker(text),
        "cancel": lambda: _cancel(text),
    }
    return made[name]()


def _marker(text: str) -> Any:
    command = c.marker()
    command.record_marker_command_attributes.details["d"].CopyFrom(payloads(text))
    return command


def _cancel(text: str) -> Any:
    command = c.cancel()
    command.cancel_workflow_execution_command_attributes.details.CopyFrom(payloads(text))
    return command


@pytest.mark.parametrize("name", ["activity", "complete", "fail", "continue", "child", "signal", "marker", "cancel"])
def test_a_command_with_too_large_a_payload_ends_the_run(name: str) -> None:
    driver = small()
    outcome = driver.complete(of_size(name, LIMIT))
    assert outcome.error is not None and "exceeds size limit" in outcome.error.message
    assert driver.kinds[-2:] == ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]
    driver = small()
    driver.complete(of_size(name, LIMIT - 200))
    assert "WorkflowExecutionTerminated" not in driver.kinds


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(RpcError) as refused:
        call()
    assert refused.value.code == StatusCode.INVALID_ARGUMENT
    return refused.value.message


def test_requests_with_too_large_a_payload_are_refused() -> None:
    driver, large = small(), payloads("x" * LIMIT)
    assert "size limit" in refusal(lambda: validate_start(start_request(input=large), LIMIT))
    validate_start(start_request(input=large))
    with_start = SignalWithStartWorkflowExecutionRequest(namespace="ns", workflow_id="w", signal_name="s", signal_input=large)
    with_start.workflow_type.name, with_start.task_queue.name = "t", "q"
    assert "Signal input" in refusal(lambda: validate_start(with_start, LIMIT))
    assert "Signal input" in refusal(lambda: driver.do(SignalWorkflowExecutionRequest(signal_name="s", input=large)))
    assert "exceeds limit" in refusal(lambda: driver.do(TerminateWorkflowExecutionRequest(details=large)))
    update = UpdateWorkflowExecutionRequest()
    update.request.meta.update_id, update.request.input.name = "u", "change"
    update.request.input.args.CopyFrom(large)
    assert "Update input" in refusal(lambda: check_update(update, LIMIT))
    alone = StartActivityExecutionRequest(activity_id="a", input=large, start_to_close_timeout=seconds(1))
    alone.activity_type.name, alone.task_queue.name = "t", "q"
    assert "Activity input" in refusal(lambda: check_start(alone, {}, LIMIT))
    assert driver.kinds[-1] == "WorkflowTaskScheduled" and not driver.run.closed


def test_what_an_activity_reports() -> None:
    large = payloads("x" * LIMIT)
    driver = small()
    driver.complete(c.activity())
    outcome = driver.do(RecordActivityTaskHeartbeatRequest(task_token=driver.take_activity().response.task_token, details=large))
    assert outcome.reply is not None and outcome.reply.cancel_requested and "ActivityTaskFailed" in driver.kinds
    driver = small()
    driver.complete(c.activity())
    driver.do(RespondActivityTaskCompletedRequest(task_token=driver.take_activity().response.task_token, result=large))
    assert "ActivityTaskFailed" in driver.kinds and "ActivityTaskCompleted" not in driver.kinds
    driver = small()
    driver.complete(c.activity(retry_policy={"maximum_attempts": 1}))
    outcome = driver.fail_activity(driver.take_activity(), "x" * LIMIT)
    failed = next(e for e in driver.events if e.event_type == E.EVENT_TYPE_ACTIVITY_TASK_FAILED)
    assert failed.activity_task_failed_event_attributes.failure.ByteSize() < LIMIT
    assert len(outcome.reply.failures) == 1
    driver = small()
    scheduled = next(e for e in driver.complete(c.activity()).events if e.event_type == E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    task = driver.take_activity()
    driver.signal()
    driver.complete(c.cancel_activity(scheduled.event_id), task=driver.take())
    report = RespondActivityTaskCanceledRequest(task_token=task.response.task_token, details=large)
    driver.do(report)
    failed = next(e for e in driver.events if e.event_type == E.EVENT_TYPE_ACTIVITY_TASK_FAILED).activity_task_failed_event_attributes
    assert "cancellation details" in failed.failure.message and failed.retry_state == RetryState.RETRY_STATE_CANCEL_REQUESTED


def test_the_ordinary_limit_is_two_megabytes() -> None:
    fits, too_large = "x" * (2 * 1024 * 1024 - 100), "x" * (2 * 1024 * 1024)
    validate_start(start_request(input=payloads(fits)))
    assert "size limit" in refusal(lambda: validate_start(start_request(input=payloads(too_large))))
    memo = start_request()
    memo.memo.fields["m"].data = too_large.encode()
    assert "Memo" in refusal(lambda: validate_start(memo))
    driver = Driver()
    driver.complete(c.activity(input=payloads(fits)))
    assert not driver.run.closed


@pytest.mark.parametrize(("field", "limit"), [("summary", limits.USER_SUMMARY_BYTES_MAX), ("details", limits.USER_DETAILS_BYTES_MAX)])
def test_user_metadata(field: str, limit: int) -> None:
    assert limit == {"summary": 400, "details": 20_000}[field]
    request = start_request()
    getattr(request.user_metadata, field).data = b"x" * limit
    validate_start(request)
    getattr(request.user_metadata, field).data += b"x"
    assert field in refusal(lambda: validate_start(request))


def test_search_attributes() -> None:
    assert not size_complaint({f"a{number}": Payload(data=b"1") for number in range(100)})
    assert "number of search attributes 101" in size_complaint({f"a{number}": Payload(data=b"1") for number in range(101)})
    assert not size_complaint({"a": Payload(data=b"x" * 2048)})
    assert "value size" in size_complaint({"a": Payload(data=b"x" * 2049)})
    assert "total size" in size_complaint({f"a{number:02}": Payload(data=b"x" * 2048) for number in range(20)})


@pytest.mark.parametrize("field", ["workflow_id", "request_id", "identity"])
def test_texts_are_measured_in_bytes(field: str) -> None:
    request = start_request()
    setattr(request, field, "é" * 500)
    validate_start(request)
    setattr(request, field, "é" * 500 + "x")
    assert "length exceeds limit" in refusal(lambda: validate_start(request))


def test_more_than_two_megabytes_of_buffered_events_fail_the_task() -> None:
    driver = Driver()
    driver.take()
    for number in range(3):
        driver.do(SignalWorkflowExecutionRequest(signal_name="s", input=payloads("x" * 900_000), request_id=str(number)))
    failed = next(e for e in driver.events if e.event_type == E.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    assert failed.workflow_task_failed_event_attributes.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND
    assert driver.kinds[-1] == "WorkflowTaskScheduled" and driver.kinds.count("WorkflowExecutionSignaled") == 3


def test_durations_are_at_most_a_hundred_years() -> None:
    century = 100 * 365 * 86_400
    driver = Driver()
    driver.complete(c.timer(after=200 * 365 * 86_400))
    (timer,) = driver.run.timers.values()
    assert timer.due - driver.env.now <= (century + 86_400) * 1_000_000_000


TEN_THOUSAND_YEARS = 315_576_000_000  # the longest Duration
CENTURY_NS = 3_153_600_000 * SECOND


LONGEST = {"initial_interval": {"seconds": TEN_THOUSAND_YEARS}, "maximum_interval": {"seconds": TEN_THOUSAND_YEARS}}


@pytest.mark.parametrize("policy", [{}, LONGEST], ids=["the failure's", "the policy's"])
def test_the_wait_for_another_attempt_is_at_most_a_hundred_years(policy: dict[str, Any]) -> None:
    own = {} if policy else {"next_retry_delay": Duration(seconds=TEN_THOUSAND_YEARS)}
    driver = Driver()
    driver.complete(c.activity(retry_policy=policy))
    driver.fail_activity(driver.take_activity(), **own)
    (a,) = driver.run.activities.values()
    assert a.scheduled_time == driver.env.now + CENTURY_NS
    driver = Driver(start_request(retry_policy=policy or {"maximum_attempts": 2}))
    driver.complete(c.fail())
    assert driver.run.start.attempt == 2 and driver.run.first_task_due <= driver.env.now + CENTURY_NS


def test_what_operators_set_is_at_most_a_hundred_years() -> None:
    driver = Driver()
    driver.complete(c.activity())
    options = UpdateActivityOptionsRequest(id="a", update_mask={"paths": ["schedule_to_close_timeout"]})
    options.activity_options.schedule_to_close_timeout.seconds = TEN_THOUSAND_YEARS
    driver.do(options)
    (a,) = driver.run.activities.values()
    assert a.schedule_to_close == CENTURY_NS
    options.activity_options.schedule_to_close_timeout.seconds, options.activity_options.schedule_to_close_timeout.nanos = 1, -1
    assert "negative" in refusal(lambda: driver.do(options))
    driver.do(ResetActivityRequest(id="a", jitter=Duration(seconds=TEN_THOUSAND_YEARS)))
    assert driver.env.now < a.scheduled_time <= driver.env.now + CENTURY_NS


def test_a_sticky_queue_is_as_short_as_any_and_waits_at_most_a_hundred_years() -> None:
    driver = Driver()
    request = RespondWorkflowTaskCompletedRequest(task_token=driver.take().token)
    request.sticky_attributes.worker_task_queue.name = "x" * 1001
    request.sticky_attributes.schedule_to_start_timeout.seconds = TEN_THOUSAND_YEARS
    assert "length" in refusal(lambda: driver.do(request))
    assert driver.kinds[-1] == "WorkflowTaskStarted"
    request.sticky_attributes.worker_task_queue.name = "x" * 1000
    driver.do(request)
    assert driver.run.sticky_timeout == CENTURY_NS
