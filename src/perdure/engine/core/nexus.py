"""Pending Nexus operations of a run: their state, its fold, their deadlines, and the requests that they need (nexus events).

Writes nothing. An operation is requested until its start is answered (then `unsent` no longer has its key), and may be asked to cancel
itself after that. How often a request was tried is not known here: who sends it counts.

Easily got wrong: an operation may end without ever having started, when its handler answers at once; and a request to cancel one
waits until it has started.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import NexusOperationCancellationState, PendingNexusOperationState, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.nexus.v1 import Request
from temporalio.api.workflow.v1 import PendingNexusOperationInfo

from perdure.engine.core import codes, due
from perdure.engine.core.callbacks import SYSTEM_URL, TOKEN_HEADER, CallbackToken, link_to
from perdure.engine.core.nexus_links import to_nexus
from perdure.engine.core.times import to_ns

if TYPE_CHECKING:
    from perdure.engine.core.state import Run

_STATES: Final = PendingNexusOperationState
_CANCELLATIONS: Final = NexusOperationCancellationState


class Operation:
    """A pending operation."""

    __slots__ = (
        "attributes",
        "cancel_answer",
        "cancel_event_id",
        "cancel_task_event_id",
        "cancel_time",
        "event",
        "operation_token",
        "schedule_to_close",
        "schedule_to_start",
        "scheduled_event_id",
        "scheduled_time",
        "start_to_close",
        "started",
        "started_time",
    )

    def __init__(self, event: HistoryEvent) -> None:
        self.event = event
        self.attributes = a = event.nexus_operation_scheduled_event_attributes
        self.scheduled_event_id = event.event_id
        self.scheduled_time = to_ns(event.event_time)
        self.schedule_to_close = to_ns(a.schedule_to_close_timeout)
        self.schedule_to_start = to_ns(a.schedule_to_start_timeout)
        self.start_to_close = to_ns(a.start_to_close_timeout)
        self.started = False
        self.started_time = 0
        self.operation_token = ""
        """By which its handler knows it, once it has started."""
        self.cancel_event_id = 0
        """Of the event with which its cancellation was requested; 0: it was not."""
        self.cancel_task_event_id = 0
        """Of the end of the workflow task that did."""
        self.cancel_time = 0
        self.cancel_answer = 0
        """The type of the event that says what became of that request; 0: none yet."""

    def due(self) -> int:
        """When it times out (ns); 0: never."""
        return deadline(self)[0]

    def unpin(self) -> None:
        """Lets go of the batch that its event came with."""
        event = HistoryEvent()
        event.CopyFrom(self.event)
        self.event, self.attributes = event, event.nexus_operation_scheduled_event_attributes


# Deadlines.


def deadline(op: Operation) -> tuple[int, TimeoutType.ValueType]:
    """When an operation times out, and how; 0: never."""
    kind = codes.SCHEDULE_TO_CLOSE
    at = op.scheduled_time + op.schedule_to_close if op.schedule_to_close else 0
    other, what = 0, kind
    if op.started and op.start_to_close:
        other, what = op.started_time + op.start_to_close, codes.START_TO_CLOSE
    elif not op.started and op.schedule_to_start:
        other, what = op.scheduled_time + op.schedule_to_start, codes.SCHEDULE_TO_START
    if other and (not at or other < at):
        return other, what
    return at, kind


def _watch(run: Run, op: Operation) -> None:
    at, _ = deadline(op)
    if at:
        heappush(run.heap, (at, due.OPERATION, op.scheduled_event_id))


# The fold.


def _scheduled(run: Run, event: HistoryEvent) -> None:
    run.linked = True
    if run.operations is None:
        run.operations = {}
    op = run.operations[event.event_id] = Operation(event)
    run.unsent[event.event_id] = None
    _watch(run, op)


def _started(run: Run, event: HistoryEvent) -> None:
    a = event.nexus_operation_started_event_attributes
    op = find(run, a.scheduled_event_id)
    if op is not None:
        op.started, op.started_time, op.operation_token = True, to_ns(event.event_time), a.operation_token
        run.unsent.pop(op.scheduled_event_id, None)
        _watch(run, op)


def ended(run: Run, event: HistoryEvent) -> None:
    """Folds the end of an operation, whatever it was."""
    scheduled_event_id: int = getattr(event, ENDS[event.event_type]).scheduled_event_id
    op = find(run, scheduled_event_id)
    if op is not None and run.operations is not None:
        del run.operations[scheduled_event_id]
        run.unsent.pop(scheduled_event_id, None)
        run.unsent.pop(op.cancel_event_id, None)


def _cancel_requested(run: Run, event: HistoryEvent) -> None:
    a = event.nexus_operation_cancel_requested_event_attributes
    op = find(run, a.scheduled_event_id)
    if op is not None:
        op.cancel_task_event_id = a.workflow_task_completed_event_id
        op.cancel_event_id, op.cancel_time = event.event_id, to_ns(event.event_time)
        run.unsent[event.event_id] = None


def _cancel_completed(run: Run, event: HistoryEvent) -> None:
    a = event.nexus_operation_cancel_request_completed_event_attributes
    _cancel_answered(run, event, a.scheduled_event_id, a.requested_event_id)


def _cancel_failed(run: Run, event: HistoryEvent) -> None:
    a = event.nexus_operation_cancel_request_failed_event_attributes
    _cancel_answered(run, event, a.scheduled_event_id, a.requested_event_id)


def _cancel_answered(run: Run, event: HistoryEvent, scheduled_event_id: int, requested_event_id: int) -> None:
    run.unsent.pop(requested_event_id, None)
    op = find(run, scheduled_event_id)
    if op is not None:
        op.cancel_answer = event.event_type


ENDS: Final[dict[int, str]] = {
    codes.OPERATION_COMPLETED: "nexus_operation_completed_event_attributes",
    codes.OPERATION_FAILED: "nexus_operation_failed_event_attributes",
    codes.OPERATION_CANCELED: "nexus_operation_canceled_event_attributes",
    codes.OPERATION_TIMED_OUT: "nexus_operation_timed_out_event_attributes",
}
"""How an operation ends, and where that stands in the event."""

TOLD: Final[dict[int, str]] = {
    codes.OPERATION_STARTED: "nexus_operation_started_event_attributes",
    codes.OPERATION_CANCEL_COMPLETED: "nexus_operation_cancel_request_completed_event_attributes",
    codes.OPERATION_CANCEL_FAILED: "nexus_operation_cancel_request_failed_event_attributes",
    **ENDS,
}
"""What a caller hears of an operation, likewise."""

FOLDS: Final[dict[int, Callable[[Run, HistoryEvent], None]]] = {  # and `ended`, with what that means for the run
    codes.OPERATION_SCHEDULED: _scheduled,
    codes.OPERATION_STARTED: _started,
    codes.OPERATION_CANCEL_REQUESTED: _cancel_requested,
    codes.OPERATION_CANCEL_COMPLETED: _cancel_completed,
    codes.OPERATION_CANCEL_FAILED: _cancel_failed,
}


# Looking.


def find(run: Run, scheduled_event_id: int) -> Operation | None:
    """A pending operation by the event that scheduled it."""
    return None if run.operations is None else run.operations.get(scheduled_event_id)


def by_key(run: Run, key: int) -> Operation | None:
    """The pending operation that a key of `unsent` is about: its start, or its cancellation."""
    op = find(run, key)
    if op is None and run.operations is not None:
        op = next((each for each in run.operations.values() if each.cancel_event_id == key), None)
    return op


def is_held_back(run: Run, key: int) -> bool:
    """Whether a key is that of a cancellation whose operation has not started."""
    op = by_key(run, key)
    return op is not None and op.cancel_event_id == key and not op.started


class OperationRequest(NamedTuple):
    """A handler is to start an operation, or to cancel it."""

    key: int
    namespace: str
    """The caller's."""
    operation: Operation
    request: Request
    deadline: int
    """When it is too late for an answer; 0: never."""


def request_of(run: Run, key: int, op: Operation) -> OperationRequest:
    """What a key of `unsent` asks of a handler."""
    a = op.attributes
    request = Request(header=a.nexus_header, endpoint=a.endpoint)
    if key == op.scheduled_event_id:
        start = request.start_operation
        start.service, start.operation, start.request_id = a.service, a.operation, a.request_id
        start.callback = SYSTEM_URL
        token = CallbackToken(run.namespace, run.workflow_id, run.run_id, op.scheduled_event_id, a.request_id)
        start.callback_header[TOKEN_HEADER] = token.encode()
        start.payload.CopyFrom(a.input)
        link = to_nexus(_link(run, op))
        if link is not None:
            start.links.append(link)
    else:
        cancel = request.cancel_operation
        cancel.service, cancel.operation = a.service, a.operation
        cancel.operation_token = cancel.operation_id = op.operation_token
    return OperationRequest(key, run.queue_namespace, op, request, deadline(op)[0])


def _link(run: Run, op: Operation) -> Link:
    """To what asks for an operation."""
    if run.lone_operation:
        return link_to(run, run.start_request_id, codes.WORKFLOW_STARTED)
    link = Link()
    event = link.workflow_event
    event.namespace, event.workflow_id, event.run_id = run.namespace, run.workflow_id, run.run_id
    event.event_ref.event_id, event.event_ref.event_type = op.scheduled_event_id, codes.OPERATION_SCHEDULED
    return link


def pending_info(op: Operation) -> PendingNexusOperationInfo:
    """What is shown of a pending operation."""
    a = op.attributes
    info = PendingNexusOperationInfo(
        endpoint=a.endpoint,
        service=a.service,
        operation=a.operation,
        operation_id=op.operation_token,
        operation_token=op.operation_token,
        scheduled_time=op.event.event_time,
        scheduled_event_id=op.scheduled_event_id,
        state=_STATES.PENDING_NEXUS_OPERATION_STATE_STARTED if op.started else _STATES.PENDING_NEXUS_OPERATION_STATE_SCHEDULED,
        schedule_to_close_timeout=a.schedule_to_close_timeout,
        schedule_to_start_timeout=a.schedule_to_start_timeout,
        start_to_close_timeout=a.start_to_close_timeout,
    )
    if op.cancel_event_id:
        info.cancellation_info.requested_time.seconds, info.cancellation_info.requested_time.nanos = divmod(op.cancel_time, 1_000_000_000)
        if op.cancel_answer == codes.OPERATION_CANCEL_COMPLETED:
            info.cancellation_info.state = _CANCELLATIONS.NEXUS_OPERATION_CANCELLATION_STATE_SUCCEEDED
        elif op.cancel_answer == codes.OPERATION_CANCEL_FAILED:
            info.cancellation_info.state = _CANCELLATIONS.NEXUS_OPERATION_CANCELLATION_STATE_FAILED
        else:
            info.cancellation_info.state = _CANCELLATIONS.NEXUS_OPERATION_CANCELLATION_STATE_SCHEDULED
    return info
