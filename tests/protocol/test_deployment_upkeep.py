"""Proves that worker deployments and their versions are annotated, managed and removed, with the official SDK's raw service."""

from __future__ import annotations

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus
from temporalio.api.workflowservice.v1 import (
    CreateWorkerDeploymentRequest,
    CreateWorkerDeploymentVersionRequest,
    DeleteWorkerDeploymentRequest,
    DeleteWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionRequest,
    ListWorkerDeploymentsRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentManagerRequest,
    UpdateWorkerDeploymentVersionMetadataRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers
from tests.protocol.test_deployments import AUTO, DEPLOYMENT, config, described, make_current, waits

ONE = WorkerDeploymentVersion(deployment_name=DEPLOYMENT, build_id="1")
DELETE = DeleteWorkerDeploymentVersionRequest(namespace="default", deployment_version=ONE)


def current(build: str, identity: str = "") -> SetWorkerDeploymentCurrentVersionRequest:
    return SetWorkerDeploymentCurrentVersionRequest(
        namespace="default", deployment_name=DEPLOYMENT, build_id=build, identity=identity, allow_no_pollers=True
    )


async def test_a_version_is_removed_once_nothing_needs_it(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    whole = DeleteWorkerDeploymentRequest(namespace="default", deployment_name=DEPLOYMENT)
    async with worker([waits("1", AUTO)], deployment_config=config("1")):
        await make_current(client, "1")
        with pytest.raises(RPCError, match="current or ramping"):
            await service.delete_worker_deployment_version(DELETE)
        await service.set_worker_deployment_current_version(current(""))
        with pytest.raises(RPCError, match="active pollers"):
            await service.delete_worker_deployment_version(DELETE)
    with pytest.raises(RPCError) as refused:
        await service.delete_worker_deployment(whole)
    assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION
    await service.delete_worker_deployment_version(DELETE)
    assert not (await described(client)).worker_deployment_info.version_summaries
    await service.delete_worker_deployment(whole)
    assert not (await service.list_worker_deployments(ListWorkerDeploymentsRequest(namespace="default"))).worker_deployments
    for request, call in ((DELETE, service.delete_worker_deployment_version), (whole, service.delete_worker_deployment)):
        with pytest.raises(RPCError) as refused:
            await call(request)
        assert refused.value.status is RPCStatusCode.NOT_FOUND
    async with worker([waits("1", AUTO)], deployment_config=config("1")):
        await described(client, "1")


async def test_what_is_noted_of_a_version(client: Client, worker: Workers) -> None:
    async with worker([waits("1", AUTO)], deployment_config=config("1")):
        await described(client, "1")
        request = UpdateWorkerDeploymentVersionMetadataRequest(namespace="default", deployment_version=ONE, identity="me")
        request.upsert_entries["a"].CopyFrom(Payload(data=b"1"))
        request.upsert_entries["b"].CopyFrom(Payload(data=b"2"))
        await client.workflow_service.update_worker_deployment_version_metadata(request)
        request = UpdateWorkerDeploymentVersionMetadataRequest(namespace="default", deployment_version=ONE, remove_entries=["a", "c"])
        reply = await client.workflow_service.update_worker_deployment_version_metadata(request)
        shown = await client.workflow_service.describe_worker_deployment_version(
            DescribeWorkerDeploymentVersionRequest(namespace="default", deployment_version=ONE)
        )
        assert reply.metadata == shown.worker_deployment_version_info.metadata
        assert {key: value.data for key, value in reply.metadata.entries.items()} == {"b": b"2"}


async def test_only_the_manager_changes_a_deployment_that_has_one(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    async with worker([waits("1", AUTO)], deployment_config=config("1")):
        token = (await described(client, "1")).conflict_token
        manage = SetWorkerDeploymentManagerRequest(namespace="default", deployment_name=DEPLOYMENT, identity="ann", conflict_token=token)
        manage.self = True
        reply = await service.set_worker_deployment_manager(manage)
        assert reply.previous_manager_identity == "" and reply.conflict_token != token
        with pytest.raises(RPCError) as refused:
            await service.set_worker_deployment_current_version(current("1", "bob"))
        assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION
        await service.set_worker_deployment_current_version(current("1", "ann"))
        with pytest.raises(RPCError):
            await service.set_worker_deployment_manager(manage)  # the token is old
        unset = SetWorkerDeploymentManagerRequest(namespace="default", deployment_name=DEPLOYMENT, manager_identity="", identity="bob")
        assert (await service.set_worker_deployment_manager(unset)).previous_manager_identity == "ann"
        await service.set_worker_deployment_current_version(current("", "bob"))


async def test_a_deployment_and_a_version_are_made_before_a_worker_polls(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    make = CreateWorkerDeploymentRequest(namespace="default", deployment_name=DEPLOYMENT, identity="me", request_id="r1")
    version = CreateWorkerDeploymentVersionRequest(namespace="default", deployment_version=ONE, identity="me", request_id="r2")
    with pytest.raises(RPCError) as refused:
        await service.create_worker_deployment_version(version)
    assert refused.value.status is RPCStatusCode.NOT_FOUND
    for _ in range(2):  # a request that is repeated finds what it made
        token = (await service.create_worker_deployment(make)).conflict_token
        await service.create_worker_deployment_version(version)
    found = await described(client, "1")
    assert found.conflict_token == token
    assert (
        found.worker_deployment_info.version_summaries[0].status == WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CREATED
    )
    for request, call in ((make, service.create_worker_deployment), (version, service.create_worker_deployment_version)):
        request.request_id = "another"  # type: ignore[attr-defined]
        with pytest.raises(RPCError) as refused:
            await call(request)  # type: ignore[operator]
        assert refused.value.status is RPCStatusCode.ALREADY_EXISTS
    async with worker([waits("1", AUTO)], deployment_config=config("1")):
        while (await described(client)).worker_deployment_info.version_summaries[0].status != 1:  # INACTIVE: its worker polls
            pass
    await service.delete_worker_deployment_version(DELETE)


@pytest.mark.parametrize("name", ["", "a.b", "a:b", "x" * 300])
async def test_names_that_no_deployment_can_have(client: Client, name: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.create_worker_deployment(CreateWorkerDeploymentRequest(namespace="default", deployment_name=name))
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
