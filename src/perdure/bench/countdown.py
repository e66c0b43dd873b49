"""Counts the workflows that have reached their waiting place, in this process, so that nobody has to ask 100,000 of them."""

from __future__ import annotations

import asyncio


class Countdown:
    """`reached` is set when `arrived()` has been called `target` times."""

    def __init__(self, target: int) -> None:
        self.left = target
        self.reached = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._loop.call_soon_threadsafe(self.reached.set)


_current: Countdown | None = None


def start_countdown(target: int) -> Countdown:
    """Replaces the countdown of this process."""
    global _current
    _current = Countdown(target)
    return _current


def arrived() -> None:
    """Called by workflow code. It is no command and leaves no trace in a history; a replay calls it again."""
    if _current is not None:
        _current.count()
