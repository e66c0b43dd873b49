"""The two places where asyncio orders by memory address, and no loop can help it: put right for workflow code, and only for it.

- `as_completed` makes a set of the coroutines it is given and starts them in the order of that set. On a workflow's loop they are
  started in the order given, before it sees them.
- The future of `gather` is made by asyncio itself and hashes by address, so that sets of them (`asyncio.wait`) iterate at random.
  On a workflow's loop it hashes by a number of the loop's.

Both are wrapped once, when this module is imported, and behave as before on any other loop. A name imported from asyncio earlier
than that (`from asyncio import as_completed`) is the original; the loop refuses what it cannot put in order (`started_by_as_completed`).
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any

_original_as_completed: Any = asyncio.as_completed
# Up to Python 3.11 the one calls the other.
_ENSURE_FUTURE: set[CodeType] = {
    getattr(asyncio.tasks, name).__code__ for name in ("ensure_future", "_ensure_future") if hasattr(asyncio.tasks, name)
}


def install(is_workflow_loop: Callable[[Any], bool], next_hash: Callable[[Any], int]) -> None:
    """Wraps both."""

    @functools.wraps(_original_as_completed)
    def as_completed(fs: Any, *args: Any, **kwargs: Any) -> Any:
        if is_workflow_loop(asyncio._get_running_loop()) and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
            fs = [asyncio.ensure_future(each) for each in fs]
        return _original_as_completed(fs, *args, **kwargs)

    asyncio.as_completed = asyncio.tasks.as_completed = as_completed

    def gathering_hash(self: Any) -> int:
        number: int | None = getattr(self, "_perdure_hash", None)
        if number is None:
            loop = self.get_loop()
            number = self._perdure_hash = next_hash(loop) if is_workflow_loop(loop) else object.__hash__(self)
        return number

    gathering: Any = getattr(asyncio.tasks, "_GatheringFuture")  # noqa: B009 - not in the type stubs
    gathering.__hash__ = gathering_hash


def started_by_as_completed(depth: int) -> bool:
    """Whether the caller `depth` frames up is called by asyncio's own `as_completed` (through `ensure_future`)."""
    frame = sys._getframe(depth)
    if frame.f_code not in _ENSURE_FUTURE:
        return False
    for _ in range(3):  # _ensure_future, ensure_future, the set comprehension, as_completed
        if frame.f_back is None:
            return False
        frame = frame.f_back
        if frame.f_code.co_name in ("as_completed", "_AsCompletedIterator") and frame.f_globals.get("__name__") == "asyncio.tasks":
            return True
    return False
