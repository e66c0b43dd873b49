"""Workflow tasks on a real engine: the cache and its misses, queries, codecs, long histories, completions that come too late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, ResetStickyTaskQueueRequest
from temporalio.converter import PayloadCodec

from perdure import DataConverter, Signal, WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow
from perdure.model.rpc import RpcError, not_found, unavailable
from perdure.worker.runner_cache import RunnerCache

ADD = Signal("add", int)


@activity
async def double(number: int) -> int:
    return 2 * number


@workflow
class Adder:
    def __init__(self) -> None:
        self.total = 0
        self.signals = 0

    async def run(self, ctx: WorkflowContext, wanted: int) -> int:
        await ctx.wait_condition(lambda: self.signals >= wanted)
        return self.total

    @workflow.signal
    async def add(self, number: int) -> None:
        self.total += await double(number)
        self.signals += 1

    @workflow.query
    def so_far(self) -> int:
        return self.total


@workflow
async def chain(ctx: WorkflowContext, length: int) -> int:
    total = 0
    for number in range(length):
        total += await double(number)
    return total


@pytest.fixture
async def client() -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient.connect("memory://") as connected:
        yield connected


async def check_nothing_waited(client: WorkflowClient, workflow_id: str) -> None:
    """No task had to be given up for the workflow to go on."""
    kinds = [event.message.event_type for event in (await client.history(workflow_id)).events]
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT not in kinds


@pytest.mark.parametrize("size", [0, 1, 1000])
async def test_queries_and_signals_whatever_is_cached(client: WorkflowClient, size: int) -> None:
    async with WorkflowWorker(client, workflows=[Adder], activities=[double], max_cached_workflows=size, replay_after_every_task=True):
        handles = [await client.start_workflow(Adder, 2, id=f"adder-{n}") for n in range(3)]
        for number, handle in enumerate(handles):
            await handle.signal("add", number)
        for number, handle in enumerate(handles):
            async with asyncio.timeout(30):
                while await handle.query("so_far") != 2 * number:
                    await asyncio.sleep(0.01)
        for number, handle in enumerate(handles):
            await handle.signal("add", 1)
            assert await handle.result() == 2 * number + 2
            assert await handle.query("so_far") == 2 * number + 2


async def test_a_worker_takes_over_what_another_had_in_its_cache(client: WorkflowClient) -> None:
    async with WorkflowWorker(client, workflows=[Adder], activities=[double]) as first:
        handle = await client.start_workflow(Adder, 2, id="adder")
        await handle.signal("add", 1)
        while await handle.query("so_far") != 2:
            await asyncio.sleep(0.01)
        assert first.health_check().cached_workflows == 1
    async with WorkflowWorker(client, workflows=[Adder], activities=[double]):
        await handle.signal("add", 2)
        assert await handle.result() == 6
    await check_nothing_waited(client, "adder")


async def test_a_task_that_comes_whole_replaces_what_is_cached(client: WorkflowClient) -> None:
    async with WorkflowWorker(client, workflows=[Adder], activities=[double]):
        handle = await client.start_workflow(Adder, 1, id="adder")
        assert await handle.query("so_far") == 0
        request = ResetStickyTaskQueueRequest(namespace="default", execution=WorkflowExecution(workflow_id="adder"))
        await client.service.reset_sticky_task_queue(request)
        await handle.signal("add", 4)
        assert await handle.result() == 8


async def test_a_long_history_is_read_in_pages(client: WorkflowClient) -> None:
    async with WorkflowWorker(client, workflows=[chain], activities=[double], max_cached_workflows=0):
        assert await client.execute_workflow(chain, 60, id="chain") == 60 * 59


class Rot(PayloadCodec):
    async def encode(self, payloads: Any) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload(metadata={"encoding": b"rot"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Any) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload.FromString(p.data[::-1]) if p.metadata["encoding"] == b"rot" else p for p in payloads]


async def test_with_a_codec_the_engine_sees_no_plain_value() -> None:
    async with (
        WorkflowClient.connect("memory://", data_converter=DataConverter(codec=Rot())) as client,
        WorkflowWorker(client, workflows=[Adder, chain], activities=[double], max_cached_workflows=1, replay_after_every_task=True),
    ):
        handle = await client.start_workflow(Adder, 2, id="adder")
        await handle.signal("add", 4)
        while await handle.query("so_far") != 8:
            await asyncio.sleep(0.01)
        assert await client.execute_workflow(chain, 3, id="chain") == 6
        await handle.signal("add", 1)
        assert await handle.result() == 10
        request = GetWorkflowExecutionHistoryRequest(namespace="default", execution=WorkflowExecution(workflow_id="adder"))
        raw = await client.service.get_workflow_execution_history(request)
        text = raw.SerializeToString()
        assert b"rot" in text and b"json/plain" not in text
        assert raw.history.events[-1].event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED


class Faulty:
    """The engine, but the first completions of workflow tasks are answered with errors."""

    def __init__(self, service: Any, errors: list[RpcError], *, after: bool) -> None:
        self._service = service
        self._errors = errors
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    async def respond_workflow_task_completed(self, request: Any) -> Any:
        if self._errors and not self._after:
            raise self._errors.pop(0)
        reply = await self._service.respond_workflow_task_completed(request)
        if self._errors:
            raise self._errors.pop(0)
        return reply


@pytest.mark.parametrize("after", [False, True])
async def test_completions_are_repeated_while_the_engine_is_away(client: WorkflowClient, after: bool) -> None:
    """`after`: the completion was recorded, only the answer was lost; the repeated one is refused, and that costs nothing."""

    class Client:
        service = Faulty(client.service, [unavailable("away")], after=after)
        namespace, converter, identity, clock = client.namespace, client.converter, client.identity, client.clock

    async with WorkflowWorker(Client(), workflows=[chain], activities=[double]):  # type: ignore[arg-type]
        assert await client.execute_workflow(chain, 3, id="chain") == 6
    await check_nothing_waited(client, "chain")


async def test_a_completion_that_came_too_late_evicts_the_workflow(client: WorkflowClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "perdure.worker")

    class Client:
        service = Faulty(client.service, [not_found("too late")], after=True)
        namespace, converter, identity, clock = client.namespace, client.converter, client.identity, client.clock

    async with WorkflowWorker(Client(), workflows=[chain], activities=[double]):  # type: ignore[arg-type]
        assert await client.execute_workflow(chain, 3, id="chain") == 6
    await check_nothing_waited(client, "chain")
    assert "too late" in caplog.text


class Runner:
    def __init__(self) -> None:
        self.evicted = 0

    def evict(self) -> None:
        self.evicted += 1


def test_the_cache_evicts_the_least_recently_used() -> None:
    cache, runners = RunnerCache[Runner](2), {name: Runner() for name in "abc"}
    cache.put("a", runners["a"])
    cache.put("b", runners["b"])
    assert cache.get("a") is runners["a"]
    cache.put("c", runners["c"])
    assert [runners[n].evicted for n in "abc"] == [0, 1, 0]
    assert cache.get("b") is None and len(cache) == 2 and cache.evictions == 1
    newer = Runner()
    cache.put("a", newer)
    assert runners["a"].evicted == 1
    cache.drop("a", runners["a"])  # not that one any more
    assert cache.get("a") is newer and newer.evicted == 0
    cache.clear()
    assert len(cache) == 0 and newer.evicted == 1
