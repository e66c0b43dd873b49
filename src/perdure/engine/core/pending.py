"""What a run waits for: its workflow task, activities and timers, as plain records.

Decide nothing. The fold makes them from events; what the history does not say of them (the second half of `Activity`) is
written by the handlers and stored beside it (`rows`, `facts`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes, HistoryEvent

from perdure.engine.core import codes, rows
from perdure.engine.core.interventions import Intervention, Pause
from perdure.engine.core.times import to_ns


class WorkflowTask:
    """The pending workflow task. `started_event_id` is 0 until a worker has it."""

    __slots__ = (
        "attempt",
        "identity",
        "in_process",
        "incarnation",
        "many_updates",
        "original_scheduled_time",
        "queue",
        "request_id",
        "rerouted",
        "scheduled_event_id",
        "scheduled_time",
        "speculative",
        "started_event_id",
        "started_time",
        "sticky",
        "timeout",
        "token",
    )

    def __init__(self, scheduled_event_id: int, queue: str, sticky: bool, scheduled_time: int, timeout: int, attempt: int) -> None:
        self.scheduled_event_id = scheduled_event_id
        self.started_event_id = 0
        self.attempt = attempt
        """From 2 on the task is transient: its events are written only if it completes."""
        self.queue = queue
        self.sticky = sticky
        self.scheduled_time = scheduled_time
        self.original_scheduled_time = scheduled_time
        """Of the first task of a chain of heartbeats."""
        self.started_time = 0
        self.timeout = timeout
        """Start to close, in nanoseconds."""
        self.request_id = ""
        self.identity = ""
        self.rerouted = False
        """It was scheduled for a sticky queue that nobody polls, and waits on the normal one now."""
        self.in_process = False
        """A worker inside the engine's process holds it,"""
        self.incarnation = 0
        """of this incarnation of the engine."""
        self.speculative = False
        """It was made for an update, and is recorded only if there is something to record (`speculative`)."""
        self.many_updates = False
        """Of one whose start is not recorded: its worker was told to continue as new for the number of updates."""
        self.token = b""
        """What was handed over with it, if that was by this process: comparing is cheaper than decoding."""

    def reroute(self, queue: str) -> None:
        """From its sticky queue to the normal one; its event still names the sticky one."""
        self.queue = queue
        self.sticky = False
        self.rerouted = True


class Shared(NamedTuple):
    """What activities have in common that were scheduled alike. Timeouts are in nanoseconds; 0: none."""

    activity_type: str
    queue: str
    schedule_to_close: int
    schedule_to_start: int
    start_to_close: int
    heartbeat: int
    response_part: bytes
    """Their part of the response with which one is handed over, encoded; empty if it was not made yet."""


def _shared(a: ActivityTaskScheduledEventAttributes) -> Shared:
    return Shared(
        a.activity_type.name,
        a.task_queue.name,
        to_ns(a.schedule_to_close_timeout),
        to_ns(a.schedule_to_start_timeout),
        to_ns(a.start_to_close_timeout),
        to_ns(a.heartbeat_timeout),
        b"",
    )


class Activity:
    """A pending activity."""

    __slots__ = (
        "activity_id",
        "activity_type",
        "attempt",
        "attributes",
        "cancel_requested_event_id",
        "event",
        "first_scheduled_time",
        "heartbeat",
        "heartbeat_details",
        "heartbeat_time",
        "identity",
        "in_process",
        "incarnation",
        "intervention",
        "last_completed_time",
        "last_failure",
        "queue",
        "queued_due",
        "request_id",
        "response_part",
        "schedule_to_close",
        "schedule_to_start",
        "scheduled_event_id",
        "scheduled_time",
        "start_to_close",
        "started_time",
        "state",
    )

    def __init__(self, event: HistoryEvent, shared: Shared | None = None) -> None:
        """`shared`: who knows what the event says of it saves reading that."""
        self.event = event
        """The event that scheduled it: input, header, retry policy and the rest are read from there."""
        self.attributes: ActivityTaskScheduledEventAttributes = event.activity_task_scheduled_event_attributes
        """What holds: the event's, or with other options (`override`)."""
        self.scheduled_event_id = event.event_id
        self.activity_id = self.attributes.activity_id
        (
            self.activity_type,
            self.queue,
            self.schedule_to_close,
            self.schedule_to_start,
            self.start_to_close,
            self.heartbeat,
            self.response_part,
        ) = shared or _shared(self.attributes)
        self.first_scheduled_time = self.scheduled_time = to_ns(event.event_time)
        """`scheduled_time` is that of the current attempt: when it is, or was, ready."""
        self.cancel_requested_event_id = 0
        self.state = codes.READY
        self.attempt = 1
        self.started_time = 0
        self.identity = ""
        self.request_id = ""
        self.in_process = False
        self.incarnation = 0
        self.heartbeat_details: Payloads | None = None
        self.heartbeat_time = 0
        self.last_failure: Failure | None = None
        self.last_completed_time = 0
        """When the previous attempt ended; 0 on the first."""
        self.intervention: Intervention | None = None
        self.queued_due = 0
        """The earliest entry for it in the run's heap of deadlines; 0: none."""

    @property
    def paused(self) -> Pause | None:
        """Who paused it; None if it is not paused."""
        return self.intervention.pause if self.intervention is not None else None

    @property
    def stamp(self) -> int:
        """With the number of the attempt, names it: an attempt of a reset activity may have a number that was used before."""
        return self.intervention.stamp if self.intervention is not None else 0

    def intervene(self) -> Intervention:
        """What operators have done to it, to be changed."""
        if self.intervention is None:
            self.intervention = Intervention()
        return self.intervention

    def override(self, options: ActivityOptions | None) -> None:
        """Takes other options than those of its event; None: takes those of the event again."""
        self.intervene().options = options
        scheduled = self.event.activity_task_scheduled_event_attributes
        self.attributes = scheduled if options is None else _with(scheduled, options)
        self.activity_type, self.queue, *spans, self.response_part = _shared(self.attributes)
        self.schedule_to_close, self.schedule_to_start, self.start_to_close, self.heartbeat = spans

    def row(self) -> bytes:
        """What the history does not say of it, for its row in the store."""
        return rows.activity_row(self)


_OPTIONS: Final = tuple(
    name for name in ActivityOptions.DESCRIPTOR.fields_by_name if name in ActivityTaskScheduledEventAttributes.DESCRIPTOR.fields_by_name
)
"""What an activity's options and its event have in common: all but its start delay."""


def options_of(a: ActivityTaskScheduledEventAttributes) -> ActivityOptions:
    """The options that an activity's event says."""
    options = ActivityOptions()
    for name in _OPTIONS:
        if a.HasField(name):  # type: ignore[arg-type]
            getattr(options, name).CopyFrom(getattr(a, name))
    return options


def _with(scheduled: ActivityTaskScheduledEventAttributes, options: ActivityOptions) -> ActivityTaskScheduledEventAttributes:
    a = ActivityTaskScheduledEventAttributes()
    a.CopyFrom(scheduled)
    for name in _OPTIONS:
        a.ClearField(name)  # type: ignore[arg-type]
        if options.HasField(name):  # type: ignore[arg-type]
            getattr(a, name).CopyFrom(getattr(options, name))
    return a


class Timer:
    """A pending timer of the workflow."""

    __slots__ = ("due", "started_event_id", "timer_id")

    def __init__(self, started_event_id: int, timer_id: str, fires: int) -> None:
        self.started_event_id = started_event_id
        self.timer_id = timer_id
        self.due = fires
