"""What DescribeTaskQueue shows of a queue: who polls it, what waits on it, what is set of it.

A queue that versions of a deployment poll is several in truth (`deployments`); here they are shown as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueStats

from perdure.engine.core import TaskKind
from perdure.engine.core.times import set_ns
from perdure.engine.live_runs import LiveRuns
from perdure.engine.matching import QueueKey, TaskQueue
from perdure.engine.rate_limits import UNLIMITED
from perdure.engine.remainder import Remainder
from perdure.engine.stored_tasks import read_tasks
from perdure.engine.versioned_queues import MARK

SEEN_SECONDS = 300
"""Pollers of so long ago are shown."""
COUNTED_MAX = 10_000
"""Waiting tasks counted in the storage; beyond, there are at least so many."""


def pollers(queues: Iterable[TaskQueue], now: int) -> list[PollerInfo]:
    """Who has polled lately, each once."""
    found: list[PollerInfo] = []
    for queue in queues:
        _, _, version = queue.key.name.partition(MARK)
        for identity, time in queue.seen.items():
            if time < now - SEEN_SECONDS * 1_000_000_000:
                continue
            info = PollerInfo(identity=identity, rate_per_second=queue.limit.rate if queue.limit is not None else UNLIMITED)
            set_ns(info.last_access_time, time)
            if version:
                info.deployment_options.deployment_name, _, info.deployment_options.build_id = version.partition(MARK)
                info.deployment_options.worker_versioning_mode = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
            found.append(info)
    return sorted(found, key=lambda info: info.identity)


async def stats(queues: Sequence[TaskQueue], runs: LiveRuns, key: QueueKey, now: int) -> TaskQueueStats:
    """What waits: how much, and for how long."""
    shown = TaskQueueStats()
    oldest = now
    stored = Remainder()
    for queue in queues:
        activities = queue.key.kind is TaskKind.ACTIVITY
        if queue.remainder is not None:
            stored.include(queue.remainder)
        shown.approximate_backlog_count += len(queue.ready)
        shown.rate_limiting_active = shown.rate_limiting_active or queue.limit is not None
        for task in list(queue.ready)[:1]:
            live = runs.get(task.run_id)
            if live is None:
                continue
            waits = live.run.activities.get(task.scheduled_event_id) if activities else live.run.task
            if waits is not None:
                oldest = min(oldest, waits.scheduled_time)
    if stored:  # where those in memory stand as well
        waiting = {task for queue in queues for task in queue.ready}
        waiting.update(each.task for each in await read_tasks(runs, key, False, stored, {}, COUNTED_MAX))
        shown.approximate_backlog_count = len(waiting)
    set_ns(shown.approximate_backlog_age, max(0, now - oldest))
    return shown
