"""The one clock. Engine, worker, client and long polls read it and wait on it, so that time skipping and simulation reach everything.

Times are int nanoseconds since the epoch, UTC. The rule that a newcomer gets wrong: a wait ends when the *wall clock* says so. A laptop
that slept, or a clock that was set, must not stretch or cut a seven-day timer; so a wait is armed in slices and looks again at each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["Cancellable", "Clock", "SystemClock"]

_SLICE_SECONDS = 60.0
"""The longest single timer of the event loop: a wall clock that jumps is noticed within this."""


class Cancellable(Protocol):
    """What `call_at` gives back."""

    def cancel(self) -> None:
        """Withdraws the callback; harmless when it has run."""


@runtime_checkable
class Clock(Protocol):
    """The time, and waiting for a time."""

    def now(self) -> int:
        """The wall clock: nanoseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> int:
        """Nanoseconds from an arbitrary point, never going back: for measuring durations."""
        ...

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Cancellable:
        """Runs `callback` on the running loop once `now() >= when_ns`, never inside this call."""
        ...

    async def sleep_until(self, when_ns: int) -> None:
        """Returns once `now() >= when_ns`."""
        ...


class SystemClock:
    """The machine's clock, over the running asyncio loop."""

    now = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic_ns)

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Cancellable:
        return _Timer(self, when_ns, callback)

    async def sleep_until(self, when_ns: int) -> None:
        while (left := when_ns - self.now()) > 0:
            await asyncio.sleep(min(left / 1e9, _SLICE_SECONDS))

    def __repr__(self) -> str:
        return "<SystemClock>"


class _Timer:
    """One pending callback: re-armed until the wall clock has come to its time."""

    __slots__ = ("_callback", "_clock", "_handle", "_loop", "_when")

    def __init__(self, clock: SystemClock, when_ns: int, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._when = when_ns
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle = self._arm()

    def _arm(self) -> asyncio.TimerHandle:
        left = max((self._when - self._clock.now()) / 1e9, 0.0)
        return self._loop.call_later(min(left, _SLICE_SECONDS), self._look)

    def _look(self) -> None:
        if self._clock.now() >= self._when:
            self._callback()
        else:
            self._handle = self._arm()

    def cancel(self) -> None:
        self._handle.cancel()
