"""The state of one run: what `apply` folds from its history, and beside it what the history does not say.

Decides nothing. `Run` and the records in `pending` are plain; `apply` writes what follows from events, the handlers
write the rest, which is listed in `facts` and `rows`. Knows no clock, store or network.

Easily got wrong: pending activities and timers are keyed by the id of the event that created them, not by the user's id.
Events that were buffered get their place in the history later than what a completion did meanwhile, so a history may
show `TimerStarted a` (a new one) before `TimerFired a` (of the old one), and a fold by the user's id would end the wrong one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.workflow.v1 import ResetPointInfo

from perdure.engine.core import codes, due, facts
from perdure.engine.core.interventions import Pause
from perdure.engine.core.others import Child, External
from perdure.engine.core.pending import Activity, Timer, WorkflowTask
from perdure.engine.core.versions import Versioning
from perdure.model.ids import run_id_bytes

if TYPE_CHECKING:
    from perdure.engine.core.callbacks import Attached
    from perdure.engine.core.nexus import Operation
    from perdure.engine.core.updates import Updates

STANDALONE_MARK: Final = "\x1d"
"""Follows the namespace of a run that is an activity without a workflow."""
OPERATION_MARK: Final = "\x1c"
"""Follows that of a run that is a Nexus operation without a workflow."""
BESIDE: Final = ("", STANDALONE_MARK, OPERATION_MARK)
"""What follows the name of a namespace in the names under which its runs are kept."""
BESIDE_MARKS: Final = "".join(BESIDE)
_NONE: Final = HistoryEvent()
_NOTHING: Final = _NONE.workflow_execution_started_event_attributes
"""What a run has until its first event."""


class Run:
    """One run of a workflow. Made by `start` or `load`, changed by `handle`."""

    __slots__ = (
        "activities",
        "activity_head",
        "activity_ids",
        "attached_request_ids",
        "buffered",
        "buffered_bytes",
        "callbacks",
        "cancel_requested",
        "children",
        "close_attempted",
        "close_time",
        "closed",
        "completed_tasks",
        "execution_expiration",
        "externals",
        "facts_head",
        "first_task_due",
        "heap",
        "held",
        "held_since",
        "history_bytes",
        "linked",
        "linked_signals",
        "lone_operation",
        "memo",
        "namespace",
        "next_event_id",
        "operations",
        "paused",
        "previous_started_event_id",
        "queue_namespace",
        "reported_cause",
        "reset_points",
        "reset_run_id",
        "reset_time",
        "resets",
        "run_expiration",
        "run_id",
        "run_id_bytes",
        "run_timeout",
        "search_attributes",
        "signal_count",
        "signal_request_ids",
        "standalone",
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
        "task_head",
        "task_queue",
        "task_timeout",
        "timer_ids",
        "timers",
        "token_names",
        "unsent",
        "updates",
        "versioning",
        "workflow_id",
        "workflow_type",
    )

    def __init__(self, namespace: str, run_id: str, start_request_id: str) -> None:
        self.namespace = namespace
        self.standalone = namespace.endswith(STANDALONE_MARK)
        """It is an activity without a workflow: it has no workflow tasks, and ends with its only activity."""
        self.lone_operation = namespace.endswith(OPERATION_MARK)
        """It is a Nexus operation without a workflow: it has no workflow tasks, and ends with its only operation."""
        self.queue_namespace = namespace[:-1] if self.standalone or self.lone_operation else namespace
        """The namespace as users know it, that of its task queues."""
        self.run_id = run_id
        self.run_id_bytes = run_id_bytes(run_id)
        self.start_request_id = start_request_id
        self.facts_head = b""
        """The part of `facts` that never changes, encoded once,"""
        self.task_head = b""
        """as is that of the responses with which its workflow tasks are handed over,"""
        self.activity_head = b""
        """and its activities,"""
        self.token_names: tuple[bytes, bytes] | None = None
        """and the names in their tokens."""

        # From the event that starts the run.
        self.start_event = _NONE
        self.start: WorkflowExecutionStartedEventAttributes = _NOTHING
        """What it says; with the priority that operators have given the run since, if they have."""
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
        self.reset_time = 0
        """When it was made by a reset; 0 if it was not."""
        self.resets: tuple[tuple[int, str], ...] = ()
        """The resets that led to it: the event with which each begins, and the run that wrote what follows."""
        self.reset_points: tuple[ResetPointInfo, ...] = ()
        """The first workflow tasks that different builds of its workers completed, here or earlier in its chain."""

        # From the events after it.
        self.status = codes.RUNNING
        self.closed = False
        """No event follows any more."""
        self.paused: Pause | None = None
        """By whom; of a run that closes it is left as it was."""
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
        self.linked_signals: dict[str, int] | None = None
        """Signals that links lead to, by request id, with the ids of their events, as `attached_request_ids`; None: there are none."""
        self.attached_request_ids: dict[str, int] = {}
        """With the id of the event that says so; 0 while that is buffered."""
        self.linked = False
        """It has a parent, or had to do with another run."""
        self.children: dict[int, Child] = {}
        """Pending ones, by the id of the event that initiated them; when it has closed, those that are to end with it."""
        self.externals: dict[int, External] = {}
        """Signals and cancel requests to other workflows, likewise."""
        self.unsent: dict[int, None] = {}
        """What is to be delivered to other runs, in order: the ids of those events, or duties (`others`)."""
        self.operations: dict[int, Operation] | None = None
        """Pending Nexus operations, by the id of the event that scheduled them; None until the first one."""
        self.callbacks: list[Attached] | None = None
        """Who is to hear of the end of its chain of runs; None: nobody."""
        self.updates: Updates | None = None
        """None until the first one: most runs have none."""
        self.versioning: Versioning | None = None
        """What is known of its workers' version, if they have any."""
        self.memo: dict[str, Payload] = {}
        self.search_attributes: dict[str, Payload] = {}

        # Beside the history.
        self.reset_run_id = ""
        """Of a closed run: of the run that it was reset to."""
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
        self.held = 0
        """Activities that workers inside the engine's process run,"""
        self.held_since = 0
        """and the oldest incarnation of the engine in which one of them, or of those before them, began."""
        self.heap: list[tuple[int, int, int]] = []
        self.tail: list[bytes] = []
        """Events since the started event of the last completed workflow task, as far as they were made here, each as a
        serialised `History` of one."""
        self.tail_first_id = 1

    def __repr__(self) -> str:
        return f"<Run {self.workflow_id} {self.run_id}: status {self.status}, next event {self.next_event_id}>"

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
    def waiting_queue(self) -> tuple[str, bool] | None:
        """Where its workflow task waits for a worker, and whether that is a sticky queue; None if none waits."""
        task = self.task
        if task is None or task.started_event_id:
            return None
        return task.queue, task.sticky

    @property
    def buffered_count(self) -> int:
        """How many events are buffered: at `limits.BUFFERED_EVENTS_MAX` the workflow task fails, so slow senders down before."""
        return len(self.buffered)

    def next_due(self) -> int | None:
        """The earliest time (ns) at which `FireTimers` has something to do; None if there is nothing to wait for."""
        return due.next_due(self)

    def durable_due(self) -> int | None:
        """As `next_due`, for its row in the store."""
        return due.next_due(self) if self.task is None or not self.task.speculative else due.durable_due(self)

    def facts(self) -> bytes:
        """What the history does not say of it, for its row in the store; small, and versioned."""
        return facts.run_facts(self)
