"""Ready tasks as the storage has them: under which keys, and in which order they are read.

A row names its task's queue, and with it how urgent the task is, unless it is as urgent as most are. So tasks are read by priority key,
and within one in the order in which their workflows started; turns of fairness keys are not stored.

The marks stand in the namespace's part of a key, since namespaces' names are the engine's own; a queue's name is the user's, and may hold
any character. The rule a newcomer would get wrong: what waits on a sticky queue is not told apart; it belongs to one worker anyway, and
on open it is known to have lost that.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from perdure.engine.backlog import DEFAULT_KEY, Urgency
from perdure.engine.core import TaskKind
from perdure.engine.live_runs import LiveRuns
from perdure.engine.matching import QueueKey, ReadyTask
from perdure.engine.rows import LEVEL_MARK, LEVELS, STICKY_MARK
from perdure.storage.contract import Waiting, queue_key, split_queue_key

_URGENCIES: Final = {level: None if level == DEFAULT_KEY else Urgency(level) for level in LEVELS}


class StoredQueue(NamedTuple):
    """What the key of a row says."""

    namespace: str
    name: str
    sticky: bool


def read_key(key: str) -> StoredQueue:
    """From the key of a row."""
    namespace, name = split_queue_key(key)
    if namespace.endswith(STICKY_MARK):
        return StoredQueue(namespace[: -len(STICKY_MARK)], name, True)
    return StoredQueue(namespace.partition(LEVEL_MARK)[0], name, False)


class Cursor(NamedTuple):
    """How far a queue has been read."""

    level: int
    after: Waiting | None


class Stored(NamedTuple):
    """A task that was read."""

    task: ReadyTask
    urgency: Urgency | None


async def read_tasks(runs: LiveRuns, key: QueueKey, sticky: bool, cursor: Cursor | None, limit: int) -> tuple[list[Stored], Cursor | None]:
    """Tasks of a queue, the most urgent first, after a cursor; and the cursor for more, None if there are none."""
    first, after = cursor or Cursor(LEVELS[0], None)
    found: list[Stored] = []
    for level in LEVELS[LEVELS.index(first) :]:
        if sticky and level != DEFAULT_KEY:
            continue
        read = await runs.waiting(_key(key, sticky, level), key.kind is TaskKind.ACTIVITY, after, limit - len(found))
        found += (Stored(task, _URGENCIES[level]) for _, task in read)
        if len(found) == limit:
            return found, Cursor(level, read[-1][0] if read else None)
        after = None
    return found, None


def _key(key: QueueKey, sticky: bool, level: int) -> str:
    mark = STICKY_MARK if sticky else "" if level == DEFAULT_KEY else LEVEL_MARK + str(level)
    return queue_key(key.namespace + mark, key.name)
