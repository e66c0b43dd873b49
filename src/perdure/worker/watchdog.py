"""Notices that the event loop stands still, and names the line that holds it.

A thread asks the loop to say that it is alive (`call_soon_threadsafe`) and waits for the answer; when none comes, it takes the stack
of the loop's thread and reports the innermost line that is the user's. One watchdog serves all workers of a loop. It costs two
wake-ups of the loop in a second at most, and nothing on the path of a task.

The rules that a newcomer would get wrong: the line that started the loop (`asyncio.run(main())`) is the user's too, and always on
the stack, so what stands below the loop is left out; a process that was suspended did not block (the thread itself has not run
either: the answer gets a second, short chance); and somebody who sits in a debugger knows that the loop stands.
"""

from __future__ import annotations

import asyncio
import linecache
import logging
import os
import sys
import sysconfig
import threading
import time
import traceback
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import ClassVar

__all__ = ["Stall", "Watchdog"]

logger = logging.getLogger("perdure.worker.watchdog")

_SECOND_CHANCE_SECONDS = 0.1
_DEBUGGERS = ("bdb.py", "pdb.py", "pydevd.py")
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_OWN_USER_CODE = tuple(os.path.join(_OWN, part) + os.sep for part in ("demo", "bench", "patterns"))
_RUNS_WORKFLOWS = os.path.join(_OWN, "runtime", "runner.py")
_LIBRARIES = tuple({os.path.abspath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


@dataclass(frozen=True, kw_only=True)
class Stall:
    """One time the event loop stood still."""

    filename: str
    line: int
    function: str
    text: str
    """The source line."""
    stack: str
    is_users: bool
    """Whether the line is the user's; if not, it is a library's, and the machine may just be overloaded."""
    in_workflow: bool
    """Whether workflow code is at work there, rather than an activity or the program around the worker."""
    seconds: float
    """How long it had stood when it was noticed; the log says at the end how long it was in all."""

    def __str__(self) -> str:
        return f"{self.filename}:{self.line} in {self.function}(): {self.text}"


class Watchdog:
    """Watches one event loop while somebody uses it (`acquire`, `release`)."""

    _of_loops: ClassVar[weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watchdog]] = weakref.WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float) -> None:
        self._loop = loop
        self._threshold = threshold
        self._loop_thread = threading.get_ident()
        self._users = 0
        self._stopped = threading.Event()
        self._alive = threading.Event()
        self._below: list[FrameType] = []
        self.stalls = 0
        """How often the loop has stood still."""
        self.last_stall: Stall | None = None

    def __repr__(self) -> str:
        return f"<Watchdog {self.stalls} stalls>"

    @classmethod
    def acquire(cls, threshold: float) -> Watchdog:
        """The watchdog of the running loop, which watches from now on; the lowest threshold asked for counts."""
        loop = asyncio.get_running_loop()
        watchdog = cls._of_loops.get(loop)
        if watchdog is None:
            watchdog = cls._of_loops[loop] = cls(loop, threshold)
        watchdog._threshold = min(watchdog._threshold, threshold)
        watchdog._users += 1
        if watchdog._users == 1:
            watchdog._stopped = threading.Event()
            loop.call_soon(watchdog._look_below)
            threading.Thread(target=watchdog._watch, args=(watchdog._stopped,), name="perdure watchdog", daemon=True).start()
        return watchdog

    def release(self) -> None:
        """One user less; the last one ends it."""
        self._users -= 1
        if self._users == 0:
            self._stopped.set()
            self._below = []
            self._of_loops.pop(self._loop, None)

    def _look_below(self) -> None:
        """Notes the frames that run the loop; the references keep them recognisable."""
        if self._users:
            self._below = [frame for frame, _ in traceback.walk_stack(sys._getframe(1))]

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._threshold):
            self._alive.clear()
            asked = time.monotonic()
            try:
                self._loop.call_soon_threadsafe(self._alive.set)
            except RuntimeError:  # the loop is closed
                return
            if self._alive.wait(self._threshold) or self._alive.wait(_SECOND_CHANCE_SECONDS) or stopped.is_set():
                continue
            self._report(asked)
            while not self._alive.wait(1.0):
                if stopped.is_set() or self._loop.is_closed():
                    return
            if self.last_stall is not None:
                logger.warning(
                    "The event loop runs again; it stood still for at least %.1f s at %s", time.monotonic() - asked, self.last_stall
                )

    def _report(self, asked: float) -> None:
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or self._alive.is_set():
            return
        stall = _describe(frame, self._below, time.monotonic() - asked)
        if stall is None:
            return
        self.stalls += 1
        self.last_stall = stall
        logger.warning("The event loop has stood still for %.1f s at %s\n%s\n%s", stall.seconds, stall, _remedy(stall), stall.stack)


def _remedy(stall: Stall) -> str:
    if not stall.is_users:
        return "No line of your code is at work there: is the machine overloaded, or the process short of memory?"
    if stall.in_workflow:
        return (
            "Everything in this process waits for that line of a workflow. Move the work into an activity (a plain `def` runs in a\n"
            "thread, @activity(cpu_bound=True) in a process), and call that from the workflow."
        )
    return (
        "Everything in this process waits for that line. Write the activity as a plain `def` (it then runs in a thread), as\n"
        "@activity(cpu_bound=True) (in a process), or await an asynchronous call there."
    )


def _describe(frame: FrameType, below: Sequence[FrameType], seconds: float) -> Stall | None:
    """The stack that holds the loop; None when a debugger does, or when the loop waits for work (it is about to answer)."""
    frames = [(each, number) for each, number in traceback.walk_stack(frame) if not any(each is other for other in below)]
    names = [os.path.basename(each.f_code.co_filename) for each, _ in frames]
    if not frames or names[0] == "selectors.py" or any(name in _DEBUGGERS for name in names):
        return None
    users = next(((each, number) for each, number in frames if _is_users(each.f_code.co_filename)), None)
    blamed, line = users or frames[0]
    filename = blamed.f_code.co_filename
    return Stall(
        filename=filename,
        line=line,
        function=blamed.f_code.co_name,
        text=linecache.getline(filename, line).strip() or "(source not available)",
        stack="".join(traceback.format_list(traceback.StackSummary.extract(iter(reversed(frames[:12]))))).rstrip(),
        is_users=users is not None,
        in_workflow=any(each.f_code.co_filename == _RUNS_WORKFLOWS for each, _ in frames),
        seconds=seconds,
    )


def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen"):
        return False
    path = os.path.abspath(filename)
    if path.startswith(_OWN):
        return path.startswith(_OWN_USER_CODE)
    return not path.startswith(_LIBRARIES)
