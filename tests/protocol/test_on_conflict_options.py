"""Proves that a start that finds a running workflow attaches to it what it says: its request id and links, alone or with an update."""

from __future__ import annotations

import uuid

from temporalio.api.common.v1 import Link, Payloads
from temporalio.api.enums.v1 import EventType, UpdateWorkflowExecutionLifecycleStage, WorkflowIdConflictPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import Client
from tests.protocol.conftest import Workers
from tests.protocol.test_updates import Ledger

UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED


def link(workflow_id: str) -> Link:
    return Link(workflow_event=Link.WorkflowEvent(namespace="default", workflow_id=workflow_id, run_id="r"))


def start(workflow_id: str, queue: str, request_id: str) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=request_id, identity="client")
    request.workflow_type.name, request.task_queue.name = "Ledger", queue
    request.workflow_id_conflict_policy = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    request.on_conflict_options.attach_request_id = request.on_conflict_options.attach_links = True
    request.links.append(link("caller"))
    return request


async def attached(client: Client, workflow_id: str) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.event_type == UPDATED:
            links = [each.workflow_event.workflow_id for each in event.links]
            found.append((event.workflow_execution_options_updated_event_attributes.attached_request_id, links))
            assert event.worker_may_ignore
    return found


async def test_a_start_is_attached_once(client: Client) -> None:
    workflow_id, queue = str(uuid.uuid4()), "queue"
    first = await client.workflow_service.start_workflow_execution(start(workflow_id, queue, "one"))
    for _ in range(2):
        again = await client.workflow_service.start_workflow_execution(start(workflow_id, queue, "two"))
        assert (again.run_id, again.started) == (first.run_id, False)
    assert await attached(client, workflow_id) == [("two", ["caller"])]


async def test_an_update_with_start_attaches_its_start(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        workflow_id = str(uuid.uuid4())
        for number, request_id in enumerate(("one", "two", "two"), 1):
            request = ExecuteMultiOperationRequest(namespace="default")
            request.operations.add().start_workflow.CopyFrom(start(workflow_id, running.task_queue, request_id))
            update = UpdateWorkflowExecutionRequest(namespace="default")
            update.workflow_execution.workflow_id = workflow_id
            update.request.meta.update_id, update.request.input.name = f"u{number}", "add"
            update.request.input.args.CopyFrom(Payloads(payloads=client.data_converter.payload_converter.to_payloads([1])))
            update.wait_policy.lifecycle_stage = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
            request.operations.add().update_workflow.CopyFrom(update)
            answer = await client.workflow_service.execute_multi_operation(request)
            assert answer.responses[0].start_workflow.started == (number == 1)
            assert answer.responses[1].update_workflow.outcome.success.payloads[0].data == str(number).encode()
        assert await attached(client, workflow_id) == [("two", ["caller"])]


async def test_a_description_names_the_events_of_its_requests(client: Client) -> None:
    """While a worker has a workflow task, what is attached waits for its end, and for its id."""
    service = client.workflow_service
    workflow_id, queue = str(uuid.uuid4()), "queue"
    await service.start_workflow_execution(start(workflow_id, queue, "one"))
    await service.start_workflow_execution(start(workflow_id, queue, "two"))
    task = await service.poll_workflow_task_queue(PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue)))
    await service.start_workflow_execution(start(workflow_id, queue, "three"))

    async def infos() -> dict[str, tuple[int, int, bool]]:
        described = (await client.get_workflow_handle(workflow_id).describe()).raw_description
        shown = described.workflow_extended_info.request_id_infos
        return {request_id: (info.event_type, info.event_id, info.buffered) for request_id, info in shown.items()}

    began = {"one": (EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 1, False), "two": (UPDATED, 3, False)}
    assert await infos() == {**began, "three": (UPDATED, 0, True)}
    await service.respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest(task_token=task.task_token))
    assert await infos() == {**began, "three": (UPDATED, 6, False)}
