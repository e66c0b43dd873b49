"""What workflow code asks of the engine: one class per command.

A command knows three things: the message that carries it, the event that records it, and how to say in words what it is. On replay
no message is built: `matches(event)` compares what identifies the command with the event that history has in its place. As in
Temporal, only identity is compared (kind, ids, type names, marker names), so that inputs and options may change between releases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from temporalio.api.command.v1.message_pb2 import (
    Command as CommandMessage,
)
from temporalio.api.command.v1.message_pb2 import (
    CompleteWorkflowExecutionCommandAttributes,
    ContinueAsNewWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
)
from temporalio.api.common.v1.message_pb2 import Payload, Payloads
from temporalio.api.enums.v1.command_type_pb2 import CommandType as C
from temporalio.api.enums.v1.event_type_pb2 import EventType as E
from temporalio.api.failure.v1.message_pb2 import Failure
from temporalio.api.history.v1.message_pb2 import HistoryEvent

from perdure.model.framing import framed, tag

SIDE_EFFECT_MARKER = "SideEffect"
# A value in the text of an error is cut here.
VALUE_CHARACTERS_MAX = 200
# 100 years, as which engines record whatever is longer.
DELAY_NS_MAX = 3_153_600_000 * 1_000_000_000
PATCH_MARKER = "core_patch"  # Temporal's name for it in every SDK that has the Rust core
# The commands that there are many of are put together from bytes.
_SCHEDULE = tag(CommandMessage, "schedule_activity_task_command_attributes")
_ACTIVITY_ID = tag(ScheduleActivityTaskCommandAttributes, "activity_id")
_INPUT = tag(ScheduleActivityTaskCommandAttributes, "input")
_COMPLETE = CommandMessage(command_type=C.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION).SerializeToString() + tag(
    CommandMessage, "complete_workflow_execution_command_attributes"
)
_RESULT = tag(CompleteWorkflowExecutionCommandAttributes, "result")


class Command:
    """One command. `dropped` ones were withdrawn before they were sent (a timer cancelled in the activation that started it)."""

    __slots__ = ("dropped",)
    kind: ClassVar[int]
    event_type: ClassVar[int]

    def __init__(self) -> None:
        self.dropped = False

    def encoded(self) -> bytes:
        """The message that carries it, encoded."""
        message = CommandMessage(command_type=self.kind)  # type: ignore[arg-type]  # enum number
        self.write(message)
        return message.SerializeToString()

    def write(self, message: CommandMessage) -> None:
        """Fills the attributes."""
        raise TypeError(type(self))

    def describe(self) -> str:
        raise TypeError(type(self))

    def matches(self, event: HistoryEvent) -> bool:
        """Whether `event`, of this command's event type, records this very command."""
        return True

    def recorded(self, event: HistoryEvent) -> None:
        """The command is in the history."""

    def difference(self, event: HistoryEvent) -> tuple[str, str] | None:
        """What else than its identity differs, in history and in code: asked by a strict replay only."""
        return None


class ScheduleActivity(Command):
    __slots__ = ("activity", "activity_id", "activity_type", "input", "template")
    kind = C.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK
    event_type = E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED

    def __init__(
        self,
        activity_id: str,
        activity_type: str,
        input: bytes,
        template: bytes,
        activity: Any,
    ) -> None:
        """`input` is an encoded `Payloads`, `template` the encoded command without id and input."""
        self.dropped = False
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.input = input
        self.template = template
        self.activity: Any = activity

    def encoded(self) -> bytes:
        attributes = framed(_ACTIVITY_ID, self.activity_id.encode())
        if self.input:
            attributes += framed(_INPUT, self.input)
        return self.template + framed(_SCHEDULE, attributes)

    def describe(self) -> str:
        return f"schedule activity {self.activity_type!r} (activity id {self.activity_id})"

    def matches(self, event: HistoryEvent) -> bool:
        attributes = event.activity_task_scheduled_event_attributes
        return attributes.activity_id == self.activity_id and attributes.activity_type.name == self.activity_type

    def recorded(self, event: HistoryEvent) -> None:
        self.activity.scheduled(event.event_id)
        self.input = b""  # a waiting run need not remember it
        self.activity = None  # which has this command: garbage that only a collection would find

    def difference(self, event: HistoryEvent) -> tuple[str, str] | None:
        return _inputs_differ(event.activity_task_scheduled_event_attributes.input.payloads, Payloads.FromString(self.input).payloads)


class CancelActivity(Command):
    __slots__ = ("activity",)
    kind = C.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK
    event_type = E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED

    def __init__(self, activity: Any) -> None:
        self.dropped = False
        self.activity = activity

    def write(self, message: CommandMessage) -> None:
        message.request_cancel_activity_task_command_attributes.scheduled_event_id = self.activity.scheduled_event_id

    def describe(self) -> str:
        command = self.activity.command
        return f"cancel activity {command.activity_type!r} (activity id {command.activity_id})"

    def matches(self, event: HistoryEvent) -> bool:
        return bool(event.activity_task_cancel_requested_event_attributes.scheduled_event_id == self.activity.scheduled_event_id)


class StartTimer(Command):
    __slots__ = ("activation", "delay_ns", "timer", "timer_id")
    kind = C.COMMAND_TYPE_START_TIMER
    event_type = E.EVENT_TYPE_TIMER_STARTED

    def __init__(self, timer_id: str, delay_ns: int, timer: Any) -> None:
        self.dropped = False
        self.timer_id = timer_id
        self.delay_ns = min(delay_ns, DELAY_NS_MAX)
        self.timer = timer
        self.activation = 0

    def write(self, message: CommandMessage) -> None:
        attributes = message.start_timer_command_attributes
        attributes.timer_id = self.timer_id
        delay = attributes.start_to_fire_timeout
        delay.seconds, delay.nanos = divmod(self.delay_ns, 1_000_000_000)

    def describe(self) -> str:
        return f"start timer {self.timer_id} ({self.delay_ns / 1e9:g} s)"

    def matches(self, event: HistoryEvent) -> bool:
        return bool(event.timer_started_event_attributes.timer_id == self.timer_id)

    def difference(self, event: HistoryEvent) -> tuple[str, str] | None:
        recorded = _seconds(event.timer_started_event_attributes.start_to_fire_timeout)
        return None if recorded == self.delay_ns / 1e9 else (f"{recorded:g} s", f"{self.delay_ns / 1e9:g} s")


class CancelTimer(Command):
    __slots__ = ("timer_id",)
    kind = C.COMMAND_TYPE_CANCEL_TIMER
    event_type = E.EVENT_TYPE_TIMER_CANCELED

    def __init__(self, timer_id: str) -> None:
        self.dropped = False
        self.timer_id = timer_id

    def write(self, message: CommandMessage) -> None:
        message.cancel_timer_command_attributes.timer_id = self.timer_id

    def describe(self) -> str:
        return f"cancel timer {self.timer_id}"

    def matches(self, event: HistoryEvent) -> bool:
        return bool(event.timer_canceled_event_attributes.timer_id == self.timer_id)


class RecordMarker(Command):
    __slots__ = ("details", "key", "name")
    kind = C.COMMAND_TYPE_RECORD_MARKER
    event_type = E.EVENT_TYPE_MARKER_RECORDED

    def __init__(self, name: str, key: str, details: Mapping[str, Payload]) -> None:
        self.dropped = False
        self.name = name
        self.key = key
        self.details = details

    def write(self, message: CommandMessage) -> None:
        attributes = message.record_marker_command_attributes
        attributes.marker_name = self.name
        for key, payload in self.details.items():
            attributes.details[key].payloads.add().CopyFrom(payload)

    def describe(self) -> str:
        return f"record marker {self.name!r} ({self.key})"

    def matches(self, event: HistoryEvent) -> bool:
        return bool(event.marker_recorded_event_attributes.marker_name == self.name)


class UpsertMemo(Command):
    __slots__ = ("fields",)
    kind = C.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES
    event_type = E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED

    def __init__(self, fields: Mapping[str, Payload]) -> None:
        self.dropped = False
        self.fields = fields

    def write(self, message: CommandMessage) -> None:
        fields = message.modify_workflow_properties_command_attributes.upserted_memo.fields
        for key, payload in self.fields.items():
            fields[key].CopyFrom(payload)

    def describe(self) -> str:
        return f"change the memo ({', '.join(sorted(self.fields))})"

    def difference(self, event: HistoryEvent) -> tuple[str, str] | None:
        fields = event.workflow_properties_modified_event_attributes.upserted_memo.fields
        return _inputs_differ([fields[key] for key in sorted(fields)], [self.fields[key] for key in sorted(self.fields)])


class UpsertSearchAttributes(Command):
    __slots__ = ("fields",)
    kind = C.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    event_type = E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES

    def __init__(self, fields: Mapping[str, Payload]) -> None:
        self.dropped = False
        self.fields = fields

    def write(self, message: CommandMessage) -> None:
        fields = message.upsert_workflow_search_attributes_command_attributes.search_attributes.indexed_fields
        for key, payload in self.fields.items():
            fields[key].CopyFrom(payload)

    def describe(self) -> str:
        return f"change search attributes ({', '.join(sorted(self.fields))})"


# --- the four ends of a run ---------------------------------------------------------------------------------------------------


class Complete(Command):
    __slots__ = ("result",)
    kind = C.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
    event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED

    def __init__(self, result: bytes) -> None:
        """`result` is an encoded `Payloads`."""
        self.dropped = False
        self.result = result

    def encoded(self) -> bytes:
        return framed(_COMPLETE, framed(_RESULT, self.result))

    def describe(self) -> str:
        return "complete the workflow"

    def difference(self, event: HistoryEvent) -> tuple[str, str] | None:
        return _inputs_differ(
            event.workflow_execution_completed_event_attributes.result.payloads, Payloads.FromString(self.result).payloads
        )


class Fail(Command):
    __slots__ = ("failure",)
    kind = C.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION
    event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED

    def __init__(self, failure: Failure) -> None:
        self.dropped = False
        self.failure = failure

    def write(self, message: CommandMessage) -> None:
        message.fail_workflow_execution_command_attributes.failure.CopyFrom(self.failure)

    def describe(self) -> str:
        return f"fail the workflow ({self.failure.message})"


class Cancel(Command):
    __slots__ = ()
    kind = C.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION
    event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED

    def write(self, message: CommandMessage) -> None:
        message.cancel_workflow_execution_command_attributes.SetInParent()

    def describe(self) -> str:
        return "end the workflow as cancelled"


class ContinueAsNewCommand(Command):
    __slots__ = ("attributes",)
    kind = C.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION
    event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW

    def __init__(self, attributes: ContinueAsNewWorkflowExecutionCommandAttributes) -> None:
        self.dropped = False
        self.attributes = attributes

    def write(self, message: CommandMessage) -> None:
        message.continue_as_new_workflow_execution_command_attributes.CopyFrom(self.attributes)

    def describe(self) -> str:
        return f"continue as new ({self.attributes.workflow_type.name})"

    def difference(self, event: HistoryEvent) -> tuple[str, str] | None:
        recorded = event.workflow_execution_continued_as_new_event_attributes.input.payloads
        return _inputs_differ(recorded, self.attributes.input.payloads)


# --- events, in the same words --------------------------------------------------------------------------------------------------

_EVENT_WORDS: dict[int, Callable[[HistoryEvent], str]] = {
    E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: lambda e: (
        f"schedule activity {e.activity_task_scheduled_event_attributes.activity_type.name!r} "
        f"(activity id {e.activity_task_scheduled_event_attributes.activity_id})"
    ),
    E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: lambda e: (
        f"cancel the activity of event {e.activity_task_cancel_requested_event_attributes.scheduled_event_id}"
    ),
    E.EVENT_TYPE_TIMER_STARTED: lambda e: (
        f"start timer {e.timer_started_event_attributes.timer_id} ({_seconds(e.timer_started_event_attributes.start_to_fire_timeout):g} s)"
    ),
    E.EVENT_TYPE_TIMER_CANCELED: lambda e: f"cancel timer {e.timer_canceled_event_attributes.timer_id}",
    E.EVENT_TYPE_MARKER_RECORDED: lambda e: f"record marker {e.marker_recorded_event_attributes.marker_name!r}",
    E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: lambda e: (
        f"change the memo ({', '.join(sorted(e.workflow_properties_modified_event_attributes.upserted_memo.fields))})"
    ),
    E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: lambda e: (
        "change search attributes "
        f"({', '.join(sorted(e.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields))})"
    ),
    E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: lambda e: "complete the workflow",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: lambda e: f"fail the workflow ({e.workflow_execution_failed_event_attributes.failure.message})",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: lambda e: "end the workflow as cancelled",
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: lambda e: (
        f"continue as new ({e.workflow_execution_continued_as_new_event_attributes.workflow_type.name})"
    ),
}
# Commands that this runtime does not issue; their events are recognised as commands, so that a mismatch is explained.
_FOREIGN_COMMAND_EVENTS = {
    E.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "start a child workflow",
    E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "signal another workflow",
    E.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: "cancel another workflow",
}
COMMAND_EVENTS: frozenset[int] = frozenset([*_EVENT_WORDS, *_FOREIGN_COMMAND_EVENTS])


def _inputs_differ(recorded: Sequence[Payload], issued: Sequence[Payload]) -> tuple[str, str] | None:
    if list(recorded) == list(issued):
        return None
    return _shown(recorded), _shown(issued)


def _shown(payloads: Sequence[Payload]) -> str:
    text = ", ".join(payload.data.decode(errors="replace") for payload in payloads) or "nothing"
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[:VALUE_CHARACTERS_MAX] + "…"


def _seconds(duration: Any) -> float:
    return float(duration.seconds + duration.nanos / 1e9)


def describe_event(event: HistoryEvent) -> str:
    """What the event records, in the words of `Command.describe`."""
    words = _EVENT_WORDS.get(event.event_type)
    if words is not None:
        return words(event)
    return _FOREIGN_COMMAND_EVENTS.get(event.event_type) or E.Name(event.event_type).removeprefix("EVENT_TYPE_").replace("_", " ").lower()
