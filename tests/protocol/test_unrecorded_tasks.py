"""Proves that who reads a history to replay it sees the events of the workflow task that is handed over and not recorded."""

from __future__ import annotations

import uuid

import grpc.aio
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskFailedRequest,
)
from temporalio.client import Client

READ = "/temporal.api.workflowservice.v1.WorkflowService/GetWorkflowExecutionHistory"
SCHEDULED, STARTED = E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, E.EVENT_TYPE_WORKFLOW_TASK_STARTED
RECORDED = [E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, SCHEDULED, STARTED, E.EVENT_TYPE_WORKFLOW_TASK_FAILED]


async def poll(client: Client, queue: str) -> PollWorkflowTaskQueueResponse:
    request = PollWorkflowTaskQueueRequest(namespace="default", identity="worker")
    request.task_queue.name = queue
    return await client.workflow_service.poll_workflow_task_queue(request)


async def fail_once(client: Client, queue: str) -> str:
    """Starts a workflow whose first workflow task has failed; the second waits."""
    workflow_id = str(uuid.uuid4())
    await client.start_workflow("Any", id=workflow_id, task_queue=queue)
    task = await poll(client, queue)
    await client.workflow_service.respond_workflow_task_failed(
        RespondWorkflowTaskFailedRequest(namespace="default", task_token=task.task_token)
    )
    return workflow_id


async def read(server: str, workflow_id: str, client_name: str, **fields: object) -> list[tuple[int, int]]:
    request = GetWorkflowExecutionHistoryRequest(namespace="default", execution=WorkflowExecution(workflow_id=workflow_id), **fields)
    found: list[tuple[int, int]] = []
    async with grpc.aio.insecure_channel(server) as channel:
        while True:
            body = await channel.unary_unary(READ)(request.SerializeToString(), metadata=(("client-name", client_name),))
            response = GetWorkflowExecutionHistoryResponse.FromString(body)
            found += [(event.event_id, event.event_type) for event in response.history.events]
            request.next_page_token = response.next_page_token
            if not request.next_page_token:
                return found


@pytest.mark.parametrize("page", [0, 3])
async def test_a_worker_sees_the_task_that_it_has(server: str, client: Client, page: int) -> None:
    queue = f"queue-{uuid.uuid4()}"
    workflow_id = await fail_once(client, queue)
    recorded = list(enumerate(RECORDED, 1))
    assert await read(server, workflow_id, "temporal-go", maximum_page_size=page) == [*recorded, (5, SCHEDULED)]
    task = await poll(client, queue)
    assert task.attempt == 2 and task.started_event_id == 6
    assert await read(server, workflow_id, "temporal-go", maximum_page_size=page) == [*recorded, (5, SCHEDULED), (6, STARTED)]
    assert [(e.event_id, e.event_type) for e in task.history.events] == [*recorded, (5, SCHEDULED), (6, STARTED)]
    for tool in ("temporal-cli", "temporal-ui"):
        assert await read(server, workflow_id, tool) == recorded


async def test_what_comes_after_it_takes_its_place(server: str, client: Client) -> None:
    queue = f"queue-{uuid.uuid4()}"
    workflow_id = await fail_once(client, queue)
    await client.get_workflow_handle(workflow_id).signal("go")
    signaled = (5, E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    assert await read(server, workflow_id, "temporal-go") == [*enumerate(RECORDED, 1), signaled]
    await poll(client, queue)
    assert await read(server, workflow_id, "temporal-go") == [*enumerate(RECORDED, 1), signaled, (6, SCHEDULED), (7, STARTED)]
