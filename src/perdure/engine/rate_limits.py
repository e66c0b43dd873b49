"""How fast a queue gives tasks away: as a worker says with its polls, or as an operator has set it, which goes first (section 7).

An operator may also set a rate that each fairness key has for itself.

A token bucket: as many tasks at once as a second allows, at least one. Easily got wrong: a rate of 0 lets nothing through; no rate
lets everything through.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from perdure.engine.backlog import Backlog
from perdure.model.clock import Cancellable, Clock

if TYPE_CHECKING:
    from perdure.engine.matching import ReadyTask

UNLIMITED = 100_000.0
"""What is shown of a queue without a rate."""
KEYS_MAX = 10_000
"""Fairness keys whose rates are remembered; beyond, all begin anew."""
_SECOND = 1_000_000_000


class _Queue(Protocol):
    """What is limited."""

    ready: deque[ReadyTask] | Backlog


class RateLimit:
    """A rate in tasks per second, and what is left of it."""

    __slots__ = ("_at", "_tokens", "_waiting", "rate")

    def __init__(self, rate: float, now: int) -> None:
        self.rate = rate
        self._tokens = max(rate, 1.0) if rate > 0 else 0.0
        self._at = now
        self._waiting = False

    def take(self, now: int) -> bool:
        """Whether a task may go now; then it counts."""
        self._tokens = min(max(self.rate, 1.0), self._tokens + max(0, now - self._at) * self.rate / _SECOND)
        self._at = now
        if self._tokens < 1 or self.rate <= 0:
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """What was taken last did not go after all."""
        self._tokens += 1

    def due(self, now: int) -> int | None:
        """When the next task may go; None: never."""
        return now + int((1 - self._tokens) * _SECOND / self.rate) + 1 if self.rate > 0 else None

    def next(self, queue: _Queue, now: int) -> ReadyTask | None:
        """The task of a queue that goes now; None if none may."""
        return queue.ready.popleft() if self.take(now) else None

    def wait(self, clock: Clock, resume: Callable[[], None]) -> None:
        """Sees to it that `resume` is called when the next one may go; never, if none may. One call serves all who wait."""
        if self._waiting or self.rate <= 0:
            return
        self._waiting = True

        def go_on() -> None:
            self._waiting = False
            resume()

        clock.call_at(self.due(clock.now()) or 0, go_on)


class FairLimit:
    """A rate for each fairness key, in proportion to its weight; and one for the whole queue, if that has one.

    No poller is reserved for a task that is about to be created: whose key it has is seen when it is ready.
    """

    def __init__(self, whole: RateLimit | None, each: float) -> None:
        self._whole = whole
        self._each = each
        self._of_keys: dict[str, RateLimit] = {}
        self._soonest: int | None = None
        self._armed: tuple[int, Cancellable] | None = None

    @property
    def rate(self) -> float:
        """Of the whole queue."""
        return UNLIMITED if self._whole is None else self._whole.rate

    def take(self, now: int) -> bool:
        """Whether a task of no matter which key may go now."""
        return False

    def next(self, queue: _Queue, now: int) -> ReadyTask | None:
        """The most urgent task of a queue whose key has not had its share; None if there is none."""
        self._soonest = None
        if self._whole is not None and not self._whole.take(now):
            self._soonest = self._whole.due(now)
            return None
        if not isinstance(queue.ready, Backlog):
            queue.ready = Backlog(queue.ready)
        task = queue.ready.take(lambda fairness_key, weight: self._admits(fairness_key, weight, now))
        if task is None and self._whole is not None:
            self._whole.give_back()
        return task

    def _admits(self, fairness_key: str, weight: float, now: int) -> bool:
        limit = self._of_keys.get(fairness_key)
        if limit is None or limit.rate != self._each * weight:
            if len(self._of_keys) >= KEYS_MAX:
                self._of_keys.clear()
            limit = self._of_keys[fairness_key] = RateLimit(self._each * weight, now)
        if limit.take(now):
            return True
        due = limit.due(now)
        if due is not None and (self._soonest is None or due < self._soonest):
            self._soonest = due
        return False

    def wait(self, clock: Clock, resume: Callable[[], None]) -> None:
        """As that of a single rate."""
        if self._soonest is None or (self._armed is not None and self._armed[0] <= self._soonest):
            return
        if self._armed is not None:
            self._armed[1].cancel()

        def go_on() -> None:
            self._armed = None
            resume()

        self._armed = self._soonest, clock.call_at(self._soonest, go_on)
