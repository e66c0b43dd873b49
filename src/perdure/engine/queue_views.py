"""What DescribeTaskQueue shows of a queue: who polls it, what waits on it, what is set of it.

A queue that versions of a deployment poll is several in truth (`deployments`); here they are shown as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from temporalio.api.enums.v1 import WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueueStats
from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse

from perdure.engine.backlog import DEFAULT_KEY, Backlog
from perdure.engine.core import TaskKind
from perdure.engine.core.times import set_ns
from perdure.engine.live_runs import LiveRuns
from perdure.engine.matching import Matching, QueueKey, ReadyTask, TaskQueue
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


async def stats(queues: Sequence[TaskQueue], runs: LiveRuns, key: QueueKey, now: int) -> tuple[TaskQueueStats, dict[int, TaskQueueStats]]:
    """What waits, how much, and for how long: in all, and by priority key."""
    shown = TaskQueueStats(rate_limiting_active=any(queue.limit is not None for queue in queues))
    by_key: dict[int, TaskQueueStats] = {}
    oldest = now
    for task, level in (await _waiting(queues, runs, key)).items():
        of_level = by_key.get(level)
        if of_level is None:
            of_level = by_key[level] = TaskQueueStats()
            since = await _since(runs, key, task, now)
            set_ns(of_level.approximate_backlog_age, max(0, now - since))
            oldest = min(oldest, since)
        of_level.approximate_backlog_count += 1
        shown.approximate_backlog_count += 1
    set_ns(shown.approximate_backlog_age, max(0, now - oldest))
    return shown, by_key


async def _waiting(queues: Iterable[TaskQueue], runs: LiveRuns, key: QueueKey) -> dict[ReadyTask, int]:
    """Tasks with their priority keys, in order."""
    found: dict[ReadyTask, int] = {}
    stored = Remainder()
    for queue in queues:
        ready = queue.ready
        keyed = ready.keyed() if isinstance(ready, Backlog) else ((DEFAULT_KEY, task) for task in ready)
        found.update((task, level) for level, task in keyed)
        if queue.remainder is not None:
            stored.include(queue.remainder)
    if stored:  # where those in memory stand as well
        for task, urgency in await read_tasks(runs, key, False, stored, {}, COUNTED_MAX):
            found.setdefault(task, DEFAULT_KEY if urgency is None else urgency.key)
    return found


async def _since(runs: LiveRuns, key: QueueKey, task: ReadyTask, now: int) -> int:
    """Since when a task waits."""
    live = await runs.load(task.run_id)
    if live is None:
        return now
    waits = live.run.activities.get(task.scheduled_event_id) if key.kind is TaskKind.ACTIVITY else live.run.task
    return now if waits is None else waits.scheduled_time


def rate_limit(queues: Iterable[TaskQueue], matching: Matching, key: QueueKey) -> DescribeTaskQueueResponse.EffectiveRateLimit:
    """How many tasks a second a queue gives away at most, and who says so."""
    rate = next((queue.limit.rate for queue in queues if queue.limit is not None), UNLIMITED)
    return DescribeTaskQueueResponse.EffectiveRateLimit(requests_per_second=rate, rate_limit_source=matching.settings.source(key))
