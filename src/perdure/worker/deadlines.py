"""One timer for all running attempts: it is set to the soonest deadline and looks at all of them when it fires.

Activities are many and rarely late, so watching one must cost next to nothing: the timer is moved only when a deadline comes that
is sooner than all those before it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from perdure.model.clock import Cancellable, Clock
from perdure.worker.activity_context import CancelReason
from perdure.worker.attempt import Attempt

__all__ = ["Deadlines"]


class Deadlines:
    """Cancels attempts in `running` whose time is over."""

    def __init__(self, running: AbstractSet[Attempt], clock: Clock) -> None:
        self._running = running
        self._clock = clock
        self._armed_for = 0
        self._timer: Cancellable | None = None

    def watch(self, attempt: Attempt, timeout_ns: int) -> None:
        """Watches an attempt that has just begun; 0 is no time-out."""
        if not timeout_ns:
            return
        attempt.deadline_ns = self._clock.now() + timeout_ns
        if self._timer is None or attempt.deadline_ns < self._armed_for:
            self._arm(attempt.deadline_ns)

    def close(self) -> None:
        """Stops watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when_ns: int) -> None:
        self.close()
        self._armed_for = when_ns
        self._timer = self._clock.call_at(when_ns, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.now()
        for attempt in [attempt for attempt in self._running if attempt.deadline_ns and attempt.deadline_ns <= now]:
            attempt.cancel(CancelReason.TIMED_OUT)
        waiting = [attempt.deadline_ns for attempt in self._running if attempt.deadline_ns > now]
        if waiting:
            self._arm(min(waiting))
