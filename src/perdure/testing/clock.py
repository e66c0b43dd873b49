"""A clock that stands still until it is told to go on: for tests of everything that waits.

`advance` runs what falls due in order, each callback at its own time, and lets the event loop settle in between, so that a test of
a seven-day timer takes no time and gives the same result every time.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from perdure.model.clock import Cancellable

__all__ = ["ManualClock"]

SETTLE_TURNS = 50
"""Turns of the event loop that are given to what a callback has set in motion."""


class ManualClock:
    """A `Clock` that moves only by `advance`. Starts at 2026-01-01T00:00:00Z unless told otherwise."""

    def __init__(self, start: int = 1_767_225_600_000_000_000) -> None:
        """`start` is in nanoseconds since the epoch."""
        self._now = start
        self._start = start
        self._waiting: list[tuple[int, int, _Call]] = []
        self._order = itertools.count()

    def __repr__(self) -> str:
        return f"<ManualClock {(self._now - self._start) / 1e9:.3f} s after its start, {len(self._waiting)} waiting>"

    def now(self) -> int:
        """Nanoseconds since the epoch, UTC."""
        return self._now

    def monotonic(self) -> int:
        """Nanoseconds since the epoch too: this clock never goes back by itself."""
        return self._now

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Cancellable:
        """Runs `callback` when the clock has come to `when_ns`; at the next turn of the loop if it has already."""
        call = _Call(callback)
        if when_ns <= self._now:
            asyncio.get_running_loop().call_soon(call.run)
        else:
            heapq.heappush(self._waiting, (when_ns, next(self._order), call))
        return call

    async def sleep_until(self, when_ns: int) -> None:
        """Returns once the clock has come to `when_ns`."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def reach() -> None:
            if not reached.done():
                reached.set_result(None)

        call = self.call_at(when_ns, reach)
        try:
            await reached
        finally:
            call.cancel()

    def jump(self, seconds: float) -> None:
        """Sets the clock without running anything, as a suspended machine or a corrected clock does; back too."""
        self._now += int(seconds * 1e9)

    async def advance(self, seconds: float) -> None:
        """Moves the clock on, running what falls due at its time."""
        target = self._now + int(seconds * 1e9)
        await self._settle()
        while self._waiting and self._waiting[0][0] <= target:
            when, _, call = heapq.heappop(self._waiting)
            self._now = max(self._now, when)
            call.run()
            await self._settle()
        self._now = max(self._now, target)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(SETTLE_TURNS):
            await asyncio.sleep(0)


class _Call:
    """A callback that runs once, unless it is cancelled."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def run(self) -> None:
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    def cancel(self) -> None:
        self._callback = None
