"""How fast a queue gives tasks away: as a worker says with its polls, or as an operator has set it, which goes first (section 7).

A token bucket: as many tasks at once as a second allows, at least one. Easily got wrong: a rate of 0 lets nothing through; no rate
lets everything through.
"""

from __future__ import annotations

from collections.abc import Callable

from perdure.model.clock import Clock

_SECOND = 1_000_000_000


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

    def wait(self, clock: Clock, resume: Callable[[], None]) -> None:
        """Sees to it that `resume` is called when the next one may go; never, if none may. One call serves all who wait."""
        if self._waiting or self.rate <= 0:
            return
        self._waiting = True

        def go_on() -> None:
            self._waiting = False
            resume()

        clock.call_at(clock.now() + int((1 - self._tokens) * _SECOND / self.rate) + 1, go_on)
