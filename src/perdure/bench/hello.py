"""`hello`: workflows with one activity, one after the other and many at once; and beside an activity that burns a core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from perdure import WorkflowClient
from perdure.bench import definitions
from perdure.bench.load import RUN, repeat, running
from perdure.bench.measurement import timed
from perdure.bench.setting import Setting

ALONE, ALONE_SMOKE = 300, 20
MANY, MANY_SMOKE, AT_ONCE = 3000, 200, 200
WARM_UP = 20


async def hello(setting: Setting) -> None:
    """Two lines, concurrency 1 and 200; with a concurrency asked for, that line only."""
    async with running(setting.url("hello")) as client:
        await greetings(client, "warm-up", WARM_UP, WARM_UP)
        for concurrency in [setting.concurrency] if setting.concurrency else [1, AT_ONCE]:
            await measured(setting, client, "hello", concurrency)


async def hello_beside_cpu(setting: Setting) -> None:
    """Hello, one at a time unless asked otherwise, while a CPU-bound activity keeps one core busy."""
    async with running(setting.url("hello-beside-cpu")) as client:
        await greetings(client, "warm-up", WARM_UP, WARM_UP)
        async with burning(client, setting.folder):
            await measured(setting, client, "hello-beside-cpu", setting.concurrency or 1)


async def measured(setting: Setting, client: WorkflowClient, workload: str, concurrency: int) -> None:
    count = setting.amount(ALONE, ALONE_SMOKE) if concurrency == 1 else setting.amount(MANY, MANY_SMOKE)
    with timed() as watch:
        times = await greetings(client, f"{workload}-{concurrency}", count, concurrency)
    setting.report(workload, watch, count=count, concurrency=concurrency, times=times)


async def greetings(client: WorkflowClient, prefix: str, count: int, concurrency: int) -> list[float]:
    async def one(number: int) -> None:
        await client.execute_workflow(definitions.hello, "perdure", id=f"{prefix}-{RUN}-{number}")

    return await repeat(one, count=count, concurrency=concurrency)


@asynccontextmanager
async def burning(client: WorkflowClient, folder: Path) -> AsyncGenerator[None, None]:
    """The block runs while the activity `burn` really burns."""
    handle = await client.start_workflow(definitions.heat, str(folder), id=f"heat-{RUN}")
    try:
        async with asyncio.timeout(60):
            while not (folder / "burning").exists():
                await asyncio.sleep(0.01)
        yield
    finally:
        (folder / "enough").touch()
        await handle.result()
