"""Proves reset with the official SDK: the new run goes on from the point, signals happen again, the current run ends."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

attempts: list[str] = []


@activity.defn
async def note(text: str) -> str:
    attempts.append(text)
    return f"{text} {len(attempts)}"


@workflow.defn
class Steps:
    def __init__(self) -> None:
        self.signals: list[str] = []

    @workflow.run
    async def run(self, wanted: int) -> list[str]:
        first = await workflow.execute_activity(note, "first", start_to_close_timeout=timedelta(seconds=10))
        await workflow.wait_condition(lambda: len(self.signals) >= wanted)
        second = await workflow.execute_activity(note, "second", start_to_close_timeout=timedelta(seconds=10))
        return [first, *self.signals, second]

    @workflow.signal
    def add(self, text: str) -> None:
        self.signals.append(text)


def reset(handle: WorkflowHandle[Any, Any], point: int, **fields: Any) -> ResetWorkflowExecutionRequest:
    execution = WorkflowExecution(workflow_id=handle.id, run_id=fields.pop("run_id", ""))
    fields.setdefault("request_id", str(uuid.uuid4()))
    return ResetWorkflowExecutionRequest(
        namespace="default", workflow_execution=execution, workflow_task_finish_event_id=point, reason="once more", **fields
    )


async def kinds(handle: WorkflowHandle[Any, Any]) -> list[str]:
    events = [e async for e in handle.fetch_history_events()]
    assert [e.event_id for e in events] == list(range(1, len(events) + 1))
    return [EventType.Name(e.event_type).removeprefix("EVENT_TYPE_") for e in events]


@pytest.fixture(autouse=True)
def fresh() -> None:
    attempts.clear()


async def test_a_finished_workflow_goes_on_from_a_workflow_task(client: Client, worker: Workers) -> None:
    async with worker([Steps], [note]) as running:
        handle = await client.start_workflow(Steps.run, 1, id=str(uuid.uuid4()), task_queue=running.task_queue)
        await handle.signal(Steps.add, "sent")
        assert await handle.result() == ["first 1", "sent", "second 2"]
        history = await kinds(handle)
        point = history.index("WORKFLOW_TASK_COMPLETED", history.index("ACTIVITY_TASK_COMPLETED")) + 1
        reply = await client.workflow_service.reset_workflow_execution(reset(handle, point, run_id=handle.first_execution_run_id or ""))
        again = client.get_workflow_handle(handle.id, run_id=reply.run_id)
        assert await again.result() == ["first 1", "sent", "second 3"]
        assert (await kinds(again))[: point - 1] == history[: point - 1]
        assert (await kinds(again))[point - 1] == "WORKFLOW_TASK_FAILED"
        current = await client.get_workflow_handle(handle.id).describe()
        assert current.run_id == reply.run_id
        assert current.raw_description.workflow_execution_info.first_run_id == handle.first_execution_run_id


async def test_an_open_run_is_terminated_and_the_new_one_hears_its_signals(client: Client, worker: Workers) -> None:
    async with worker([Steps], [note]) as running:
        handle = await client.start_workflow(Steps.run, 2, id=str(uuid.uuid4()), task_queue=running.task_queue)
        while len(await kinds(handle)) < 5:
            pass
        await handle.signal(Steps.add, "one")
        request = reset(handle, 4)
        reply = await client.workflow_service.reset_workflow_execution(request)
        assert (await client.workflow_service.reset_workflow_execution(request)).run_id == reply.run_id
        old = await client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id).describe()
        assert old.status is WorkflowExecutionStatus.TERMINATED
        again = client.get_workflow_handle(handle.id)
        await again.signal(Steps.add, "two")
        assert (await again.result())[1:3] == ["one", "two"]
        assert (await kinds(again))[:6] == [
            "WORKFLOW_EXECUTION_STARTED",
            "WORKFLOW_TASK_SCHEDULED",
            "WORKFLOW_TASK_STARTED",
            "WORKFLOW_TASK_FAILED",
            "WORKFLOW_EXECUTION_SIGNALED",
            "WORKFLOW_TASK_SCHEDULED",
        ]


async def test_signals_that_are_left_out_do_not_happen_again(client: Client, worker: Workers) -> None:
    async with worker([Steps], [note]) as running:
        handle = await client.start_workflow(Steps.run, 1, id=str(uuid.uuid4()), task_queue=running.task_queue)
        while len(await kinds(handle)) < 5:
            pass
        await handle.signal(Steps.add, "sent")
        await handle.result()
        excluded = [ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL]
        await client.workflow_service.reset_workflow_execution(reset(handle, 4, reset_reapply_exclude_types=excluded))
        again = client.get_workflow_handle(handle.id)
        await again.signal(Steps.add, "other")
        assert (await again.result())[1] == "other"


async def test_a_point_without_a_workflow_task_is_refused(client: Client, worker: Workers) -> None:
    async with worker([Steps], [note]) as running:
        handle = await client.start_workflow(Steps.run, 0, id=str(uuid.uuid4()), task_queue=running.task_queue)
        await handle.result()
        for point in (0, 1, 2, 6, 1000):
            with pytest.raises(RPCError) as refused:
                await client.workflow_service.reset_workflow_execution(reset(handle, point))
            assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
        with pytest.raises(RPCError) as refused:
            await client.workflow_service.reset_workflow_execution(reset(client.get_workflow_handle("none"), 4))
        assert refused.value.status is RPCStatusCode.NOT_FOUND


async def reset_run_id(client: Client, workflow_id: str, run_id: str) -> str:
    described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    return described.raw_description.workflow_extended_info.reset_run_id


async def test_a_run_shows_to_which_run_it_was_reset_last(client: Client, worker: Workers) -> None:
    """The one that is reset while it is open, one that has closed, and one that is not current any more."""
    service = client.workflow_service
    async with worker([Steps], [note]) as running:
        handle = await client.start_workflow(Steps.run, 1, id=str(uuid.uuid4()), task_queue=running.task_queue)
        first = handle.first_execution_run_id or ""
        while len(await kinds(handle)) < 10:  # its first activity is done
            pass
        assert await reset_run_id(client, handle.id, first) == ""
        second = (await service.reset_workflow_execution(reset(handle, 4, run_id=first))).run_id
        assert await reset_run_id(client, handle.id, first) == second
        await client.get_workflow_handle(handle.id).signal(Steps.add, "sent")
        await client.get_workflow_handle(handle.id).result()
        third = (await service.reset_workflow_execution(reset(handle, 4, run_id=second))).run_id
        assert await reset_run_id(client, handle.id, second) == third
        fourth = (await service.reset_workflow_execution(reset(handle, 4, run_id=first))).run_id
        shown = [await reset_run_id(client, handle.id, run_id) for run_id in (first, second, third, fourth)]
        assert shown == [fourth, third, "", ""]
