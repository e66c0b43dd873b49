"""Proves worker deployment versioning with the official SDK: pinned runs and others, ramps, overrides, what was waiting."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.client import Client, WorkflowHandle
from temporalio.common import PinnedVersioningOverride, VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig
from tests.protocol.conftest import Workers


def waits(version: str, behavior: VersioningBehavior) -> type:
    async def run(self: Any) -> str:
        await workflow.wait_condition(lambda: self.released)
        return version

    def go_on(self: Any) -> None:
        self.released = True

    run.__qualname__, go_on.__qualname__ = "Flow.run", "Flow.go_on"
    body = {"released": False, "run": workflow.run(run), "go_on": workflow.signal(name="go_on")(go_on)}
    return workflow.defn(name="Flow", versioning_behavior=behavior)(type("Flow", (), body))


DEPLOYMENT = "orders"
AUTO, PINNED = VersioningBehavior.AUTO_UPGRADE, VersioningBehavior.PINNED


def config(build: str) -> WorkerDeploymentConfig:
    return WorkerDeploymentConfig(version=WorkerDeploymentVersion(DEPLOYMENT, build), use_worker_versioning=True)


async def described(client: Client, *builds: str) -> DescribeWorkerDeploymentResponse:
    """The deployment, once these builds have polled."""
    while True:
        try:
            found = await client.workflow_service.describe_worker_deployment(
                DescribeWorkerDeploymentRequest(namespace="default", deployment_name=DEPLOYMENT)
            )
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND
            continue
        known = {summary.deployment_version.build_id for summary in found.worker_deployment_info.version_summaries}
        if known >= set(builds):
            return found


async def make_current(client: Client, build: str, token: bytes = b"") -> bytes:
    await described(client, build)
    reply = await client.workflow_service.set_worker_deployment_current_version(
        SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name=DEPLOYMENT, build_id=build, conflict_token=token)
    )
    return reply.conflict_token


async def begin(client: Client, queue: str, **options: Any) -> WorkflowHandle[Any, str]:
    return await client.start_workflow("Flow", id=str(uuid.uuid4()), task_queue=queue, result_type=str, **options)


async def until_on(handle: WorkflowHandle[Any, Any], build: str) -> None:
    while True:
        info = (await handle.describe()).raw_description.workflow_execution_info.versioning_info
        if info.deployment_version.build_id == build:
            return


async def test_runs_follow_what_is_current_or_stay_pinned(client: Client, worker: Workers) -> None:
    one, two = (waits("1", AUTO), waits("2", PINNED))
    async with (
        worker([one], deployment_config=config("1")) as running,
        worker([two], deployment_config=config("2"), task_queue=running.task_queue),
        worker([waits("3", AUTO)], deployment_config=config("3"), task_queue=running.task_queue),
    ):
        handles = []
        for build in ("1", "2", "3"):
            await make_current(client, build)
            handle = await begin(client, running.task_queue)
            await until_on(handle, build)
            handles.append(handle)
        for handle in handles:
            await handle.signal("go_on")
        assert [await handle.result() for handle in handles] == ["3", "2", "3"]
        last = [e async for e in handles[1].fetch_history_events() if e.HasField("workflow_task_completed_event_attributes")][-1]
        said = last.workflow_task_completed_event_attributes
        assert said.deployment_version.build_id == "2" and said.worker_deployment_name == DEPLOYMENT and said.versioning_behavior == PINNED


async def test_what_was_started_before_there_was_a_version_goes_to_the_current_one(client: Client, worker: Workers) -> None:
    handle = await begin(client, "queue")
    await handle.signal("go_on")
    async with worker([waits("1", AUTO)], deployment_config=config("1"), task_queue="queue"):
        await make_current(client, "1")
        assert await handle.result() == "1"


async def test_a_ramp(client: Client, worker: Workers) -> None:
    async with (
        worker([waits("1", AUTO)], deployment_config=config("1")) as running,
        worker([waits("2", AUTO)], deployment_config=config("2"), task_queue=running.task_queue),
    ):
        await make_current(client, "1")
        token = (await described(client, "2")).conflict_token
        seen = {}
        for percentage in (0, 50, 100):
            reply = await client.workflow_service.set_worker_deployment_ramping_version(
                SetWorkerDeploymentRampingVersionRequest(
                    namespace="default", deployment_name=DEPLOYMENT, build_id="2", percentage=percentage, conflict_token=token
                )
            )
            token = reply.conflict_token
            results = []
            for _ in range(12):
                handle = await begin(client, running.task_queue)
                await handle.signal("go_on")
                results.append(await handle.result())
            seen[percentage] = set(results)
        assert seen == {0: {"1"}, 50: {"1", "2"}, 100: {"2"}}
        stale = SetWorkerDeploymentRampingVersionRequest(
            namespace="default", deployment_name=DEPLOYMENT, build_id="2", percentage=5, conflict_token=b"old"
        )
        with pytest.raises(RPCError) as refused:
            await client.workflow_service.set_worker_deployment_ramping_version(stale)
        assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION


async def test_an_override_pins(client: Client, worker: Workers) -> None:
    async with (
        worker([waits("1", AUTO)], deployment_config=config("1")) as running,
        worker([waits("2", AUTO)], deployment_config=config("2"), task_queue=running.task_queue),
    ):
        await make_current(client, "1")
        await described(client, "2")
        override = PinnedVersioningOverride(WorkerDeploymentVersion(DEPLOYMENT, "2"))
        handle = await begin(client, running.task_queue, versioning_override=override)
        await handle.signal("go_on")
        assert await handle.result() == "2"
        info = (await handle.describe()).raw_description.workflow_execution_info.versioning_info
        assert info.versioning_override.pinned.version.build_id == "2" or info.versioning_override.pinned_version


async def test_what_is_shown(client: Client, worker: Workers) -> None:
    async with worker([waits("1", AUTO)], deployment_config=config("1")) as running:
        await make_current(client, "1")
        listed = await client.workflow_service.list_worker_deployments(ListWorkerDeploymentsRequest(namespace="default"))
        assert [each.name for each in listed.worker_deployments] == [DEPLOYMENT]
        request = DescribeWorkerDeploymentVersionRequest(namespace="default", version=f"{DEPLOYMENT}.1")
        shown = await client.workflow_service.describe_worker_deployment_version(request)
        assert {queue.name for queue in shown.version_task_queues} == {running.task_queue}
        with pytest.raises(RPCError) as refused:
            await make_current_unknown(client)
        assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION


async def make_current_unknown(client: Client) -> None:
    await client.workflow_service.set_worker_deployment_current_version(
        SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name=DEPLOYMENT, build_id="none")
    )


@workflow.defn(name="Family", versioning_behavior=PINNED)
class Family:
    @workflow.run
    async def run(self, elsewhere: str) -> list[str]:
        await workflow.wait_condition(lambda: self.released)
        return [await workflow.execute_child_workflow("Child", result_type=str, task_queue=queue) for queue in (None, elsewhere)]

    released = False

    @workflow.signal
    def go_on(self) -> None:
        self.released = True


def child(version: str, behavior: VersioningBehavior = AUTO) -> type:
    async def run(self: Any) -> str:
        return version

    run.__qualname__ = "Child.run"
    return workflow.defn(name="Child", versioning_behavior=behavior)(type("Child", (), {"run": workflow.run(run)}))


async def test_a_child_stays_with_its_parents_version_where_that_is_polled(client: Client, worker: Workers) -> None:
    async with (
        worker([Family, child("1")], deployment_config=config("1")) as running,
        worker([child("2")], deployment_config=config("2"), task_queue=running.task_queue),
        worker([child("elsewhere", VersioningBehavior.UNSPECIFIED)]) as unversioned,
    ):
        await make_current(client, "1")
        handle = await client.start_workflow(Family.run, unversioned.task_queue, id=str(uuid.uuid4()), task_queue=running.task_queue)
        await until_on(handle, "1")
        await make_current(client, "2")
        await handle.signal(Family.go_on)
        assert await handle.result() == ["1", "elsewhere"]
