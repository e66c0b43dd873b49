"""What goes in and out of the core beside the API's own messages: environment, requests, outcome, effects, started tasks.

Decides nothing. The shell makes durable what an `Outcome` holds and only then carries out its effects and answers.
Easily got wrong: an `Outcome` with `error` is a transaction like any other (a refused completion writes WorkflowTaskFailed);
the error is the answer to the caller once the events are durable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeAlias, overload

from google.protobuf.message import Message
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure.engine.core.pending import Activity
from perdure.engine.core.state import Run
from perdure.engine.core.updates import UpdateNews
from perdure.engine.core.versions import Version
from perdure.model.rpc import RpcError


class TaskKind(IntEnum):
    """What a poller waits for."""

    WORKFLOW = 1
    ACTIVITY = 2
    NEXUS = 3


class Reservation(Protocol):
    """A poller that waits now and takes the task about to be made. Passed on in the effect, else released."""

    @property
    def identity(self) -> str: ...
    @property
    def in_process(self) -> bool:
        """Its worker lives in the engine's process and dies with it."""
        ...

    @property
    def request_id(self) -> str: ...
    def release(self) -> None: ...


class Env(Protocol):
    """All that a handler knows of the world."""

    @property
    def now(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        ...

    @property
    def incarnation(self) -> int:
        """How often an engine has been opened on this storage."""
        ...

    @property
    def suggest_events(self) -> int:
        """Events of a history from which on its workflow tasks suggest to continue as new."""
        ...

    @property
    def payload_bytes_max(self) -> int:
        """Of one field of payloads."""
        ...

    def new_run_id(self) -> str: ...
    def new_uuid(self) -> str: ...
    def random(self) -> float:
        """In [0, 1)."""
        ...

    def search_attributes(self, namespace: str) -> Mapping[str, int]:
        """A namespace's own search attributes, and their types."""
        ...

    def namespace_id(self, namespace: str) -> str:
        """The id of a namespace; empty if it is going."""
        ...

    def endpoint_id(self, name: str) -> str:
        """The id of a Nexus endpoint; empty if there is none of that name."""
        ...

    def reserve(self, kind: TaskKind, run: Run, queue: str, sticky: bool) -> Reservation | None:
        """A poller of that queue that waits now for tasks such as the run's; None if none does."""
        ...

    def version_outdated(self, run: Run) -> bool:
        """Whether the next workflow task of a versioned run is for another version than the last."""
        ...

    def is_for(self, run: Run, version: Version | None) -> bool:
        """Whether a workflow task of a run goes to workers of this version (None: to those without one)."""
        ...

    def version_superseded(self, run: Run) -> bool:
        """Whether another version than the run's is current."""
        ...


# Requests for which the API has no message.


class StartWorkflowTask(NamedTuple):
    """A poller takes the waiting workflow task; `queue`: the one it polls, which may no longer be the run's sticky one."""

    reservation: Reservation
    sticky_poll: bool
    queue: str = ""


class StartActivityTask(NamedTuple):
    """A poller takes an activity that is ready; `queue`: the one it polls, which may no longer be the activity's."""

    scheduled_event_id: int
    reservation: Reservation
    queue: str = ""


class UnstartActivity(NamedTuple):
    """The poller that had been reserved is gone: the attempt never ran, and is ready again."""

    scheduled_event_id: int
    attempt: int


class FireTimers(NamedTuple):
    """Everything that is due now."""


class AbandonInProcess(NamedTuple):
    """On open: what in-process workers of another incarnation held has timed out."""

    incarnation: int


class StickyUnavailable(NamedTuple):
    """Nobody polls the sticky queue: the waiting workflow task goes to the normal one."""


# Tasks on their way to a worker.


class StartedWorkflowTask(NamedTuple):
    """A started workflow task: all that a poll response needs, without looking at the run again."""

    token: bytes
    head: bytes
    """The part of the response that is the same for all tasks of the run."""
    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    queue: str
    """The workflow's normal queue."""
    previous_started_event_id: int
    started_event_id: int
    attempt: int
    scheduled_time: int
    started_time: int
    first_event_id: int
    """Of the history to hand over: 1, or on a sticky queue the one after `previous_started_event_id`."""
    last_event_id: int
    """Of the recorded history to hand over: `started_event_id`, or two less for a transient task."""
    events: bytes | Sequence[HistoryEvent] | None
    """The recorded events from `first_event_id` to `last_event_id`, as a serialised `History` or as they are; None: they must
    be read from the store."""
    suffix: Sequence[HistoryEvent]
    """The two events of a transient or speculative task, which no store has: they follow."""
    messages: bytes = b""
    """Requests for updates: a part of the response, encoded."""

    def full(self) -> StartedWorkflowTask:
        """The same task with the whole history, for a worker that does not know the run."""
        return self if self.first_event_id == 1 else self._replace(first_event_id=1, events=None)


class StartedActivity(NamedTuple):
    """A started activity; the response is ready, and belongs to the receiver."""

    scheduled_event_id: int
    attempt: int
    response: PollActivityTaskQueueResponse


# Effects.


class WorkflowTaskReady(NamedTuple):
    """A workflow task waits on a queue."""

    queue: str
    sticky: bool


class WorkflowTaskStarted(NamedTuple):
    """A workflow task goes to a poller; reservation None: it goes into the reply (`return_new_workflow_task`)."""

    reservation: Reservation | None
    task: StartedWorkflowTask


class ActivityReady(NamedTuple):
    """An activity waits on a queue."""

    queue: str
    scheduled_event_id: int


class ActivityStarted(NamedTuple):
    """An activity goes to a poller."""

    reservation: Reservation
    task: StartedActivity


class RunClosed(NamedTuple):
    """The run has ended: its tasks, timers and queries are void."""


Effect: TypeAlias = WorkflowTaskReady | WorkflowTaskStarted | ActivityReady | ActivityStarted | RunClosed


class Written(Sequence[HistoryEvent]):
    """Events as they are stored; parsed when somebody looks at them."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        """Each a serialised `History` of one."""

    def __len__(self) -> int:
        return len(self.parts)

    @overload
    def __getitem__(self, index: int) -> HistoryEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[HistoryEvent]: ...
    def __getitem__(self, index: int | slice) -> HistoryEvent | list[HistoryEvent]:
        parts = self.parts[index] if isinstance(index, slice) else [self.parts[index]]
        events = list(History.FromString(b"".join(parts)).events)
        return events if isinstance(index, slice) else events[0]


class Outcome:
    """What one transaction did to one run."""

    __slots__ = (
        "activities",
        "buffer_cleared",
        "buffered",
        "changed",
        "effects",
        "error",
        "events",
        "first_event_id",
        "history",
        "new_run",
        "reply",
        "run",
        "search_changed",
        "terminated",
        "updates",
        "visibility_changed",
    )

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reply: Message | None = None
        self.error: RpcError | None = None
        self.events = Written()
        """Appended to the history, with ids, in order."""
        self.first_event_id = run.next_event_id
        self.history = b""
        """`events` as a serialised `History`."""
        self.buffered: list[HistoryEvent] = []
        """Newly buffered, without ids."""
        self.buffer_cleared = False
        """What was buffered before is no longer."""
        self.activities: dict[int, Activity | None] = {}
        """Pending activities whose row changed, by scheduled event id; None: no longer pending. Empty when the run has
        closed: all of them go."""
        self.effects: list[Effect] = []
        """In order, once this is durable."""
        self.new_run: Outcome | None = None
        """The run that continues this one; made in the same transaction."""
        self.terminated: Outcome | None = None
        """The run that this start replaces; closed in the same transaction."""
        self.updates: list[UpdateNews] | None = None
        """What became of updates, once this is durable; None when updates had no part in it."""
        self.changed = False
        """Whether there is anything to make durable."""
        self.visibility_changed = False
        """Lists show something else than before."""
        self.search_changed = False
        """Queries find it by something else than before."""
