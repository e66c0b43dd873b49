"""Proves that a workflow can be paused and goes on when it is unpaused, with the official SDK's worker and raw service."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    PauseWorkflowExecutionRequest,
    QueryWorkflowRequest,
    UnpauseWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateStage
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

PAUSED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
begun: asyncio.Event
let_go: asyncio.Event


@pytest.fixture(autouse=True)
async def gates() -> None:
    global begun, let_go
    begun, let_go = asyncio.Event(), asyncio.Event()


@activity.defn
async def wait_outside() -> str:
    begun.set()
    await let_go.wait()
    return "outside"


@workflow.defn
class Collects:
    """Runs an activity, then waits for a signal."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        self.words.append(await workflow.execute_activity(wait_outside, start_to_close_timeout=timedelta(seconds=30)))
        await workflow.wait_condition(lambda: len(self.words) > 1)
        return self.words

    @workflow.signal
    def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.query
    def said(self) -> list[str]:
        return self.words

    @workflow.update
    async def ask(self, word: str) -> str:
        return word


Handle = WorkflowHandle[Any, Any]


async def pause(client: Client, handle: Handle) -> None:
    await client.workflow_service.pause_workflow_execution(
        PauseWorkflowExecutionRequest(
            namespace="default", workflow_id=handle.id, identity="operator", reason="look", request_id=str(uuid.uuid4())
        )
    )


async def unpause(client: Client, handle: Handle) -> None:
    await client.workflow_service.unpause_workflow_execution(
        UnpauseWorkflowExecutionRequest(namespace="default", workflow_id=handle.id, identity="operator")
    )


async def test_a_paused_workflow_keeps_what_reaches_it(client: Client, worker: Workers) -> None:
    async with worker([Collects], [wait_outside]) as running:
        handle = await client.start_workflow(Collects.run, id=str(uuid.uuid4()), task_queue=running.task_queue)
        await begun.wait()
        await pause(client, handle)
        let_go.set()
        await handle.signal(Collects.say, "hello")
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.event_type == E.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                break
        execution = WorkflowExecution(workflow_id=handle.id)
        described = await client.workflow_service.describe_workflow_execution(
            DescribeWorkflowExecutionRequest(namespace="default", execution=execution)
        )
        assert described.workflow_execution_info.status == PAUSED
        assert described.workflow_extended_info.pause_info.reason == "look"
        assert not described.HasField("pending_workflow_task")
        query = QueryWorkflowRequest(namespace="default", execution=execution, query=WorkflowQuery(query_type="said"))
        assert (await client.workflow_service.query_workflow(query)).query_rejected.status == PAUSED
        with pytest.raises(RPCError) as refused:
            await handle.start_update(Collects.ask, "x", wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        assert refused.value.status == RPCStatusCode.FAILED_PRECONDITION
        asked = "ExecutionStatus = 'Paused' AND TemporalPauseInfo = 'Reason:look'"
        assert (await client.count_workflows(asked)).count == 1
        await unpause(client, handle)
        assert sorted(await handle.result()) == ["hello", "outside"]
    kinds = [event.event_type async for event in handle.fetch_history_events()]
    assert kinds.index(E.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED) < kinds.index(E.EVENT_TYPE_ACTIVITY_TASK_STARTED)
    unpaused = kinds.index(E.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED)
    assert kinds[unpaused + 1] == E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED


async def test_a_workflow_that_is_paused_before_a_worker_comes(client: Client, worker: Workers) -> None:
    queue = f"queue-{uuid.uuid4()}"
    handle = await client.start_workflow(Collects.run, id=str(uuid.uuid4()), task_queue=queue)
    await pause(client, handle)
    with pytest.raises(RPCError) as refused:
        await pause(client, handle)
    assert refused.value.status == RPCStatusCode.FAILED_PRECONDITION
    let_go.set()
    await handle.signal(Collects.say, "first")
    async with worker([Collects], [wait_outside], task_queue=queue):
        await unpause(client, handle)
        assert await handle.result() == ["first", "outside"]
    with pytest.raises(RPCError) as refused:
        await unpause(client, handle)
    assert refused.value.status == RPCStatusCode.NOT_FOUND


async def test_the_namespace_says_that_it_can(client: Client) -> None:
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert described.namespace_info.capabilities.workflow_pause
