"""Task queues and those who poll them: RPCs on the engine."""

from __future__ import annotations

import math
import socket
from typing import Final

from temporalio.api.enums.v1 import BuildIdTaskReachability, DescribeTaskQueueMode, TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimitConfig, TaskQueueConfig, TaskQueueStats
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
    UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import TaskKind, limits
from perdure.engine.core.times import set_ns
from perdure.engine.matching import QueueKey
from perdure.engine.queue_views import pollers, rate_limit, stats
from perdure.engine.versioned_queues import parts
from perdure.model.rpc import invalid_argument

_ACTIVITY: Final = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_ENHANCED: Final = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
_KINDS: Final = {_ACTIVITY: TaskKind.ACTIVITY, TaskQueueType.TASK_QUEUE_TYPE_NEXUS: TaskKind.NEXUS}
"""By the type that a request names; a workflow's where it names none."""
_TYPES_SHOWN: Final = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, _ACTIVITY)
"""Unless the request names others."""
_REACHABLE: Final = BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_REACHABLE


class TaskQueueCalls(Calls):
    """Task queues and those who poll them."""

    @rpc
    async def describe_task_queue(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        """Who polls a queue, what waits on it, what is set of it."""
        kind = _KINDS.get(request.task_queue_type, TaskKind.WORKFLOW)
        key = self._polled_queue(kind, request.namespace, request.task_queue.name)
        matching, now = self.engine.matching, self.engine.clock.now()
        response = DescribeTaskQueueResponse(pollers=pollers(parts(matching, key), now))
        limit = rate_limit(parts(matching, key), matching, key)
        if request.report_stats or request.include_task_queue_status:
            shown, by_priority = await self._stats(key)
            if request.report_stats:
                response.stats.CopyFrom(shown)
                for level, of_level in by_priority.items():
                    response.stats_by_priority_key[level].CopyFrom(of_level)
            if request.include_task_queue_status:
                response.task_queue_status.backlog_count_hint = shown.approximate_backlog_count
                response.task_queue_status.rate_per_second = limit.requests_per_second
        if request.report_config:
            response.config.CopyFrom(self.engine.queue_configs.get(key))
            response.effective_rate_limit.CopyFrom(limit)
        self._fill_versioning(key, response)
        if request.api_mode == _ENHANCED:
            await self._fill_types(request, key, response)
        return response

    async def _fill_types(self, request: DescribeTaskQueueRequest, key: QueueKey, response: DescribeTaskQueueResponse) -> None:
        """What older clients, and the `temporal` command, show: several types of a queue at once."""
        version = response.versions_info[""]
        for wanted in request.task_queue_types or _TYPES_SHOWN:
            other = key._replace(kind=_KINDS.get(wanted, TaskKind.WORKFLOW))
            info = version.types_info[wanted]
            info.pollers.extend(pollers(parts(self.engine.matching, other), self.engine.clock.now()))
            info.stats.CopyFrom((await self._stats(other))[0])
        if request.report_task_reachability:
            version.task_reachability = _REACHABLE

    async def _stats(self, key: QueueKey) -> tuple[TaskQueueStats, dict[int, TaskQueueStats]]:
        return await stats(parts(self.engine.matching, key), self.engine.runs, key, self.engine.clock.now())

    def _fill_versioning(self, key: QueueKey, response: DescribeTaskQueueResponse) -> None:
        routing = self.engine.deployments.routing_of(key.kind, key.namespace, key.name)
        if routing is None:
            return
        info = response.versioning_info
        info.current_version, info.ramping_version = routing.current_version, routing.ramping_version
        info.ramping_version_percentage = routing.ramping_version_percentage
        if routing.current_deployment_version.build_id:
            info.current_deployment_version.CopyFrom(routing.current_deployment_version)
        if routing.ramping_deployment_version.build_id:
            info.ramping_deployment_version.CopyFrom(routing.ramping_deployment_version)
        info.update_time.CopyFrom(routing.current_version_changed_time)

    @rpc
    async def list_task_queue_partitions(self, request: ListTaskQueuePartitionsRequest) -> ListTaskQueuePartitionsResponse:
        """A queue has one partition here."""
        key = self._polled_queue(TaskKind.WORKFLOW, request.namespace, request.task_queue.name)
        response = ListTaskQueuePartitionsResponse()
        for partitions in (response.workflow_task_queue_partitions, response.activity_task_queue_partitions):
            partitions.add(key=key.name, owner_host_name=socket.gethostname())
        return response

    @rpc
    async def update_task_queue_config(self, request: UpdateTaskQueueConfigRequest) -> UpdateTaskQueueConfigResponse:
        """Sets how fast a queue gives tasks away, and the weights of fairness keys; in force when it returns."""
        kind = _KINDS.get(request.task_queue_type, TaskKind.WORKFLOW)
        key = self._polled_queue(kind, request.namespace, request.task_queue)
        for update in (request.update_queue_rate_limit, request.update_fairness_key_rate_limit_default):
            if not 0 <= update.rate_limit.requests_per_second < math.inf:
                raise invalid_argument("RequestsPerSecond must be a number that is not negative.")
        if not all(0 < weight < math.inf for weight in request.set_fairness_weight_overrides.values()):
            raise invalid_argument("A fairness weight must be a number greater than 0.")
        if any(limits.too_long(name, limits.FAIRNESS_KEY_BYTES_MAX) for name in request.set_fairness_weight_overrides):
            raise invalid_argument(f"A fairness key has at most {limits.FAIRNESS_KEY_BYTES_MAX} bytes.")
        now = self.engine.clock.now()
        config = await self.engine.queue_configs.change(key, lambda config: _apply(config, request, now))
        return UpdateTaskQueueConfigResponse(config=config)

    @rpc
    async def shutdown_worker(self, request: ShutdownWorkerRequest) -> ShutdownWorkerResponse:
        """A worker says good-bye: its polls end, and what waits on its sticky queue goes to the normal one."""
        self._namespace(request.namespace)
        if request.worker_heartbeat.worker_instance_key:
            self.engine.workers.record(request.namespace, request.worker_heartbeat)
        if request.worker_instance_key:
            self.engine.matching.end_worker(request.namespace, request.task_queue, request.worker_instance_key)
        if request.sticky_task_queue:
            self.engine.drop_sticky_queue(request.namespace, request.sticky_task_queue)
        return ShutdownWorkerResponse()


def _apply(config: TaskQueueConfig, request: UpdateTaskQueueConfigRequest, now: int) -> None:
    if request.HasField("update_queue_rate_limit"):
        _set_rate(config.queue_rate_limit, request.update_queue_rate_limit, request.identity, now)
    if request.HasField("update_fairness_key_rate_limit_default"):
        _set_rate(config.fairness_keys_rate_limit_default, request.update_fairness_key_rate_limit_default, request.identity, now)
    for key, weight in request.set_fairness_weight_overrides.items():
        config.fairness_weight_overrides[key] = weight
    for key in request.unset_fairness_weight_overrides:
        config.fairness_weight_overrides.pop(key, None)


def _set_rate(config: RateLimitConfig, update: UpdateTaskQueueConfigRequest.RateLimitUpdate, identity: str, now: int) -> None:
    config.ClearField("rate_limit")
    if update.HasField("rate_limit"):
        config.rate_limit.CopyFrom(update.rate_limit)
    config.metadata.reason, config.metadata.update_identity = update.reason, identity
    set_ns(config.metadata.update_time, now)
