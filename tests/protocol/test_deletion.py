"""Proves deletion as clients of the protocol see it, of one workflow and of all that a query finds, and the family of a run in queries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import temporalio.api.enums.v1 as enums
import temporalio.api.workflowservice.v1 as service
from temporalio import workflow
from temporalio.api.batch.v1 import BatchOperationDeletion
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode


@workflow.defn
class Grandchild:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


@workflow.defn
class Child:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_child_workflow(Grandchild.run, id="grandchild")


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_child_workflow(Child.run, id="child")


async def ids(client: Client, query: str) -> list[str]:
    return sorted([found.id async for found in client.list_workflows(query)])


async def start(client: Client, workflow_id: str) -> None:
    await client.start_workflow("Order", id=workflow_id, task_queue="nobody")


async def delete(client: Client, workflow_id: str) -> None:
    request = service.DeleteWorkflowExecutionRequest(namespace="default")
    request.workflow_execution.workflow_id = workflow_id
    await client.workflow_service.delete_workflow_execution(request)


@pytest.mark.parametrize("closed", [False, True])
async def test_a_deleted_workflow_is_not_found(client: Client, closed: bool) -> None:
    await start(client, "order")
    await start(client, "other")
    handle = client.get_workflow_handle("order")
    if closed:
        await handle.terminate()
    await delete(client, "order")
    for call in (handle.describe(), handle.fetch_history(), handle.terminate(), delete(client, "order")):
        with pytest.raises(RPCError) as refused:
            await call
        assert refused.value.status is RPCStatusCode.NOT_FOUND
    assert await ids(client, "") == ["other"]
    await start(client, "order")


async def test_a_batch_deletes_what_a_query_finds(client: Client) -> None:
    for number in range(12):
        await start(client, f"order-{number}")
    await start(client, "kept")
    request = service.StartBatchOperationRequest(
        namespace="default", job_id="job", reason="old", visibility_query="WorkflowId STARTS_WITH 'order-'"
    )
    request.deletion_operation.CopyFrom(BatchOperationDeletion(identity="me"))
    await client.workflow_service.start_batch_operation(request)
    describe = service.DescribeBatchOperationRequest(namespace="default", job_id="job")
    running = enums.BatchOperationState.BATCH_OPERATION_STATE_RUNNING
    while (job := await client.workflow_service.describe_batch_operation(describe)).state == running:
        await asyncio.sleep(0.02)
    assert (job.complete_operation_count, job.failure_operation_count) == (12, 0)
    assert await ids(client, "") == ["kept"]


async def test_a_family_is_found_by_its_parent_and_its_root(client: Client, worker: Any) -> None:
    async with worker([Parent, Child, Grandchild]) as running:
        parent = await client.start_workflow(Parent.run, id="parent", task_queue=running.task_queue)
        while await ids(client, "RootWorkflowId = 'parent'") != ["child", "grandchild", "parent"]:
            await asyncio.sleep(0.02)
        assert await ids(client, "ParentWorkflowId = 'parent'") == ["child"]
        assert await ids(client, f"ParentRunId = '{parent.first_execution_run_id}'") == ["child"]
        assert await ids(client, f"RootRunId = '{parent.first_execution_run_id}' AND ParentWorkflowId IS NOT NULL") == [
            "child",
            "grandchild",
        ]
        assert await ids(client, "ParentWorkflowId IS NULL") == ["parent"]
        (found,) = [each async for each in client.list_workflows("WorkflowId = 'grandchild'")]
        assert (found.parent_id, found.root_id) == ("child", "parent")
        await delete(client, "parent")
        while await ids(client, "WorkflowId = 'parent' OR ExecutionStatus = 'Running'"):
            await asyncio.sleep(0.02)
        assert await ids(client, "") == ["child", "grandchild"]
        assert (await client.count_workflows("ExecutionStatus = 'Terminated'")).count == 2
