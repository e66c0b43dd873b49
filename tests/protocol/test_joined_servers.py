"""Proves that a server on a file that another process has open joins it: clients and workers see one engine, before and after its end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, PollActivityTaskQueueRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.protocol.test_server_command import Start, Steps, acknowledge, start, step

from perdure.engine.settings import EngineSettings
from perdure.model.clock import SystemClock
from perdure.model.errors import StorageLocked
from perdure.testing import server as run_server

__all__ = ["start"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/shared.db"


@pytest.fixture
async def pair(url: str) -> AsyncGenerator[tuple[str, str]]:
    """The addresses of the owner's server and of one that has joined it."""
    async with run_server(url) as owner, run_server(url) as joined:
        yield owner, joined


def running(client: Client) -> Worker:
    return Worker(client, task_queue="q", workflows=[Steps], activities=[step], workflow_runner=UnsandboxedWorkflowRunner())


async def test_a_worker_of_one_serves_a_client_of_the_other(pair: tuple[str, str]) -> None:
    owner, joined = [await Client.connect(address) for address in pair]
    async with running(joined):
        handle = await owner.start_workflow(Steps.run, 1, id="w", task_queue="q")
        await joined.get_workflow_handle("w").signal(Steps.proceed)
        assert await handle.result() == await joined.get_workflow_handle("w").result() == 4


async def test_when_the_owner_ends_the_joined_server_goes_on_in_its_place(url: str) -> None:
    """The worker's polls and the wait for the result go on; the settings of the new owner are in force then."""
    async with contextlib.AsyncExitStack() as owner:
        await owner.enter_async_context(run_server(url))
        async with run_server(url, settings=EngineSettings(suggest_events=3)) as address:
            client = await Client.connect(address)
            async with running(client):
                handle = await client.start_workflow(Steps.run, 1, id="w", task_queue="q")
                result = asyncio.ensure_future(handle.result())
                await owner.aclose()
                await acknowledge(lambda: handle.signal(Steps.proceed))
                assert await acknowledge(lambda: result if not result.done() else handle.result()) == 4
                history = await acknowledge(handle.fetch_history)
            suggested = [e.workflow_task_started_event_attributes.suggest_continue_as_new for e in history.events if e.event_type == 6]
            assert suggested[-1]


def activity_poll() -> PollActivityTaskQueueRequest:
    return PollActivityTaskQueueRequest(namespace="default", identity="me", task_queue=TaskQueue(name="q"))


async def test_a_poll_is_answered_before_its_callers_deadline(pair: tuple[str, str]) -> None:
    client = await Client.connect(pair[1])
    began = time.monotonic()
    reply = await client.workflow_service.poll_activity_task_queue(activity_poll(), timeout=timedelta(seconds=10))
    assert not reply.task_token
    assert time.monotonic() - began > 5  # it waited


async def test_a_joined_server_that_ends_answers_its_polls(url: str) -> None:
    async with run_server(url) as owner:
        observer = await Client.connect(owner)
        async with run_server(url) as joined:
            client = await Client.connect(joined)
            polling = asyncio.ensure_future(client.workflow_service.poll_activity_task_queue(activity_poll()))
            describe = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), task_queue_type=2)  # type: ignore[arg-type]
            while not (await observer.workflow_service.describe_task_queue(describe)).pollers:
                pass  # it is on its way
        assert not (await polling).task_token
        async with running(observer):  # and nothing stays behind that would take a task
            assert await observer.execute_workflow(Steps.run, 1, id="w", task_queue="q", start_signal="proceed") == 4


async def test_a_joined_server_has_the_namespaces_that_it_was_told(url: str) -> None:
    async with run_server(url), run_server(url, namespaces=["default", "orders"]) as joined:
        client = await Client.connect(joined, namespace="orders")
        handle = await client.start_workflow("Anything", id="w", task_queue="q")
        assert (await handle.describe()).workflow_type == "Anything"


async def test_who_needs_a_clock_needs_an_engine(url: str) -> None:
    async with run_server(url):
        with pytest.raises(StorageLocked):
            async with run_server(url, clock=SystemClock()):
                pass


@pytest.mark.timeout(300)
async def test_the_owners_process_is_killed(start: Start, url: str) -> None:
    owner, _ = await start("--engine", url, "--port", "0", "--http-port", "0")
    _, joined = await start("--engine", url, "--port", "0", "--http-port", "0", "--dynamic-config-value", "a.b=1")
    client = await Client.connect(joined)
    async with running(client):
        handle = await client.start_workflow(Steps.run, 1, id="w", task_queue="q", task_timeout=timedelta(seconds=2))
        owner.kill()
        await owner.wait()
        await acknowledge(lambda: handle.signal(Steps.proceed))
        assert await acknowledge(handle.result) == 4


async def test_time_skipping_says_that_it_needs_the_engine(start: Start, url: str, tmp_path: Path) -> None:
    await start("--engine", url, "--port", "0", "--http-port", "0")
    command = ("start-dev", "--db-filename", f"{tmp_path}/shared.db", "--port", "0", "--headless", "--time-skipping")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure.cli", "server", *command), stderr=asyncio.subprocess.PIPE
    )
    _, error = await process.communicate()
    assert process.returncode == 3
    assert b"Time can be skipped only for an engine in this very process" in error and b"Traceback" not in error
