"""What a run hears of its Nexus operations: started, ended in one of four ways, its request to cancel answered.

Writes NexusOperationStarted, -Completed, -Failed, -Canceled, -TimedOut, NexusOperationCancelRequestCompleted and -Failed; each schedules
a workflow task. A run that is nothing but an operation has none: it closes when that ends.

Easily got wrong: an operation's end may be heard of before its start was answered. Then the start is written first, with the token
that the end names.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop
from typing import Final, NamedTuple, TypeAlias

from temporalio.api.common.v1 import Link, Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from perdure.engine.core import codes
from perdure.engine.core.closing import void
from perdure.engine.core.nexus import Operation, by_key, deadline, find
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import not_found

_GONE: Final = "the operation is no longer pending"


class OperationStarted(NamedTuple):
    """A handler has started an operation, and will say later how it ended."""

    key: int
    token: str
    links: Sequence[Link] = ()


class OperationEnded(NamedTuple):
    """An operation has ended: with a result, a failure, or, `canceled`, as it was asked to."""

    key: int
    request_id: str
    result: Payload | None = None
    failure: Failure | None = None
    canceled: bool = False
    token: str = ""
    """Of an operation that had been started, or should have been."""
    links: Sequence[Link] = ()


class CancelAnswered(NamedTuple):
    """A handler has taken note of a request to cancel, or, with a failure, never will. `key`: the request's event."""

    key: int
    failure: Failure | None = None


OperationAnswer: TypeAlias = OperationStarted | OperationEnded | CancelAnswered


def operation_started(run: Run, answer: OperationStarted, env: Env) -> Outcome:
    """Records that an operation has started.

    Raises:
        RpcError: NotFound, if it is not pending or has started before.
    """
    op = find(run, answer.key)
    if run.closed or op is None or op.started:
        raise not_found(_GONE)
    tx = Transaction(run, env)
    _start(tx, op, answer.token, answer.links)
    return settle(tx)


def operation_ended(run: Run, answer: OperationEnded, env: Env) -> Outcome:
    """Records how an operation has ended.

    Raises:
        RpcError: NotFound, if it is not pending.
    """
    op = find(run, answer.key)
    if run.closed or op is None or op.attributes.request_id != answer.request_id:
        raise not_found(_GONE)
    tx = Transaction(run, env)
    if answer.token and not op.started:
        _start(tx, op, answer.token, answer.links)
    links = () if op.started else answer.links
    if answer.failure is None:
        event = tx.event(codes.OPERATION_COMPLETED)
        a = event.nexus_operation_completed_event_attributes
        a.scheduled_event_id, a.request_id = answer.key, answer.request_id
        if answer.result is not None:
            a.result.CopyFrom(answer.result)
    elif answer.canceled:
        event = tx.event(codes.OPERATION_CANCELED)
        c = event.nexus_operation_canceled_event_attributes
        c.scheduled_event_id, c.request_id = answer.key, answer.request_id
        c.failure.CopyFrom(_unsuccessful(op, answer.failure))
    else:
        event = tx.event(codes.OPERATION_FAILED)
        f = event.nexus_operation_failed_event_attributes
        f.scheduled_event_id, f.request_id = answer.key, answer.request_id
        f.failure.CopyFrom(_unsuccessful(op, answer.failure))
    event.links.extend(links)
    _tell(tx, event)
    return settle(tx)


def cancel_answered(run: Run, answer: CancelAnswered, env: Env) -> Outcome:
    """Records what became of a request to cancel an operation.

    Raises:
        RpcError: NotFound, if nothing waits for that.
    """
    op = by_key(run, answer.key)
    if run.closed or op is None or answer.key not in run.unsent:
        raise not_found(_GONE)
    tx = Transaction(run, env)
    task = op.cancel_task_event_id
    if answer.failure is None:
        event = tx.event(codes.OPERATION_CANCEL_COMPLETED)
        a = event.nexus_operation_cancel_request_completed_event_attributes
        a.scheduled_event_id, a.requested_event_id, a.workflow_task_completed_event_id = op.scheduled_event_id, answer.key, task
    else:
        event = tx.event(codes.OPERATION_CANCEL_FAILED)
        f = event.nexus_operation_cancel_request_failed_event_attributes
        f.scheduled_event_id, f.requested_event_id, f.workflow_task_completed_event_id = op.scheduled_event_id, answer.key, task
        f.failure.CopyFrom(answer.failure)
    _tell(tx, event)
    return settle(tx)


def time_out(tx: Transaction, scheduled_event_id: int) -> None:
    """The time of the operation is up whose deadline is at the top of the heap."""
    heappop(tx.run.heap)
    op = find(tx.run, scheduled_event_id)
    if op is None:
        return
    cause = Failure(message="operation timed out")
    cause.timeout_failure_info.timeout_type = deadline(op)[1]
    event = tx.event(codes.OPERATION_TIMED_OUT)
    a = event.nexus_operation_timed_out_event_attributes
    a.scheduled_event_id, a.request_id = scheduled_event_id, op.attributes.request_id
    a.failure.CopyFrom(_unsuccessful(op, cause))
    _tell(tx, event)


def _start(tx: Transaction, op: Operation, token: str, links: Sequence[Link]) -> None:
    event = tx.event(codes.OPERATION_STARTED)
    a = event.nexus_operation_started_event_attributes
    a.scheduled_event_id, a.request_id = op.scheduled_event_id, op.attributes.request_id
    a.operation_id = a.operation_token = token
    event.links.extend(links)
    _tell(tx, event)


def _tell(tx: Transaction, event: HistoryEvent) -> None:
    tx.add(event)
    if tx.run.closed:
        void(tx)
    else:
        tx.wants_task = not tx.run.lone_operation


def _unsuccessful(op: Operation, cause: Failure) -> Failure:
    failure = Failure(message="nexus operation completed unsuccessfully", cause=cause)
    info = failure.nexus_operation_execution_failure_info
    info.scheduled_event_id = op.scheduled_event_id
    info.endpoint, info.service, info.operation = op.attributes.endpoint, op.attributes.service, op.attributes.operation
    info.operation_id = info.operation_token = op.operation_token
    return failure
