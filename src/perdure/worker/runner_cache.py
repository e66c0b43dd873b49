"""The workflows that a worker keeps in memory between their tasks: least recently used go first.

Dropping a workflow means tearing its coroutines down (`evict`): left to the garbage collector their `finally` blocks would run at
a moment of its choosing. Nothing is lost with it, the next task replays the history.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

__all__ = ["RunnerCache"]


class Evictable(Protocol):
    def evict(self) -> None: ...


RunnerT = TypeVar("RunnerT", bound=Evictable)


class RunnerCache(Generic[RunnerT]):
    """At most `size` runs, by run id."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._runs: OrderedDict[str, RunnerT] = OrderedDict()
        self.evictions = 0
        """Runs dropped to make room, since the worker started."""

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"<RunnerCache {len(self._runs)} of {self._size}>"

    def get(self, run_id: str) -> RunnerT | None:
        """The run's runner; the run now counts as just used."""
        runner = self._runs.get(run_id)
        if runner is not None:
            self._runs.move_to_end(run_id)
        return runner

    def put(self, run_id: str, runner: RunnerT) -> None:
        """Keeps a run; the least recently used one goes when there is no room."""
        replaced = self._runs.get(run_id)
        if replaced is runner:
            self._runs.move_to_end(run_id)
            return
        if replaced is not None:
            del self._runs[run_id]
            replaced.evict()
        self._runs[run_id] = runner
        while len(self._runs) > self._size:
            _, oldest = self._runs.popitem(last=False)
            self.evictions += 1
            oldest.evict()

    def drop(self, run_id: str, runner: RunnerT) -> None:
        """Evicts a run, if this is still its runner."""
        if self._runs.get(run_id) is runner:
            del self._runs[run_id]
        runner.evict()

    def clear(self) -> None:
        """Evicts all."""
        while self._runs:
            self._runs.popitem()[1].evict()
