"""What a run sends others, and what it records of their answers (4.9).

`message` says what one entry of `unsent` asks of whom; the shell delivers it once that entry is durable, in one transaction with
the answer: so a message is delivered once, whatever crashes. Writes ChildWorkflowExecutionStarted,
StartChildWorkflowExecutionFailed, ExternalWorkflowExecutionSignaled, ExternalWorkflowExecutionCancelRequested and the two that say
that those failed; each schedules a workflow task. A closed run records nothing but that a duty is done.

Easily got wrong: what was not delivered when the run closed never is, not even to a child that is to be abandoned. And a signal to a
child that has not been started yet waits for its start.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.enums.v1 import (
    CancelExternalWorkflowExecutionFailedCause,
    SignalExternalWorkflowExecutionFailedCause,
    StartChildWorkflowExecutionFailedCause,
)
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Outcome as UpdateOutcome
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.engine.core import codes, nexus
from perdure.engine.core.callbacks import Attached
from perdure.engine.core.inbound import CancelFromWorkflow, Sender, SignalFromWorkflow
from perdure.engine.core.others import CALL_BACK, END_CHILDREN, TELL_PARENT, Child, External, discharge, request_id, root_of
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.start import Parent
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import not_found

# Messages.


class StartChild(NamedTuple):
    """A child is to be started."""

    key: int
    request: StartWorkflowExecutionRequest
    parent: Parent


class ToExternal(NamedTuple):
    """A signal or a cancel request for another workflow; without a run id, for its current run."""

    key: int
    workflow_id: str
    run_id: str
    request: SignalFromWorkflow | CancelFromWorkflow


class TellParent(NamedTuple):
    """The last run of a child has closed."""

    key: int
    workflow_id: str
    run_id: str
    initiated_event_id: int


class EndChild(NamedTuple):
    """A pending child of a closed run is to end too."""

    workflow_id: str
    terminate: bool
    """Else it is asked to cancel itself."""
    sender: Sender


class EndChildren(NamedTuple):
    """Those of a closed run that its close policies name."""

    key: int
    children: list[EndChild]


class CallBack(NamedTuple):
    """Those are to hear of the end of a closed run who wait for it."""

    key: int
    callbacks: list[Attached]


class UpdateEnded(NamedTuple):
    """Those are to hear how an update has ended who wait for it."""

    key: int
    callbacks: list[Attached]
    outcome: UpdateOutcome


Message: TypeAlias = UpdateEnded | StartChild | ToExternal | TellParent | EndChildren | CallBack | nexus.OperationRequest


def message(run: Run, key: int) -> Message | None:
    """What an entry of `unsent` asks for; None if it is no longer there."""
    if key not in run.unsent:
        return None
    if key == TELL_PARENT:
        parent = run.start.parent_workflow_execution
        return TellParent(key, parent.workflow_id, parent.run_id, run.start.parent_initiated_event_id)
    if key == END_CHILDREN:
        return EndChildren(key, [_end_child(run, child) for child in run.children.values()])
    if key == CALL_BACK:
        return CallBack(key, list(run.callbacks or ()))
    untold = None if run.updates is None else run.updates.untold.get(key)
    if untold is not None:
        return UpdateEnded(key, untold.callbacks, untold.outcome)
    operation = nexus.by_key(run, key)
    if operation is not None:
        return nexus.request_of(run, key, operation)
    child = run.children.get(key)
    if child is not None:
        return StartChild(key, _start_request(run, child), _parent(run, child))
    return _to_external(run, run.externals[key])


def is_held_back(run: Run, key: int) -> bool:
    """Whether what goes to another workflow has to wait, since that is a child whose start is not delivered yet."""
    external = run.externals.get(key)
    if external is None:
        return run.operations is not None and nexus.is_held_back(run, key)
    target = _target(external.event).workflow_id
    for other in run.unsent:
        if other >= key:
            return False
        child = run.children.get(other)
        if child is not None and child.attributes.workflow_id == target:
            return True
    return False


def _sender(run: Run, first_run_id: str) -> Sender:
    return Sender(run.workflow_id, run.run_id, first_run_id)


def _end_child(run: Run, child: Child) -> EndChild:
    a = child.attributes
    return EndChild(a.workflow_id, a.parent_close_policy == codes.CLOSE_TERMINATES, _sender(run, child.run_id))


def _parent(run: Run, child: Child) -> Parent:
    a = child.attributes
    pinned = run.versioning.pinned if run.versioning is not None and not a.HasField("versioning_override") else None
    return Parent(run.namespace, a.namespace_id, run.workflow_id, run.run_id, child.initiated_event_id, root_of(run), pinned)


def _start_request(run: Run, child: Child) -> StartWorkflowExecutionRequest:
    a = child.attributes
    request = StartWorkflowExecutionRequest(
        namespace=run.namespace,
        workflow_id=a.workflow_id,
        workflow_type=a.workflow_type,
        task_queue=a.task_queue,
        workflow_execution_timeout=a.workflow_execution_timeout,
        workflow_run_timeout=a.workflow_run_timeout,
        workflow_task_timeout=a.workflow_task_timeout,
        request_id=request_id(run, child.initiated_event_id),
        workflow_id_reuse_policy=a.workflow_id_reuse_policy,
        cron_schedule=a.cron_schedule,
    )
    if a.HasField("input"):
        request.input.CopyFrom(a.input)
    if a.HasField("header"):
        request.header.CopyFrom(a.header)
    if a.HasField("retry_policy"):
        request.retry_policy.CopyFrom(a.retry_policy)
    if a.HasField("memo"):
        request.memo.CopyFrom(a.memo)
    if a.HasField("search_attributes"):
        request.search_attributes.CopyFrom(a.search_attributes)
    if a.HasField("versioning_override"):
        request.versioning_override.CopyFrom(a.versioning_override)
    if a.HasField("priority") or run.start.HasField("priority"):
        request.priority.CopyFrom(_merged(run.start.priority, a.priority))
    if child.event.HasField("user_metadata"):
        request.user_metadata.CopyFrom(child.event.user_metadata)
    return request


def _merged(ours: Priority, theirs: Priority) -> Priority:
    """A child's priority: what the command leaves open is the parent's."""
    return Priority(
        priority_key=theirs.priority_key or ours.priority_key,
        fairness_key=theirs.fairness_key or ours.fairness_key,
        fairness_weight=theirs.fairness_weight or ours.fairness_weight,
    )


def _target(event: HistoryEvent) -> WorkflowExecution:
    if event.event_type == codes.EXTERNAL_SIGNAL_INITIATED:
        return event.signal_external_workflow_execution_initiated_event_attributes.workflow_execution
    return event.request_cancel_external_workflow_execution_initiated_event_attributes.workflow_execution


def _to_external(run: Run, external: External) -> ToExternal:
    event, key = external.event, external.initiated_event_id
    target = _target(event)
    sender = _sender(run, _first_run_of_child(run, target.workflow_id))
    request: SignalFromWorkflow | CancelFromWorkflow
    if event.event_type == codes.EXTERNAL_SIGNAL_INITIATED:
        signal = event.signal_external_workflow_execution_initiated_event_attributes
        request = SignalFromWorkflow(sender, signal, request_id(run, key), signal.child_workflow_only)
    else:
        cancel = event.request_cancel_external_workflow_execution_initiated_event_attributes
        request = CancelFromWorkflow(sender, key, cancel.reason, cancel.child_workflow_only)
    return ToExternal(key, target.workflow_id, target.run_id, request)


def _first_run_of_child(run: Run, workflow_id: str) -> str:
    for child in run.children.values():
        if child.attributes.workflow_id == workflow_id and child.run_id:
            return child.run_id
    return ""


# Answers.


class ChildStarted(NamedTuple):
    """A child runs now; `run_id`: its first run."""

    key: int
    run_id: str


class ChildRefused(NamedTuple):
    """A child cannot be started."""

    key: int
    cause: StartChildWorkflowExecutionFailedCause.ValueType


class ExternalReached(NamedTuple):
    """A signal or cancel request has arrived."""

    key: int


class SignalRefused(NamedTuple):
    """A signal cannot be delivered."""

    key: int
    cause: SignalExternalWorkflowExecutionFailedCause.ValueType


class CancelRefused(NamedTuple):
    """A cancel request cannot be delivered."""

    key: int
    cause: CancelExternalWorkflowExecutionFailedCause.ValueType


class Discharged(NamedTuple):
    """A duty is done of those that no event says are done (`others.discharge`)."""

    duty: int


Answer: TypeAlias = ChildStarted | ChildRefused | ExternalReached | SignalRefused | CancelRefused

_GONE: Final = "nothing waits for this answer any more"


def child_started(run: Run, answer: ChildStarted, env: Env) -> Outcome:
    """Records that a child runs.

    Raises:
        RpcError: as `_open`.
    """
    a = _child(run, answer.key).attributes
    tx = Transaction(run, env)
    event = tx.event(codes.CHILD_STARTED)
    s = event.child_workflow_execution_started_event_attributes
    s.namespace, s.namespace_id = a.namespace, a.namespace_id
    s.initiated_event_id = answer.key
    s.workflow_execution.workflow_id = a.workflow_id
    s.workflow_execution.run_id = answer.run_id
    s.workflow_type.CopyFrom(a.workflow_type)
    if a.HasField("header"):
        s.header.CopyFrom(a.header)
    return _told(tx, event)


def child_refused(run: Run, answer: ChildRefused, env: Env) -> Outcome:
    """Records that a child cannot be started.

    Raises:
        RpcError: as `_open`.
    """
    a = _child(run, answer.key).attributes
    tx = Transaction(run, env)
    event = tx.event(codes.CHILD_START_FAILED)
    f = event.start_child_workflow_execution_failed_event_attributes
    f.namespace, f.namespace_id = a.namespace, a.namespace_id
    f.workflow_id = a.workflow_id
    f.workflow_type.CopyFrom(a.workflow_type)
    f.cause = answer.cause
    f.control = a.control
    f.initiated_event_id = answer.key
    f.workflow_task_completed_event_id = a.workflow_task_completed_event_id
    return _told(tx, event)


def external_reached(run: Run, answer: ExternalReached, env: Env) -> Outcome:
    """Records that a signal or cancel request has arrived.

    Raises:
        RpcError: as `_open`.
    """
    initiated = _external(run, answer.key)
    tx = Transaction(run, env)
    if initiated.event_type == codes.EXTERNAL_SIGNAL_INITIATED:
        signal = initiated.signal_external_workflow_execution_initiated_event_attributes
        event = tx.event(codes.EXTERNAL_SIGNALED)
        s = event.external_workflow_execution_signaled_event_attributes
        s.initiated_event_id = answer.key
        s.namespace, s.namespace_id, s.control = signal.namespace, signal.namespace_id, signal.control
        s.workflow_execution.CopyFrom(signal.workflow_execution)
    else:
        cancel = initiated.request_cancel_external_workflow_execution_initiated_event_attributes
        event = tx.event(codes.EXTERNAL_CANCEL_REQUESTED)
        c = event.external_workflow_execution_cancel_requested_event_attributes
        c.initiated_event_id = answer.key
        c.namespace, c.namespace_id = cancel.namespace, cancel.namespace_id
        c.workflow_execution.CopyFrom(cancel.workflow_execution)
    return _told(tx, event)


def signal_refused(run: Run, answer: SignalRefused, env: Env) -> Outcome:
    """Records that a signal cannot be delivered.

    Raises:
        RpcError: as `_open`.
    """
    asked = _external(run, answer.key).signal_external_workflow_execution_initiated_event_attributes
    tx = Transaction(run, env)
    event = tx.event(codes.EXTERNAL_SIGNAL_FAILED)
    _write_refused(event.signal_external_workflow_execution_failed_event_attributes, asked, answer)
    return _told(tx, event)


def cancel_refused(run: Run, answer: CancelRefused, env: Env) -> Outcome:
    """Records that a cancel request cannot be delivered.

    Raises:
        RpcError: as `_open`.
    """
    asked = _external(run, answer.key).request_cancel_external_workflow_execution_initiated_event_attributes
    tx = Transaction(run, env)
    event = tx.event(codes.EXTERNAL_CANCEL_FAILED)
    _write_refused(event.request_cancel_external_workflow_execution_failed_event_attributes, asked, answer)
    return _told(tx, event)


def _write_refused(attributes: Any, asked: Any, answer: SignalRefused | CancelRefused) -> None:
    attributes.cause = answer.cause
    attributes.namespace, attributes.namespace_id, attributes.control = asked.namespace, asked.namespace_id, asked.control
    attributes.workflow_execution.CopyFrom(asked.workflow_execution)
    attributes.initiated_event_id = answer.key


def discharged(run: Run, request: Discharged, env: Env) -> Outcome:
    """A duty is done; nothing happens if it had been."""
    tx = Transaction(run, env)
    of_update = run.updates is not None and request.duty in run.updates.untold
    if (run.closed or of_update) and request.duty in run.unsent:
        discharge(run, request.duty)
        tx.changed = True
    return tx.close()


def _told(tx: Transaction, event: HistoryEvent) -> Outcome:
    tx.add(event)
    tx.wants_task = True
    return settle(tx)


def _child(run: Run, key: int) -> Child:
    child = run.children.get(key)
    if run.closed or child is None or key not in run.unsent:
        raise not_found(_GONE)
    return child


def _external(run: Run, key: int) -> HistoryEvent:
    external = run.externals.get(key)
    if run.closed or external is None or key not in run.unsent:
        raise not_found(_GONE)
    return external.event
