"""Reads histories for workflows that are not in the cache, and the pages that did not fit into a task."""

from __future__ import annotations

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueResponse
from temporalio.converter import PayloadCodec

from perdure.model import payload_codec
from perdure.service.contract import WorkflowService

__all__ = ["HistoryReader"]


class HistoryReader:
    """Histories as the runtime wants them: whole, decoded."""

    def __init__(self, service: WorkflowService, namespace: str, codec: PayloadCodec | None) -> None:
        self._service = service
        self._namespace = namespace
        self._codec = codec

    async def read(self, execution: WorkflowExecution, page_token: bytes = b"") -> list[HistoryEvent]:
        """The events from the beginning, or from a page on. Raises RpcError."""
        events: list[HistoryEvent] = []
        while True:
            request = GetWorkflowExecutionHistoryRequest(namespace=self._namespace, next_page_token=page_token)
            request.execution.CopyFrom(execution)
            reply = await self._service.get_workflow_execution_history(request)
            if self._codec is not None:
                await payload_codec.decode(reply.history, self._codec)
            events.extend(reply.history.events)
            page_token = reply.next_page_token
            if not page_token:
                return events

    async def complete(self, task: PollWorkflowTaskQueueResponse) -> None:
        """Adds the pages that did not fit into the task."""
        events = await self.read(task.workflow_execution, task.next_page_token)
        task.history.events.extend(_until(events, task.started_event_id))
        task.next_page_token = b""

    async def make_whole(self, task: PollWorkflowTaskQueueResponse) -> None:
        """Gives the task the history from event 1. Its own events stay: a task that is tried again has some that no history has."""
        own = list(task.history.events)
        events = await self.read(task.workflow_execution)
        if own:
            events = [event for event in events if event.event_id < own[0].event_id]
        del task.history.events[:]
        task.history.events.extend(_until(events, task.started_event_id))
        task.history.events.extend(own)


def _until(events: list[HistoryEvent], last_event_id: int) -> list[HistoryEvent]:
    """The events up to that of the task; 0 (a query) is all of them."""
    return [event for event in events if event.event_id <= last_event_id] if last_event_id else events
