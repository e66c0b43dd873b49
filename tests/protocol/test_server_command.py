"""Proves what `perdure server` promises: one line when it accepts calls, a graceful end, nothing lost to `kill -9`, no open door."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest, PollActivityTaskQueueRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.model.errors import ServerStartFailed
from perdure.server import Server, ServerOptions
from perdure.testing import server as run_server

Process = asyncio.subprocess.Process
Start = Callable[..., Coroutine[Any, Any, tuple[Process, str]]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncGenerator[Start]:
    """Runs `perdure server …` and gives the process and the address on its line."""
    processes: list[Process] = []

    async def run(*arguments: str) -> tuple[Process, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "perdure.cli", "server", *arguments, stdout=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        processes.append(process)
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        found = re.search(r"gRPC on (\S+?),", line)
        assert found, line
        return process, found[1]

    yield run
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


@activity.defn
async def step(number: int) -> int:
    return number + 1


@workflow.defn
class Steps:
    """Three activities; between them a signal is waited for."""

    def __init__(self) -> None:
        self.go = False

    @workflow.run
    async def run(self, number: int) -> int:
        number = await workflow.execute_activity(step, number, start_to_close_timeout=timedelta(seconds=3))
        await workflow.wait_condition(lambda: self.go)
        for _ in range(2):
            number = await workflow.execute_activity(step, number, start_to_close_timeout=timedelta(seconds=3))
        return number

    @workflow.signal
    def proceed(self) -> None:
        self.go = True


@pytest.mark.timeout(300)
async def test_kill_under_load_loses_nothing_that_was_acknowledged(start: Start, tmp_path: Path) -> None:
    engine = f"sqlite:///{tmp_path}/kill.db"
    process, address = await start("--engine", engine, "--port", "0", "--http-port", "0")
    port = address.rpartition(":")[2]
    client = await Client.connect(address)
    acknowledged: list[WorkflowHandle[Any, Any]] = []
    half = asyncio.Event()

    async def drive(number: int) -> None:
        handle = await acknowledge(
            lambda: client.start_workflow(Steps.run, number, id=f"w{number}", task_queue="q", task_timeout=timedelta(seconds=2))
        )
        await acknowledge(lambda: handle.signal(Steps.proceed))
        acknowledged.append(handle)
        if len(acknowledged) == 20:
            half.set()

    async with Worker(client, task_queue="q", workflows=[Steps], activities=[step], workflow_runner=UnsandboxedWorkflowRunner()):
        load = asyncio.gather(*(drive(number) for number in range(40)))
        await half.wait()
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await start("--engine", engine, "--port", port, "--http-port", "0")
        await load
        results = await asyncio.gather(*(acknowledge(handle.result) for handle in acknowledged))
    assert len(results) == 40
    assert sorted(results) == [number + 3 for number in range(40)]


async def acknowledge(call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Calls until the server has answered. (What it had begun when it was killed, the caller cannot know: the id makes it once.)"""
    while True:
        try:
            return await call()
        except RPCError as error:
            if error.status.name not in ("UNAVAILABLE", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL"):
                raise


async def test_sigterm_ends_polls_and_exits_with_zero(start: Start) -> None:
    process, address = await start("--engine", "memory://", "--port", "0", "--http-port", "0", "--namespace", "orders")
    client = await Client.connect(address, namespace="orders")
    poll = PollActivityTaskQueueRequest(namespace="orders", identity="me")
    poll.task_queue.name = "q"
    polling = asyncio.ensure_future(client.workflow_service.poll_activity_task_queue(poll))
    describe = DescribeTaskQueueRequest(
        namespace="orders", task_queue=poll.task_queue, task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    )
    while not (await client.workflow_service.describe_task_queue(describe)).pollers:
        pass  # it is on its way
    process.terminate()
    assert not (await polling).task_token
    async with asyncio.timeout(30):
        assert await process.wait() == 0


async def test_the_sdk_starts_it_as_its_dev_server(tmp_path: Path) -> None:
    wrapper = tmp_path / "temporal"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m perdure.cli "$@"\n')
    wrapper.chmod(0o700)
    extra = ["--dynamic-config-value", "frontend.enableSomething=true", "--search-attribute", "Customer=Keyword"]
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(wrapper),
        namespace="orders",
        dev_server_extra_args=extra,
        dev_server_startup_timeout=timedelta(seconds=100),
    ) as environment:
        listed = await environment.client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="orders"))
        assert "Customer" in listed.custom_attributes
        assert environment.client.namespace == "orders"
        queue = str(uuid.uuid4())
        async with Worker(environment.client, task_queue=queue, activities=[step], workflows=[Steps]):
            handle = await environment.client.start_workflow(Steps.run, 1, id="w", task_queue=queue, start_signal="proceed")
            assert await handle.result() == 4


async def test_every_option_of_temporals_dev_server_is_taken(start: Start) -> None:
    """Those that mean nothing here too: scripts and SDKs pass them on. Two ports of HTTP, as there."""
    ui, also_ui = (
        ["--ui-port", "0", "--ui-ip", "localhost", "--ui-public-path", "/ui"],
        ["--ui-asset-path", ".", "--ui-codec-endpoint", "http://x"],
    )
    rest = ["--log-config", "--ui-disable-news-fetch", "--sqlite-pragma", "a=1", "--sqlite-pragma", "b=2", "--metrics-port", "0"]
    own = ["-p", "0", "-n", "orders", "-f", "dev.db", "--ip", "localhost", "--log-format", "json", "--log-level", "error"]
    _, address = await start("start-dev", *ui, *also_ui, *rest, *own, "--http-port", str(free_port()))
    client = await Client.connect(address, namespace="orders")
    assert await client.service_client.check_health()


async def test_headless_still_serves_http_where_it_is_asked_to(start: Start) -> None:
    port = free_port()
    await start("start-dev", "--port", "0", "--headless", "--http-port", str(port))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /api/v1/system-info HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


async def test_an_open_door_needs_a_word() -> None:
    from perdure.engine import open_engine
    from perdure.storage import MemoryStorage

    engine = await open_engine(MemoryStorage())
    try:
        with pytest.raises(ServerStartFailed, match="allow-unauthenticated-bind"):
            ServerOptions(host="0.0.0.0", port=0)
        open_to_all = Server(engine, ServerOptions(host="0.0.0.0", port=0, allow_unauthenticated_bind=True))
        await open_to_all.start()
        await open_to_all.stop()
    finally:
        await engine.close()


async def test_a_port_that_is_taken() -> None:
    async with run_server() as address:
        with pytest.raises(ServerStartFailed, match="is taken"):
            async with run_server(port=int(address.rpartition(":")[2])):
                pass


@pytest.mark.parametrize("option", ["--port", "--http-port"])
async def test_the_command_says_of_a_taken_port_one_sentence_and_nothing_else(option: str) -> None:
    ports = {"--port": "0", "--http-port": "0"}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports[option] = str(taken.getsockname()[1])
        options = [word for pair in ports.items() for word in pair]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "perdure.cli", "server", "--engine", "memory://", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"},
        )
        said, error = await process.communicate()
    assert (process.returncode, said) == (1, b"")
    first, *others = error.decode().splitlines()
    assert first.startswith("perdure server: ")  # the settings of the interpreter
    assert len(others) == 1 and others[0].startswith("Error: cannot ") and ports[option] in others[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--namespace", ""], "--namespace is empty"),
        (["--engine", "perdure://localhost:7233"], "'perdure://localhost:7233' is a server already"),
    ],
)
async def test_what_no_server_can_serve(options: list[str], says: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure.cli", "server", "--port", "0", "--http-port", "0", *options),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    assert process.returncode == 2 and says in error.decode().splitlines()[-1]


@pytest.mark.parametrize(
    "value",
    ["limit.historyCount.suggestContinueAsNew=no", "limit.historyCount.suggestContinueAsNew=0", "nothing"],
)
async def test_settings_that_cannot_be_understood(value: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure.cli", "server", "--engine", "memory://", "--port", "0", "--dynamic-config-value", value),
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await process.communicate()
    assert process.returncode == 2
    assert b"Traceback" not in error and value.partition("=")[0].encode() in error


async def test_its_log_as_lines_of_json(tmp_path: Path) -> None:
    """Each line of the log is an object, with the names that Temporal's server uses."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure.cli", "server", "start-dev", "--port", "0", "--headless"),
        *("--log-format", "json", "--log-level", "info", "--dynamic-config-value", "frontend.someSwitch=true"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    process.terminate()
    _, log = await process.communicate()
    lines = [json.loads(line) for line in log.decode().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if "frontend.someSwitch" in line["msg"]]
    assert (line["level"], line["logger"]) == ("info", "perdure.server")
    assert datetime.fromisoformat(line["ts"].replace(",", "."))


async def test_a_limit_of_payloads_is_told_and_kept(start: Start) -> None:
    _, address = await start(
        *("--engine", "memory://", "--port", "0", "--http-port", "0"),
        *("--dynamic-config-value", "limit.blobSize.error=5000", "--dynamic-config-value", "limit.blobSize.warn=100"),
    )
    client = await Client.connect(address)
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert described.namespace_info.limits.blob_size_limit_error == 5000
    await client.start_workflow("W", "x" * 4000, id="fits", task_queue="q")
    with pytest.raises(RPCError, match="exceeds size limit"):
        await client.start_workflow("W", "x" * 5000, id="does not", task_queue="q")
    with pytest.raises(RPCError, match="exceeds size limit"):
        await client.get_workflow_handle("fits").signal("s", "x" * 5000)
