"""Ready tasks as the storage has them: under which keys, and in which order they are read.

A row names its task's queue, and with it how urgent the task is, unless it is as urgent as most are: its priority key, and, if it has any,
fairness key and weight. So tasks are read by priority key, within one in proportion to the weights (`remainder`), and for one fairness key
in the order in which their workflows started.

The marks stand in the namespace's part of a key, since namespaces' names are the engine's own; a queue's name is the user's, and may hold
any character. The rule a newcomer would get wrong: what waits on a sticky queue is not told apart; it belongs to one worker anyway, and
on open it is known to have lost that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from perdure.engine.backlog import PLAIN, Urgency
from perdure.engine.core import TaskKind
from perdure.engine.live_runs import LiveRuns
from perdure.engine.matching import QueueKey, ReadyTask
from perdure.engine.remainder import Remainder
from perdure.engine.rows import STICKY_MARK, lane_of, level_mark
from perdure.model.errors import StorageError
from perdure.storage.contract import queue_key, split_queue_key


class StoredQueue(NamedTuple):
    """What the key of a row says."""

    namespace: str
    name: str
    sticky: bool
    lane: Urgency


def read_key(key: str) -> StoredQueue:
    """From the key of a row."""
    namespace, name = split_queue_key(key)
    if namespace.endswith(STICKY_MARK):
        return StoredQueue(namespace[: -len(STICKY_MARK)], name, True, PLAIN)
    namespace, lane = lane_of(namespace)
    return StoredQueue(namespace, name, False, lane)


class Stored(NamedTuple):
    """A task that was read."""

    task: ReadyTask
    urgency: Urgency | None


async def read_tasks(
    runs: LiveRuns, key: QueueKey, sticky: bool, remainder: Remainder, weights: Mapping[str, float], limit: int
) -> list[Stored]:
    """Tasks of a queue, the most urgent first, from where the remainder has been read to; about so many."""
    found: list[Stored] = []
    remainder.begin()
    try:
        while len(found) < limit and await _listed(runs, key, remainder):
            for lane, after, share in remainder.shares(limit - len(found), weights):
                read = await runs.waiting(_key(key, sticky, lane), key.kind is TaskKind.ACTIVITY, after, share)
                found += (Stored(task, None if lane == PLAIN else lane) for _, task in read)
                remainder.has_read(lane, read[-1][0] if len(read) == share else None)
    except StorageError:
        if not found:
            raise
    return found


async def _listed(runs: LiveRuns, key: QueueKey, remainder: Remainder) -> bool:
    """Whether any lane is left; those that are not remembered are asked for when the others have been read."""
    if (remainder.more or remainder.listed) and not remainder.lanes():
        remainder.more = remainder.more and bool(remainder.listed)
        after, remainder.listed = remainder.listed, ""
        for stored, activities in await runs.waiting_queues():
            queue = read_key(stored)
            if stored <= after or activities is not (key.kind is TaskKind.ACTIVITY) or queue.sticky or queue[:2] != key[1:]:
                continue
            if remainder.is_full():
                break
            remainder.note(queue.lane)
            remainder.listed = stored
        else:
            remainder.listed = ""
    return bool(remainder.shares(1, {}))


def _key(key: QueueKey, sticky: bool, lane: Urgency) -> str:
    return queue_key(key.namespace + (STICKY_MARK if sticky else level_mark(lane)), key.name)
