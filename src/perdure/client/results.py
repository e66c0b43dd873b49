"""Waiting for a workflow's end: its result, or the error that it ended with.

One long poll for the close event of a run. A run that continued as new, was tried again or started its next cron run names its
successor, and the wait goes on there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio.api.enums.v1 import EventType, HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest

from perdure.client.calls import Caller
from perdure.model import payload_codec
from perdure.model.conversion import DataConverter
from perdure.model.errors import PerdureError, RetryState, WorkflowCancelled, WorkflowFailed, WorkflowTerminated, WorkflowTimedOut
from perdure.model.rpc import RpcError

__all__ = ["wait_result"]

_COMPLETED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
_CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


async def wait_result(caller: Caller, workflow_id: str, run_id: str, result_type: Any, follow_runs: bool = True) -> Any:
    """The result, of type `result_type` (None: as JSON says); raises how the workflow ended when it did not complete."""
    request = GetWorkflowExecutionHistoryRequest()
    request.namespace = caller.namespace
    request.execution.workflow_id = workflow_id
    request.execution.run_id = run_id
    request.wait_new_event = True
    request.history_event_filter_type = _CLOSE_EVENT
    while True:
        caller.check_open()
        read = caller.service.get_workflow_execution_history
        try:  # not by `caller.call`: these waits are many and long, and each coroutine is kept in memory meanwhile
            response = await read(request)
        except RpcError as error:
            response = await caller.again(read, request, error, workflow_id)
        if caller.converter.codec is not None:
            await payload_codec.decode(response, caller.converter.codec)
        events = response.history.events
        if not events:
            request.next_page_token = response.next_page_token
            continue
        event = events[-1]
        successor = _SUCCESSOR.get(event.event_type)
        next_run = successor(event) if successor is not None and follow_runs else ""
        if not next_run:
            return _outcome(caller.converter, event, workflow_id, run_id, result_type)
        request.execution.run_id = run_id = next_run
        request.next_page_token = b""


_SUCCESSOR: dict[int, Callable[[HistoryEvent], str]] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: lambda e: e.workflow_execution_completed_event_attributes.new_execution_run_id,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: lambda e: e.workflow_execution_failed_event_attributes.new_execution_run_id,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: lambda e: e.workflow_execution_timed_out_event_attributes.new_execution_run_id,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: (
        lambda e: e.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    ),
}


def _outcome(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str, result_type: Any) -> Any:
    if event.event_type == _COMPLETED:
        payloads = event.workflow_execution_completed_event_attributes.result.payloads
        return converter.from_payload(payloads[0], result_type) if payloads else None
    raise _ENDS.get(event.event_type, _unknown)(converter, event, workflow_id, run_id)


def _unknown(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str) -> PerdureError:
    return PerdureError(
        f"workflow {workflow_id!r} ended with an event of type {event.event_type}, which this release does not know; upgrade"
    )


def _failed(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str) -> PerdureError:
    attributes = event.workflow_execution_failed_event_attributes
    cause = converter.from_failure(attributes.failure)
    kind = getattr(cause, "type", None) or type(cause).__name__
    error = WorkflowFailed(
        f"workflow {workflow_id!r} failed: {kind}: {cause}; its history shows where: client.history({workflow_id!r})",
        workflow_id=workflow_id,
        run_id=run_id,
        retry_state=RetryState(attributes.retry_state) if attributes.retry_state in RetryState._value2member_map_ else None,
    )
    error.__cause__ = cause
    return error


def _timed_out(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str) -> PerdureError:
    return WorkflowTimedOut(
        f"workflow {workflow_id!r} timed out; give it a longer execution_timeout or run_timeout, or none",
        workflow_id=workflow_id,
        run_id=run_id,
    )


def _cancelled(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str) -> PerdureError:
    payloads = event.workflow_execution_canceled_event_attributes.details.payloads
    return WorkflowCancelled(
        f"workflow {workflow_id!r} was cancelled; start it again if it is still wanted",
        details=converter.decode_args(payloads, ()),
        workflow_id=workflow_id,
        run_id=run_id,
    )


def _terminated(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str) -> PerdureError:
    attributes = event.workflow_execution_terminated_event_attributes
    why = f" ({attributes.reason.rstrip('.')})" if attributes.reason else ""
    too_large = "exceeds size limit" in attributes.reason
    remedy = "store large data elsewhere and pass its key" if too_large else "start it again if it is still wanted"
    return WorkflowTerminated(
        f"workflow {workflow_id!r} was terminated{why}; {remedy}",
        reason=attributes.reason,
        details=converter.decode_args(attributes.details.payloads, ()),
        workflow_id=workflow_id,
        run_id=run_id,
    )


def _continued(converter: DataConverter, event: HistoryEvent, workflow_id: str, run_id: str) -> PerdureError:
    next_run = event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return PerdureError(
        f"run {run_id} of workflow {workflow_id!r} continued as run {next_run}; leave out follow_runs=False to get its result"
    )


_ENDS: dict[int, Callable[[DataConverter, HistoryEvent, str, str], PerdureError]] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: _failed,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: _timed_out,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: _cancelled,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: _terminated,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: _continued,
}
