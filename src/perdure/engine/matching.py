"""Task queues: which waiting poller gets which task.

A queue is named by namespace, name and kind (workflow tasks or activities); it needs no creation and costs nothing while
nobody polls it. Three things meet here: pollers that wait, tasks that are ready (named only by run and event, the truth is
the run's), and started tasks whose poller went away before the hand-over.

A task is started in the transaction that creates it when a poller waits: `reserve` takes the poller out of the queue before
the commit, and the engine delivers to it afterwards. A ready task that meets a poller later is started by `start`, which the
engine supplies; a task that turns out to be stale is dropped and the poller waits on.

The rule a newcomer would get wrong: the list of ready tasks is a cache of the storage's rows. It is bounded; what does not
fit is read from the storage when the queue has drained, and offering a task twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from perdure.engine.backlog import PLAIN, Backlog, Urgency, put
from perdure.engine.core import TaskKind
from perdure.engine.poller import Poller
from perdure.engine.queue_settings import QueueSettings
from perdure.engine.rate_limits import FairLimit, RateLimit
from perdure.engine.remainder import Remainder, goes_first
from perdure.engine.unpolled import note_unpolled
from perdure.engine.versioned_queues import parts
from perdure.engine.waiting import wait_until
from perdure.model.clock import Cancellable, Clock
from perdure.model.patience import wait_seconds

logger = logging.getLogger("perdure.engine")

READY_TASKS_MAX = 10_000
"""Ready tasks remembered for each queue; the others stay in the storage until these are taken. As many again have room that go first."""
CROWDED_TASKS = 500
"""Ready tasks from which on starts wait for the workers, as long as those poll: a backlog that memory does not hold costs each of its
runs another reading. Half of it lets them go on."""
CROWDED_SILENCE_SECONDS = 1
"""Workers that have not taken anything for so long are not waited for."""
POLL_SECONDS = 60
"""A poll that found nothing is answered with an empty message after this time."""
STICKY_SILENCE_SECONDS = 10
"""A sticky queue that nobody has polled for so long is taken for gone (`engine-semantics` 2.5)."""
ENDED_WORKERS_MAX = 1_000
"""Workers that are remembered to have said good-bye; polls of those before them wait their time."""
SEEN_MAX = 1_000
"""Pollers of a queue that are remembered; beyond, all are forgotten and met again."""
_SECOND = 1_000_000_000


class QueueKey(NamedTuple):
    """A queue's name."""

    kind: TaskKind
    namespace: str
    name: str


class ReadyTask(NamedTuple):
    """An unstarted task; `scheduled_event_id` is 0 for a workflow task."""

    run_id: str
    scheduled_event_id: int


class TaskQueue:
    """One queue: its pollers, its ready tasks, its started tasks without a poller."""

    __slots__ = (
        "_expiry",
        "_matching",
        "crowd",
        "key",
        "last_poll",
        "limit",
        "normal_name",
        "orphans",
        "pollers",
        "pumping",
        "reading",
        "ready",
        "remainder",
        "seen",
        "warned",
        "weights",
    )  # fmt: skip

    def __init__(self, matching: Matching, key: QueueKey) -> None:
        self.key = key
        self.pollers: deque[Poller] = deque()
        self.ready: deque[ReadyTask] | Backlog = deque()
        self.limit: RateLimit | FairLimit | None = None
        self.orphans: deque[Any] = deque()
        self.weights: Mapping[str, float] = {}  # of fairness keys, where an operator has set them
        self.remainder: Remainder | None = None
        """What stands in the storage of this queue that `ready` does not name."""
        self.reading = False
        self.pumping = False
        self.crowd: list[asyncio.Future[bool]] = []
        """Starts that wait until fewer tasks are ready."""
        self.normal_name: str | None = None
        """Of a sticky queue: the queue that serves when its worker is gone."""
        self.last_poll = 0
        """When somebody last polled, or was given a task; 0: never."""
        self.seen: dict[str, int] = {}
        """Who has polled, and when last."""
        self.warned = False
        self._matching = matching
        self._expiry: Cancellable | None = None

    def __repr__(self) -> str:
        return f"<TaskQueue {self.key.name}: {len(self.pollers)} pollers, {len(self.ready)} ready>"

    def take_poller(self) -> Poller | None:
        """The poller that is next; None if none waits.

        Of other processes the one that has waited longest, so that all get their share; in this one the one that came last, whose
        memory is still in the processor's caches.
        """
        pollers = self.pollers
        while pollers:
            poller = pollers.pop() if pollers[-1].in_process else pollers.popleft()
            if not poller.future.done():
                self.last_poll = self._matching.clock.now()
                return poller
        return None

    def has_poller(self) -> bool:
        """Whether a poll waits here now."""
        while self.pollers and self.pollers[0].future.done():
            self.pollers.popleft()
        return bool(self.pollers)

    def return_poller(self, poller: Poller) -> None:
        """Puts a poller back whose task did not come to be."""
        if poller.future.done():
            return
        if poller.deadline <= self._matching.clock.now():
            poller.future.set_result(None)
            return
        standing = self._matching.queue(self.key)
        if standing is not self:  # nothing else was left here, and the queue was forgotten meanwhile
            poller.queue, standing.normal_name = standing, self.normal_name
            standing.return_poller(poller)
            return
        if poller.in_process:
            self.pollers.append(poller)
        else:
            self.pollers.appendleft(poller)
        self.arm_expiry()
        self._matching.pump(self)

    def add_ready(self, task: ReadyTask, urgency: Urgency | None = None) -> None:
        """A task waits here."""
        full = self.remainder is not None or len(self.ready) >= READY_TASKS_MAX
        if full and (len(self.ready) >= 2 * READY_TASKS_MAX or not goes_first(urgency, self.ready, self.remainder)):
            self.leave_in_storage(urgency or PLAIN)
        elif urgency is None:
            self.ready.append(task)
        else:
            self.ready = put(self.ready, task, urgency, self.weights)
        self._matching.pump(self)

    def leave_in_storage(self, lane: Urgency) -> None:
        """A task of this lane is not held in memory."""
        self.remainder = self.remainder or Remainder()
        self.remainder.note(lane)

    def is_crowded(self) -> bool:
        """Whether workers that are there have fallen behind what is started."""
        behind = len(self.ready) >= CROWDED_TASKS or self.remainder is not None
        return behind and self.last_poll > self._matching.clock.now() - CROWDED_SILENCE_SECONDS * _SECOND

    def disperse(self) -> None:
        """Lets the starts go on that wait."""
        crowd, self.crowd = self.crowd, []
        for start in crowd:
            if not start.done():
                start.set_result(True)

    def arm_expiry(self) -> None:
        """Sees to it that the oldest poll is answered at its deadline; one timer serves the whole queue."""
        if self._expiry is None and self.pollers:
            self._expiry = self._matching.clock.call_at(self.pollers[0].deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = self._matching.clock.now()
        pollers = self.pollers
        while pollers and (pollers[0].future.done() or pollers[0].deadline <= now):
            poller = pollers.popleft()
            if not poller.future.done():
                poller.future.set_result(None)
        self.arm_expiry()
        if not pollers:
            self._matching.forget_if_unused(self)

    def end_polls(self) -> None:
        """Answers every poll with an empty message."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for poller in self.pollers:
            if not poller.future.done():
                poller.future.set_result(None)
        self.pollers.clear()


class Matching:
    """All queues of an engine."""

    def __init__(
        self,
        clock: Clock,
        start: Callable[[TaskQueue, ReadyTask, Poller], None],
        hand_over: Callable[[Any, Poller], bool],
        take_back: Callable[[TaskQueue, Any], None],
        read_overflow: Callable[[TaskQueue], None],
    ) -> None:
        self.clock = clock
        self._start = start
        self._hand_over = hand_over
        self._take_back = take_back
        self._read_overflow = read_overflow
        self._queues: tuple[dict[tuple[str, str], TaskQueue], ...] = tuple({} for _ in range(max(TaskKind) + 1))
        """By kind, namespace and name. (Not by `QueueKey`: the hash of an enum's member is a call to Python code.)"""
        self.settings = QueueSettings(clock)
        self.closed = False
        self._ended: dict[str, None] = {}
        """Keys of workers that have said good-bye, the oldest first: what they had under way may arrive after that."""

    def queue(self, key: QueueKey) -> TaskQueue:
        """The queue of this name."""
        kind, namespace, name = key
        queue = self._queues[kind].get((namespace, name))
        if queue is None:
            queue = self._queues[kind][namespace, name] = TaskQueue(self, key)
            self.settings.apply(queue)
        return queue

    def find(self, key: QueueKey) -> TaskQueue | None:
        """The queue of this name, if anybody has used it."""
        return self._queues[key.kind].get(key[1:])

    def find_workflows(self, namespace: str, name: str) -> TaskQueue | None:
        """The queue of workflow tasks of this name, if anybody has used it."""
        return self._queues[TaskKind.WORKFLOW].get((namespace, name))

    def queues(self) -> list[TaskQueue]:
        """Every queue in use."""
        return [queue for table in self._queues for queue in table.values()]

    async def poll(
        self,
        key: QueueKey,
        identity: str,
        in_process: bool,
        normal_name: str | None,
        nothing: Callable[[], Any] = lambda: None,
        worker: str = "",
    ) -> Any:
        """Waits for a task: what the engine delivers, or what `nothing` makes when the time is over.

        A poll in process that is cancelled when its task has come gives the task all the same: the worker does that one, and ends.
        """
        if self.closed or worker in self._ended:
            return nothing()
        queue = self.queue(key)
        now = self.clock.now()
        queue.last_poll = queue.seen[identity] = now
        if len(queue.seen) > SEEN_MAX:
            queue.seen = {identity: now}
        queue.normal_name = normal_name
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        wait = POLL_SECONDS if in_process else wait_seconds(POLL_SECONDS)
        poller = Poller(queue, identity, in_process, now + int(wait * _SECOND), future, worker)
        if not self._adopted(queue, poller):
            queue.pollers.append(poller)
            queue.arm_expiry()
            if queue.ready or queue.remainder is not None:
                self.pump(queue)
        try:
            # The queue's one timer ends polls in the order in which they came: the shorter ones end by themselves.
            task = await (future if wait == POLL_SECONDS else wait_until(self.clock, future, poller.deadline, None))
            return nothing() if task is None else task
        except asyncio.CancelledError:
            if not future.done() or future.cancelled():
                raise
            task = future.result()
            if in_process and task is not None:
                return task
            self._take_back(queue, task)  # it was delivered, and nobody is there to take it
            raise

    def _adopted(self, queue: TaskQueue, poller: Poller) -> bool:
        while queue.orphans:
            if self._hand_over(queue.orphans.popleft(), poller):
                return True
        return False

    def reserve(self, kind: TaskKind, namespace: str, name: str) -> Poller | None:
        """Takes a waiting poller for a task that is about to be created.

        Tasks that wait already come first: while there are any, nothing is reserved.
        """
        queue = self._queues[kind].get((namespace, name))
        if queue is None or queue.ready or queue.remainder is not None or queue.reading:
            return None
        if queue.limit is None:
            return queue.take_poller()
        if not queue.has_poller() or not queue.limit.take(self.clock.now()) or (poller := queue.take_poller()) is None:
            return None
        poller.charged = queue.limit.taken
        return poller

    def sticky_gone(self, key: QueueKey) -> bool:
        """Whether the worker of a sticky queue has to be taken for gone."""
        queue = self.find(key)
        silent_since = self.clock.now() - STICKY_SILENCE_SECONDS * _SECOND
        return queue is None or (not queue.has_poller() and queue.last_poll < silent_since)

    def pump(self, queue: TaskQueue) -> None:
        """Brings waiting pollers and ready tasks of a queue together."""
        if queue.pumping:
            return  # a poller came back because its task was stale: the loop below goes on with it
        queue.pumping = True
        try:
            while queue.ready:
                limit, task = queue.limit, None
                if limit is not None and queue.has_poller() and (task := limit.next(queue, self.clock.now())) is None:
                    limit.wait(self.clock, queue, self.pump)
                    return
                poller = queue.take_poller()
                if poller is None:
                    note_unpolled(self, queue)
                    return
                if limit is not None:
                    poller.charged = limit.taken
                self._start(queue, task or queue.ready.popleft(), poller)
        finally:
            queue.pumping = False
            if queue.crowd and len(queue.ready) <= CROWDED_TASKS // 2:
                queue.disperse()
        if queue.remainder is not None and not queue.reading and queue.has_poller():
            queue.reading = True
            self._read_overflow(queue)

    def refill(self, queue: TaskQueue, tasks: Iterable[tuple[ReadyTask, Urgency | None]]) -> None:
        """What the storage had for a queue; its remainder says whether there is more."""
        queue.reading = False
        for task, urgency in tasks:
            queue.ready = put(queue.ready, task, urgency, queue.weights)
        if not queue.remainder:
            queue.remainder = None
        self.pump(queue)

    def adopt(self, orphan: Any, key: QueueKey) -> None:
        """A started task whose poller has gone: to the next one of the queue, now or when it comes."""
        queue = self.queue(key)
        while True:
            poller = queue.take_poller()
            if poller is None:
                queue.orphans.append(orphan)
                return
            if self._hand_over(orphan, poller):
                return

    def drop(self, key: QueueKey) -> tuple[list[Any], list[ReadyTask]]:
        """Forgets a sticky queue whose worker has said good-bye; returns its orphans and its ready tasks."""
        queue = self._queues[key.kind].pop((key.namespace, key.name))
        queue.end_polls()
        return list(queue.orphans), list(queue.ready)

    def end_worker(self, namespace: str, name: str, worker: str) -> None:
        """A worker has said good-bye: its polls of a queue are answered, and later ones at once."""
        self._ended.pop(worker, None)
        self._ended[worker] = None
        if len(self._ended) > ENDED_WORKERS_MAX:
            del self._ended[next(iter(self._ended))]
        for queue in (each for kind in TaskKind for each in parts(self, QueueKey(kind, namespace, name))):
            for poller in queue.pollers:
                if poller.worker == worker and not poller.future.done():
                    poller.future.set_result(None)

    def close(self) -> None:
        """Answers all polls, and every later one at once."""
        self.closed = True
        for queue in self.queues():
            queue.end_polls()
            queue.disperse()

    def forget_if_unused(self, queue: TaskQueue) -> None:
        """Drops a queue that holds nothing: names may be many over a long life, sticky ones above all."""
        if not (queue.pollers or queue.ready or queue.orphans or queue.remainder or queue.reading):
            self._queues[queue.key.kind].pop((queue.key.namespace, queue.key.name), None)
            self.settings.forget(self, queue.key)
