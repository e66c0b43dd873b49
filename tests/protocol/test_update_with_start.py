"""Proves update-with-start with the official SDK: a run is made or found, and updated, as one, by every policy."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
from temporalio.api.workflowservice.v1 import ExecuteMultiOperationRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers
from tests.protocol.test_updates import BEGUN, TASK, UPDATED, Ledger, kinds

FAIL, USE, TERMINATE = WorkflowIDConflictPolicy.FAIL, WorkflowIDConflictPolicy.USE_EXISTING, WorkflowIDConflictPolicy.TERMINATE_EXISTING


def starting(
    workflow_id: str, queue: str, conflict: WorkflowIDConflictPolicy = FAIL, **options: Any
) -> WithStartWorkflowOperation[Any, Any]:
    return WithStartWorkflowOperation(Ledger.run, id=workflow_id, task_queue=queue, id_conflict_policy=conflict, **options)


def new_id() -> str:
    return str(uuid.uuid4())


async def test_a_new_run_gets_the_update_with_its_first_task(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        start = starting(new_id(), running.task_queue)
        assert await client.execute_update_with_start_workflow(Ledger.add, 3, start_workflow_operation=start, id="u") == 3
        handle = await start.workflow_handle()
        assert await kinds(handle) == BEGUN + UPDATED
        assert await handle.execute_update(Ledger.add, 100, id="u") == 3


async def test_waiting_for_acceptance_only(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        start = starting(new_id(), running.task_queue)
        update = await client.start_update_with_start_workflow(
            Ledger.wait_for_release, start_workflow_operation=start, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        handle = await start.workflow_handle()
        assert update.workflow_run_id == handle.first_execution_run_id and await kinds(handle) == [*BEGUN, UPDATED[0]]
        await handle.signal(Ledger.release)
        assert await update.result() == "released"


async def test_a_run_that_is_there_is_used(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        workflow_id = new_id()
        for number in range(1, 4):
            start = starting(workflow_id, running.task_queue, USE)
            assert await client.execute_update_with_start_workflow(Ledger.add, 1, start_workflow_operation=start) == number
        assert await kinds(client.get_workflow_handle(workflow_id)) == BEGUN + UPDATED + (TASK + UPDATED) * 2


async def test_a_run_that_is_there_is_in_the_way(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await client.start_workflow(Ledger.run, id=new_id(), task_queue=running.task_queue)
        start = starting(handle.id, running.task_queue)
        with pytest.raises(WorkflowAlreadyStartedError) as caught:
            await client.execute_update_with_start_workflow(Ledger.add, 1, start_workflow_operation=start)
        assert caught.value.run_id == handle.first_execution_run_id
        with pytest.raises(WorkflowAlreadyStartedError):
            await start.workflow_handle()
        assert await handle.query(Ledger.total) == 0


async def test_a_run_that_is_there_is_replaced(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        old = await client.start_workflow(Ledger.run, id=new_id(), task_queue=running.task_queue)
        await old.query(Ledger.total)
        start = starting(old.id, running.task_queue, TERMINATE)
        assert await client.execute_update_with_start_workflow(Ledger.add, 1, start_workflow_operation=start) == 1
        new = await start.workflow_handle()
        assert new.first_execution_run_id != old.first_execution_run_id and await kinds(new) == BEGUN + UPDATED
        first = client.get_workflow_handle(old.id, run_id=old.first_execution_run_id)
        assert (await first.describe()).status is WorkflowExecutionStatus.TERMINATED


@pytest.mark.parametrize("reuse", [WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE])
async def test_after_a_run_that_has_closed(client: Client, worker: Workers, reuse: WorkflowIDReusePolicy) -> None:
    async with worker([Ledger]) as running:
        workflow_id = new_id()
        first = starting(workflow_id, running.task_queue)
        assert await client.execute_update_with_start_workflow(Ledger.add_and_stop, 1, start_workflow_operation=first, id="u") == "stopping"
        await (await first.workflow_handle()).result()
        known = starting(workflow_id, running.task_queue, id_reuse_policy=reuse)
        assert await client.execute_update_with_start_workflow(Ledger.add_and_stop, 1, start_workflow_operation=known, id="u") == "stopping"
        assert (await known.workflow_handle()).first_execution_run_id == (await first.workflow_handle()).first_execution_run_id
        other = starting(workflow_id, running.task_queue, id_reuse_policy=reuse)
        asked = client.execute_update_with_start_workflow(Ledger.add, 7, start_workflow_operation=other, id="other")
        if reuse is WorkflowIDReusePolicy.REJECT_DUPLICATE:
            with pytest.raises(WorkflowAlreadyStartedError):
                await asked
        else:
            assert await asked == 7


async def test_an_update_that_a_closed_run_did_not_complete_is_asked_of_a_new_one(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        first = starting(new_id(), running.task_queue)
        await client.start_update_with_start_workflow(
            Ledger.wait_for_release, start_workflow_operation=first, id="u", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        handle = await first.workflow_handle()
        await handle.terminate()
        second = starting(handle.id, running.task_queue)
        assert await client.execute_update_with_start_workflow(Ledger.add, 2, start_workflow_operation=second, id="u") == 2
        assert (await second.workflow_handle()).first_execution_run_id != handle.first_execution_run_id


async def test_a_rejected_update_leaves_a_run_that_goes_on(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        start = starting(new_id(), running.task_queue)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await client.execute_update_with_start_workflow(Ledger.add, -1, start_workflow_operation=start)
        assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "Negative"
        handle = await start.workflow_handle()
        assert await kinds(handle) == BEGUN and await handle.execute_update(Ledger.add, 1) == 1


async def test_many_callers_make_one_run(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        workflow_id = new_id()
        asked = (
            client.execute_update_with_start_workflow(
                Ledger.add, 1, start_workflow_operation=starting(workflow_id, running.task_queue, USE)
            )
            for _ in range(8)
        )
        assert sorted(await asyncio.gather(*asked)) == list(range(1, 9))
        assert (await kinds(client.get_workflow_handle(workflow_id))).count("WorkflowExecutionStarted") == 1


async def test_a_worker_that_comes_later(client: Client, worker: Workers) -> None:
    start = starting(new_id(), "later")
    asked = asyncio.create_task(client.execute_update_with_start_workflow(Ledger.add, 3, start_workflow_operation=start))
    async with worker([Ledger], task_queue="later"):
        assert await asked == 3
    assert await kinds(await start.workflow_handle()) == BEGUN + UPDATED


async def test_operations_that_are_none_are_refused(client: Client) -> None:
    with pytest.raises(RPCError) as caught:
        await client.workflow_service.execute_multi_operation(ExecuteMultiOperationRequest(namespace="default"))
    assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
    request = ExecuteMultiOperationRequest(namespace="default")
    request.operations.add().start_workflow.workflow_id = "w"
    request.operations.add().update_workflow.workflow_execution.workflow_id = "w"
    with pytest.raises(RPCError) as caught:
        await client.workflow_service.execute_multi_operation(request)
    failure = MultiOperationExecutionFailure()
    assert caught.value.grpc_status.details[0].Unpack(failure)
    assert [status.code for status in failure.statuses] == [RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.ABORTED]
