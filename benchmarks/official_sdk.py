"""The official Python SDK against `perdure server`, and against a stub that answers the same calls with canned messages.

    python benchmarks/official_sdk.py [--count 2000] [--concurrency 100] [--open 10000] [--pollers 1000]

Each server runs in a process of its own, perdure's on a fresh SQLite file with fsync; client and worker run here. The stub is what this
client and worker can reach at best: it keeps nothing, decides nothing, and has the same gRPC library under it. Prints one JSON object per
line: hello alone and at once against both, the ratio, what idle pollers cost, and how long describing and listing open workflows takes.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from stub_server import serve_stub
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest, ListWorkflowExecutionsRequest, PollActivityTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

QUEUE = "bench"
ALONE = 200
PAGE = 1000


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=60))


@workflow.defn
class Waits:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


# Servers, each in a process of its own.


@asynccontextmanager
async def serving(command: list[str]) -> AsyncIterator[tuple[str, int]]:
    """The address and the process id of a server, which prints its address on its first line."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        yield next(word.rstrip(",;") for word in line.split() if word.startswith("127.0.0.1:")), process.pid
    finally:
        process.terminate()
        await process.wait()


def perdure_server(directory: str) -> list[str]:
    return [sys.executable, "-m", "perdure.cli", "server", "--engine", f"sqlite:///{directory}/bench.db", "--port", "0", "--http-port", "0"]


def stub_server() -> list[str]:
    return [sys.executable, __file__, "--serve-stub"]


# Workloads.


async def timed(count: int, concurrency: int, call: Callable[[int], Awaitable[Any]]) -> tuple[float, list[float]]:
    """Seconds for all, and for each, of `count` calls, so many at once."""
    numbers = iter(range(count))
    each: list[float] = []

    async def lane() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            each.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    return time.perf_counter() - began, each


def line(workload: str, server: str, count: int, concurrency: int, seconds: float, each: list[float], **more: Any) -> dict[str, Any]:
    cuts = quantiles(each, n=100)
    return {
        "workload": workload,
        "server": server,
        "count": count,
        "concurrency": concurrency,
        "per_second": round(count / seconds, 1),
        "p50_ms": round(cuts[49] * 1e3, 2),
        "p99_ms": round(cuts[98] * 1e3, 2),
        **more,
    }


async def hello(address: str, server: str, count: int, concurrency: int) -> dict[str, Any]:
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Hello],
        activities=[greet],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_task_polls=10,
        max_concurrent_activity_task_polls=10,
        max_concurrent_activities=200,
    )
    ids = itertools.count()

    async def one(_: int) -> None:
        await client.execute_workflow(Hello.run, "you", id=f"hello-{os.getpid()}-{next(ids)}", task_queue=QUEUE)

    async with worker:
        await timed(20, 1, one)
        seconds, each = await timed(count, concurrency, one)
    return line("hello", server, count, concurrency, seconds, each)


async def idle_pollers(address: str, pid: int, pollers: int) -> dict[str, Any]:
    """What so many polls of empty queues cost the server, as a share of a core."""
    client = await Client.connect(address)
    polls = [asyncio.ensure_future(_poll(client, f"idle-{number % 50}")) for number in range(pollers)]
    await asyncio.sleep(5)  # until they all wait there
    before, began = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(20)  # what is measured: nothing happens
    share = (cpu_seconds(pid) - before) / (time.perf_counter() - began)
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)
    return {"workload": "idle-pollers", "server": "perdure", "count": pollers, "cpu_share_of_a_core": round(share, 4)}


async def _poll(client: Client, queue: str) -> None:
    request = PollActivityTaskQueueRequest(namespace="default", identity="bench")
    request.task_queue.name = queue
    while True:
        try:
            await client.workflow_service.poll_activity_task_queue(request, timeout=timedelta(seconds=65))
        except RPCError:
            await asyncio.sleep(0.1)  # refused: not again at once


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def open_workflows(address: str, count: int) -> list[dict[str, Any]]:
    client = await Client.connect(address)

    async def start(number: int) -> None:
        await client.start_workflow(Waits.run, id=f"open-{number}", task_queue="nobody")

    async def describe(number: int) -> None:
        request = DescribeWorkflowExecutionRequest(namespace="default")
        request.execution.workflow_id = f"open-{number * 7919 % count}"
        await client.workflow_service.describe_workflow_execution(request)

    token = b""

    async def list_page(_: int) -> None:
        nonlocal token
        request = ListWorkflowExecutionsRequest(
            namespace="default", page_size=PAGE, query="ExecutionStatus = 'Running'", next_page_token=token
        )
        token = (await client.workflow_service.list_workflow_executions(request)).next_page_token

    await timed(count, 50, start)
    lines = []
    for name, call, calls in (("describe-open", describe, 1000), ("list-open", list_page, 100)):
        seconds, each = await timed(calls, 1, call)
        lines.append(line(name, "perdure", calls, 1, seconds, each, open=count))
    return lines


async def measure(options: argparse.Namespace) -> None:
    def say(result: dict[str, Any]) -> None:
        print(json.dumps(result), flush=True)

    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as directory:
        for server, command in (("stub", stub_server()), ("perdure", perdure_server(directory))):
            async with serving(command) as (address, pid):
                say(await hello(address, server, ALONE, 1))
                result = await hello(address, server, options.count, options.concurrency)
                rates[server] = result["per_second"]
                say(result)
                if server == "perdure":
                    say({"workload": "hello", "ratio_to_stub": round(rates["perdure"] / rates["stub"], 3)})
                    say(await idle_pollers(address, pid, options.pollers))
                    for result in await open_workflows(address, options.open):
                        say(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--open", type=int, default=10_000)
    parser.add_argument("--pollers", type=int, default=1000)
    parser.add_argument("--serve-stub", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    asyncio.run(serve_stub() if options.serve_stub else measure(options))


if __name__ == "__main__":
    main()
