"""What a run receives from another: signals, cancel requests, its parent's end, the end of a child (4.6, 4.9).

Writes WorkflowExecutionSignaled and WorkflowExecutionCancelRequested with the sender named, WorkflowExecutionTerminated for a
child whose parent has closed, and in the parent the five events of a child's end. Decides who counts as the parent.

Easily got wrong: only the run that started it, or what that was reset to, may end a child; and a child's end is told with the run
that closed, while the parent knows it by the first run of its chain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import (
    ChildWorkflowExecutionCanceledEventAttributes,
    ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes,
    ChildWorkflowExecutionTimedOutEventAttributes,
    HistoryEvent,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    WorkflowExecutionSignaledEventAttributes,
)

from perdure.engine.core import codes
from perdure.engine.core.apply import signaled
from perdure.engine.core.closing import terminate
from perdure.engine.core.others import Child
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.signals import check_receiver
from perdure.engine.core.state import Run
from perdure.engine.core.task_failures import ENGINE
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.workflow_tasks import schedule
from perdure.model.rpc import not_found

PARENT_CLOSED: Final = "by parent close policy"


class Sender(NamedTuple):
    """The run from which something comes."""

    workflow_id: str
    run_id: str
    first_run_id: str
    """Of the receiver's chain, if the sender has it as a pending child: as which it knows it."""


class SignalFromWorkflow(NamedTuple):
    """A workflow signals another."""

    sender: Sender
    attributes: SignalExternalWorkflowExecutionInitiatedEventAttributes
    request_id: str
    child_only: bool
    """Only if the receiver is a child of the sender."""


class CancelFromWorkflow(NamedTuple):
    """A workflow asks another to stop."""

    sender: Sender
    initiated_event_id: int
    """0: its parent has closed."""
    reason: str
    child_only: bool


class TerminateByParent(NamedTuple):
    """The parent has closed, and its child ends with it."""

    sender: Sender


class ChildClosed(NamedTuple):
    """A child of this run has ended: `execution` with `event`, in the chain that began with `first_run_id`."""

    initiated_event_id: int
    first_run_id: str
    execution: WorkflowExecution
    event: HistoryEvent


Received: TypeAlias = SignalFromWorkflow | CancelFromWorkflow | TerminateByParent | ChildClosed


def _check_parent(run: Run, sender: Sender) -> None:
    parent = run.start.parent_workflow_execution
    ours = parent.workflow_id == sender.workflow_id and (parent.run_id == sender.run_id or sender.first_run_id == run.first_run_id)
    if not ours:
        raise not_found("workflow is not a child of the workflow that sent this")


def signal_from_workflow(run: Run, request: SignalFromWorkflow, env: Env) -> Outcome:
    """A signal of another workflow arrives.

    Raises:
        RpcError: as `signals.check_receiver`; NotFound, if the receiver should be the sender's child and is not.
    """
    if request.child_only:
        _check_parent(run, request.sender)
    if request.request_id in run.signal_request_ids:
        return Transaction(run, env).close()
    check_receiver(run)
    tx = Transaction(run, env)
    a = WorkflowExecutionSignaledEventAttributes()
    a.signal_name = request.attributes.signal_name
    a.identity = ENGINE
    a.request_id = request.request_id
    if request.attributes.HasField("input"):
        a.input.CopyFrom(request.attributes.input)
    if request.attributes.HasField("header"):
        a.header.CopyFrom(request.attributes.header)
    a.external_workflow_execution.workflow_id = request.sender.workflow_id
    a.external_workflow_execution.run_id = request.sender.run_id
    tx.put(codes.WORKFLOW_SIGNALED, a.SerializeToString())
    signaled(run, request.request_id)
    tx.wants_task = True
    return settle(tx)


def cancel_from_workflow(run: Run, request: CancelFromWorkflow, env: Env) -> Outcome:
    """Another workflow asks this one to stop. A closed run, or one that was asked already, takes it as done.

    Raises:
        RpcError: NotFound, if the receiver should be the sender's child and is not.
    """
    if request.child_only:
        _check_parent(run, request.sender)
    tx = Transaction(run, env)
    if run.closed or run.cancel_requested:
        return tx.close()
    event = tx.event(codes.WORKFLOW_CANCEL_REQUESTED)
    a = event.workflow_execution_cancel_requested_event_attributes
    a.cause = request.reason
    a.identity = ENGINE
    a.external_initiated_event_id = request.initiated_event_id
    a.external_workflow_execution.workflow_id = request.sender.workflow_id
    a.external_workflow_execution.run_id = request.sender.run_id
    tx.add(event)
    if run.task is None:
        schedule(tx)
    return settle(tx)


def terminate_by_parent(run: Run, request: TerminateByParent, env: Env) -> Outcome:
    """The parent has closed. A closed child stays as it is.

    Raises:
        RpcError: NotFound, if it is no child of that parent.
    """
    _check_parent(run, request.sender)
    tx = Transaction(run, env)
    if run.closed:
        return tx.close()
    terminate(tx, PARENT_CLOSED, None, ENGINE)
    return settle(tx)


# The end of a child.


def child_closed(run: Run, request: ChildClosed, env: Env) -> Outcome:
    """Records how a child ended.

    Raises:
        RpcError: NotFound, if this run does not wait for that child: it has closed, or knows another by this event.
    """
    child = run.children.get(request.initiated_event_id)
    if run.closed or child is None or child.run_id != request.first_run_id:
        raise not_found("this workflow does not wait for that child")
    tx = Transaction(run, env)
    write_child_closed(tx, child, request)
    tx.wants_task = True
    return settle(tx)


def write_child_closed(tx: Transaction, child: Child, request: ChildClosed) -> None:
    """Puts the event that says how a pending child ended into the history or the buffer."""
    kind, write = _ENDS[request.event.event_type]
    event = tx.event(kind)
    a, c = write(event, request.event), child.attributes
    a.namespace, a.namespace_id = c.namespace, c.namespace_id
    a.workflow_execution.CopyFrom(request.execution)
    a.workflow_type.CopyFrom(c.workflow_type)
    a.initiated_event_id, a.started_event_id = child.initiated_event_id, child.started_event_id
    tx.add(event)


_End: TypeAlias = (
    ChildWorkflowExecutionCompletedEventAttributes
    | ChildWorkflowExecutionFailedEventAttributes
    | ChildWorkflowExecutionCanceledEventAttributes
    | ChildWorkflowExecutionTimedOutEventAttributes
    | ChildWorkflowExecutionTerminatedEventAttributes
)


def _completed(event: HistoryEvent, end: HistoryEvent) -> _End:
    a, e = event.child_workflow_execution_completed_event_attributes, end.workflow_execution_completed_event_attributes
    if e.HasField("result"):
        a.result.CopyFrom(e.result)
    return a


def _failed(event: HistoryEvent, end: HistoryEvent) -> _End:
    a, e = event.child_workflow_execution_failed_event_attributes, end.workflow_execution_failed_event_attributes
    a.failure.CopyFrom(e.failure)
    a.retry_state = e.retry_state
    return a


def _canceled(event: HistoryEvent, end: HistoryEvent) -> _End:
    a, e = event.child_workflow_execution_canceled_event_attributes, end.workflow_execution_canceled_event_attributes
    if e.HasField("details"):
        a.details.CopyFrom(e.details)
    return a


def _timed_out(event: HistoryEvent, end: HistoryEvent) -> _End:
    a = event.child_workflow_execution_timed_out_event_attributes
    a.retry_state = end.workflow_execution_timed_out_event_attributes.retry_state
    return a


def _terminated(event: HistoryEvent, end: HistoryEvent) -> _End:
    return event.child_workflow_execution_terminated_event_attributes


_ENDS: Final[dict[int, tuple[EventType.ValueType, Callable[[HistoryEvent, HistoryEvent], _End]]]] = {
    codes.WORKFLOW_COMPLETED: (codes.CHILD_COMPLETED, _completed),
    codes.WORKFLOW_FAILED: (codes.CHILD_FAILED, _failed),
    codes.WORKFLOW_CANCELED: (codes.CHILD_CANCELED, _canceled),
    codes.WORKFLOW_TIMED_OUT: (codes.CHILD_TIMED_OUT, _timed_out),
    codes.WORKFLOW_TERMINATED: (codes.CHILD_TERMINATED, _terminated),
}
