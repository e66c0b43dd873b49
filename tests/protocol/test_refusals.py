"""Proves what the official SDK hears when it is refused: codes with their typed details, and words that are too long for a trailer."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio import workflow
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers


@workflow.defn
class Talkative:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return "done"

    @workflow.signal
    def end(self) -> None:
        self.done = True

    @workflow.query
    def complain(self, letter: str, times: int) -> None:
        raise ApplicationError(letter * times)


@pytest.mark.parametrize("letter", ["x", "ü"])
async def test_long_words_end_the_call_and_not_the_connection(client: Client, worker: Workers, letter: str) -> None:
    """Trailers beyond what a client takes end its connection, with every poll on it; SDKs then try the call again and again."""
    async with worker([Talkative]) as running:
        handle = await client.start_workflow(Talkative.run, id=str(uuid.uuid4()), task_queue=running.task_queue)
        for times in (10, 5_000, 20_000, 200_000):
            with pytest.raises(WorkflowQueryFailedError) as failed:
                await asyncio.wait_for(handle.query(Talkative.complain, args=[letter, times]), 20)
            assert str(failed.value).startswith(letter * 10)
        await handle.signal(Talkative.end)
        assert await handle.result() == "done"
    for times in (100, 6_000, 60_000):
        count = CountWorkflowExecutionsRequest(namespace="default", query=letter * times + " = 1")
        with pytest.raises(RPCError, match="invalid search attribute") as refused:
            await client.workflow_service.count_workflow_executions(count)
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
