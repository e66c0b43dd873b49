"""What the runs of activities and of Nexus operations without a workflow have in common: how they begin, and how they are asked to stop.

Writes WorkflowExecutionStarted and WorkflowExecutionCancelRequested. Decides nothing: whether an id may be used again stands in
`standalone_ids`, what follows in `standalone` and `standalone_operations`.

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
from perdure.engine.core.start import drop_nulls
from perdure.engine.core.transaction import Transaction

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
    event.links.extend(request.links)
    return event


def write_cancel_requested(tx: Transaction, request: Cancelling) -> None:
    """The request to stop."""
    event = tx.event(codes.WORKFLOW_CANCEL_REQUESTED)
    a = event.workflow_execution_cancel_requested_event_attributes
    a.cause, a.identity = request.reason, request.identity
    tx.append(event)


def has_long_texts(request: Ending) -> bool:
    """Whether one of the texts of a request is longer than any may be."""
    return any(limits.too_long(text) for text in (request.request_id, request.identity, request.reason))
