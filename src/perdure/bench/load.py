"""How the workloads drive an engine: one process with client and worker, as a user would run it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from perdure import WorkflowClient, WorkflowWorker
from perdure.bench.definitions import ACTIVITIES, WORKFLOWS

RUN = secrets.token_hex(3)
"""Part of every workflow id, so that a second run on the same engine does not find the workflows of the first."""


@asynccontextmanager
async def running(url: str) -> AsyncGenerator[WorkflowClient, None]:
    """A client, beside a worker with default settings that knows all definitions of the bench."""
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=WORKFLOWS, activities=ACTIVITIES):
        yield client


async def repeat(operation: Callable[[int], Awaitable[object]], *, count: int, concurrency: int) -> list[float]:
    """Runs `operation(0 … count - 1)`, `concurrency` at a time, and returns the milliseconds that each took."""
    numbers, times = iter(range(count)), list[float]()

    async def lane() -> None:
        for number in numbers:
            start = time.perf_counter()
            await operation(number)
            times.append((time.perf_counter() - start) * 1e3)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, count)):
            group.create_task(lane())
    return times
