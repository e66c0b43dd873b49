"""Proves eager starts and activities, priorities, user metadata and history in reverse with the official SDK."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.service import RPCError
from tests.protocol.conftest import Workers

order: list[str] = []


@activity.defn
async def note(text: str) -> str:
    order.append(text)
    priority = activity.info().priority
    return f"{priority.priority_key} {priority.fairness_key}"


@workflow.defn
class Plain:
    @workflow.run
    async def run(self, text: str) -> str:
        return await workflow.execute_activity(
            note, text, start_to_close_timeout=timedelta(seconds=10), summary="notes", priority=Priority(4)
        )


@workflow.defn
class Many:
    @workflow.run
    async def run(self, queue: str) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    note,
                    f"{key}/{fair}/{number}",
                    task_queue=queue,
                    start_to_close_timeout=timedelta(seconds=30),
                    priority=Priority(priority_key=key, fairness_key=fair),
                )
                for number in range(3)
                for fair in ("x", "y")
                for key in (5, 1)
            )
        )


@pytest.fixture(autouse=True)
def fresh() -> None:
    order.clear()


async def test_an_eager_start(client: Client, worker: Workers) -> None:
    async with worker([Plain], [note]) as running:
        handle = await client.start_workflow(
            Plain.run,
            "x",
            id=str(uuid.uuid4()),
            task_queue=running.task_queue,
            request_eager_start=True,
            task_timeout=timedelta(minutes=1),  # so that a lost task would be noticed
        )
        assert handle.__temporal_eagerly_started
        await handle.result()
        kinds = [EventType.Name(e.event_type) async for e in handle.fetch_history_events()]
        assert kinds[:4] == [
            "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
            "EVENT_TYPE_WORKFLOW_TASK_SCHEDULED",
            "EVENT_TYPE_WORKFLOW_TASK_STARTED",
            "EVENT_TYPE_WORKFLOW_TASK_COMPLETED",
        ]


@pytest.mark.parametrize("eagerly", [False, True])
async def test_activities_with_and_without_eager_execution(client: Client, worker: Workers, eagerly: bool) -> None:
    async with worker([Plain], [note], disable_eager_activity_execution=not eagerly) as running:
        result = await client.execute_workflow(
            Plain.run, "x", id=str(uuid.uuid4()), task_queue=running.task_queue, priority=Priority(priority_key=2, fairness_key="tenant")
        )
        assert result == "4 tenant"


async def test_the_most_urgent_activities_come_first_and_fairness_keys_take_turns(client: Client, worker: Workers) -> None:
    elsewhere = str(uuid.uuid4())
    async with worker([Many], []) as running:
        handle = await client.start_workflow(Many.run, elsewhere, id=str(uuid.uuid4()), task_queue=running.task_queue)
        while len((await handle.describe()).raw_description.pending_activities) < 12:
            pass
        async with worker([], [note], task_queue=elsewhere, max_concurrent_activities=1, max_concurrent_activity_task_polls=1):
            await handle.result()
    assert [text[0] for text in order] == ["1"] * 6 + ["5"] * 6
    assert [text[2] for text in order] == ["x", "y"] * 6


async def test_metadata_is_on_the_events(client: Client, worker: Workers) -> None:
    async with worker([Plain], [note]) as running:
        handle = await client.start_workflow(
            Plain.run, "x", id=str(uuid.uuid4()), task_queue=running.task_queue, static_summary="one note", static_details="details"
        )
        await handle.result()
        described = await handle.describe()
        assert await described.static_summary() == "one note" and await described.static_details() == "details"
        events = [e async for e in handle.fetch_history_events()]
        assert events[0].user_metadata.summary.data == b'"one note"'
        assert [e.user_metadata.summary.data for e in events if e.HasField("activity_task_scheduled_event_attributes")] == [b'"notes"']


async def test_history_in_reverse(client: Client, worker: Workers) -> None:
    async with worker([Plain], [note]) as running:
        handle = await client.start_workflow(Plain.run, "x", id=str(uuid.uuid4()), task_queue=running.task_queue)
        await handle.result()
    expected = [e.event_id async for e in handle.fetch_history_events()][::-1]
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace="default", execution=WorkflowExecution(workflow_id=handle.id), maximum_page_size=4
    )
    found: list[int] = []
    while True:
        response = await client.workflow_service.get_workflow_execution_history_reverse(request)
        assert len(response.history.events) <= 4
        found += [e.event_id for e in response.history.events]
        if not response.next_page_token:
            break
        request.next_page_token = response.next_page_token
    assert found == expected
    request.next_page_token = b"garbage"
    with pytest.raises(RPCError):
        await client.workflow_service.get_workflow_execution_history_reverse(request)
