"""Whether the code does what history says it did, command by command; and if not, where they part."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from temporalio.api.enums.v1.event_type_pb2 import EventType
from temporalio.api.history.v1.message_pb2 import HistoryEvent

from perdure.model.errors import NondeterminismError
from perdure.runtime.commands import COMMAND_EVENTS, Command, RecordMarker, describe_event
from perdure.runtime.markers import marker_key, may_be_missing

REMEDY = (
    'A running workflow must find the code it started with: take the change back, or put it behind `if ctx.patched("name"):`, '
    "or let running workflows finish on a worker with the old code."
)
_MARKER: int = EventType.EVENT_TYPE_MARKER_RECORDED
_PACKAGE = str(Path(__file__).parent)


class Mismatch(NamedTuple):
    """Where code and history part."""

    event: HistoryEvent | None
    after_event_id: int
    command: Command | None
    difference: tuple[str, str] | None = None
    """What differs though the command is the same, in history and in code (a strict replay)."""


def match_commands(
    commands: Sequence[Command], events: Sequence[HistoryEvent], position: int, completed_id: int, strict: bool = False
) -> int | Mismatch:
    """Pairs the commands of one activation with the events from `position` on; the position after them, or the mismatch."""
    end = len(events)
    for command in commands:
        if command.dropped:
            continue
        if position < end and command.event_type != _MARKER:  # the usual case, without a call
            event = events[position]
            if event.event_type == command.event_type and command.matches(event):
                if strict and (difference := command.difference(event)) is not None:
                    return Mismatch(event, completed_id, command, difference)
                command.recorded(event)
                position += 1
                continue
        while position < end and not _records(events[position], command):
            if not may_be_missing(events[position]):
                return Mismatch(events[position], completed_id, command)
            position += 1
        if position == end:
            return Mismatch(None, completed_id, command)
        command.recorded(events[position])
        position += 1
    while position < end and events[position].event_type in COMMAND_EVENTS:
        if not may_be_missing(events[position]):
            return Mismatch(events[position], completed_id, None)
        position += 1
    return position


def _records(event: HistoryEvent, command: Command) -> bool:
    if event.event_type != command.event_type or not command.matches(event):
        return False
    return command.event_type != _MARKER or (isinstance(command, RecordMarker) and (not command.key or marker_key(event) == command.key))


def nondeterminism(mismatch: Mismatch, line: str, workflow_id: str, run_id: str, workflow_type: str) -> NondeterminismError:
    """The error that says where code and history part."""
    event, command = mismatch.event, mismatch.command
    recorded = event is not None and event.event_type in COMMAND_EVENTS
    event_id = event.event_id if event is not None else mismatch.after_event_id
    expected = describe_event(event) if event is not None and recorded else "no further command of this workflow task"
    found = command.describe() if command is not None else "nothing: it waits, or has ended"
    if mismatch.difference is not None:
        expected, found = f"{expected}: {mismatch.difference[0]}", f"{found}: {mismatch.difference[1]}"
    at = f" at {line}" if line else ""
    return NondeterminismError(
        f"workflow {workflow_type} ({workflow_id}) does not do what its history says. "
        f"Event {event_id}: history has: {expected}; the code did: {found}{at}. {REMEDY}",
        event_id=event_id,
        expected=expected,
        found=found,
        line=line,
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=workflow_type,
    )


def code_line() -> str:
    """`file:line, in function` of the innermost call that is neither perdure's nor asyncio's; empty when the loop itself acts."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "drain" and code.co_filename.startswith(_PACKAGE):
            return ""
        module = str(frame.f_globals.get("__name__", ""))
        if not code.co_filename.startswith(_PACKAGE) and module.partition(".")[0] != "asyncio":
            return f"{code.co_filename}:{frame.f_lineno}, in {code.co_name}"
        frame = frame.f_back
    return ""
