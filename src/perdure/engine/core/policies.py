"""Whether a start makes a run: the policies of a workflow id, as tables (4.2).

Writes nothing but WorkflowExecutionOptionsUpdated, when a start attaches its request id to the run it found. Decides
from the run that the id means now, open or closed.

Easily got wrong: a repeated request is recognised before any policy is asked, but only against the current run; and the
old policy TERMINATE_IF_RUNNING is a conflict policy in disguise.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from perdure.engine.core import codes
from perdure.engine.core.callbacks import check_callbacks, event_link, further, link_to
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.signals import check_receiver, write_signaled
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.workflow_tasks import schedule
from perdure.model.rpc import RpcError, already_exists, invalid_argument, unavailable

_Request: TypeAlias = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


class StartDecision(Enum):
    """What a start does, given what runs now."""

    START = "start"
    """A new run."""
    DEDUP = "dedup"
    """The request has started that run already: the same answer again."""
    ATTACHED = "attached"
    """The request was attached to that run already."""
    USE_EXISTING = "use existing"
    """The open run is what the caller gets (signal-with-start: only the signal)."""
    TERMINATE_EXISTING = "terminate existing"
    """The open run ends, a new one starts, in one transaction."""


class CurrentRun(NamedTuple):
    """What the decision needs of the run that the workflow id means."""

    workflow_id: str
    run_id: str
    first_run_id: str
    status: WorkflowExecutionStatus.ValueType
    start_request_id: str
    attached_request_ids: Collection[str] = ()


def current_run(run: Run) -> CurrentRun:
    """Of a run in memory."""
    return CurrentRun(run.workflow_id, run.run_id, run.first_run_id, run.status, run.start_request_id, run.attached_request_ids)


_OPEN: Final[dict[int, StartDecision | None]] = {
    codes.CONFLICT_FAIL: None,
    codes.CONFLICT_USE: StartDecision.USE_EXISTING,
    codes.CONFLICT_TERMINATE: StartDecision.TERMINATE_EXISTING,
}
"""By conflict policy; None: refused."""

_OPEN_STATUSES: Final = frozenset((codes.RUNNING, codes.RUN_PAUSED))

_STARTABLE: Final[dict[int, frozenset[int]]] = {
    codes.REUSE_ALLOW: frozenset(
        (codes.COMPLETED, codes.FAILED, codes.CANCELED, codes.TERMINATED, codes.TIMED_OUT, codes.CONTINUED_AS_NEW),
    ),
    codes.REUSE_FAILED_ONLY: frozenset((codes.FAILED, codes.CANCELED, codes.TERMINATED, codes.TIMED_OUT)),
    codes.REUSE_REJECT: frozenset(),
}
"""By reuse policy: the statuses of a closed run after which a new one may start."""

_REUSE: Final = frozenset((0, codes.REUSE_TERMINATE, *_STARTABLE))
_CONFLICT: Final = frozenset((0, *_OPEN))


def is_reuse_policy(policy: int) -> bool:
    """Whether there is such a reuse policy, or none was given."""
    return policy in _REUSE


def check_policies(request: _Request) -> None:
    """Refuses policies that contradict each other.

    Raises:
        RpcError: InvalidArgument.
    """
    reuse, conflict = request.workflow_id_reuse_policy, request.workflow_id_conflict_policy
    if reuse not in _REUSE or conflict not in _CONFLICT:
        raise invalid_argument("unknown WorkflowIdReusePolicy or WorkflowIdConflictPolicy")
    if reuse == codes.REUSE_TERMINATE and conflict:
        raise invalid_argument(
            "WorkflowIdReusePolicy WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a WorkflowIdConflictPolicy."
        )
    if reuse == codes.REUSE_REJECT and conflict == codes.CONFLICT_TERMINATE:
        raise invalid_argument(
            "WorkflowIdReusePolicy WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with WorkflowIdConflictPolicy "
            "WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING."
        )
    if conflict == codes.CONFLICT_FAIL and isinstance(request, SignalWithStartWorkflowExecutionRequest):
        raise invalid_argument("WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_FAIL cannot be used with SignalWithStart.")
    if isinstance(request, StartWorkflowExecutionRequest) and request.HasField("on_conflict_options"):
        options = request.on_conflict_options
        if options.attach_completion_callbacks and not options.attach_request_id:
            raise invalid_argument("attaching completion callbacks requires attaching the request ID")


def _policies(request: _Request) -> tuple[int, int]:
    reuse, conflict = int(request.workflow_id_reuse_policy), int(request.workflow_id_conflict_policy)
    if reuse == codes.REUSE_TERMINATE:
        return codes.REUSE_ALLOW, codes.CONFLICT_TERMINATE
    if not conflict:
        conflict = codes.CONFLICT_USE if isinstance(request, SignalWithStartWorkflowExecutionRequest) else codes.CONFLICT_FAIL
    return reuse or codes.REUSE_ALLOW, conflict


def decide_start(current: CurrentRun | None, request: _Request) -> StartDecision:
    """What a start does.

    Raises:
        RpcError: AlreadyExists, with the run that stands in the way as detail.
    """
    if current is None:
        return StartDecision.START
    if request.request_id:
        if request.request_id == current.start_request_id:
            return StartDecision.DEDUP
        if request.request_id in current.attached_request_ids:
            return StartDecision.ATTACHED
    reuse, conflict = _policies(request)
    if current.status in _OPEN_STATUSES:
        decision = _OPEN.get(conflict)
        if decision is None:
            raise _refused("Workflow execution is already running.", current)
        return decision
    if current.status in _STARTABLE[reuse]:
        return StartDecision.START
    if reuse == codes.REUSE_REJECT:
        raise _refused("Workflow execution already finished.", current)
    raise _refused("Workflow execution already finished successfully.", current)


def _refused(what: str, current: CurrentRun) -> RpcError:
    detail = WorkflowExecutionAlreadyStartedFailure(
        start_request_id=current.start_request_id, run_id=current.run_id, first_execution_run_id=current.first_run_id
    )
    return already_exists(f"{what} WorkflowId: {current.workflow_id}, RunId: {current.run_id}.", detail)


def existing_reply(
    current: CurrentRun, request: _Request, decision: StartDecision
) -> StartWorkflowExecutionResponse | SignalWithStartWorkflowExecutionResponse:
    """The answer to a request that had been served already (DEDUP, ATTACHED)."""
    started = decision is StartDecision.DEDUP
    names = request.namespace, current.workflow_id, current.run_id, request.request_id
    if isinstance(request, SignalWithStartWorkflowExecutionRequest):
        told = SignalWithStartWorkflowExecutionResponse(run_id=current.run_id, first_execution_run_id=current.first_run_id, started=started)
        if request.links:
            told.signal_link.CopyFrom(event_link(*names, codes.WORKFLOW_SIGNALED))
        return told
    reply = StartWorkflowExecutionResponse(
        run_id=current.run_id, first_execution_run_id=current.first_run_id, started=started, status=current.status
    )
    if request.links or request.completion_callbacks:
        reply.link.CopyFrom(event_link(*names, codes.WORKFLOW_STARTED if started else codes.WORKFLOW_OPTIONS_UPDATED))
    return reply


def use_existing(run: Run, request: StartWorkflowExecutionRequest, env: Env) -> Outcome:
    """A start that found an open run: nothing happens to it, unless the request id is to be attached.

    Raises:
        RpcError: Unavailable, if the run has closed since the decision: decide again.
    """
    if run.closed:
        raise unavailable("the workflow closed while it was being started again")
    tx = Transaction(run, env)
    tx.outcome.reply = reply = StartWorkflowExecutionResponse(
        run_id=run.run_id, first_execution_run_id=run.first_run_id, started=False, status=run.status
    )
    options = request.on_conflict_options
    if options.attach_completion_callbacks:
        check_callbacks(request.completion_callbacks, len(run.callbacks or ()))
    if not options.attach_request_id and not options.attach_links:
        return tx.close()
    event = tx.event(codes.WORKFLOW_OPTIONS_UPDATED)
    event.worker_may_ignore = True
    a = event.workflow_execution_options_updated_event_attributes
    a.identity = request.identity
    if options.attach_request_id:
        a.attached_request_id = request.request_id or env.new_uuid()
        reply.link.CopyFrom(link_to(run, a.attached_request_id, codes.WORKFLOW_OPTIONS_UPDATED))
    if options.attach_completion_callbacks:
        a.attached_completion_callbacks.extend(request.completion_callbacks)
    if options.attach_links:
        event.links.extend(further(request.links, a.attached_completion_callbacks))
    tx.add(event)
    return settle(tx)


def signal_existing(run: Run, request: SignalWithStartWorkflowExecutionRequest, env: Env) -> Outcome:
    """A signal-with-start that found an open run: only the signal, which brings a delayed first workflow task forward.

    Raises:
        RpcError: as `signals.check_receiver`.
    """
    seen = bool(request.request_id) and request.request_id in run.signal_request_ids
    if not seen:
        check_receiver(run)
    tx = Transaction(run, env)
    tx.outcome.reply = reply = SignalWithStartWorkflowExecutionResponse(
        run_id=run.run_id, first_execution_run_id=run.first_run_id, started=False
    )
    if request.links and request.request_id:
        reply.signal_link.CopyFrom(link_to(run, request.request_id, codes.WORKFLOW_SIGNALED))
    if seen:
        return tx.close()
    payloads = request.signal_input if request.HasField("signal_input") else None
    header = request.header if request.HasField("header") else None
    write_signaled(tx, request.signal_name, payloads, header, request.identity, request.request_id, request.links)
    if run.task is None:
        schedule(tx)
    return settle(tx)
