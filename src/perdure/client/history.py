"""A workflow's history as users read it, and in Temporal's JSON form for export and replay."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, overload

from google.protobuf import json_format
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History
from temporalio.api.history.v1 import HistoryEvent as EventMessage
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest

from perdure.client.calls import Caller
from perdure.client.readable import moment, plain
from perdure.model.conversion import DataConverter

__all__ = ["HistoryEvent", "WorkflowHistory", "fetch_history"]


class HistoryEvent:
    """One event: `id`, `type` ("ActivityTaskScheduled"), `time` (UTC) and `attributes`, a mapping of plain values by Temporal's names."""

    def __init__(self, message: EventMessage, converter: DataConverter) -> None:
        self._message = message
        self._converter = converter
        self.id = message.event_id

    @cached_property
    def type(self) -> str:
        name: str = (
            EventType.Name(self._message.event_type) if self._message.event_type in EventType.values() else str(self._message.event_type)
        )
        return "".join(part.capitalize() for part in name.removeprefix("EVENT_TYPE_").split("_"))

    @cached_property
    def time(self) -> datetime:
        return moment(self._message.event_time)

    @cached_property
    def attributes(self) -> Mapping[str, Any]:
        which = self._message.WhichOneof("attributes")
        return plain(getattr(self._message, which), self._converter) if which else {}

    @property
    def message(self) -> EventMessage:
        """The event as Temporal's message, for replay."""
        return self._message

    def __repr__(self) -> str:
        return f"<{self.id} {self.type}>"


class WorkflowHistory(Sequence[HistoryEvent]):
    """The events of one run, in order."""

    def __init__(self, workflow_id: str, events: Sequence[EventMessage], converter: DataConverter) -> None:
        self.workflow_id = workflow_id
        self.events = [HistoryEvent(each, converter) for each in events]

    @property
    def run_id(self) -> str:
        """The run's id; of a run that was reset, that of the run it began as."""
        return self.events[0].message.workflow_execution_started_event_attributes.original_execution_run_id if self.events else ""

    def to_json(self) -> str:
        """Temporal's JSON form: what `temporal workflow show -o json` prints, and every replayer reads."""
        history = History(events=[each.message for each in self.events])
        return json.dumps(json_format.MessageToDict(history), indent=2)

    @overload
    def __getitem__(self, index: int) -> HistoryEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[HistoryEvent]: ...
    def __getitem__(self, index: int | slice) -> HistoryEvent | Sequence[HistoryEvent]:
        return self.events[index]

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[HistoryEvent]:
        return iter(self.events)

    def __repr__(self) -> str:
        return f"<WorkflowHistory {self.workflow_id}: {len(self.events)} events>"


async def fetch_history(caller: Caller, workflow_id: str, run_id: str) -> WorkflowHistory:
    """All events of a run (of the current one when `run_id` is empty), page by page."""
    caller.check_open()
    request = GetWorkflowExecutionHistoryRequest()
    request.namespace = caller.namespace
    request.execution.workflow_id = workflow_id
    request.execution.run_id = run_id
    events: list[EventMessage] = []
    while True:
        response = await caller.call(caller.service.get_workflow_execution_history, request, workflow_id)
        events.extend(response.history.events)
        request.next_page_token = response.next_page_token
        if not request.next_page_token:
            return WorkflowHistory(workflow_id, events, caller.converter)
