"""Proves that who reads a history to replay it sees the events of the workflow task that is handed over and not recorded."""

from __future__ import annotations

import asyncio
import uuid

import grpc.aio
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.update.v1 import Acceptance, Rejection
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    UpdateWorkflowExecutionRequest,
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


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_task_that_was_made_for_an_update(server: str, client: Client, accepted: bool) -> None:
    """A speculative one: seen while a worker has it; gone when the update is rejected, and recorded when it is accepted."""
    queue, workflow_id = f"queue-{uuid.uuid4()}", str(uuid.uuid4())
    await client.start_workflow("Any", id=workflow_id, task_queue=queue)
    task = await poll(client, queue)
    await client.workflow_service.respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest(task_token=task.task_token))
    recorded = list(enumerate([*RECORDED[:3], E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED], 1))
    assert await read(server, workflow_id, "temporal-go") == recorded
    updating = asyncio.ensure_future(client.workflow_service.update_workflow_execution(update(workflow_id)))
    task = await poll(client, queue)
    assert [message.protocol_instance_id for message in task.messages] == ["u"]
    seen = [*recorded, (5, SCHEDULED), (6, STARTED)]
    assert [(e.event_id, e.event_type) for e in task.history.events] == seen
    assert await read(server, workflow_id, "temporal-go") == seen
    assert await read(server, workflow_id, "temporal-cli") == recorded
    answer = RespondWorkflowTaskCompletedRequest(task_token=task.task_token)
    answer.messages.add(id="answer", protocol_instance_id="u").body.Pack(acceptance(task) if accepted else rejection())
    await client.workflow_service.respond_workflow_task_completed(answer)
    assert (await updating).outcome.HasField("failure") != accepted
    written = [(7, E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED), (8, E.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)]
    assert await read(server, workflow_id, "temporal-go") == ([*seen, *written] if accepted else recorded)


def update(workflow_id: str) -> UpdateWorkflowExecutionRequest:
    request = UpdateWorkflowExecutionRequest(namespace="default", workflow_execution=WorkflowExecution(workflow_id=workflow_id))
    request.request.meta.update_id, request.request.input.name = "u", "change"
    request.wait_policy.lifecycle_stage = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
    return request


def rejection() -> Rejection:
    rejected = Rejection(rejected_request_message_id="u/request")
    rejected.failure.message = "no"
    return rejected


def acceptance(task: PollWorkflowTaskQueueResponse) -> Acceptance:
    accepted = Acceptance(accepted_request_message_id="u/request", accepted_request_sequencing_event_id=5)
    assert task.messages[0].body.Unpack(accepted.accepted_request)
    return accepted
