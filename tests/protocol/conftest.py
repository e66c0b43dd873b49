"""A server of its own for each test, the official SDK's client on it, and a way to run its workers."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.testing import server as run_server

Workers = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture
async def server() -> AsyncGenerator[str]:
    """The address of a fresh server, in memory."""
    async with run_server() as address:
        yield address


@pytest.fixture
async def client(server: str) -> Client:
    """The official SDK's client, namespace default."""
    return await Client.connect(server)


@pytest.fixture
def worker(client: Client) -> Workers:
    """`async with worker([Workflow], [activity]) as running:` runs a worker of the official SDK; `running.task_queue` is its queue."""

    @asynccontextmanager
    async def run(
        workflows: list[type] | None = None, activities: list[Callable[..., Any]] | None = None, **options: Any
    ) -> AsyncGenerator[Worker]:
        options.setdefault("task_queue", f"queue-{uuid.uuid4()}")
        options.setdefault("workflow_runner", UnsandboxedWorkflowRunner())
        made = Worker(options.pop("client", client), workflows=workflows or [], activities=activities or [], **options)
        async with made:
            yield made

    return run
