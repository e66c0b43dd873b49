"""Cancel requests and terminations from outside (4.7).

Writes WorkflowExecutionCancelRequested; a termination's events are `closing`'s. Decides whether a request means this run
and whether there is anything left to do.

Easily got wrong: cancelling a closed run, or one already asked to stop, is a success that does nothing; terminating a
closed run is NotFound. A cancel request schedules the first workflow task even of a run that is delayed.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

from perdure.engine.core import codes, limits
from perdure.engine.core.callbacks import check_links
from perdure.engine.core.closing import terminate
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.workflow_tasks import schedule
from perdure.model.rpc import invalid_argument, not_found

TERMINATE_REASON: Final = "terminated by user via frontend"
TERMINATE_IDENTITY: Final = "frontend-service"


def _check_chain(run: Run, first_run_id: str) -> None:
    if first_run_id and first_run_id != run.first_run_id:
        raise not_found("workflow execution not found: the current run does not belong to the chain of FirstExecutionRunId")


def request_cancel(run: Run, request: RequestCancelWorkflowExecutionRequest, env: Env) -> Outcome:
    """Asks the workflow to stop.

    Raises:
        RpcError: NotFound if the run is open and does not belong to the chain that was named; InvalidArgument for ids too long.
    """
    if limits.too_long(request.request_id) or limits.too_long(request.identity):
        raise invalid_argument("RequestId or Identity length exceeds limit.")
    check_links(request.links)
    tx = Transaction(run, env)
    tx.outcome.reply = RequestCancelWorkflowExecutionResponse()
    if run.closed:
        return tx.close()
    _check_chain(run, request.first_execution_run_id)
    if run.cancel_requested:
        return tx.close()
    event = tx.event(codes.WORKFLOW_CANCEL_REQUESTED)
    a = event.workflow_execution_cancel_requested_event_attributes
    a.cause = request.reason
    a.identity = request.identity
    event.links.extend(request.links)
    tx.add(event)
    if run.task is None:
        schedule(tx)
    return settle(tx)


def request_terminate(run: Run, request: TerminateWorkflowExecutionRequest, env: Env) -> Outcome:
    """Ends the run now.

    Raises:
        RpcError: NotFound if it has closed, or does not belong to the chain that was named; InvalidArgument for too much.
    """
    _check_chain(run, request.first_execution_run_id)
    if run.closed:
        raise not_found("workflow execution already completed")
    if limits.too_long(request.reason) or limits.too_long(request.identity) or limits.too_large(request.details, env.payload_bytes_max):
        raise invalid_argument("Reason, Identity or Details exceeds limit.")
    check_links(request.links)
    tx = Transaction(run, env)
    tx.outcome.reply = TerminateWorkflowExecutionResponse()
    details = request.details if request.HasField("details") else None
    terminate(tx, request.reason or TERMINATE_REASON, details, request.identity or TERMINATE_IDENTITY, request.links)
    return settle(tx)
