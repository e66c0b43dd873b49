"""Proves that time is skipped when it may be: while unlocked, when nobody has anything to do, to the next timer and no further."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import nexusrpc.handler
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from temporalio import activity, workflow
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.testservice.v1 import LockTimeSkippingRequest, SleepRequest, SleepUntilRequest, UnlockTimeSkippingRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.testing import server as run_server

HOUR = 3600


@activity.defn
async def takes_its_time() -> str:
    await asyncio.sleep(0.3)
    return "done"


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self, hours: int) -> str:
        for _ in range(hours):
            await workflow.sleep(HOUR)
        return await workflow.execute_activity(takes_its_time, start_to_close_timeout=timedelta(seconds=5))


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    async with run_server(time_skipping=True) as address:
        yield await Client.connect(address)


async def now(client: Client) -> float:
    return (await client.test_service.get_current_time(Empty())).time.ToNanoseconds() / 1e9


async def test_sleeping_workflows_take_no_time(client: Client) -> None:
    service = client.test_service
    before = await now(client)
    async with Worker(
        client, task_queue="q", workflows=[Sleeper], activities=[takes_its_time], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        handle = await client.start_workflow(Sleeper.run, 30, id="w", task_queue="q")
        await service.unlock_time_skipping(UnlockTimeSkippingRequest())
        assert await handle.result() == "done", "an activity that runs is not timed out by a jump"
        await service.lock_time_skipping(LockTimeSkippingRequest())
    passed = await now(client) - before
    assert 30 * HOUR <= passed < 31 * HOUR


async def test_locked_time_passes_as_usual(client: Client) -> None:
    before = await now(client)
    await client.test_service.sleep(SleepRequest(duration=Duration(nanos=200_000_000)))
    assert 0.2 <= await now(client) - before < HOUR


async def test_sleeps_of_the_test(client: Client) -> None:
    service = client.test_service
    before = await now(client)
    await service.unlock_time_skipping_with_sleep(SleepRequest(duration=Duration(seconds=10 * HOUR)))
    assert 10 * HOUR <= await now(client) - before < 10 * HOUR + HOUR
    until = SleepUntilRequest()
    until.timestamp.FromSeconds(int(before) + 20 * HOUR)
    await service.unlock_time_skipping(UnlockTimeSkippingRequest())
    await service.sleep_until(until)
    assert 20 * HOUR - 1 <= await now(client) - before < 20 * HOUR + HOUR


async def test_unlocking_more_often_than_locking(client: Client) -> None:
    await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
    with pytest.raises(RPCError) as refused:
        await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
    assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION


async def test_the_sdk_takes_it_for_its_time_skipping_server(tmp_path: Path) -> None:
    wrapper = tmp_path / "test-server"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m perdure.cli server start-dev --time-skipping --headless --port "$1"\n')
    wrapper.chmod(0o700)
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=str(wrapper), test_server_startup_timeout=timedelta(seconds=100)
        ) as environment,
        Worker(
            environment.client,
            task_queue="q",
            workflows=[Sleeper],
            activities=[takes_its_time],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
    ):
        before = await environment.get_current_time()
        assert await environment.client.execute_workflow(Sleeper.run, 24, id="w", task_queue="q") == "done"
        await environment.sleep(timedelta(days=30))
        assert await environment.get_current_time() - before >= timedelta(days=31)


@nexusrpc.handler.service_handler
class Desk:
    @nexusrpc.handler.sync_operation
    async def slow(self, _context: nexusrpc.handler.StartOperationContext, text: str) -> str:
        await asyncio.sleep(0.3)
        return text


@workflow.defn
class Caller:
    @workflow.run
    async def run(self) -> str:
        client = workflow.create_nexus_client(service=Desk, endpoint="desk")
        return await client.execute_operation(Desk.slow, "in time", schedule_to_close_timeout=timedelta(hours=1))


async def test_time_stands_while_a_nexus_handler_works(client: Client) -> None:
    spec = EndpointSpec(name="desk")
    spec.target.worker.namespace, spec.target.worker.task_queue = "default", "q"
    await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    await client.test_service.unlock_time_skipping(UnlockTimeSkippingRequest())
    before = await now(client)
    async with Worker(
        client, task_queue="q", workflows=[Caller], nexus_service_handlers=[Desk()], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        assert await client.execute_workflow(Caller.run, id="w", task_queue="q") == "in time"
    assert await now(client) - before < HOUR
