"""What one run does to another, brought there: child starts, signals, cancel requests, and the ends of children and of parents.

A run names in `Run.unsent` what it has to deliver, as far as that is durable this takes it up. How each is done is
`between_runs`'s; here is whose turn it is. While a run names something, its row says that it is due at once: after a crash the timer
queue finds it, and asks here.

The rule a newcomer would get wrong: nothing here is the truth. What cannot be delivered now (a storage that fails, a receiver that is
closing) comes again after a while, and gives its place to others meanwhile; a sender that is dropped from memory is read again; only
ids are kept here, and what is forgotten is found again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial

from perdure.engine.between_runs import BetweenRuns
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching
from perdure.engine.nexus.operations import Operations
from perdure.engine.transactions import Transactions
from perdure.model.clock import Clock
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError

logger = logging.getLogger("perdure.engine")

IN_FLIGHT_MAX = 200
"""Deliveries at a time; the others wait for their turn."""
OF_ONE_SENDER_MAX = 50
"""Of them, so that one run with thousands of children does not keep all others waiting."""
SENDERS_MAX = 20_000
"""Runs whose turn may be waited for in memory. Those beyond it are found again by the timer queue when it next asks the storage."""
BACKOFF_FIRST_SECONDS = 0.05
"""Before a delivery that could not be made comes again; doubled each time,"""
BACKOFF_MAX_SECONDS = 10.0
"""up to this."""


class _Sender:
    """A run with something to deliver."""

    __slots__ = ("attempts", "held", "later", "queued", "run_id", "seen", "todo", "under_way")

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.seen = 0
        """The last event of which is known that it is to be delivered."""
        self.todo: deque[int] = deque()
        self.under_way: set[int] = set()
        self.held: set[int] = set()
        """What has to wait until something else of this sender is delivered."""
        self.later: set[int] = set()
        """What comes again after a while."""
        self.attempts: dict[int, int] = {}
        """How often what could not be delivered was tried."""
        self.queued = False

    def is_idle(self) -> bool:
        """Whether it may be forgotten; what is held then waits for what will never be delivered, or is found again with that."""
        return not (self.todo or self.under_way or self.later)

    def knows(self, key: int) -> bool:
        return key in self.under_way or key in self.later or key in self.todo


class Deliveries:
    """The way from run to run."""

    def __init__(self, clock: Clock, runs: LiveRuns, transactions: Transactions, matching: Matching, operations: Operations) -> None:
        self._clock = clock
        self._between_runs = BetweenRuns(clock, runs, transactions, matching, operations)
        self._senders: dict[str, _Sender] = {}
        self._queue: deque[_Sender] = deque()
        """Senders with something to do, in turn."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def in_flight(self) -> bool:
        """Whether anything is under way, or waits for its turn."""
        return bool(self._tasks or self._queue)

    def __repr__(self) -> str:
        return f"<Deliveries: {len(self._tasks)} under way, {len(self._senders)} senders>"

    def take_up(self, live: LiveRun) -> None:
        """Sees to it that what a run has to deliver is delivered, as far as it is durable. Said twice, it is done once."""
        run_id = live.run.run_id
        sender = self._senders.get(run_id)
        if sender is None:
            if len(self._senders) >= SENDERS_MAX or self._closed:
                return
            sender = self._senders[run_id] = _Sender(run_id)
        if live.run.closed:
            if live.close_event:
                sender.todo.extend(key for key in live.run.unsent if not sender.knows(key))
        else:
            self._take_new(sender, live)
        if sender.held:
            sender.todo.extend(sorted(sender.held))
            sender.held.clear()
        self._turn(sender)

    @staticmethod
    def _take_new(sender: _Sender, live: LiveRun) -> None:
        """Adds what is durable and was not known: at the end of `unsent`, whose keys rise."""
        new: list[int] = []
        for key in reversed(live.run.unsent):
            if key <= sender.seen:
                break
            if key < live.durable_next_event_id:
                new.append(key)
        if new:
            sender.seen = new[0]
            sender.todo.extend(reversed(new))

    # Whose turn it is.

    def _turn(self, sender: _Sender) -> None:
        if sender.todo and not sender.queued:
            sender.queued = True
            self._queue.append(sender)
        if sender.is_idle():
            self._senders.pop(sender.run_id, None)
        self._pump()

    def _pump(self) -> None:
        while self._queue and len(self._tasks) < IN_FLIGHT_MAX and not self._closed:
            sender = self._queue.popleft()
            sender.queued = False
            if len(sender.under_way) >= OF_ONE_SENDER_MAX:
                continue  # the end of one of them makes it the sender's turn again
            key = sender.todo.popleft()
            sender.under_way.add(key)
            task = asyncio.get_running_loop().create_task(self._deliver(sender, key))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, sender, key))
            if sender.todo:
                sender.queued = True
                self._queue.append(sender)

    def _ended(self, sender: _Sender, key: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        sender.under_way.discard(key)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A delivery of run %s failed; it is tried again", sender.run_id, exc_info=task.exception())
            self._postpone(sender, key)
        self._turn(sender)

    def _postpone(self, sender: _Sender, key: int) -> None:
        if self._closed:
            return
        attempt = sender.attempts[key] = sender.attempts.get(key, 0) + 1
        seconds = min(BACKOFF_FIRST_SECONDS * 2 ** min(attempt - 1, 20), BACKOFF_MAX_SECONDS)
        sender.later.add(key)
        self._clock.call_at(self._clock.now() + int(seconds * 1e9), partial(self._again, sender, key))

    def _again(self, sender: _Sender, key: int) -> None:
        sender.later.discard(key)
        sender.todo.append(key)
        self._turn(sender)

    async def close(self) -> None:
        """Ends what is under way; what was not delivered is named by its senders."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # One delivery.

    async def _deliver(self, sender: _Sender, key: int) -> None:
        try:
            if await self._between_runs.deliver(sender.run_id, key):
                sender.held.add(key)
        except (RpcError, StorageError) as error:
            logger.debug("A delivery of run %s is tried again: %s", sender.run_id, error)
            self._postpone(sender, key)
        else:
            sender.attempts.pop(key, None)
