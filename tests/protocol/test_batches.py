"""Proves that batch operations do one thing to many workflows, tell how far they are, can be stopped and survive a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.batch.v1 import (
    BatchOperationCancellation,
    BatchOperationDeletion,
    BatchOperationReset,
    BatchOperationSignal,
    BatchOperationTermination,
    BatchOperationUnpauseActivities,
)
from temporalio.api.common.v1 import Execution, ResetOptions, WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState, BatchOperationType, ExecutionType
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    StartBatchOperationRequest,
    StopBatchOperationRequest,
)
from temporalio.client import ActivityExecutionStatus, Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.protocol.test_schedules import QUEUE, Job, eventually

from perdure.testing import server as run_server

RUNNING = BatchOperationState.BATCH_OPERATION_STATE_RUNNING
COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
FAILED = BatchOperationState.BATCH_OPERATION_STATE_FAILED


@pytest.fixture
async def executions(client: Client) -> AsyncGenerator[list[WorkflowExecution]]:
    """Twelve workflows that wait."""
    yield await started(client, 12)


async def started(client: Client, count: int) -> list[WorkflowExecution]:
    handles = await asyncio.gather(*(client.start_workflow(Job.run, "r", id=f"w{n}", task_queue=QUEUE) for n in range(count)))
    return [WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id or "") for handle in handles]


async def start(client: Client, executions: list[WorkflowExecution], job_id: str = "job", **operation: object) -> None:
    request = StartBatchOperationRequest(
        namespace="default",
        job_id=job_id,
        reason="a test",
        executions=executions,
        **operation,  # type: ignore[arg-type]
    )
    await client.workflow_service.start_batch_operation(request)


async def describe(client: Client, job_id: str = "job") -> DescribeBatchOperationResponse:
    return await client.workflow_service.describe_batch_operation(DescribeBatchOperationRequest(namespace="default", job_id=job_id))


async def ended(client: Client, job_id: str = "job") -> DescribeBatchOperationResponse:
    async def has_ended() -> bool:
        return (await describe(client, job_id)).state != RUNNING

    await eventually(has_ended)
    return await describe(client, job_id)


async def statuses(client: Client, executions: list[WorkflowExecution]) -> set[WorkflowExecutionStatus | None]:
    return {(await client.get_workflow_handle(each.workflow_id).describe()).status for each in executions}


async def test_terminate(client: Client, executions: list[WorkflowExecution]) -> None:
    await start(client, executions, termination_operation=BatchOperationTermination(identity="me"), max_operations_per_second=1000)
    job = await ended(client)
    assert (job.state, job.operation_type) == (COMPLETED, BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE)
    assert (job.total_operation_count, job.complete_operation_count, job.failure_operation_count) == (12, 12, 0)
    assert (job.identity, job.reason) == ("me", "a test")
    assert job.close_time.ToNanoseconds() >= job.start_time.ToNanoseconds() > 0
    assert await statuses(client, executions) == {WorkflowExecutionStatus.TERMINATED}
    last = (await client.get_workflow_handle("w3").fetch_history()).events[-1].workflow_execution_terminated_event_attributes
    assert (last.reason, last.identity) == ("a test", "me")


async def test_signal_and_what_has_closed_counts_as_failed(client: Client, executions: list[WorkflowExecution]) -> None:
    await client.get_workflow_handle("w0").terminate()
    await start(client, executions, signal_operation=BatchOperationSignal(signal="end"), max_operations_per_second=1000)
    job = await ended(client)
    assert (job.state, job.complete_operation_count, job.failure_operation_count) == (COMPLETED, 11, 1)
    async with Worker(client, task_queue=QUEUE, workflows=[Job], workflow_runner=UnsandboxedWorkflowRunner()):
        assert await client.get_workflow_handle("w5").result() == "r"


async def test_cancel_of_workflows_that_are_named_without_a_run(client: Client, executions: list[WorkflowExecution]) -> None:
    named = [WorkflowExecution(workflow_id=each.workflow_id) for each in executions[:3]]
    await start(client, named, cancellation_operation=BatchOperationCancellation(identity="me"))
    assert (await ended(client)).complete_operation_count == 3
    async with Worker(client, task_queue=QUEUE, workflows=[Job], workflow_runner=UnsandboxedWorkflowRunner()):
        for each in named:
            with pytest.raises(Exception, match="execution failed"):
                await client.get_workflow_handle(each.workflow_id).result()
    assert await statuses(client, named) == {WorkflowExecutionStatus.CANCELED}


async def test_delete(client: Client, executions: list[WorkflowExecution]) -> None:
    await client.get_workflow_handle("w0").terminate()
    await start(client, executions[:3], deletion_operation=BatchOperationDeletion(), max_operations_per_second=1000)
    job = await ended(client)
    assert (job.complete_operation_count, job.failure_operation_count) == (3, 0)
    for each in executions[:3]:
        with pytest.raises(RPCError) as gone:
            await client.get_workflow_handle(each.workflow_id).describe()
        assert gone.value.status is RPCStatusCode.NOT_FOUND


async def test_reset_to_the_first_workflow_task(client: Client, executions: list[WorkflowExecution]) -> None:
    async with Worker(client, task_queue=QUEUE, workflows=[Job], workflow_runner=UnsandboxedWorkflowRunner()):

        async def begun(workflow_id: str) -> bool:
            return len((await client.get_workflow_handle(workflow_id).fetch_history()).events) >= 4

        for each in executions[:2]:
            await eventually(lambda each=each: begun(each.workflow_id))  # type: ignore[misc]
        operation = BatchOperationReset(identity="me", options=ResetOptions(first_workflow_task={}))  # type: ignore[arg-type]
        await start(client, executions[:2], reset_operation=operation)
        assert (await ended(client)).complete_operation_count == 2
        for each in executions[:2]:
            description = await client.get_workflow_handle(each.workflow_id).describe()
            assert description.run_id != each.run_id
            assert description.status is WorkflowExecutionStatus.RUNNING


async def test_reset_to_what_a_build_did_first(client: Client, executions: list[WorkflowExecution]) -> None:
    async def points(workflow_id: str) -> list[str]:
        info = (await client.get_workflow_handle(workflow_id).describe()).raw_description.workflow_execution_info
        return [each.binary_checksum or each.build_id for each in info.auto_reset_points.points]

    for build in ("build-1", "build-2"):
        worker = Worker(client, task_queue=QUEUE, workflows=[Job], workflow_runner=UnsandboxedWorkflowRunner(), build_id=build)
        async with worker:
            for each in executions[:2]:
                await client.get_workflow_handle(each.workflow_id).signal("anything")
                await eventually(lambda each=each, build=build: has(points, each.workflow_id, build))  # type: ignore[misc]
    assert [await points(each.workflow_id) for each in executions[:2]] == [["build-1", "build-2"]] * 2
    reset = BatchOperationReset(identity="me", options=ResetOptions(build_id="build-2"))
    await start(client, executions[:2], reset_operation=reset)
    assert (await ended(client)).complete_operation_count == 2
    for each in executions[:2]:
        assert (await client.get_workflow_handle(each.workflow_id).describe()).run_id != each.run_id
        assert await points(each.workflow_id) == ["build-1"]


async def has(points: Callable[[str], Awaitable[list[str]]], workflow_id: str, build: str) -> bool:
    return build in await points(workflow_id)


async def test_unpause_activities_of_workflows_that_have_none_changes_nothing(client: Client, executions: list[WorkflowExecution]) -> None:
    await start(client, executions[:2], unpause_activities_operation=BatchOperationUnpauseActivities(type="none"))
    job = await ended(client)
    assert job.operation_type == BatchOperationType.BATCH_OPERATION_TYPE_UNPAUSE_ACTIVITY
    assert job.complete_operation_count + job.failure_operation_count == 2


async def test_activities_without_a_workflow_are_terminated(client: Client) -> None:
    handles = [
        await client.start_activity("Any", id=f"a{n}", task_queue=QUEUE, start_to_close_timeout=timedelta(minutes=1)) for n in range(3)
    ]
    request = StartBatchOperationRequest(namespace="default", job_id="job", reason="a test")
    for handle in handles:
        request.target_executions.add(type=ExecutionType.EXECUTION_TYPE_ACTIVITY, business_id=handle.id)
    request.terminate_activities_operation.SetInParent()
    await client.workflow_service.start_batch_operation(request)
    job = await ended(client)
    assert job.operation_type == BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_ACTIVITY
    assert (job.complete_operation_count, job.failure_operation_count) == (3, 0)
    assert {(await handle.describe()).status for handle in handles} == {ActivityExecutionStatus.TERMINATED}


async def test_terminate_all_that_a_query_finds(client: Client) -> None:
    executions = await started(client, 250)
    query = "ExecutionStatus = 'Running' AND WorkflowId != 'w7'"
    request = StartBatchOperationRequest(namespace="default", job_id="job", reason="a test", visibility_query=query)
    request.termination_operation.SetInParent()
    request.max_operations_per_second = 1000
    await client.workflow_service.start_batch_operation(request)
    job = await ended(client)
    assert (job.total_operation_count, job.complete_operation_count, job.failure_operation_count) == (249, 249, 0)
    assert job.query == query
    running = [each.id async for each in client.list_workflows("ExecutionStatus = 'Running'")]
    assert running == ["w7"]
    assert len(executions) == 250


async def test_query_that_cannot_be_read_is_refused(client: Client) -> None:
    request = StartBatchOperationRequest(namespace="default", job_id="job", reason="a test", visibility_query="Shape ~ 'round'")
    request.termination_operation.SetInParent()
    with pytest.raises(RPCError) as refusal:
        await client.workflow_service.start_batch_operation(request)
    assert refusal.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_job_is_stopped_and_listed(client: Client, executions: list[WorkflowExecution]) -> None:
    await start(client, executions, "slow", termination_operation=BatchOperationTermination(), max_operations_per_second=0.5)
    await start(client, executions[:1], "quick", signal_operation=BatchOperationSignal(signal="end"))
    await ended(client, "quick")
    await client.workflow_service.stop_batch_operation(StopBatchOperationRequest(namespace="default", job_id="slow", reason="enough"))
    job = await describe(client, "slow")
    assert job.state == FAILED
    assert job.HasField("close_time")
    assert WorkflowExecutionStatus.RUNNING in await statuses(client, executions)
    with pytest.raises(RPCError) as refusal:
        await client.workflow_service.stop_batch_operation(StopBatchOperationRequest(namespace="default", job_id="slow", reason="again"))
    assert refusal.value.status is RPCStatusCode.NOT_FOUND
    first = await client.workflow_service.list_batch_operations(ListBatchOperationsRequest(namespace="default", page_size=1))
    rest = await client.workflow_service.list_batch_operations(
        ListBatchOperationsRequest(namespace="default", next_page_token=first.next_page_token)
    )
    assert [(each.job_id, each.state) for each in (*first.operation_info, *rest.operation_info)] == [("quick", COMPLETED), ("slow", FAILED)]
    for token in (b"token", b"12345678\xff"):
        with pytest.raises(RPCError) as refusal:
            await client.workflow_service.list_batch_operations(ListBatchOperationsRequest(namespace="default", next_page_token=token))
        assert refusal.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_job_goes_on_after_a_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'server.db'}"
    async with run_server(url) as address:
        client = await Client.connect(address)
        executions = await started(client, 30)
        await start(client, executions, termination_operation=BatchOperationTermination(), max_operations_per_second=20)

        async def some() -> bool:
            return WorkflowExecutionStatus.TERMINATED in await statuses(client, executions[:1])

        await eventually(some)
    async with run_server(url) as address:
        client = await Client.connect(address)
        job = await ended(client)
        assert (job.complete_operation_count, job.failure_operation_count) == (30, 0)
        assert await statuses(client, executions) == {WorkflowExecutionStatus.TERMINATED}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"job_id": ""}, RPCStatusCode.INVALID_ARGUMENT),
        ({"reason": ""}, RPCStatusCode.INVALID_ARGUMENT),
        ({"executions": []}, RPCStatusCode.INVALID_ARGUMENT),
        ({"visibility_query": "WorkflowType = 'Job'"}, RPCStatusCode.INVALID_ARGUMENT),
        ({"signal_operation": BatchOperationSignal()}, RPCStatusCode.INVALID_ARGUMENT),
        ({"termination_operation": None}, RPCStatusCode.INVALID_ARGUMENT),
        ({"executions": [], "target_executions": [Execution(type=2, business_id="a")]}, RPCStatusCode.INVALID_ARGUMENT),  # type: ignore[arg-type]
        ({"namespace": "elsewhere"}, RPCStatusCode.NOT_FOUND),
    ],
)
async def test_what_cannot_be_meant_is_refused(client: Client, fields: dict[str, object], status: RPCStatusCode) -> None:
    whole: dict[str, object] = {
        "namespace": "default",
        "job_id": "job",
        "reason": "a test",
        "executions": [WorkflowExecution(workflow_id="w")],
    }
    if "signal_operation" not in fields:
        whole["termination_operation"] = BatchOperationTermination()
    request = StartBatchOperationRequest(**(whole | fields))  # type: ignore[arg-type]
    with pytest.raises(RPCError) as refusal:
        await client.workflow_service.start_batch_operation(request)
    assert refusal.value.status is status


async def test_job_of_an_id_that_exists_or_does_not(client: Client, executions: list[WorkflowExecution]) -> None:
    await start(client, executions[:1], signal_operation=BatchOperationSignal(signal="end"))
    with pytest.raises(RPCError) as refusal:
        await start(client, executions[:1], deletion_operation=BatchOperationDeletion())
    assert refusal.value.status is RPCStatusCode.ALREADY_EXISTS
    with pytest.raises(RPCError) as refusal:
        await describe(client, "none")
    assert refusal.value.status is RPCStatusCode.NOT_FOUND
