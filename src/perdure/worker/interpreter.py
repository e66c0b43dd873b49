"""What a process that does nothing but run workflows sets in the interpreter: the event loop, the collector, the switch interval.

The library never changes these by itself: they belong to the program. `perdure worker`, `demo` and `bench` are programs of ours, change
them here, in one place, and say so.
"""

from __future__ import annotations

import asyncio
import gc
import platform
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

T = TypeVar("T")

GC_THRESHOLD = 50_000
"""Allocations before a young collection. With the interpreter's own 700 a busy worker spends 5 to 8 % of its time scanning live objects."""

SWITCH_INTERVAL_SECONDS = 0.0005
"""After how long a thread that computes must offer the GIL. With the interpreter's own 5 ms, one adds tens of milliseconds to each task."""


@dataclass(frozen=True, slots=True)
class InterpreterSettings:
    """What is in force after `tune()`."""

    loop: str
    python: str
    gc_threshold: int
    switch_interval_ms: float

    def __str__(self) -> str:
        return f"{self.loop}, Python {self.python}, GC threshold {self.gc_threshold}, switch interval {self.switch_interval_ms:g} ms"


def tune() -> InterpreterSettings:
    """Sets the collector and the switch interval for this process; `run` brings the loop."""
    gc.set_threshold(GC_THRESHOLD, *gc.get_threshold()[1:])
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    name, _ = _loop()
    return InterpreterSettings(name, platform.python_version(), GC_THRESHOLD, SWITCH_INTERVAL_SECONDS * 1e3)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end on uvloop, or on asyncio's own loop where uvloop does not exist (Windows, other interpreters)."""
    _, factory = _loop()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def _loop() -> tuple[str, Callable[[], asyncio.AbstractEventLoop] | None]:
    try:
        import uvloop
    except ImportError:
        return "asyncio", None
    return f"uvloop {version('uvloop')}", uvloop.new_event_loop
