"""One transaction on one run: events get their time, their id or their place in the buffer, and the outcome is filled.

Decides where an event goes (B1 to B4): events of the bufferable kind (`add`, `put`) wait without ids while a workflow task
is started or a completion is under way (`holding`); the others (`append`, `number`, `record`) go straight to the history. A
flush gives ids, activities' and children's close events last, and joins them with their started events.

Easily got wrong: a buffered event changes the state at once, only its id comes later. And the flush does not fold it
again. Does not know what a workflow task is for: `workflow_tasks` does.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent

from perdure.engine.core import codes, others
from perdure.engine.core.apply import apply, apply_buffered
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.pending import Activity
from perdure.engine.core.state import Run
from perdure.engine.core.wire import instant
from perdure.model.framing import SMALL, framed, tag, varint

_CHILD_CLOSES: Final = frozenset(
    (codes.CHILD_COMPLETED, codes.CHILD_FAILED, codes.CHILD_CANCELED, codes.CHILD_TIMED_OUT, codes.CHILD_TERMINATED),
)
_OPERATION_CLOSES: Final = frozenset(
    (codes.OPERATION_COMPLETED, codes.OPERATION_FAILED, codes.OPERATION_CANCELED, codes.OPERATION_TIMED_OUT),
)
_CLOSES: Final = (
    _CHILD_CLOSES | _OPERATION_CLOSES | {codes.ACTIVITY_COMPLETED, codes.ACTIVITY_FAILED, codes.ACTIVITY_TIMED_OUT, codes.ACTIVITY_CANCELED}
)
_EVENT: Final = tag(History, "events")
_ID: Final = tag(HistoryEvent, "event_id")
_NUMBERED: Final = [_ID + varint(number) for number in range(256)]
"""How events begin whose id is small, as most are."""
_TIME: Final = tag(HistoryEvent, "event_time")
_TYPE: Final = tag(HistoryEvent, "event_type")
_parse: Final = HistoryEvent.FromString


def _attributes(name: str) -> bytes:
    return tag(HistoryEvent, f"{name.removeprefix('EVENT_TYPE_').lower()}_event_attributes")


_BARE: Final = {number: _TYPE + varint(number) for number in EventType.values()}
"""By event type, an event that says only what it is, encoded,"""
_OPENING: Final = {number: _TYPE + varint(number) + _attributes(name) for name, number in EventType.items() if number}
"""and that, up to its attributes."""


class Transaction:
    """The work on one run between a request and its outcome."""

    __slots__ = (
        "changed",
        "eager",
        "env",
        "holding",
        "now",
        "outcome",
        "ready",
        "run",
        "stamp",
        "stored",
        "task_ready",
        "wants_task",
        "worker",
        "written",
    )

    def __init__(self, run: Run, env: Env) -> None:
        self.run = run
        self.env = env
        self.now = env.now
        self.stamp = _TIME + instant(self.now)
        self.outcome = Outcome(run)
        self.written = self.outcome.events.parts
        """The events, each as a serialised `History` of one."""
        self.stored = len(run.buffered)
        """How many of the run's buffered events are in the store: the first so many."""
        self.worker = ""
        """The identity of the worker whose commands are carried out."""
        self.holding = False
        """A completion is under way: what is bufferable waits until its commands are through."""
        self.ready: list[Activity] = []
        """Activities that became ready, and look for a poller at the end."""
        self.eager: list[Activity] = []
        """Those of them that the worker wants in the reply to its completion."""
        self.task_ready = False
        """A workflow task was scheduled, and looks for a poller at the end."""
        self.wants_task = False
        """Something happened of which the workflow is to learn: a workflow task is scheduled at the end, unless one is pending."""
        self.changed = False
        """A fact beside the history changed."""

    # Making events.

    def event(self, event_type: EventType.ValueType) -> HistoryEvent:
        """A new event of this instant, without an id."""
        return _parse(self.stamp + _BARE[event_type])

    def event_like(self, template: bytes) -> HistoryEvent:
        """A new event of this instant, otherwise as the template is, without an id."""
        return _parse(self.stamp + template)

    def append(self, event: HistoryEvent) -> int:
        """Puts an event, which must not change any more, at the end of the history, whatever is buffered; returns its id."""
        run = self.run
        event_id = event.event_id = run.next_event_id
        apply(run, event)
        self._write(event.SerializeToString())
        return event_id

    def number(self, event: HistoryEvent) -> None:
        """As `append`, for an event that is folded already, or that the caller folds."""
        run = self.run
        event.event_id = run.next_event_id
        run.next_event_id += 1
        self._write(event.SerializeToString())

    def record(self, event_type: EventType.ValueType, attributes: bytes, rest: bytes = b"") -> int:
        """As `append`, for an event of this instant whose attributes are encoded, and which the caller folds; `rest` follows them."""
        return self._record(self.stamp, event_type, attributes, rest)

    def _record(self, stamp: bytes, event_type: EventType.ValueType, attributes: bytes, rest: bytes = b"") -> int:
        run = self.run
        event_id = run.next_event_id
        run.next_event_id = event_id + 1
        opening = _NUMBERED[event_id] if event_id < 256 else _ID + varint(event_id)
        size = len(attributes)
        length = SMALL[size] if size < 16384 else varint(size)
        self._write(opening + stamp + _OPENING[event_type] + length + attributes + rest)
        return event_id

    def put(self, event_type: EventType.ValueType, attributes: bytes, time: int = 0) -> int:
        """As `add`, for an event whose attributes are encoded, and which the caller folds; `time`: if not of this instant (ns)."""
        run = self.run
        stamp = _TIME + instant(time) if time else self.stamp
        if not self.holding and (run.task is None or not run.task.started_event_id):
            return self._record(stamp, event_type, attributes)
        event = stamp + framed(_OPENING[event_type], attributes)
        run.buffered.append(_parse(event))
        run.buffered_bytes += len(event)
        return 0

    def cut_tail(self) -> None:
        """The worker's view of the history ends here: what follows is the next task's."""
        self.run.tail = []
        self.run.tail_first_id = self.run.next_event_id

    def _write(self, event: bytes) -> None:
        run = self.run
        size = len(event)
        part = _EVENT + (SMALL[size] if size < 16384 else varint(size)) + event
        run.history_bytes += len(part)
        run.tail.append(part)
        self.written.append(part)

    def add(self, event: HistoryEvent) -> int:
        """Puts an event into the history, or into the buffer as long as a workflow task is out; returns its id or 0."""
        run = self.run
        if not self.holding and (run.task is None or not run.task.started_event_id):
            return self.append(event)
        apply_buffered(run, event)
        run.buffered.append(event)
        run.buffered_bytes += event.ByteSize()
        return 0

    # The buffer.

    def flush(self) -> bool:
        """Moves what is buffered to the end of the history; whether there was anything."""
        run = self.run
        if not run.buffered:
            return False
        buffered = self._take_buffer()
        started: dict[int, int] = {}
        closes: list[HistoryEvent] = []
        for event in buffered:
            if event.event_type in _CLOSES:
                closes.append(event)
                continue
            self.number(event)
            if event.event_type == codes.ACTIVITY_STARTED:
                started[event.activity_task_started_event_attributes.scheduled_event_id] = event.event_id
            elif event.event_type == codes.CHILD_STARTED:
                started[others.number_child_started(run, event)] = event.event_id
            elif event.event_type == codes.WORKFLOW_OPTIONS_UPDATED:
                request_id = event.workflow_execution_options_updated_event_attributes.attached_request_id
                if request_id:
                    run.attached_request_ids[request_id] = event.event_id
            elif run.linked_signals is not None and event.event_type == codes.WORKFLOW_SIGNALED:
                request_id = event.workflow_execution_signaled_event_attributes.request_id
                if request_id in run.linked_signals:
                    run.linked_signals[request_id] = event.event_id
        for event in closes:
            join_started(event, started)
            self.number(event)
        return True

    def _take_buffer(self) -> list[HistoryEvent]:
        run = self.run
        buffered = run.buffered
        for index in range(self.stored):
            # Stored events are immutable: others may still be reading them.
            copy = HistoryEvent()
            copy.CopyFrom(buffered[index])
            buffered[index] = copy
        self.drop_buffer()
        return buffered

    def drop_buffer(self) -> None:
        """Forgets what is buffered: it has been flushed, or the run has closed."""
        if self.stored:
            self.outcome.buffer_cleared = True
            self.stored = 0
        self.run.buffered = []
        self.run.buffered_bytes = 0

    def withdraw(self, index: int) -> HistoryEvent:
        """Takes one event out of the buffer (B5). Only a completion may: it empties the buffer before it ends."""
        if index < self.stored:
            self.stored -= 1
            self.outcome.buffer_cleared = True
        event = self.run.buffered.pop(index)
        self.run.buffered_bytes -= event.ByteSize()
        return event

    # The outcome.

    def close(self) -> Outcome:
        """Fills in the outcome. Nothing may follow."""
        outcome, run = self.outcome, self.run
        outcome.history = b"".join(self.written)
        if run.closed:
            outcome.activities = {}
        if len(run.buffered) > self.stored:
            outcome.buffered = run.buffered[self.stored :]
        outcome.changed = bool(self.changed or self.written or outcome.buffered or outcome.activities)
        return outcome


def annotate(event: HistoryEvent, command: Command) -> None:
    """Puts on an event what its command says of it beside the attributes (B8)."""
    if command.HasField("user_metadata"):
        event.user_metadata.CopyFrom(command.user_metadata)
    if command.event_group_markers:
        event.event_group_markers.extend(command.event_group_markers)


def annotation(command: Command) -> bytes:
    """As `annotate`, encoded."""
    event = HistoryEvent()
    annotate(event, command)
    return event.SerializeToString()


def join_started(event: HistoryEvent, started: dict[int, int]) -> None:
    """Gives the close event of an activity or a child the id of its started event, now that it has one."""
    kind = event.event_type
    if kind in _CHILD_CLOSES:
        others.join_started(event, started)
    elif kind == codes.ACTIVITY_COMPLETED:
        completed = event.activity_task_completed_event_attributes
        completed.started_event_id = started.get(completed.scheduled_event_id, completed.started_event_id)
    elif kind == codes.ACTIVITY_FAILED:
        failed = event.activity_task_failed_event_attributes
        failed.started_event_id = started.get(failed.scheduled_event_id, failed.started_event_id)
    elif kind == codes.ACTIVITY_TIMED_OUT:
        timed_out = event.activity_task_timed_out_event_attributes
        timed_out.started_event_id = started.get(timed_out.scheduled_event_id, timed_out.started_event_id)
    elif kind == codes.ACTIVITY_CANCELED:  # the end of a Nexus operation names no start
        canceled = event.activity_task_canceled_event_attributes
        canceled.started_event_id = started.get(canceled.scheduled_event_id, canceled.started_event_id)
