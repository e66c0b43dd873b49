"""What operators set of a task queue: how fast it gives tasks away, in all and to each fairness key, and the weights of these keys.

Kept as records. The rule a newcomer would get wrong: a queue comes and goes in memory with those who use it; its settings stay, and it
takes them up when it is there again.
"""

from __future__ import annotations

from collections.abc import Callable

from temporalio.api.taskqueue.v1 import TaskQueueConfig

from perdure.engine.core import TaskKind
from perdure.engine.matching import Matching, QueueKey
from perdure.engine.queue_settings import put_in_force
from perdure.engine.records import Conflict, Records
from perdure.model.rpc import unavailable

KIND = "task_queue_config"
ATTEMPTS_MAX = 5
"""How often a change is made anew because somebody else made one."""


class TaskQueueConfigs:
    """The settings of all task queues."""

    def __init__(self, records: Records, matching: Matching) -> None:
        self._records = records
        self._matching = matching
        self._all: dict[QueueKey, tuple[TaskQueueConfig, int]] = {}

    async def load(self) -> None:
        """Reads all of them."""
        for record in await self._records.list(KIND, None, limit=1_000_000):
            kind, _, name = record.key.partition(":")
            self._take(QueueKey(TaskKind(int(kind)), record.namespace, name), TaskQueueConfig.FromString(record.data), record.version)

    def get(self, key: QueueKey) -> TaskQueueConfig:
        """A queue's settings; empty if nobody set any."""
        found = self._all.get(key)
        return TaskQueueConfig() if found is None else found[0]

    async def change(self, key: QueueKey, change: Callable[[TaskQueueConfig], None]) -> TaskQueueConfig:
        """Changes a queue's settings; durable, and in force, when it returns.

        Raises:
            RpcError: UNAVAILABLE.
        """
        name = f"{key.kind.value}:{key.name}"
        for _ in range(ATTEMPTS_MAX):
            before, version = self._all.get(key, (TaskQueueConfig(), 0))
            config = TaskQueueConfig()
            config.CopyFrom(before)
            change(config)
            try:
                written = await self._records.put(KIND, key.namespace, name, config.SerializeToString(), expected_version=version)
            except Conflict:
                stored = await self._records.get(KIND, key.namespace, name)
                if stored is not None:
                    self._take(key, TaskQueueConfig.FromString(stored.data), stored.version)
                continue
            self._take(key, config, written)
            return config
        raise unavailable(f'the settings of task queue "{key.name}" are being changed by others; try again')

    def _take(self, key: QueueKey, config: TaskQueueConfig, version: int) -> None:
        self._all[key] = config, version
        whole = each = None
        if config.queue_rate_limit.HasField("rate_limit"):
            whole = config.queue_rate_limit.rate_limit.requests_per_second
        if config.fairness_keys_rate_limit_default.HasField("rate_limit"):
            each = config.fairness_keys_rate_limit_default.rate_limit.requests_per_second
        self._matching.settings.set(key, whole, each, dict(config.fairness_weight_overrides))
        put_in_force(self._matching, key)
