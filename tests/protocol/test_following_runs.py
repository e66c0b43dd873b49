"""Proves what clients are shown of a run that another follows: as it ended, if they say that they follow; else that it has continued."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from temporalio import workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from tests.protocol.conftest import Workers
from tests.protocol.family import find

import perdure

READ = "/temporal.api.workflowservice.v1.WorkflowService/GetWorkflowExecutionHistory"
TWICE = {"retry_policy": RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2)}


@workflow.defn
class Ends:
    """In the way it is told."""

    @workflow.run
    async def run(self, how: str) -> str:
        if how == "fails":
            raise ApplicationError(f"attempt {workflow.info().attempt}")
        if how == "takes too long":
            await workflow.sleep(60)
        return "done"


async def close_event(server: str, handle: WorkflowHandle[Any, Any], features: str) -> HistoryEvent:
    """What a client reads that sends these features; of the first run."""
    request = GetWorkflowExecutionHistoryRequest(namespace="default", wait_new_event=True)
    request.execution.CopyFrom(WorkflowExecution(workflow_id=handle.id, run_id=handle.first_execution_run_id))
    request.history_event_filter_type = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
    async with grpc.aio.insecure_channel(server) as channel:
        body = await channel.unary_unary(READ)(request.SerializeToString(), metadata=(("supported-features", features),))
    (event,) = GetWorkflowExecutionHistoryResponse.FromString(body).history.events
    return event


@pytest.mark.parametrize(
    ("how", "kind", "options"),
    [
        ("fails", "failed", TWICE),
        ("takes too long", "timed_out", {**TWICE, "run_timeout": timedelta(seconds=1)}),
        ("ends", "completed", {"cron_schedule": "@every 1s"}),
    ],
)
async def test_a_run_that_another_follows(server: str, client: Client, worker: Workers, how: str, kind: str, options: Any) -> None:
    async with worker([Ends]) as running:
        handle = await client.start_workflow(Ends.run, how, id="wf", task_queue=running.task_queue, **options)
        stored = await close_event(server, handle, "something, follows-next-run-id")
        assert stored.WhichOneof("attributes") == f"workflow_execution_{kind}_event_attributes"
        next_run = getattr(stored, f"workflow_execution_{kind}_event_attributes").new_execution_run_id
        shown = await close_event(server, handle, "something")
        assert (shown.event_id, shown.event_time) == (stored.event_id, stored.event_time)
        continued = shown.workflow_execution_continued_as_new_event_attributes
        assert continued.new_execution_run_id == next_run
        if kind == "completed":
            assert continued.last_completion_result == stored.workflow_execution_completed_event_attributes.result
        elif kind == "failed":
            assert continued.failure == stored.workflow_execution_failed_event_attributes.failure
        else:
            assert continued.failure.HasField("timeout_failure_info")
        first = client.get_workflow_handle("wf", run_id=handle.first_execution_run_id)
        with pytest.raises(WorkflowContinuedAsNewError) as told:
            await first.result(follow_runs=False)
        assert told.value.new_execution_run_id == next_run
        assert (await find(first, f"WorkflowExecution{kind.title().replace('_', '')}")).new_execution_run_id == next_run
        await client.get_workflow_handle("wf").terminate()


async def test_the_last_run_is_shown_as_it_ended(server: str, client: Client, worker: Workers) -> None:
    async with worker([Ends]) as running:
        handle = await client.start_workflow(Ends.run, "fails", id="wf", task_queue=running.task_queue, **TWICE)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.message == "attempt 2"
        async with perdure.WorkflowClient.connect(f"perdure://{server}") as ours:
            with pytest.raises(perdure.WorkflowFailed, match="attempt 1"):
                await ours.get_workflow_handle("wf", run_id=handle.first_execution_run_id).result(follow_runs=False)
            with pytest.raises(perdure.WorkflowFailed, match="attempt 2"):
                await ours.get_workflow_handle("wf", run_id=handle.first_execution_run_id).result()
