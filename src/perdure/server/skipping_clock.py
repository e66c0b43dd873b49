"""The machine's clock, which can be set forward: what waits in between is called at its own time, in order."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

from perdure.model.clock import Cancellable

__all__ = ["SkippingClock"]

_SLICE_SECONDS = 60.0


class SkippingClock:
    """A `Clock` that runs as fast as the machine's, and jumps when it is told to."""

    def __init__(self) -> None:
        self._ahead = 0
        self._calls: list[tuple[int, int, _Call]] = []
        self._order = itertools.count()
        self._armed: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<SkippingClock {self._ahead / 1e9:.3f} s ahead>"

    def now(self) -> int:
        """Nanoseconds since the epoch, UTC, as far ahead as it has been set."""
        return time.time_ns() + self._ahead

    def monotonic(self) -> int:
        """Nanoseconds; skipped time counts."""
        return time.monotonic_ns() + self._ahead

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Cancellable:
        """Runs `callback` when the clock has come to `when_ns`."""
        call = _Call(callback)
        heapq.heappush(self._calls, (when_ns, next(self._order), call))
        if self._calls[0][2] is call:
            self._arm()
        return call

    async def sleep_until(self, when_ns: int) -> None:
        """Returns once the clock has come to `when_ns`."""
        reached = asyncio.Event()
        call = self.call_at(when_ns, reached.set)
        try:
            await reached.wait()
        finally:
            call.cancel()

    def jump(self, when_ns: int) -> None:
        """Sets the clock forward, running what falls due on the way, each at its time."""
        while self._calls and self._calls[0][0] <= when_ns:
            self._set(self._calls[0][0])
            heapq.heappop(self._calls)[2].run()
        self._set(when_ns)
        self._arm()

    def _set(self, when_ns: int) -> None:
        self._ahead += max(when_ns - self.now(), 0)

    def _arm(self) -> None:
        if self._armed is not None:
            self._armed.cancel()
            self._armed = None
        while self._calls and self._calls[0][2].is_void:
            heapq.heappop(self._calls)
        if self._calls:
            left = max((self._calls[0][0] - self.now()) / 1e9, 0.0)
            self._armed = asyncio.get_running_loop().call_later(min(left, _SLICE_SECONDS), self._look)

    def _look(self) -> None:
        self._armed = None
        due = self.now()
        while self._calls and self._calls[0][0] <= due:
            heapq.heappop(self._calls)[2].run()
        self._arm()


class _Call:
    """A callback that runs once, unless it is cancelled."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    @property
    def is_void(self) -> bool:
        return self._callback is None

    def run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def cancel(self) -> None:
        self._callback = None
