"""Ready tasks that did not fit into memory, read when those before them have been taken.

The rule a newcomer would get wrong: the tasks of a deployment's version wait, in the storage, on the queue that their workflows name.
What is read for a version's workers is what the routing gives them now.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from perdure.engine.background import Background
from perdure.engine.live_runs import LiveRuns
from perdure.engine.matching import Matching, TaskQueue
from perdure.engine.placing import Placing
from perdure.engine.stored_tasks import Stored, read_tasks
from perdure.engine.versioned_queues import MARK

READ_MAX: Final = 1000
"""Ready tasks read from the storage at a time."""


class Overflow:
    """The way from the storage back to the queues."""

    def __init__(self, background: Background, runs: LiveRuns) -> None:
        self._background = background
        self._runs = runs

    def connect(self, matching: Matching, placing: Placing) -> None:
        """The parts that know this one too."""
        self._matching = matching
        self._placing = placing

    def read(self, queue: TaskQueue) -> None:
        """Reads what a queue has room for, and gives it to the queue."""
        self._background.spawn(self._read(queue))

    async def _read(self, queue: TaskQueue) -> None:
        name, mark, _ = queue.key.name.partition(MARK)
        key, sticky = queue.key._replace(name=name), queue.normal_name is not None
        remainder = queue.remainder
        if remainder is None:
            self._matching.refill(queue, [])
            return
        tasks = await self._background.persist(lambda: read_tasks(self._runs, key, sticky, remainder, queue.weights, READ_MAX)) or []
        if mark and tasks:
            tasks = await self._routed(queue, tasks)
        self._matching.refill(queue, tasks)

    async def _routed(self, queue: TaskQueue, tasks: list[Stored]) -> list[Stored]:
        """Those that wait for the workers of this queue's version."""
        runs = await asyncio.gather(*(self._background.persist(partial(self._runs.load, each.task.run_id)) for each in tasks))
        return [
            each
            for each, live in zip(tasks, runs, strict=True)
            if live is not None and not self._placing.has_moved(live.run, queue, each.task)
        ]
