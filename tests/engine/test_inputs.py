"""Proves that names and values of any shape go through engine, storage and a restart unharmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perdure import Signal, WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow

PLANES = [chr(plane * 0x10000 + 0x1234) for plane in range(17)]
NAMES = [
    "".join(PLANES),
    *PLANES,
    "a\0b",
    "two\nlines",
    "queue\x1e",
    "queue\x1f",
    "'; drop table runs; --",
    "%_*?",
    "é" * 500,
    "../../etc/passwd",
]
VALUES: list[Any] = ["", [], {}, None, "x" * 100_000, list(range(20_000)), "\0", "".join(PLANES), {"": ""}, 10**400, -0.0]


@activity
async def echo(value: Any) -> Any:
    return value


@workflow
async def echoes(ctx: WorkflowContext, value: Any) -> Any:
    return await echo(value)


@workflow
async def waits(ctx: WorkflowContext) -> Any:
    return await ctx.await_signal(Signal("go", Any))


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"


async def test_values(url: str) -> None:
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=[echoes], activities=[echo]):
        for number, value in enumerate(VALUES):
            assert await client.execute_workflow(echoes, value, id=f"value-{number}") == value


async def test_names_of_workflows_queues_and_signals(url: str) -> None:
    async with WorkflowClient.connect(url) as client:
        for name in NAMES:
            async with WorkflowWorker(client, task_queue=name, workflows=[echoes], activities=[echo]):
                handle = await client.start_workflow(echoes, name, id=name, task_queue=name)
                assert await handle.result() == name
                assert (await handle.describe()).workflow_id == name


async def test_work_that_waits_on_any_queue_is_found_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowClient.connect(url) as client:
        for name in NAMES:
            await client.start_workflow(echoes, name, id=name, task_queue=name)
    async with WorkflowClient.connect(url) as client:
        for name in NAMES:
            async with WorkflowWorker(client, task_queue=name, workflows=[echoes], activities=[echo]):
                assert await client.result(name) == name


async def test_an_open_workflow_of_any_name_takes_signals_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=[waits]):
        for name in NAMES:
            await client.start_workflow(waits, id=name)
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=[waits]):
        for name in NAMES:
            await client.signal_workflow(name, "go", name)
        assert [await client.result(name) for name in NAMES] == NAMES


async def gathered(count: int, call: Callable[[int], Any]) -> list[Any]:
    return await asyncio.gather(*(call(number) for number in range(count)), return_exceptions=True)


async def test_many_starts_of_one_id_make_one_workflow(url: str) -> None:
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=[waits]):
        started = await gathered(50, lambda number: client.start_workflow(waits, id="one"))
        handles = [each for each in started if not isinstance(each, BaseException)]
        assert len(handles) == 1
        assert {type(each).__name__ for each in started} == {"WorkflowHandle", "WorkflowAlreadyStarted"}
        await client.signal_workflow("one", "go", 1)
        assert await handles[0].result() == 1
