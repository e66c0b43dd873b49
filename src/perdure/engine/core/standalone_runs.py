"""What the runs of activities and Nexus operations without a workflow have in common: how they begin, stop, and are started once more.

Writes WorkflowExecutionStarted, WorkflowExecutionOptionsUpdated and WorkflowExecutionCancelRequested. Whether an id may be used again
stands in `standalone_ids`, what follows in `standalone` and `standalone_operations`.

Easily got wrong: the first event is an ordinary one, in which a workflow's fields hold what lists and queries know of such a run.
"""

from __future__ import annotations

from typing import TypeAlias

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    RequestCancelActivityExecutionRequest,
    RequestCancelNexusOperationExecutionRequest,
    StartActivityExecutionRequest,
    StartNexusOperationExecutionRequest,
    TerminateActivityExecutionRequest,
    TerminateNexusOperationExecutionRequest,
)

from perdure.engine.core import codes, limits
from perdure.engine.core.callbacks import check_callbacks
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.start import drop_nulls
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import unavailable

Starting: TypeAlias = StartActivityExecutionRequest | StartNexusOperationExecutionRequest
Cancelling: TypeAlias = RequestCancelActivityExecutionRequest | RequestCancelNexusOperationExecutionRequest
Ending: TypeAlias = Cancelling | TerminateActivityExecutionRequest | TerminateNexusOperationExecutionRequest


def started_event(tx: Transaction, request: Starting, name: str, kind: str, queue: str) -> HistoryEvent:
    """The first event of a run, not appended yet: of this id, shown with this type and queue."""
    event = tx.event(codes.WORKFLOW_STARTED)
    a = event.workflow_execution_started_event_attributes
    a.workflow_id, a.workflow_type.name, a.task_queue.name = name, kind, queue
    a.task_queue.kind = codes.NORMAL_QUEUE
    a.original_execution_run_id = a.first_execution_run_id = tx.run.run_id
    a.attempt = 1
    a.identity = request.identity
    if request.HasField("search_attributes"):
        a.search_attributes.CopyFrom(request.search_attributes)
        drop_nulls(a.search_attributes.indexed_fields)
    if request.HasField("user_metadata"):
        event.user_metadata.CopyFrom(request.user_metadata)
    a.completion_callbacks.extend(request.completion_callbacks)
    event.links.extend(request.links)
    return event


def attaching_complaint(request: Starting) -> str:
    """What is wrong with what a start wants to leave with one that is there already; empty if nothing is."""
    options = request.on_conflict_options
    if options.attach_completion_callbacks and not options.attach_request_id:
        return "attaching completion callbacks requires attaching the request ID"
    return ""


def attaches(request: Starting) -> bool:
    """Whether a start that finds an open one wants to leave something with it."""
    options = request.on_conflict_options
    return options.attach_request_id or options.attach_links


def attach_start(run: Run, request: Starting, env: Env) -> Outcome:
    """Leaves with an open run what a further start of it brings along: its request id, links, who is to hear of the end.

    Raises:
        RpcError: FailedPrecondition for too many callbacks together; Unavailable, if the run has ended since: decide again.
    """
    options, tx = request.on_conflict_options, Transaction(run, env)
    if options.attach_request_id and request.request_id in run.attached_request_ids:
        return tx.close()
    if run.closed:
        raise unavailable(f"{run.workflow_id} ended while it was being started again")
    event = tx.event(codes.WORKFLOW_OPTIONS_UPDATED)
    a = event.workflow_execution_options_updated_event_attributes
    a.identity = request.identity
    if options.attach_request_id:
        a.attached_request_id = request.request_id or env.new_uuid()
    if options.attach_completion_callbacks:
        check_callbacks(request.completion_callbacks, len(run.callbacks or ()))
        a.attached_completion_callbacks.extend(request.completion_callbacks)
    if options.attach_links:
        event.links.extend(request.links)
    tx.append(event)
    return settle(tx)


def write_cancel_requested(tx: Transaction, request: Cancelling) -> None:
    """The request to stop."""
    event = tx.event(codes.WORKFLOW_CANCEL_REQUESTED)
    a = event.workflow_execution_cancel_requested_event_attributes
    a.cause, a.identity = request.reason, request.identity
    tx.append(event)


def has_long_texts(request: Ending) -> bool:
    """Whether one of the texts of a request is longer than any may be."""
    return any(limits.too_long(text) for text in (request.request_id, request.identity, request.reason))
