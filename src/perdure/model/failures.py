"""Errors to Temporal's `Failure` messages and back: the one edge at which foreign errors become ours.

A user's exception becomes ApplicationFailureInfo with the class's name as its type; its causes and its stack trace go along. An error
that came out of a failure keeps that message (`failure_of`), so that passing it on loses nothing, whatever wrote it.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import temporalio.exceptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter

from perdure.model import errors
from perdure.model.errors import PerdureError, RetryState, TimeoutType

__all__ = ["FailureConverter", "failure_of"]

_CAUSE_DEPTH_MAX = 30
"""A chain of causes is cut here: a failure must stay small enough to store, and Python's chains can be circular."""


def failure_of(error: BaseException) -> Failure | None:
    """The message that `error` was read from, if it was."""
    found = getattr(error, "failure_message", None)
    return found if isinstance(found, Failure) else None


class FailureConverter(DefaultFailureConverter):
    """Between perdure's errors and failures; temporalio's own exceptions are understood too (shared code raises them)."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Writes `exception` into `failure`."""
        self._write(exception, payload_converter, failure, 0)
        if self._encode_common_attributes:
            self._hide_text(payload_converter, failure)

    def _write(self, error: BaseException, converter: PayloadConverter, failure: Failure, depth: int) -> None:
        known = failure_of(error)
        if known is not None:
            failure.CopyFrom(known)
            return
        if isinstance(error, temporalio.exceptions.FailureError):
            super()._error_to_failure(error, converter, failure)
            return
        failure.message = error.message if isinstance(error, PerdureError) else str(error)
        failure.source = "PythonSDK"
        if error.__traceback__ is not None:
            failure.stack_trace = "".join(traceback.format_tb(error.__traceback__))
        _write_info(error, converter, failure)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None and depth < _CAUSE_DEPTH_MAX:
            target = failure.cause.cause if _is_wrapped_timeout(error) else failure.cause
            self._write(cause, converter, target, depth + 1)

    def _hide_text(self, converter: PayloadConverter, failure: Failure) -> None:
        text = {"message": failure.message, "stack_trace": failure.stack_trace}
        failure.encoded_attributes.CopyFrom(converter.to_payloads([text])[0])
        failure.message = "Encoded failure"
        failure.stack_trace = ""

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """The error that `failure` tells of, its causes chained."""
        text = _shown_text(failure, payload_converter)
        kind = failure.WhichOneof("failure_info")
        cause = self.from_failure(failure.cause, payload_converter) if failure.HasField("cause") else None
        if kind == "activity_failure_info":
            error, cause = _read_activity(text, failure, cause)
        else:
            error = _READERS.get(kind or "", _read_unknown)(text, failure, payload_converter)
        error.__cause__ = cause
        keep = Failure()
        keep.CopyFrom(failure)  # not the message itself: it would pin the whole response it came in
        error.failure_message = keep  # type: ignore[attr-defined]
        error.stack_trace = failure.stack_trace  # type: ignore[attr-defined]
        return error


def _shown_text(failure: Failure, converter: PayloadConverter) -> str:
    """The message, out of the encoded attributes when it was put there for a codec's sake."""
    if failure.HasField("encoded_attributes"):
        try:
            hidden = converter.from_payloads([failure.encoded_attributes])[0]
            return str(hidden["message"])
        except Exception:
            return failure.message
    return failure.message


# --- writing ---------------------------------------------------------------------------------------------------------


def _set_payloads(target: Payloads, values: tuple[Any, ...], converter: PayloadConverter) -> None:
    if values:
        target.payloads.extend(converter.to_payloads(values))


def _write_info(error: BaseException, converter: PayloadConverter, failure: Failure) -> None:
    """Fills the one of `failure_info` that belongs to the error's class."""
    if isinstance(error, errors.ApplicationError):
        _write_application(error, converter, failure)
    elif isinstance(error, errors.ActivityError):
        _write_activity(error, converter, failure)
    elif isinstance(error, asyncio.CancelledError | errors.WorkflowCancelled):
        failure.message = failure.message or "Cancelled"
        failure.canceled_failure_info.SetInParent()
        _set_payloads(failure.canceled_failure_info.details, getattr(error, "details", ()), converter)
    elif isinstance(error, errors.WorkflowTerminated):
        failure.terminated_failure_info.SetInParent()
    elif isinstance(error, errors.ServerFailure):
        failure.server_failure_info.non_retryable = error.non_retryable
        failure.server_failure_info.SetInParent()
    elif isinstance(error, errors.ChildWorkflowFailed):
        info = failure.child_workflow_execution_failure_info
        info.workflow_execution.workflow_id = error.workflow_id
        info.workflow_execution.run_id = error.run_id
        info.workflow_type.name = error.workflow_type
        info.retry_state = int(error.retry_state or 0)  # type: ignore[assignment]
    else:
        failure.application_failure_info.type = type(error).__name__


def _write_application(error: errors.ApplicationError, converter: PayloadConverter, failure: Failure) -> None:
    info = failure.application_failure_info
    info.SetInParent()
    if error.type:
        info.type = error.type
    info.non_retryable = error.non_retryable
    _set_payloads(info.details, error.details, converter)
    if error.next_retry_delay is not None:
        info.next_retry_delay.FromTimedelta(error.next_retry_delay)


def _write_activity(error: errors.ActivityError, converter: PayloadConverter, failure: Failure) -> None:
    info = failure.activity_failure_info
    info.activity_type.name = error.activity_type
    info.activity_id = error.activity_id
    info.identity = error.identity
    info.retry_state = int(error.retry_state or 0)  # type: ignore[assignment]
    if isinstance(error, errors.ActivityTimedOut):
        failure.cause.message = failure.message
        timeout = failure.cause.timeout_failure_info
        timeout.timeout_type = int(error.timeout_type)  # type: ignore[assignment]
        _set_payloads(timeout.last_heartbeat_details, error.last_heartbeat_details, converter)
    elif isinstance(error, errors.ActivityCancelled):
        failure.cause.message = "Cancelled"
        failure.cause.canceled_failure_info.SetInParent()
        _set_payloads(failure.cause.canceled_failure_info.details, error.details, converter)


def _is_wrapped_timeout(error: BaseException) -> bool:
    """One error of ours stands for two messages (activity failure, caused by its time-out or cancellation)."""
    return isinstance(error, errors.ActivityTimedOut | errors.ActivityCancelled)


# --- reading ---------------------------------------------------------------------------------------------------------


def _values(payloads: Payloads, converter: PayloadConverter) -> tuple[Any, ...]:
    return tuple(converter.from_payloads(payloads.payloads)) if payloads.payloads else ()


def _retry_state(number: int) -> RetryState | None:
    return RetryState(number) if number in RetryState._value2member_map_ and number else None


def _timeout_type(number: int) -> TimeoutType:
    return TimeoutType(number) if number in TimeoutType._value2member_map_ else TimeoutType.UNSPECIFIED


def _read_activity(text: str, failure: Failure, cause: BaseException | None) -> tuple[PerdureError, BaseException | None]:
    """An activity's failure: the time-out or cancellation that caused it gives the class, and its own cause moves up."""
    info = failure.activity_failure_info
    facts: dict[str, Any] = {
        "activity_type": info.activity_type.name,
        "activity_id": info.activity_id,
        "retry_state": _retry_state(info.retry_state),
        "identity": info.identity,
    }
    name = f"activity {info.activity_type.name or info.activity_id}"
    if isinstance(cause, errors.ActivityTimedOut) and not cause.activity_type:
        text = f"{name} timed out ({cause.timeout_type.name})"
        heartbeat = cause.last_heartbeat_details
        return errors.ActivityTimedOut(text, timeout_type=cause.timeout_type, last_heartbeat_details=heartbeat, **facts), cause.__cause__
    if isinstance(cause, errors.WorkflowCancelled):
        return errors.ActivityCancelled(f"{name} was cancelled", details=cause.details, **facts), cause.__cause__
    why = f": {getattr(cause, 'type', None) or type(cause).__name__}: {cause}" if cause is not None else f": {text}" if text else ""
    return errors.ExecutionFailed(f"{name} failed{why}", **facts), cause


def _read_application(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    info = failure.application_failure_info
    details = _values(info.details, converter)
    if info.type == "InvalidInput" and info.non_retryable:
        return errors.InvalidInput(text, *details)
    delay = info.next_retry_delay.ToTimedelta() if info.HasField("next_retry_delay") else None
    return errors.ApplicationError(
        text or "the application failed", *details, type=info.type or None, non_retryable=info.non_retryable, next_retry_delay=delay
    )


def _read_timeout(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    info = failure.timeout_failure_info
    return errors.ActivityTimedOut(
        text, timeout_type=_timeout_type(info.timeout_type), last_heartbeat_details=_values(info.last_heartbeat_details, converter)
    )


def _read_cancelled(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    return errors.WorkflowCancelled(text or "Cancelled", details=_values(failure.canceled_failure_info.details, converter))


def _read_terminated(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    return errors.WorkflowTerminated(text or "Terminated", reason=text)


def _read_server(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    if text.endswith("exceeds size limit."):  # `failure_of` keeps what the engine wrote
        text = f"{text.rstrip('.')}; store large data elsewhere and return its key"
    return errors.ServerFailure(text, non_retryable=failure.server_failure_info.non_retryable)


def _read_child(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    info = failure.child_workflow_execution_failure_info
    return errors.ChildWorkflowFailed(
        text,
        workflow_id=info.workflow_execution.workflow_id,
        run_id=info.workflow_execution.run_id,
        workflow_type=info.workflow_type.name,
        retry_state=_retry_state(info.retry_state),
    )


def _read_unknown(text: str, failure: Failure, converter: PayloadConverter) -> PerdureError:
    return errors.ApplicationError(text or "a failure without a kind", type=None)


_READERS: dict[str, Callable[[str, Failure, PayloadConverter], PerdureError]] = {
    "application_failure_info": _read_application,
    "timeout_failure_info": _read_timeout,
    "canceled_failure_info": _read_cancelled,
    "terminated_failure_info": _read_terminated,
    "server_failure_info": _read_server,
    "child_workflow_execution_failure_info": _read_child,
}
