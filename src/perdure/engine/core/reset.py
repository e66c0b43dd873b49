"""Reset: a run begins again at one of its workflow tasks, as a new run with the history up to there (4.8).

Writes, after the copied events, WorkflowTaskStarted if that is missing, WorkflowTaskFailed (RESET_WORKFLOW), what is reapplied,
and the next workflow task; and ends the current run, if it is open, with WorkflowExecutionTerminated. Decides where a reset
is possible, and which of the events that came later happen again.

Easily got wrong: what the reset sets anew (deadlines of the run, times of its pending activities) follows from the
WorkflowTaskFailed event alone: the fold does it, here and whenever the run is loaded. And what is still buffered in the
current run becomes history when that is terminated, so it is reapplied too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from temporalio.api.enums.v1 import ResetReapplyExcludeType, ResetReapplyType, UpdateAdmittedEventOrigin
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PostResetOperation
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse

from perdure.engine.core import codes, due, limits, nexus, others
from perdure.engine.core.closing import terminate
from perdure.engine.core.inbound import ChildClosed, write_child_closed
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.run_options import check_options, write_options
from perdure.engine.core.settling import settle
from perdure.engine.core.signals import check_signal, write_signaled
from perdure.engine.core.state import Run
from perdure.engine.core.task_failures import ENGINE
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.workflow_tasks import begin, schedule
from perdure.model.rpc import invalid_argument

_SIGNAL: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
_UPDATE: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE
_NEXUS: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_NEXUS
_EXCLUDED_BY: Final[dict[int, frozenset[int]]] = {
    ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL: frozenset((_UPDATE, _NEXUS)),
    ResetReapplyType.RESET_REAPPLY_TYPE_NONE: frozenset((_SIGNAL, _UPDATE, _NEXUS)),
}
"""What the older way of saying it leaves out."""
_REAPPLIED: Final[dict[int, tuple[str, int]]] = {
    codes.WORKFLOW_SIGNALED: ("workflow_execution_signaled_event_attributes", _SIGNAL),
    codes.WORKFLOW_OPTIONS_UPDATED: ("workflow_execution_options_updated_event_attributes", 0),
}
"""Events that happen again as they were: their attributes, and by what they are excluded (0: by nothing)."""


def check_reset(request: ResetWorkflowExecutionRequest) -> None:
    """Refuses what no run can be reset by.

    Raises:
        RpcError: InvalidArgument.
    """
    if request.workflow_task_finish_event_id <= 1:
        raise invalid_argument("Invalid WorkflowTaskFinishEventId: it must be greater than 1.")
    for name, text in (("RequestId", request.request_id), ("Identity", request.identity)):
        if limits.too_long(text):
            raise invalid_argument(f"{name} length exceeds limit.")
    for operation in request.post_reset_operations:
        kind = operation.WhichOneof("variant")
        if kind == "signal_workflow":
            signal = operation.signal_workflow
            check_signal(signal.signal_name, "", "", signal.input if signal.HasField("input") else None)
        elif kind == "update_workflow_options":
            check_options(operation.update_workflow_options.workflow_execution_options, operation.update_workflow_options.update_mask)
        else:
            raise invalid_argument("a post-reset operation says nothing")


def reset(
    current: Run,
    kept: Iterable[HistoryEvent],
    dropped: Sequence[HistoryEvent],
    *,
    continues: bool,
    request: ResetWorkflowExecutionRequest,
    env: Env,
    ends: Iterable[ChildClosed] = (),
) -> Outcome:
    """The new run; `Outcome.terminated` is what becomes of the current one, if that is open.

    `kept`: the base run's events before the point; `dropped`: those from there on, and of the runs that continued it;
    `continues`: the last of these is the current run; `ends`: of children of the base run that ended when it no longer listened.

    Raises:
        RpcError: InvalidArgument if there is no workflow task at that point.
    """
    run = Run(current.namespace, env.new_run_id(), request.request_id or env.new_uuid())
    tx = Transaction(run, env)
    for event in kept:
        tx.append(event)
    if run.task is None:
        raise invalid_argument(
            "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: "
            f"{request.workflow_task_finish_event_id}"
        )
    terminated = None if current.closed else _terminate(current, request, run.run_id, env)
    _fail_task(tx, request)
    tx.cut_tail()
    excluded = _EXCLUDED_BY.get(request.reset_reapply_type, frozenset[int]()) | set(request.reset_reapply_exclude_types)
    of_base = _reapply(tx, dropped, excluded, of_base=True)
    if terminated is not None and continues:
        _reapply(tx, terminated.events, excluded, of_base=of_base)
    for end in ends:
        child = run.children.get(end.initiated_event_id)
        if child is not None and child.run_id == end.first_run_id:
            write_child_closed(tx, child, end)
    for operation in request.post_reset_operations:
        _carry_out(tx, operation, request.identity)
    schedule(tx)
    tx.ready.extend(run.activities.values())
    due.rebuild(run)
    tx.outcome.reply = ResetWorkflowExecutionResponse(run_id=run.run_id)
    tx.outcome.visibility_changed = True
    outcome = settle(tx)
    outcome.terminated = terminated
    return outcome


class WasReset(NamedTuple):
    """A closed run has been reset to another."""

    run_id: str


def was_reset(run: Run, request: WasReset, env: Env) -> Outcome:
    """Notes, beside the history, to which run it was reset last."""
    tx = Transaction(run, env)
    if run.closed and run.reset_run_id != request.run_id:
        run.reset_run_id = request.run_id
        tx.changed = True
    return tx.close()


def _terminate(run: Run, request: ResetWorkflowExecutionRequest, new_run_id: str, env: Env) -> Outcome:
    tx = Transaction(run, env)
    if request.workflow_execution.run_id == run.run_id:
        run.reset_run_id = new_run_id
    terminate(tx, request.reason, None, others.RESETTER)
    return settle(tx)


def _fail_task(tx: Transaction, request: ResetWorkflowExecutionRequest) -> None:
    task = tx.run.task
    if task is None:
        return
    if not task.started_event_id:
        task.attempt = 1  # its events stand in the history, whatever attempt it was
        begin(tx, ENGINE, tx.env.new_uuid(), in_process=False)
    event = tx.event(codes.TASK_FAILED)
    a = event.workflow_task_failed_event_attributes
    a.scheduled_event_id, a.started_event_id = task.scheduled_event_id, task.started_event_id
    a.cause = codes.RESET_WORKFLOW
    a.failure.message = request.reason
    a.failure.source = "Server"
    a.failure.reset_workflow_failure_info.SetInParent()
    a.identity = ENGINE
    a.base_run_id, a.new_run_id = request.workflow_execution.run_id, tx.run.run_id
    tx.append(event)


def _reapply(tx: Transaction, events: Iterable[HistoryEvent], excluded: frozenset[int] | set[int], *, of_base: bool) -> bool:
    """Makes events happen again; whether they are the base run's at the end, too.

    `of_base`: they are, and the new run has its children and operations.
    """
    for event in events:
        if event.event_type == codes.WORKFLOW_CONTINUED:
            of_base = False
        elif of_base and event.event_type in others.CHILD_EVENTS:
            _reapply_child(tx, event)
        elif of_base and event.event_type in nexus.TOLD and _NEXUS not in excluded:
            _reapply_operation(tx, event)
        elif event.event_type in (codes.UPDATE_ADMITTED, codes.UPDATE_ACCEPTED) and _UPDATE not in excluded:
            _admit_again(tx, event)
        attributes, exclusion = _REAPPLIED.get(event.event_type, ("", 0))
        if not attributes or exclusion in excluded:
            continue
        again = tx.event(event.event_type)
        getattr(again, attributes).CopyFrom(getattr(event, attributes))
        again.links.extend(event.links)
        again.worker_may_ignore = event.worker_may_ignore
        tx.add(again)
    return of_base


def _reapply_child(tx: Transaction, event: HistoryEvent) -> None:
    """What a child that is pending again had told."""
    told = getattr(event, others.CHILD_EVENTS[event.event_type])
    child = tx.run.children.get(told.initiated_event_id)
    if child is None:
        return
    again = tx.event(event.event_type)
    attributes = getattr(again, others.CHILD_EVENTS[event.event_type])
    attributes.CopyFrom(told)
    if child.started_event_id:
        attributes.started_event_id = child.started_event_id
    tx.add(again)


def _reapply_operation(tx: Transaction, event: HistoryEvent) -> None:
    """What was heard of a Nexus operation that is pending again, or of the request to cancel it."""
    where = nexus.TOLD[event.event_type]
    told = getattr(event, where)
    op = nexus.find(tx.run, told.scheduled_event_id)
    if op is None or (event.event_type == codes.OPERATION_STARTED and op.started):
        return
    if event.event_type not in nexus.ENDS and event.event_type != codes.OPERATION_STARTED and told.requested_event_id != op.cancel_event_id:
        return
    again = tx.event(event.event_type)
    getattr(again, where).CopyFrom(told)
    again.links.extend(event.links)
    tx.add(again)


def _admit_again(tx: Transaction, event: HistoryEvent) -> None:
    """An update that had been accepted is one that waits again: the new run has not seen it."""
    if event.event_type == codes.UPDATE_ADMITTED:
        request = event.workflow_execution_update_admitted_event_attributes.request
    else:
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request
    updates = tx.run.updates
    if not request.meta.update_id or (updates is not None and updates.knows(request.meta.update_id)):
        return  # it was admitted by an event of its own, or before the point
    again = tx.event(codes.UPDATE_ADMITTED)
    admitted = again.workflow_execution_update_admitted_event_attributes
    admitted.request.CopyFrom(request)
    admitted.origin = UpdateAdmittedEventOrigin.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY
    tx.add(again)


def _carry_out(tx: Transaction, operation: PostResetOperation, identity: str) -> None:
    if operation.HasField("update_workflow_options"):
        wanted = operation.update_workflow_options
        write_options(tx, wanted.workflow_execution_options, wanted.update_mask, identity)
        return
    signal = operation.signal_workflow
    payloads = signal.input if signal.HasField("input") else None
    write_signaled(tx, signal.signal_name, payloads, signal.header if signal.HasField("header") else None, identity, "")
