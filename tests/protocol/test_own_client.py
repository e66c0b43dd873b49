"""Proves that our own client and worker run over gRPC as they do in the process."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType

import perdure
from perdure import WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow


@activity
async def double(number: int) -> int:
    return number * 2


@workflow
async def doubling(ctx: WorkflowContext, number: int) -> int:
    return await ctx.execute_activity(double, number, start_to_close_timeout=10)


@workflow
class Counter:
    def __init__(self) -> None:
        self.total = 0
        self.done = False

    async def run(self, ctx: WorkflowContext) -> int:
        await ctx.wait_condition(lambda: self.done)
        return self.total

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def total_now(self) -> int:
        return self.total


async def test_workflows_activities_signals_and_queries(server: str) -> None:
    async with (
        WorkflowClient.connect(f"perdure://{server}") as client,
        WorkflowWorker(client, workflows=[doubling, Counter], activities=[double]),
    ):
        results = await asyncio.gather(*(client.execute_workflow(doubling, number, id=f"d{number}") for number in range(10)))
        assert results == [2 * number for number in range(10)]
        handle = await client.start_workflow(Counter, id="c")
        for number in (1, 2, 3):
            await handle.signal(Counter.add, number)
        assert await handle.query(Counter.total_now) == 6
        await handle.signal(Counter.finish)
        assert await handle.result() == 6


async def test_refusals_carry_their_details(server: str) -> None:
    async with WorkflowClient.connect(f"temporal://{server}?namespace=default") as client:
        first = await client.start_workflow("anything", id="w")
        with pytest.raises(perdure.WorkflowAlreadyStarted) as refused:
            await client.start_workflow("anything", id="w")
        assert refused.value.run_id == (await first.describe()).run_id
        with pytest.raises(perdure.WorkflowNotFound):
            await client.get_workflow_handle("another").terminate()


async def test_a_namespace_that_is_not_there(server: str) -> None:
    with pytest.raises(perdure.RequestRefused, match="no namespace 'orders'"):
        await WorkflowClient.connect(f"perdure://{server}?namespace=orders")


@pytest.mark.parametrize("url", ["perdure://", "perdure://host:port", "temporal://host:1/path", "perdure://host?color=red"])
async def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(perdure.UnknownEngine):
        await WorkflowClient.connect(url)


async def test_nobody_answers() -> None:
    with pytest.raises(perdure.EngineUnavailable, match="perdure server"):
        await WorkflowClient.connect("perdure://127.0.0.1:1")


async def test_a_worker_that_stops_loses_no_task_on_its_way(server: str) -> None:
    """Workers come and go while workflows run: no task has to wait for its time-out."""
    async with WorkflowClient.connect(f"perdure://{server}") as client:
        handles = [await client.start_workflow(doubling, number, id=f"s{number}") for number in range(30)]
        results = asyncio.gather(*(handle.result() for handle in handles))
        while not results.done():
            async with WorkflowWorker(client, workflows=[doubling], activities=[double]):
                await asyncio.wait([results], timeout=0.05)
        assert await results == [2 * number for number in range(30)]
        for handle in handles:
            for event in (each.message for each in await handle.history()):
                assert event.event_type != EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT
                assert event.activity_task_started_event_attributes.attempt <= 1
