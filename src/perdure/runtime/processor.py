"""`EventProcessor`: from a history to the state of its workflow, and to where code and history part."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from temporalio.api.enums.v1.event_type_pb2 import EventType as E
from temporalio.api.history.v1.message_pb2 import History, HistoryEvent

from perdure.model.conversion import DataConverter
from perdure.model.errors import NondeterminismError, UsageError
from perdure.runtime.options import RunnerOptions
from perdure.runtime.outside_task import outside_of_task
from perdure.runtime.registry import DefinitionRegistry
from perdure.runtime.runner import WorkflowRunner

_CLOSING: dict[int, str] = {
    E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "completed",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "failed",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "cancelled",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: "terminated",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: "timed out",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: "continued as new",
}


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """A workflow as of one event: what it waits for, and how it ended."""

    workflow_id: str
    workflow_type: str
    status: str
    last_event_id: int
    activities: tuple[str, ...]
    """Types of the activities that have not ended."""
    timers: tuple[str, ...]
    current_details: str


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of a replay. `error` is None when the code does what the history says."""

    workflow_id: str
    workflow_type: str
    status: str
    events: int
    error: Exception | None

    @property
    def matched(self) -> bool:
        return self.error is None

    def check(self) -> None:
        """Raises the error, if there is one: NondeterminismError, or what the workflow's code raised by mistake."""
        if self.error is not None:
            raise self.error


class EventProcessor:
    """Replays histories against workflow code, whole (`replay_history`) or event by event (`process_workflow_event`)."""

    def __init__(
        self, workflows: Iterable[Any], converter: DataConverter = DataConverter.default, options: RunnerOptions | None = None
    ) -> None:
        self._registry = DefinitionRegistry(workflows)
        self._converter = converter
        self._options = options or RunnerOptions()
        self._runner: WorkflowRunner | None = None
        self._waiting: list[HistoryEvent] = []
        self._status = "running"
        self._last_event_id = 0
        self._advanced = False

    def process_workflow_event(self, event: HistoryEvent) -> WorkflowState:
        """The next event of one history, from its first on. Its code runs when the whole of a workflow task is there.

        Raises NondeterminismError when the code does something else than the history.
        """
        kind = event.event_type
        if event.event_id == 1:
            self.close()
            self._runner = self._runner_for(event, "")
        if self._runner is None or event.event_id != self._last_event_id + 1:
            raise UsageError(f"event {event.event_id} does not follow event {self._last_event_id}; begin with event 1")
        self._last_event_id = event.event_id
        if kind == E.EVENT_TYPE_WORKFLOW_TASK_STARTED:
            self._advance()
        self._waiting.append(event)
        if kind in _CLOSING:
            self._status = _CLOSING[kind]
            self._advance()
        run = self._runner.run if self._advanced else None
        return WorkflowState(
            workflow_id=self._runner.workflow_id,
            workflow_type=self._runner.definition.name,
            status=self._status,
            last_event_id=event.event_id,
            activities=tuple(handle.activity_type for handle in run.activities.values()) if run else (),
            timers=tuple(run.timers) if run else (),
            current_details=run.current_details if run else "",
        )

    def close(self) -> None:
        """Forgets the history that was being processed."""
        if self._runner is not None:
            self._runner.evict()
        self._runner = None
        self._waiting = []
        self._status = "running"
        self._last_event_id = 0
        self._advanced = False

    def replay_history(self, history: Any, *, workflow_id: str = "") -> ReplayResult:
        """Replays a whole history: a `History` message or its bytes, Temporal's JSON (text or dict), or the events.

        Never raises for what the code does: see ReplayResult.
        """
        events = read_history(history)
        if not events or events[0].event_type != E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            raise UsageError("the history does not begin with WorkflowExecutionStarted; export it whole")
        runner = self._runner_for(events[0], workflow_id)
        error: Exception | None = None
        try:
            outside_of_task(lambda: runner.replay(events))
            status = _CLOSING.get(events[-1].event_type, "running")
        except NondeterminismError as mismatch:
            error, status = mismatch, "diverged"
        except Exception as mistake:
            error, status = mistake, "raised"
        finally:
            runner.evict()
        return ReplayResult(runner.workflow_id, runner.definition.name, status, len(events), error)

    def _advance(self) -> None:
        assert self._runner is not None
        waiting, self._waiting = self._waiting, []
        self._runner.replay(waiting)
        self._advanced = True

    def _runner_for(self, event: HistoryEvent, workflow_id: str) -> WorkflowRunner:
        started = event.workflow_execution_started_event_attributes
        definition = self._registry.workflow(started.workflow_type.name)
        run_id = started.original_execution_run_id or started.first_execution_run_id
        return WorkflowRunner(definition, workflow_id or started.workflow_id, run_id, self._converter, self._options)


def read_history(history: Any) -> Sequence[HistoryEvent]:
    """The events of a history in any of the forms that it travels in. UsageError for anything else."""
    try:
        if isinstance(history, History):
            return list(history.events)
        if isinstance(history, bytes | bytearray):
            return list(_from_json(history.decode()).events) if history[:1] == b"{" else list(History.FromString(bytes(history)).events)
        if isinstance(history, str):
            return list(_from_json(history).events)
        if isinstance(history, dict):
            return list(_from_json(json.dumps(history)).events)
    except (DecodeError, UnicodeDecodeError, json_format.ParseError, ValueError) as error:
        raise UsageError(f"this is no history of a workflow: {error}; give Temporal's JSON, or the bytes of a History message") from error
    given: Any = getattr(history, "events", history)
    events: list[Any] = list(cast("Iterable[Any]", given)) if hasattr(given, "__iter__") else []
    if not events or not all(isinstance(event, HistoryEvent) for event in events):
        raise UsageError(f"{type(history).__name__} is no history; give a History message, its bytes, Temporal's JSON, or the events")
    return events


def _from_json(text: str) -> History:
    document = json.loads(text)
    for event in document.get("events", ()):
        kind = event.get("eventType")
        if isinstance(kind, str) and not kind.startswith("EVENT_TYPE_"):  # as older releases of Temporal write it
            event["eventType"] = "EVENT_TYPE_" + "".join(f"_{c}" if c.isupper() else c.upper() for c in kind).lstrip("_")
    return json_format.ParseDict(document, History(), ignore_unknown_fields=True)
