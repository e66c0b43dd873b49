"""How fast a queue gives tasks away: as a worker says with its polls, or as an operator has set it, which goes first (section 7).

An operator may also set a rate that each fairness key has for itself.

A token bucket: as many tasks at once as a second allows, at least one. Easily got wrong: a rate of 0 lets nothing through; no rate
lets everything through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from perdure.engine.backlog import Backlog
from perdure.model.clock import Cancellable, Clock

if TYPE_CHECKING:
    from perdure.engine.matching import ReadyTask, TaskQueue

UNLIMITED = 100_000.0
"""What is shown of a queue without a rate."""
KEYS_MAX = 10_000
"""Fairness keys whose rates are remembered; beyond, all begin anew."""
_SECOND = 1_000_000_000


_Pump: TypeAlias = "Callable[[TaskQueue], None]"


class _Queue(Protocol):
    """What is limited."""

    ready: deque[ReadyTask] | Backlog


class _Waiting:
    """Queues that wait for a rate to let something through; one timer serves all of them."""

    __slots__ = ("_armed", "_queues")

    def __init__(self) -> None:
        self._queues: dict[TaskQueue, _Pump] = {}
        self._armed: tuple[int, Cancellable] | None = None

    def wait(self, clock: Clock, queue: TaskQueue, pump: _Pump, due: int) -> None:
        """Sees to it that a queue goes on then, or earlier."""
        self._queues.setdefault(queue, pump)
        if self._armed is not None:
            if self._armed[0] <= due:
                return
            self._armed[1].cancel()
        self._armed = due, clock.call_at(due, self._go_on)

    def _go_on(self) -> None:
        self._armed = None
        waiting, self._queues = list(self._queues.items()), {}
        for queue, pump in waiting:
            pump(queue)
        first = waiting[0][0]
        if first in self._queues:  # it had the first chance this time
            self._queues[first] = self._queues.pop(first)


class RateLimit:
    """A rate in tasks per second, and what is left of it."""

    __slots__ = ("_at", "_tokens", "_waiting", "rate", "taken")

    def __init__(self, rate: float, now: int) -> None:
        self.rate = rate
        self._tokens = max(rate, 1.0) if rate > 0 else 0.0
        self._at = now
        self._waiting = _Waiting()
        self.taken = (self,)
        """The rates that let the last task through."""

    def change(self, rate: float, now: int) -> None:
        """From now on it is another one; what was let through counts on."""
        if rate != self.rate:
            self._accrue(now)
            first = self.rate <= 0
            self.rate = rate
            self._tokens = max(rate, 1.0) if first else min(self._tokens, max(rate, 1.0))

    def _accrue(self, now: int) -> None:
        self._tokens = min(max(self.rate, 1.0), self._tokens + max(0, now - self._at) * self.rate / _SECOND)
        self._at = now

    def take(self, now: int) -> bool:
        """Whether a task may go now; then it counts."""
        self._accrue(now)
        if self._tokens < 1 or self.rate <= 0:
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """What was let through did not go after all."""
        self._tokens += 1

    def due(self, now: int) -> int | None:
        """When the next task may go; None: never."""
        return now + int((1 - self._tokens) * _SECOND / self.rate) + 1 if self.rate > 0 else None

    def next(self, queue: _Queue, now: int) -> ReadyTask | None:
        """The task of a queue that goes now; None if none may."""
        return queue.ready.popleft() if self.take(now) else None

    def wait(self, clock: Clock, queue: TaskQueue, pump: _Pump) -> None:
        """Sees to it that `pump` is called for a queue when the next one may go; never, if none may."""
        due = self.due(clock.now())
        if due is not None:
            self._waiting.wait(clock, queue, pump, due)


class FairLimit:
    """A rate for each fairness key, in proportion to its weight; and one for the whole queue, if that has one.

    No poller is reserved for a task that is about to be created: whose key it has is seen when it is ready.
    """

    def __init__(self, whole: RateLimit | None, each: float) -> None:
        self.whole = whole
        self._each = each
        self._of_keys: dict[str, RateLimit] = {}
        self._soonest: int | None = None
        self._waiting = _Waiting()
        self.taken: tuple[RateLimit, ...] = ()
        """The rates that let the last task through."""

    @property
    def rate(self) -> float:
        """Of the whole queue."""
        return UNLIMITED if self.whole is None else self.whole.rate

    def take(self, now: int) -> bool:
        """Whether a task of no matter which key may go now."""
        return False

    def next(self, queue: _Queue, now: int) -> ReadyTask | None:
        """The most urgent task of a queue whose key has not had its share; None if there is none."""
        self._soonest = None
        if self.whole is not None and not self.whole.take(now):
            self._soonest = self.whole.due(now)
            return None
        if not isinstance(queue.ready, Backlog):
            queue.ready = Backlog(queue.ready)
        self.taken = ()
        task = queue.ready.take(lambda fairness_key, weight: self._admits(fairness_key, weight, now))
        if self.whole is not None:
            if task is None:
                self.whole.give_back()
            self.taken += (self.whole,)
        return task

    def _admits(self, fairness_key: str, weight: float, now: int) -> bool:
        limit = self._of_keys.get(fairness_key)
        if limit is None:
            if len(self._of_keys) >= KEYS_MAX:
                self._of_keys.clear()
            limit = self._of_keys[fairness_key] = RateLimit(self._each * weight, now)
        limit.change(self._each * weight, now)
        if limit.take(now):
            self.taken = (limit,)
            return True
        due = limit.due(now)
        if due is not None and (self._soonest is None or due < self._soonest):
            self._soonest = due
        return False

    def wait(self, clock: Clock, queue: TaskQueue, pump: _Pump) -> None:
        """As that of a single rate."""
        if self._soonest is not None:
            self._waiting.wait(clock, queue, pump, self._soonest)
