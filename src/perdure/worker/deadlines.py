"""Attempts whose time is over, found by looking at all that run: at most once a second, and not at all while none runs.

Activities are many, short and rarely late, so one that begins costs nothing here: its deadline is worked out when a look finds it,
counted from there, and most have ended before that. An attempt is therefore stopped up to two seconds late.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from perdure.model.clock import Cancellable, Clock
from perdure.worker.activity_context import CancelReason
from perdure.worker.attempt import Attempt

__all__ = ["Deadlines"]

_LOOK_NS = 1_000_000_000
"""From the beginning of an attempt to the look that finds it, at most; and between two looks, at least."""


class Deadlines:
    """Cancels attempts in `running` whose time is over; `timeout_ns` says how long one may take, 0 is for ever."""

    def __init__(self, running: AbstractSet[Attempt], timeout_ns: Callable[[Attempt], int], clock: Clock) -> None:
        self._running = running
        self._timeout_ns = timeout_ns
        self._clock = clock
        self._timer: Cancellable | None = None
        self.looks_soon = False
        """Whether the next look will find an attempt that begins now in time; if not, `look_soon` is to be called."""

    def look_soon(self) -> None:
        """Sees to it that an attempt that begins now is found."""
        self.looks_soon = True
        self._arm(self._clock.now() + _LOOK_NS)

    def close(self) -> None:
        """Stops watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when_ns: int) -> None:
        self.close()
        self._timer = self._clock.call_at(when_ns, self._look)

    def _look(self) -> None:
        self._timer = None
        self.looks_soon = False
        now = self._clock.now()
        soonest = 0
        for attempt in list(self._running):
            if attempt.deadline_ns is None:
                timeout = self._timeout_ns(attempt)
                attempt.deadline_ns = now + timeout if timeout else 0
            if not attempt.deadline_ns or attempt.cancel_reason is not None:
                continue
            if attempt.deadline_ns <= now:
                attempt.cancel(CancelReason.TIMED_OUT)
            elif not soonest or attempt.deadline_ns < soonest:
                soonest = attempt.deadline_ns
        if soonest:
            self._arm(max(soonest, now + _LOOK_NS))
