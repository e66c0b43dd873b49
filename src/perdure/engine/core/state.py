"""The state of one run: what `apply` folds from its history, and beside it what the history does not say.

Decides nothing. `Run`, `WorkflowTask`, `Activity` and `Timer` are plain records; `apply` writes what follows from
events, the handlers write the rest, which is listed in `facts`. Knows no clock, store or network.

Easily got wrong: pending activities and timers are keyed by the id of the event that created them, not by the user's id.
Events that were buffered get their place in the history later than what a completion did meanwhile, so a history may
show `TimerStarted a` (a new one) before `TimerFired a` (of the old one), and a fold by the user's id would end the wrong one.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
    WorkflowExecutionStartedEventAttributes,
)

from perdure.engine.core import codes

READY: Final = 0
"""The activity waits on its queue for a worker."""
BACKOFF: Final = 1
"""It waits for its next attempt to be due."""
STARTED: Final = 2
"""A worker has it."""


class WorkflowTask:
    """The pending workflow task. `started_event_id` is 0 until a worker has it."""

    __slots__ = (
        "attempt",
        "identity",
        "in_process",
        "incarnation",
        "original_scheduled_time",
        "queue",
        "request_id",
        "scheduled_event_id",
        "scheduled_time",
        "started_event_id",
        "started_time",
        "sticky",
        "timeout",
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
        self.in_process = False
        """A worker inside the engine's process holds it,"""
        self.incarnation = 0
        """of this incarnation of the engine."""

    @property
    def transient(self) -> bool:
        """Its events are not in the history: only its completion would write them."""
        return self.attempt > 1


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
        "last_completed_time",
        "last_failure",
        "queue",
        "queued_due",
        "request_id",
        "schedule_to_close",
        "schedule_to_start",
        "scheduled_event_id",
        "scheduled_time",
        "start_to_close",
        "started_time",
        "state",
    )

    def __init__(self, event: HistoryEvent) -> None:
        a = event.activity_task_scheduled_event_attributes
        time = event.event_time
        self.event = event
        """The event that scheduled it: input, header, retry policy and the rest are read from there."""
        self.attributes: ActivityTaskScheduledEventAttributes = a
        self.scheduled_event_id = event.event_id
        self.activity_id = a.activity_id
        self.activity_type = a.activity_type.name
        self.queue = a.task_queue.name
        d = a.schedule_to_close_timeout
        self.schedule_to_close = d.seconds * 1_000_000_000 + d.nanos
        d = a.schedule_to_start_timeout
        self.schedule_to_start = d.seconds * 1_000_000_000 + d.nanos
        d = a.start_to_close_timeout
        self.start_to_close = d.seconds * 1_000_000_000 + d.nanos
        d = a.heartbeat_timeout
        self.heartbeat = d.seconds * 1_000_000_000 + d.nanos
        self.first_scheduled_time = self.scheduled_time = time.seconds * 1_000_000_000 + time.nanos
        """`scheduled_time` is that of the current attempt: when it is, or was, ready."""
        self.cancel_requested_event_id = 0
        self.state = READY
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
        self.queued_due = 0
        """The earliest entry for it in the run's heap of deadlines; 0: none."""

    def row(self) -> bytes:
        """What the history does not say of it, for its row in the store."""
        from perdure.engine.core.facts import activity_row

        return activity_row(self)


class Timer:
    """A pending timer of the workflow."""

    __slots__ = ("due", "started_event_id", "timer_id")

    def __init__(self, started_event_id: int, timer_id: str, due: int) -> None:
        self.started_event_id = started_event_id
        self.timer_id = timer_id
        self.due = due


class Run:
    """One run of a workflow. Made by `start` or `load`, changed by `handle`."""

    __slots__ = (
        "activities",
        "activity_ids",
        "attached_request_ids",
        "buffered",
        "buffered_bytes",
        "cancel_requested",
        "close_attempted",
        "close_time",
        "completed_tasks",
        "execution_expiration",
        "facts_head",
        "first_task_due",
        "heap",
        "history_bytes",
        "memo",
        "namespace",
        "next_event_id",
        "previous_started_event_id",
        "reported_cause",
        "run_expiration",
        "run_id",
        "run_timeout",
        "search_attributes",
        "signal_count",
        "signal_request_ids",
        "start",
        "start_event",
        "start_request_id",
        "start_time",
        "status",
        "sticky_queue",
        "sticky_timeout",
        "tail",
        "tail_first_id",
        "task",
        "task_failures",
        "task_queue",
        "task_timeout",
        "timer_ids",
        "timers",
        "workflow_id",
        "workflow_type",
    )

    def __init__(self, namespace: str, run_id: str, start_request_id: str) -> None:
        self.namespace = namespace
        self.run_id = run_id
        self.start_request_id = start_request_id
        self.facts_head = b""
        """The part of `facts` that never changes, encoded once."""

        # From the event that starts the run.
        self.start_event = HistoryEvent()
        self.start: WorkflowExecutionStartedEventAttributes = self.start_event.workflow_execution_started_event_attributes
        self.workflow_id = ""
        self.workflow_type = ""
        self.task_queue = ""
        self.start_time = 0
        self.run_timeout = 0
        self.task_timeout = 0
        self.run_expiration = 0
        """When the run times out; 0: never."""
        self.execution_expiration = 0
        """When its chain of runs does; 0: never."""
        self.first_task_due = 0
        """When its first workflow task is to be scheduled; 0 once one has been."""

        # From the events after it.
        self.status = codes.RUNNING
        self.close_time = 0
        self.next_event_id = 1
        self.previous_started_event_id = 0
        """Of the last completed workflow task."""
        self.completed_tasks = 0
        self.task: WorkflowTask | None = None
        self.activities: dict[int, Activity] = {}
        self.activity_ids: dict[str, int] = {}
        self.timers: dict[int, Timer] = {}
        self.timer_ids: dict[str, int] = {}
        self.cancel_requested = False
        self.signal_count = 0
        self.signal_request_ids: set[str] = set()
        self.attached_request_ids: set[str] = set()
        self.memo: dict[str, Payload] = {}
        self.search_attributes: dict[str, Payload] = {}

        # Beside the history.
        self.history_bytes = 0
        self.sticky_queue = ""
        self.sticky_timeout = 0
        self.close_attempted = False
        """A completion tried to close the run while events were buffered."""
        self.task_failures = 0
        """Counted failures and timeouts of workflow tasks since one completed."""
        self.reported_cause = ""
        """Of the last of them."""
        self.buffered: list[HistoryEvent] = []
        """Events that wait, without ids, for the started workflow task to end."""
        self.buffered_bytes = 0

        # Derived, and never stored.
        self.heap: list[tuple[int, int, int]] = []
        self.tail: list[HistoryEvent] = []
        """Events since the started event of the last completed workflow task, as far as they were made here."""
        self.tail_first_id = 1

    def __repr__(self) -> str:
        return f"<Run {self.workflow_id} {self.run_id}: status {self.status}, next event {self.next_event_id}>"

    @property
    def closed(self) -> bool:
        """No event follows any more."""
        return self.status != codes.RUNNING

    @property
    def first_run_id(self) -> str:
        """Of the chain of runs to which it belongs."""
        return self.start.first_execution_run_id

    @property
    def execution_time(self) -> int:
        """When its first workflow task is to be, or was, scheduled: start plus backoff."""
        backoff = self.start.first_workflow_task_backoff
        return self.start_time + backoff.seconds * 1_000_000_000 + backoff.nanos

    @property
    def buffered_count(self) -> int:
        """How many events are buffered: at `limits.BUFFERED_EVENTS_MAX` the workflow task fails, so slow senders down before."""
        return len(self.buffered)

    def next_due(self) -> int | None:
        """The earliest time (ns) at which `FireTimers` has something to do; None if there is nothing to wait for."""
        from perdure.engine.core.due import next_due

        return next_due(self)

    def facts(self) -> bytes:
        """What the history does not say of it, for its row in the store; small, and versioned."""
        from perdure.engine.core.facts import run_facts

        return run_facts(self)
