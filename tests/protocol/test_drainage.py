"""Proves what is said of a version that takes no new work any more: draining while workflows are pinned to it, drained after that."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.deployment.v1 import WorkerDeploymentVersion, WorkerDeploymentVersionInfo
from temporalio.api.enums.v1 import VersionDrainageStatus, WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import (
    DeleteWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.protocol.conftest import Workers
from tests.protocol.test_deployments import AUTO, DEPLOYMENT, PINNED, begin, config, described, make_current, until_on, waits

from perdure.testing import server as run_server

S, D = WorkerDeploymentVersionStatus, VersionDrainageStatus
DRAINING, DRAINED = S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING, S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED
CURRENT, RAMPING = S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT, S.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING
INACTIVE = S.WORKER_DEPLOYMENT_VERSION_STATUS_INACTIVE


def named(build: str) -> WorkerDeploymentVersion:
    return WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id=build)


async def version(client: Client, build: str) -> WorkerDeploymentVersionInfo:
    request = DescribeWorkerDeploymentVersionRequest(namespace="default", deployment_version=named(build))
    return (await client.workflow_service.describe_worker_deployment_version(request)).worker_deployment_version_info


async def set_current(client: Client, build: str) -> None:
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace="default", deployment_name=DEPLOYMENT, build_id=build, allow_no_pollers=True
    )
    await client.workflow_service.set_worker_deployment_current_version(request)


async def ramp(client: Client, build: str, percentage: float) -> None:
    request = SetWorkerDeploymentRampingVersionRequest(
        namespace="default", deployment_name=DEPLOYMENT, build_id=build, percentage=percentage, allow_no_pollers=True
    )
    await client.workflow_service.set_worker_deployment_ramping_version(request)


async def test_a_version_drains_until_the_last_workflow_that_is_pinned_to_it_ends(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    delete = DeleteWorkerDeploymentVersionRequest(namespace="default", deployment_version=named("1"))
    async with worker([waits("2", AUTO)], deployment_config=config("2")) as running:
        async with worker([waits("1", PINNED)], deployment_config=config("1"), task_queue=running.task_queue):
            assert (await described(client, "1", "2")).worker_deployment_info.version_summaries[0].status == INACTIVE
            await make_current(client, "1")
            one = await version(client, "1")
            assert one.status == CURRENT
            assert one.first_activation_time == one.last_current_time == one.routing_changed_time == one.current_since_time
            handle = await begin(client, running.task_queue)
            await until_on(handle, "1")

            await set_current(client, "2")
            one = await version(client, "1")
            assert (one.status, one.drainage_info.status) == (DRAINING, D.VERSION_DRAINAGE_STATUS_DRAINING)
            changed, checked = one.drainage_info.last_changed_time, one.drainage_info.last_checked_time
            assert changed == one.last_deactivation_time == one.routing_changed_time
            assert checked.ToNanoseconds() > changed.ToNanoseconds()
            assert not one.HasField("current_since_time") and one.HasField("last_current_time")
            with pytest.raises(RPCError, match="draining") as refused:
                await service.delete_worker_deployment_version(delete)
            assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION

            await handle.signal("go_on")
            assert await handle.result() == "1"
        one = await version(client, "1")
        assert (one.status, one.drainage_info.status) == (DRAINED, D.VERSION_DRAINAGE_STATUS_DRAINED)
        assert one.drainage_info.last_changed_time == one.drainage_info.last_checked_time != changed
        summary = next(s for s in (await described(client)).worker_deployment_info.version_summaries if s.version == one.version)
        assert (summary.status, summary.drainage_status) == (DRAINED, D.VERSION_DRAINAGE_STATUS_DRAINED)
        assert summary.drainage_info.last_changed_time == one.drainage_info.last_changed_time
        assert summary.routing_update_time == one.routing_changed_time
        await service.delete_worker_deployment_version(delete)


async def test_drainage_may_be_skipped_and_is_forgotten_by_a_rollback(client: Client, worker: Workers) -> None:
    async with worker([waits("1", PINNED)], deployment_config=config("1")) as running:
        await make_current(client, "1")
        handle = await begin(client, running.task_queue)
        await until_on(handle, "1")
        first = (await version(client, "1")).first_activation_time
        await set_current(client, "")
        assert (await version(client, "1")).status == DRAINING
        await ramp(client, "1", 50)
        one = await version(client, "1")
        assert (one.status, one.ramp_percentage, one.first_activation_time) == (RAMPING, 50, first)
        assert not one.HasField("drainage_info") and not one.HasField("last_deactivation_time")
        before = one.routing_changed_time
        await ramp(client, "1", 60)
        assert (await version(client, "1")).routing_changed_time.ToNanoseconds() > before.ToNanoseconds()
        await ramp(client, "", 0)
    delete = DeleteWorkerDeploymentVersionRequest(namespace="default", deployment_version=named("1"))
    with pytest.raises(RPCError, match="draining"):
        await client.workflow_service.delete_worker_deployment_version(delete)
    delete.skip_drainage = True
    await client.workflow_service.delete_worker_deployment_version(delete)
    assert not (await described(client)).worker_deployment_info.version_summaries


async def test_pinned_workflows_are_found_by_their_version(client: Client, worker: Workers) -> None:
    async with worker([waits("1", PINNED)], deployment_config=config("1")) as running:
        await make_current(client, "1")
        handle = await begin(client, running.task_queue)
        await until_on(handle, "1")
        query = "TemporalWorkerDeploymentVersion = 'orders:1' AND TemporalWorkflowVersioningBehavior = 'Pinned'"
        assert [found.id async for found in client.list_workflows(query)] == [handle.id]
        assert (await client.count_workflows("TemporalWorkerDeployment = 'orders'")).count == 1
        shown = (await handle.describe()).raw_description.workflow_execution_info.search_attributes.indexed_fields
        assert shown["TemporalWorkerDeploymentVersion"].data == b'"orders:1"'
        await handle.signal("go_on")
        await handle.result()
        assert (await client.count_workflows(f"{query} AND ExecutionStatus = 'Completed'")).count == 1


async def test_a_deployments_list_shows_its_latest_current_and_ramping_versions(client: Client, worker: Workers) -> None:
    async with worker([waits("1", AUTO)], deployment_config=config("1")):
        await make_current(client, "1")
        await ramp(client, "2", 5)  # nobody polls for it yet
        listed = (
            await client.workflow_service.list_worker_deployments(ListWorkerDeploymentsRequest(namespace="default"))
        ).worker_deployments
        (found,) = listed
        assert (found.current_version_summary.deployment_version, found.current_version_summary.status) == (named("1"), CURRENT)
        assert (found.ramping_version_summary.deployment_version, found.ramping_version_summary.status) == (named("2"), RAMPING)
        assert found.latest_version_summary == found.ramping_version_summary
        builds = [s.deployment_version.build_id for s in (await described(client)).worker_deployment_info.version_summaries]
        assert builds == ["2", "1"]


async def test_what_drains_is_known_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/drain.db"
    async with run_server(url) as address:
        client = await Client.connect(address)
        request = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name=DEPLOYMENT, build_id="1")
        flow = waits("1", PINNED)
        async with Worker(
            client, task_queue="q", workflows=[flow], deployment_config=config("1"), workflow_runner=UnsandboxedWorkflowRunner()
        ):
            await described(client, "1")
            await client.workflow_service.set_worker_deployment_current_version(request)
            handle = await begin(client, "q")
            await until_on(handle, "1")
        await set_current(client, "")
        draining = (await version(client, "1")).drainage_info
    async with run_server(url) as address:
        client = await Client.connect(address)
        again = await version(client, "1")
        assert again.status == DRAINING and again.drainage_info.last_changed_time == draining.last_changed_time
        await client.get_workflow_handle(handle.id).terminate()
        assert (await version(client, "1")).status == DRAINED


async def test_a_versions_backlog_is_shown(client: Client, worker: Workers) -> None:
    async with worker([waits("1", AUTO)], deployment_config=config("1")) as running:
        await make_current(client, "1")
        queue = running.task_queue
    for _ in range(3):
        await begin(client, queue)
    request = DescribeWorkerDeploymentVersionRequest(namespace="default", deployment_version=named("1"), report_task_queue_stats=True)
    shown = (await client.workflow_service.describe_worker_deployment_version(request)).version_task_queues
    assert [(each.name, each.stats.approximate_backlog_count) for each in shown if each.type == 1] == [(queue, 3)]
    request.report_task_queue_stats = False
    shown = (await client.workflow_service.describe_worker_deployment_version(request)).version_task_queues
    assert not any(each.HasField("stats") for each in shown)


async def test_a_version_that_lacks_a_queue_where_work_waits_is_refused(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    async with worker([waits("1", AUTO)], deployment_config=config("1")) as running:
        await make_current(client, "1")
        queue = running.task_queue
    async with worker([waits("2", AUTO)], deployment_config=config("2"), task_queue="another"):
        await described(client, "2")
        await begin(client, queue)
        current = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name=DEPLOYMENT, build_id="2")
        ramping = SetWorkerDeploymentRampingVersionRequest(namespace="default", deployment_name=DEPLOYMENT, build_id="2", percentage=5)
        for request, call in (
            (current, service.set_worker_deployment_current_version),
            (ramping, service.set_worker_deployment_ramping_version),
        ):
            with pytest.raises(RPCError, match="is missing active task queues") as refused:
                await call(request)  # type: ignore[operator]
            assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION
            request.ignore_missing_task_queues = True  # type: ignore[attr-defined]
        await service.set_worker_deployment_ramping_version(ramping)
        await service.set_worker_deployment_current_version(current)
        assert (await version(client, "2")).status == CURRENT
