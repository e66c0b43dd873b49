"""A run that operators pause: it gets no workflow tasks and its activities no attempts until it is unpaused (4.11).

Writes WorkflowExecutionPaused and WorkflowExecutionUnpaused, which workers may ignore, and WorkflowTaskFailed of a workflow task that
no worker has taken yet. What reaches a paused run is recorded as ever: signals, timers, the ends of what workers have.

Easily got wrong: a workflow task that a worker has is not taken from it, so the run may go on for one more task, or end with it; the
Paused event is buffered like others until then, and counts at once.
"""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
)

from perdure.engine.core import codes, limits
from perdure.engine.core.codes import READY
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.task_failures import ENGINE, fail
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import failed_precondition, invalid_argument, not_found


def _check(run: Run, request: PauseWorkflowExecutionRequest | UnpauseWorkflowExecutionRequest) -> None:
    for name, text in (("Identity", request.identity), ("Reason", request.reason), ("RequestId", request.request_id)):
        if limits.too_long(text):
            raise invalid_argument(f"{name} length exceeds limit.")
    if run.closed:
        raise not_found("workflow execution already completed")


def pause(run: Run, request: PauseWorkflowExecutionRequest, env: Env) -> Outcome:
    """No workflow task and no attempt of an activity begins until it is unpaused. The same request again changes nothing.

    Raises:
        RpcError: InvalidArgument; NotFound if it has closed; FailedPrecondition if it is paused already.
    """
    _check(run, request)
    tx = Transaction(run, env)
    tx.outcome.reply = PauseWorkflowExecutionResponse()
    if run.paused is not None:
        if not request.request_id or request.request_id != run.paused.request_id:
            raise failed_precondition("workflow is already paused.")
        return tx.close()
    event = tx.event(codes.WORKFLOW_PAUSED)
    event.worker_may_ignore = True
    a = event.workflow_execution_paused_event_attributes
    a.identity, a.reason, a.request_id = request.identity, request.reason, request.request_id
    tx.add(event)
    if run.task is not None and not run.task.started_event_id:
        fail(tx, codes.PAUSE_REQUESTED, None, ENGINE)
    tx.outcome.visibility_changed = tx.outcome.search_changed = True
    return settle(tx)


def unpause(run: Run, request: UnpauseWorkflowExecutionRequest, env: Env) -> Outcome:
    """It goes on: its activities are offered again, and a workflow task tells its code what happened meanwhile.

    Raises:
        RpcError: InvalidArgument; NotFound if it has closed; FailedPrecondition if it is not paused.
    """
    _check(run, request)
    if run.paused is None:
        raise failed_precondition("workflow is not paused.")
    tx = Transaction(run, env)
    tx.outcome.reply = UnpauseWorkflowExecutionResponse()
    event = tx.event(codes.WORKFLOW_UNPAUSED)
    event.worker_may_ignore = True
    a = event.workflow_execution_unpaused_event_attributes
    a.identity, a.reason, a.request_id = request.identity, request.reason, request.request_id
    tx.add(event)
    tx.wants_task = True
    tx.ready.extend(activity for activity in run.activities.values() if activity.state == READY)
    tx.outcome.visibility_changed = tx.outcome.search_changed = True
    return settle(tx)
