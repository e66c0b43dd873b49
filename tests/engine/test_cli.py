"""Proves the command line on a real engine: `perdure` in processes of its own, beside an application that has the file open, and alone."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure import ApplicationError, WorkflowClient, WorkflowContext, WorkflowWorker, workflow

pytestmark = pytest.mark.timeout(600)  # each command is a process of its own


@workflow
class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []
        self.done = False

    async def run(self, ctx: WorkflowContext, first: str) -> list[str]:
        self.items.append(first)
        await ctx.wait_condition(lambda: self.done)
        return self.items

    @workflow.signal
    def add(self, item: str) -> None:
        self.items.append(item)

    @workflow.signal
    def check_out(self) -> None:
        self.done = True

    @workflow.query
    def contents(self) -> list[str]:
        return self.items


@workflow
async def greet(ctx: WorkflowContext, name: str) -> str:
    return f"hello {name}"


@workflow
async def fails(ctx: WorkflowContext) -> None:
    raise ApplicationError("no money", non_retryable=True)


async def perdure(url: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the command."""
    environment = {**os.environ, "PERDURE_ENGINE": url}
    command = [sys.executable, "-m", "perdure.cli", *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
    out, error = await process.communicate()
    return process.returncode or 0, out.decode(), error.decode()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """Of a file that this process has open, with a worker."""
    url = f"sqlite:///{tmp_path}/app.db"
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=[Basket, greet, fails]):
        yield url


async def test_a_workflow_from_start_to_result(url: str) -> None:
    code, out, _ = await perdure(url, "workflow", "start", "--type", "Basket", "-w", "b1", "-i", '"bread"', "-o", "json")
    assert (code, json.loads(out)["workflowId"]) == (0, "b1")
    assert await perdure(url, "workflow", "signal", "-w", "b1", "--name", "add", "-i", '"milk"') == (0, "Signalled b1\n", "")
    code, out, _ = await perdure(url, "workflow", "query", "-w", "b1", "--name", "contents", "-o", "json")
    assert (code, json.loads(out)) == (0, {"queryResult": [["bread", "milk"]]})
    code, out, _ = await perdure(url, "workflow", "describe", "-w", "b1")
    assert code == 0 and "Running" in out
    code, out, _ = await perdure(url, "task-queue", "describe", "-t", "default")
    assert code == 0 and f"{os.getpid()}@" in out
    watching = asyncio.create_task(perdure(url, "workflow", "watch", "-w", "b1"))
    assert (await perdure(url, "workflow", "signal", "-w", "b1", "--name", "check_out"))[0] == 0
    assert await perdure(url, "workflow", "result", "-w", "b1") == (0, '[\n  "bread",\n  "milk"\n]\n', "")
    code, out, error = await watching
    assert (code, error) == (0, "") and "WorkflowExecutionCompleted" in out
    code, out, _ = await perdure(url, "workflow", "show", "-w", "b1", "-o", "json")
    assert json.loads(out)["events"][0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"


async def test_execute_prints_the_result_and_says_how_it_failed(url: str) -> None:
    code, out, error = await perdure(url, "workflow", "execute", "--type", "greet", "-i", '"you"')
    assert (code, out) == (0, '"hello you"\n') and error.startswith("Started ")
    code, out, error = await perdure(url, "workflow", "execute", "--type", "fails", "-w", "f1")
    assert (code, out) == (1, "") and "no money" in error.splitlines()[-1]


async def test_workflows_are_found_by_attributes_that_were_added(url: str) -> None:
    create = ("operator", "search-attribute", "create")
    pairs = ("--name", "Customer", "--type", "keyword", "--name", "Tags", "--type", "KeywordList")
    assert await perdure(url, *create, *pairs) == (0, "Created Customer, Tags\n", "")
    code, out, _ = await perdure(url, "operator", "search-attribute", "list")
    assert code == 0 and re.search(r"^Customer +Keyword +this namespace$", out, re.M) and re.search(r"^Tags +KeywordList +this", out, re.M)
    assert re.search(r"^ExecutionStatus +Keyword +every namespace$", out, re.M)
    attributes = ("--search-attribute", 'Customer="c-1"', "--search-attribute", 'Tags=["a","b"]')
    assert (await perdure(url, "workflow", "start", "--type", "Basket", "-w", "b1", "-i", '"x"', *attributes))[0] == 0
    code, out, _ = await perdure(url, "workflow", "list", "--query", "Customer = 'c-1' AND Tags = 'b'", "-o", "json")
    assert [each["execution"]["workflowId"] for each in json.loads(out)] == ["b1"]
    code, _, error = await perdure(url, *create, "--name", "Customer", "--type", "Int")
    assert code == 1 and "has different type Keyword" in error
    code, _, error = await perdure(url, *create, "--name", "Amount", "--type", "Money")
    assert code == 2 and "is of type 'Money'; the types are Text, Keyword, Int" in error
    assert (await perdure(url, *create, "--name", "Amount"))[0] == 2
    code, _, error = await perdure(url, "operator", "search-attribute", "remove", "--name", "Tags")
    assert code == 2 and "add --yes" in error
    assert (await perdure(url, "operator", "search-attribute", "remove", "--name", "Tags", "--yes"))[0] == 0
    assert (await perdure(url, "workflow", "list", "--query", "Tags = 'b'"))[0] == 1


async def test_ends_of_all_kinds(url: str) -> None:
    for number in (1, 2):
        await perdure(url, "workflow", "start", "--type", "Basket", "-w", f"b{number}", "-i", '"x"')
    assert (await perdure(url, "workflow", "terminate", "-w", "b1", "--reason", "enough"))[:2] == (0, "Terminated b1\n")
    code, _, error = await perdure(url, "workflow", "result", "-w", "b1")
    assert code == 1 and "enough" in error
    assert (await perdure(url, "workflow", "cancel", "-w", "b2"))[:2] == (0, "Asked to cancel b2\n")
    assert (await perdure(url, "workflow", "result", "-w", "b2"))[0] == 1
    code, _, error = await perdure(url, "workflow", "signal", "-w", "b2", "--name", "add")
    assert code == 1 and "b2" in error and error.count("\n") == 1
    code, _, error = await perdure(url, "workflow", "start", "--type", "Basket", "-w", "b2", "--id-reuse-policy", "RejectDuplicate")
    assert code == 1 and "exists already" in error


async def test_the_command_alone_is_the_engine_for_as_long_as_it_runs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/alone.db"
    assert (await perdure(url, "workflow", "start", "--type", "greet", "-w", "g1", "-i", '"you"'))[0] == 0
    code, out, _ = await perdure(url, "workflow", "describe", "-w", "g1", "-o", "json")
    assert (code, json.loads(out)["workflowExecutionInfo"]["status"]) == (0, "WORKFLOW_EXECUTION_STATUS_RUNNING")


async def test_no_engine_and_no_workflow(url: str, tmp_path: Path) -> None:
    code, out, error = await perdure(f"sqlite:///{tmp_path}/missing/app.db", "workflow", "list")
    assert (code, out) == (3, "") and "does not exist" in error and error.count("\n") == 1
    code, _, error = await perdure("nonsense://x", "workflow", "list")
    assert code == 2 and error.count("\n") == 1
    code, _, error = await perdure(url, "workflow", "describe", "-w", "nobody")
    assert code == 1 and "no workflow has the id 'nobody'; `perdure workflow list`" in error
    code, _, error = await perdure(url, "workflow", "describe", "-w", "nobody", "-n", "nowhere")
    assert code == 1 and "there is no namespace 'nowhere'" in error


async def test_a_server_speaks_http_and_lets_others_join(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    command = [sys.executable, "-m", "perdure.cli", "server", "--port", "0", "--engine", url]
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    try:
        assert server.stdout is not None
        said = (await server.stdout.readline()).decode()
        found = re.search(r"HTTP on (http://127\.0\.0\.1:\d+), engine", said)
        assert found, said
        assert (await perdure(url, "workflow", "start", "--type", "greet", "-w", "g1", "-i", '"you"'))[0] == 0
        over_grpc = re.search(r"gRPC on (\S+),", said)
        assert over_grpc
        for _ in range(3):
            code, out, error = await perdure(f"perdure://{over_grpc[1]}", "workflow", "describe", "-w", "g1", "-o", "json")
            assert (code, json.loads(out)["workflowExecutionInfo"]["type"], error) == (0, {"name": "greet"}, "")
        path = f"{found[1]}/api/v1/namespaces/default/workflows/g1"
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(path, timeout=60).read())
        assert json.loads(answer)["workflowExecutionInfo"]["type"] == {"name": "greet"}
    finally:
        server.terminate()
    assert await server.wait() == 0
