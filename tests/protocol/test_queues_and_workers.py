"""Proves what is shown and set of task queues and workers: pollers, backlog, rate limits, fairness weights, heartbeats, queries."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import BuildIdTaskReachability, DescribeTaskQueueMode, RateLimitSource, TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkerRequest,
    ListTaskQueuePartitionsRequest,
    ListWorkersRequest,
    PollActivityTaskQueueRequest,
    RecordWorkerHeartbeatRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateTaskQueueConfigRequest,
)
from temporalio.client import Client
from temporalio.common import Priority, VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig
from tests.protocol.conftest import Workers

ACTIVITY, WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW


@activity.defn
async def nothing() -> None:
    pass


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(nothing, start_to_close_timeout=timedelta(seconds=30))


async def described(client: Client, name: str, **fields: object) -> DescribeTaskQueueResponse:
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=name), **fields)  # type: ignore[arg-type]
    return await client.workflow_service.describe_task_queue(request)


async def test_pollers_of_both_kinds_are_shown(client: Client, worker: Workers) -> None:
    async with worker([Nothing], [nothing], identity="me") as running:
        for kind in (WORKFLOW, ACTIVITY):
            while not (shown := await described(client, running.task_queue, task_queue_type=kind)).pollers:
                pass
            (poller,) = shown.pollers
            assert poller.identity == "me" and poller.last_access_time.seconds
        enhanced = await described(
            client,
            running.task_queue,
            api_mode=DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
            task_queue_types=[WORKFLOW, ACTIVITY],
        )
        assert {kind: len(info.pollers) for kind, info in enhanced.versions_info[""].types_info.items()} == {WORKFLOW: 1, ACTIVITY: 1}


async def test_the_temporal_command_asks_for_no_types_and_gets_both(client: Client, worker: Workers) -> None:
    """`temporal task-queue describe` takes an answer with pollers but without types for that of a server that is too old."""
    asked = {"api_mode": DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED, "report_task_reachability": True}
    async with worker([Nothing], [nothing]) as running:
        while not (await described(client, running.task_queue, task_queue_type=ACTIVITY)).pollers:
            pass  # its first poll is on its way
        (version,) = (await described(client, running.task_queue, **asked)).versions_info.values()
        assert set(version.types_info) == {WORKFLOW, ACTIVITY} and len(version.types_info[ACTIVITY].pollers) == 1
        assert version.task_reachability == BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_REACHABLE
    assert not (await described(client, running.task_queue, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_NEXUS)).pollers


async def test_the_backlog_is_counted(client: Client) -> None:
    for _ in range(5):
        await client.start_workflow(Nothing.run, id=str(uuid.uuid4()), task_queue="waiting")
    shown = await described(client, "waiting", task_queue_type=WORKFLOW, report_stats=True, include_task_queue_status=True)
    assert shown.stats.approximate_backlog_count == 5 and shown.task_queue_status.backlog_count_hint == 5
    assert shown.stats.HasField("approximate_backlog_age") and shown.stats_by_priority_key[3].approximate_backlog_count == 5
    partitions = await client.workflow_service.list_task_queue_partitions(
        ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name="waiting"))
    )
    assert len(partitions.workflow_task_queue_partitions) == len(partitions.activity_task_queue_partitions) == 1


async def test_a_rate_limit_slows_a_queue_down_and_is_shown(client: Client, worker: Workers) -> None:
    async with worker([Nothing], [nothing], disable_eager_activity_execution=True) as running:
        request = UpdateTaskQueueConfigRequest(namespace="default", identity="op", task_queue=running.task_queue, task_queue_type=ACTIVITY)
        request.update_queue_rate_limit.rate_limit.CopyFrom(RateLimit(requests_per_second=4))
        request.update_queue_rate_limit.reason = "gently"
        request.set_fairness_weight_overrides["tenant"] = 3.0
        reply = await client.workflow_service.update_task_queue_config(request)
        assert reply.config.queue_rate_limit.metadata.reason == "gently"
        begun = time.monotonic()
        handles = [await client.start_workflow(Nothing.run, id=str(uuid.uuid4()), task_queue=running.task_queue) for _ in range(8)]
        for handle in handles:
            await handle.result()
        assert time.monotonic() - begun > 0.9  # four at once, the others at four in a second
        shown = await described(client, running.task_queue, task_queue_type=ACTIVITY, report_config=True)
        assert shown.config.queue_rate_limit.rate_limit.requests_per_second == shown.effective_rate_limit.requests_per_second == 4
        assert shown.effective_rate_limit.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_API
        assert dict(shown.config.fairness_weight_overrides) == {"tenant": 3.0}
        request.update_queue_rate_limit.ClearField("rate_limit")
        request.ClearField("set_fairness_weight_overrides")
        request.unset_fairness_weight_overrides.append("tenant")
        reply = await client.workflow_service.update_task_queue_config(request)
        assert not reply.config.queue_rate_limit.HasField("rate_limit") and not reply.config.fairness_weight_overrides


async def test_a_rate_of_each_fairness_key_slows_down_only_who_is_fast(client: Client, worker: Workers) -> None:
    async with worker([Nothing], [nothing], disable_eager_activity_execution=True) as running:
        request = UpdateTaskQueueConfigRequest(namespace="default", identity="op", task_queue=running.task_queue, task_queue_type=ACTIVITY)
        request.update_fairness_key_rate_limit_default.rate_limit.requests_per_second = 2
        reply = await client.workflow_service.update_task_queue_config(request)
        assert reply.config.fairness_keys_rate_limit_default.rate_limit.requests_per_second == 2

        async def run(tenant: str) -> float:
            await client.execute_workflow(
                Nothing.run, id=str(uuid.uuid4()), task_queue=running.task_queue, priority=Priority(fairness_key=tenant)
            )
            return time.monotonic()

        begun = time.monotonic()
        fast = [asyncio.ensure_future(run("fast")) for _ in range(6)]
        slow = await run("slow")
        ends = sorted([await each for each in fast])
        assert ends[-1] - begun > 1.8  # two at once, the others at two in a second
        assert slow < ends[-1]


NO_NUMBERS = [float("nan"), float("inf"), -1.0]


@pytest.mark.parametrize("number", NO_NUMBERS)
async def test_numbers_that_are_none_are_refused(client: Client, number: float) -> None:
    """One of them among the turns of fairness keys, and no order holds any more."""
    poll = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"))
    poll.task_queue_metadata.max_tasks_per_second.value = number
    rate = UpdateTaskQueueConfigRequest(namespace="default", task_queue="q", task_queue_type=ACTIVITY)
    rate.update_queue_rate_limit.rate_limit.requests_per_second = number
    each = UpdateTaskQueueConfigRequest(namespace="default", task_queue="q", task_queue_type=ACTIVITY)
    each.update_fairness_key_rate_limit_default.rate_limit.requests_per_second = number
    weight = UpdateTaskQueueConfigRequest(namespace="default", task_queue="q", task_queue_type=ACTIVITY)
    weight.set_fairness_weight_overrides["tenant"] = number
    service = client.workflow_service
    for call in (
        service.poll_activity_task_queue(poll),
        service.update_task_queue_config(rate),
        service.update_task_queue_config(each),
        service.update_task_queue_config(weight),
    ):
        with pytest.raises(RPCError) as refused:
            await call
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("what", ["rate", "weight", "queue"])
async def test_settings_that_make_no_sense_are_refused(client: Client, what: str) -> None:
    request = UpdateTaskQueueConfigRequest(namespace="default", task_queue="" if what == "queue" else "q", task_queue_type=ACTIVITY)
    if what == "rate":
        request.update_queue_rate_limit.rate_limit.requests_per_second = -1
    if what == "weight":
        request.set_fairness_weight_overrides["tenant"] = 0
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.update_task_queue_config(request)
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_workers_are_listed_counted_and_described(client: Client) -> None:
    service = client.workflow_service
    heartbeats = [
        WorkerHeartbeat(worker_instance_key=f"key-{n}", worker_identity=f"me-{n}", task_queue="odd" if n % 2 else "even", status=running)
        for n, running in enumerate([WorkerStatus.WORKER_STATUS_RUNNING] * 4 + [WorkerStatus.WORKER_STATUS_SHUTTING_DOWN])
    ]
    for number, heartbeat in enumerate(heartbeats[:4]):
        heartbeat.start_time.FromJsonString(f"2026-01-0{number + 1}T00:00:00Z")
    await service.record_worker_heartbeat(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=heartbeats))
    listed = await service.list_workers(ListWorkersRequest(namespace="default", query="TaskQueue = 'even'", page_size=2))
    assert [w.worker_heartbeat.worker_instance_key for w in listed.workers_info] == ["key-0", "key-2"]
    rest = ListWorkersRequest(namespace="default", query="TaskQueue = 'even'", page_size=2, next_page_token=listed.next_page_token)
    assert [w.worker_instance_key for w in (await service.list_workers(rest)).workers] == ["key-4"]
    for query, expected in (
        ("", 5),
        ("Status = 'Running' AND NOT TaskQueue = 'odd'", 2),
        ("WorkerIdentity IN ('me-1', 'me-2') OR Status = 'ShuttingDown'", 3),
        ("WorkerInstanceKey STARTS_WITH 'key'", 5),
        ('`WorkerStatus`="ShuttingDown"', 1),  # as the web UI writes it
        ("StartTime > '2026-01-02T00:00:00Z'", 2),
        ("StartTime BETWEEN '2026-01-02T00:00:00Z' AND '2026-01-03T00:00:00Z'", 2),
        ("StartTime IS NULL", 1),
    ):
        assert (await service.count_workers(CountWorkersRequest(namespace="default", query=query))).count == expected
    described = await service.describe_worker(DescribeWorkerRequest(namespace="default", worker_instance_key="key-1"))
    assert described.worker_info.worker_heartbeat.worker_identity == "me-1"
    with pytest.raises(RPCError) as refused:
        await service.describe_worker(DescribeWorkerRequest(namespace="default", worker_instance_key="none"))
    assert refused.value.status is RPCStatusCode.NOT_FOUND
    heartbeats[0].status = 99  # type: ignore[assignment]
    await service.record_worker_heartbeat(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=heartbeats[:1]))
    assert (await service.count_workers(CountWorkersRequest(namespace="default", query="Status = 'Running'"))).count == 3


@pytest.mark.parametrize(
    "wrong",
    [
        "Nonsense = 1",
        "HostName = 'a' OR Nonsense = 1",
        "StartTime = 'soon'",
        "StartTime STARTS_WITH '2026'",
        "HostName > 'a'",
        "HostName = 'a' ORDER BY HostName",
        "GROUP BY Status",
    ],
)
@pytest.mark.parametrize("some", [False, True], ids=["of nobody", "of somebody"])
async def test_a_wrong_query_of_workers_is_refused(client: Client, wrong: str, some: bool) -> None:
    service = client.workflow_service
    if some:
        heartbeat = WorkerHeartbeat(worker_instance_key="key")
        await service.record_worker_heartbeat(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=[heartbeat]))
    with pytest.raises(RPCError) as refused:
        await service.count_workers(CountWorkersRequest(namespace="default", query=wrong))
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("versioned", [False, True], ids=["", "worker of a deployment's version"])
async def test_a_worker_says_how_fast_its_queue_may_be(client: Client, worker: Workers, versioned: bool) -> None:
    options: dict[str, Any] = {"disable_eager_activity_execution": True, "max_task_queue_activities_per_second": 4}
    if versioned:
        options["deployment_config"] = WorkerDeploymentConfig(
            WorkerDeploymentVersion("d", "1"), use_worker_versioning=True, default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE
        )
    async with worker([Nothing], [nothing], **options) as running:
        while not (shown := await described(client, running.task_queue, task_queue_type=ACTIVITY)).pollers:
            pass
        assert shown.pollers[0].rate_per_second == 4
        limit = (await described(client, running.task_queue, task_queue_type=ACTIVITY, report_config=True)).effective_rate_limit
        assert (limit.requests_per_second, limit.rate_limit_source) == (4, RateLimitSource.RATE_LIMIT_SOURCE_WORKER)
        if versioned:
            current = SetWorkerDeploymentCurrentVersionRequest(
                namespace="default", deployment_name="d", build_id="1", allow_no_pollers=True
            )
            await client.workflow_service.set_worker_deployment_current_version(current)
        begun = time.monotonic()
        handles = [await client.start_workflow(Nothing.run, id=str(uuid.uuid4()), task_queue=running.task_queue) for _ in range(8)]
        for handle in handles:
            await handle.result()
        assert time.monotonic() - begun > 0.9
