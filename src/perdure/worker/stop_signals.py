"""SIGINT and SIGTERM as callbacks on the event loop, for as long as a worker runs in the foreground."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["stop_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals(callback: Callable[[], None]) -> Generator[None]:
    """Calls `callback` on the loop at each SIGINT or SIGTERM; afterwards they do again what they did before.

    Does nothing outside of the main thread, where Python has no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        _install(loop, number, callback)
    try:
        yield
    finally:
        for number, handler in before.items():
            _remove(loop, number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _install(loop: asyncio.AbstractEventLoop, number: signal.Signals, callback: Callable[[], None]) -> None:
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:  # Windows
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(callback))


def _remove(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
    with suppress(NotImplementedError):
        loop.remove_signal_handler(number)
