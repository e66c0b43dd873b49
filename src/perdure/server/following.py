"""What clients are shown of a run that another follows, if they do not say that they follow runs by themselves (4.12).

A run that failed and is tried again, or whose schedule goes on, closes as what it is, and its close event names the next run. Clients
that only wait for the close event and know no better would take that for the end; so they are shown that the run has continued as new,
which all understand. Those that send `follows-next-run-id` among their features, and everybody who reads more than the close event, see
what is stored.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message
from grpc.aio import ServicerContext
from temporalio.api.enums.v1 import EventType, HistoryEventFilterType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse

FEATURES_HEADER: Final = "supported-features"
"""Of a call's metadata: what the client can do, separated by commas."""
FOLLOWS_NEXT_RUN: Final = "follows-next-run-id"
_CLOSE_EVENT: Final = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


def show(request: Message, response: Message, context: ServicerContext[Any, Any]) -> None:
    """Changes the answer to a read of a history into what its client understands."""
    if (
        isinstance(request, GetWorkflowExecutionHistoryRequest)
        and isinstance(response, GetWorkflowExecutionHistoryResponse)
        and request.history_event_filter_type == _CLOSE_EVENT
        and response.history.events
        and not _follows(context)
    ):
        _show_continued(response.history.events[-1])


def _follows(context: ServicerContext[Any, Any]) -> bool:
    sent = (str(value) for key, value in context.invocation_metadata() or () if key == FEATURES_HEADER)
    return any(feature.strip() == FOLLOWS_NEXT_RUN for features in sent for feature in features.split(","))


def _show_continued(event: HistoryEvent) -> None:
    """Makes WorkflowExecutionContinuedAsNew of a close event that names the next run; it keeps result or failure."""
    kind = event.WhichOneof("attributes")
    closed: Any = getattr(event, kind) if kind is not None else None
    shown = HistoryEvent()
    continued = shown.workflow_execution_continued_as_new_event_attributes
    if kind == "workflow_execution_completed_event_attributes":
        if closed.HasField("result"):
            continued.last_completion_result.CopyFrom(closed.result)
    elif kind == "workflow_execution_failed_event_attributes":
        continued.failure.CopyFrom(closed.failure)
    elif kind == "workflow_execution_timed_out_event_attributes":
        continued.failure.message, continued.failure.source = "workflow timeout", "Server"
        continued.failure.timeout_failure_info.timeout_type = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    else:
        return
    if not closed.new_execution_run_id:
        return
    continued.new_execution_run_id = closed.new_execution_run_id
    shown.event_id, shown.version, shown.task_id = event.event_id, event.version, event.task_id
    shown.event_time.CopyFrom(event.event_time)
    shown.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
    event.CopyFrom(shown)
