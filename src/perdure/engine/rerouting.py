"""Tasks that wait for workers of another version than before: when a version appears, or what is current changes.

The rule a newcomer would get wrong: the storage knows a task's queue only, not the version whose workers it waits for. So what stands
on the queue itself after a restart is brought to its version's workers when the first of them polls.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from perdure.engine.background import Background
from perdure.engine.live_runs import LiveRuns
from perdure.engine.matching import Matching, ReadyTask, TaskQueue
from perdure.engine.placing import Placing
from perdure.engine.remainder import Remainder
from perdure.engine.stored_tasks import read_tasks
from perdure.engine.versioned_queues import MARK

BATCH_MAX = 1000
"""Tasks read from the storage at a time."""


class Rerouting:
    """Brings waiting tasks to where they have to wait now."""

    def __init__(self, placing: Placing, matching: Matching, runs: LiveRuns, background: Background) -> None:
        self._placing = placing
        self._matching = matching
        self._runs = runs
        self._background = background
        placing.deployments.on_routing = self.reroute

    def reroute(self, namespace: str, names: set[str]) -> None:
        """Looks at everything that waits on these queues, for whichever version."""
        for queue in self._matching.queues():
            key = queue.key
            concerned = key.namespace == namespace and queue.normal_name is None and key.name.partition(MARK)[0] in names
            if concerned and (queue.ready or queue.remainder):
                self._background.spawn(self._empty(queue))

    async def _empty(self, queue: TaskQueue) -> None:
        tasks, queue.ready = list(queue.ready), deque()
        if queue.remainder is not None and not queue.reading:
            remainder, queue.remainder = queue.remainder, None
            tasks += await self._background.persist(lambda: self._read(queue, remainder)) or []
        for task in tasks:
            live = await self._background.persist(partial(self._runs.load, task.run_id))
            if live is not None:
                self._placing.place(live.run, queue.key.kind, task)

    async def _read(self, queue: TaskQueue, remainder: Remainder) -> list[ReadyTask]:
        key = queue.key._replace(name=queue.key.name.partition(MARK)[0])
        unread = Remainder()
        unread.include(remainder)
        found: list[ReadyTask] = []
        while unread:
            found += (each.task for each in await read_tasks(self._runs, key, False, unread, {}, BATCH_MAX))
        return found
