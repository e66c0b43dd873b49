"""Proves async completion and what operators do to activities with the official SDK: by token, by id, pause, reset, options."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import activity, workflow
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState as P
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)
from temporalio.client import AsyncActivityCancelledError, Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

started: asyncio.Queue[activity.Info]
"""Attempts as they begin. Made anew by each test's `inbox`."""
let_go: asyncio.Event


@pytest.fixture(autouse=True)
async def inbox() -> None:
    global started, let_go
    started, let_go = asyncio.Queue(), asyncio.Event()


@activity.defn
async def handed_on(text: str) -> str:
    started.put_nowait(activity.info())
    activity.raise_complete_async()


@activity.defn
async def beats(text: str) -> str:
    """Beats until it is told to stop, and says why it was."""
    started.put_nowait(activity.info())
    if let_go.is_set():
        return f"{text} {activity.info().attempt} {list(activity.info().heartbeat_details)}"
    try:
        while True:
            activity.heartbeat("beat")
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        assert details is not None
        if text == "catch":
            return ",".join(name for name in ("paused", "reset", "cancel_requested") if getattr(details, name))
        let_go.set()
        raise


@workflow.defn
class OneActivity:
    @workflow.run
    async def run(self, name: str, text: str) -> str:
        self.task = workflow.start_activity(
            name,
            text,
            activity_id="the-activity",
            result_type=str,
            start_to_close_timeout=timedelta(seconds=30),
            heartbeat_timeout=timedelta(seconds=10),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=5),
        )
        return await self.task

    @workflow.signal
    def stop(self) -> None:
        self.task.cancel()


Handle = WorkflowHandle[Any, str]


async def begin(client: Client, queue: str, name: str, text: str = "hello") -> Handle:
    return await client.start_workflow(OneActivity.run, args=[name, text], id=str(uuid.uuid4()), task_queue=queue)


async def pending(handle: Handle) -> PendingActivityInfo:
    (found,) = (await handle.describe()).raw_description.pending_activities
    return found


def execution(handle: Handle) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=handle.id)


QUICK = {"max_heartbeat_throttle_interval": timedelta(milliseconds=10), "default_heartbeat_throttle_interval": timedelta(milliseconds=10)}


@pytest.mark.parametrize("by_id", [False, True])
async def test_completed_from_outside(client: Client, worker: Workers, by_id: bool) -> None:
    async with worker([OneActivity], [handed_on]) as running:
        handle = await begin(client, running.task_queue, "handed_on")
        info = await started.get()
        outside = (
            client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id=info.activity_id)
            if by_id
            else client.get_async_activity_handle(task_token=info.task_token)
        )
        await outside.heartbeat("so far")
        assert (await pending(handle)).heartbeat_details.payloads[0].data == b'"so far"'
        await outside.complete("from outside")
        assert await handle.result() == "from outside"
        with pytest.raises(RPCError) as refused:
            await outside.complete("again")
        assert refused.value.status is RPCStatusCode.NOT_FOUND


@pytest.mark.parametrize("by_id", [False, True])
async def test_failed_from_outside(client: Client, worker: Workers, by_id: bool) -> None:
    async with worker([OneActivity], [handed_on]) as running:
        handle = await begin(client, running.task_queue, "handed_on")
        info = await started.get()
        outside = (
            client.get_async_activity_handle(workflow_id=handle.id, run_id=handle.first_execution_run_id, activity_id=info.activity_id)
            if by_id
            else client.get_async_activity_handle(task_token=info.task_token)
        )
        await outside.fail(ApplicationError("no", non_retryable=True), last_heartbeat_details=["last"])
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, ActivityError) and str(failed.value.cause.cause) == "no"


@pytest.mark.parametrize("by_id", [False, True])
async def test_cancelled_from_outside(client: Client, worker: Workers, by_id: bool) -> None:
    async with worker([OneActivity], [handed_on]) as running:
        handle = await begin(client, running.task_queue, "handed_on")
        info = await started.get()
        outside = (
            client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id=info.activity_id)
            if by_id
            else client.get_async_activity_handle(task_token=info.task_token)
        )
        with pytest.raises(RPCError) as refused:
            await outside.report_cancellation()
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
        await handle.signal(OneActivity.stop)
        while (await pending(handle)).state != P.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED:
            pass
        with pytest.raises(AsyncActivityCancelledError) as cancelled:
            await outside.heartbeat()
        assert cancelled.value.details.cancel_requested and not cancelled.value.details.paused
        await outside.report_cancellation("bye")
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, (ActivityError, CancelledError))


async def test_an_attempt_by_id_after_a_retry_is_the_one_under_way(client: Client, worker: Workers) -> None:
    async with worker([OneActivity], [handed_on]) as running:
        handle = await begin(client, running.task_queue, "handed_on")
        first = await started.get()
        await client.get_async_activity_handle(task_token=first.task_token).fail(ApplicationError("again"))
        second = await started.get()
        assert second.attempt == 2
        with pytest.raises(RPCError):
            await client.get_async_activity_handle(task_token=first.task_token).complete("late")
        await client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="the-activity").complete("second")
        assert await handle.result() == "second"


async def test_an_activity_that_no_worker_took_can_be_completed_by_id(client: Client, worker: Workers) -> None:
    async with worker([OneActivity], []) as running:
        handle = await begin(client, running.task_queue, "nobody")
        while not (await handle.describe()).raw_description.pending_activities:
            pass
        await client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="the-activity").complete("done")
        assert await handle.result() == "done"


async def test_pause_reaches_the_worker_and_unpause_begins_the_next_attempt(client: Client, worker: Workers) -> None:
    async with worker([OneActivity], [beats], **QUICK) as running:
        handle = await begin(client, running.task_queue, "beats")
        await started.get()
        request = PauseActivityRequest(namespace="default", execution=execution(handle), id="the-activity", identity="op", reason="look")
        await client.workflow_service.pause_activity(request)
        assert (await pending(handle)).pause_info.manual.reason == "look"
        await let_go.wait()
        while (await pending(handle)).state != P.PENDING_ACTIVITY_STATE_PAUSED:
            pass
        assert (await pending(handle)).attempt == 2
        await client.workflow_service.unpause_activity(
            UnpauseActivityRequest(namespace="default", execution=execution(handle), type="beats", reset_heartbeat=True)
        )
        assert await handle.result() == "hello 2 []"


@pytest.mark.parametrize("what", ["paused", "reset"])
async def test_the_activity_learns_why_it_was_told_to_stop(client: Client, worker: Workers, what: str) -> None:
    async with worker([OneActivity], [beats], **QUICK) as running:
        handle = await begin(client, running.task_queue, "beats", "catch")
        await started.get()
        if what == "paused":
            await client.workflow_service.pause_activity(
                PauseActivityRequest(namespace="default", execution=execution(handle), id="the-activity")
            )
        else:
            await client.workflow_service.reset_activity(
                ResetActivityRequest(namespace="default", execution=execution(handle), id="the-activity")
            )
        assert await handle.result() == what


async def test_reset_counts_from_the_first_attempt_again(client: Client, worker: Workers) -> None:
    async with worker([OneActivity], [beats], **QUICK) as running:
        handle = await begin(client, running.task_queue, "beats")
        await started.get()
        request = ResetActivityRequest(namespace="default", execution=execution(handle), match_all=True, reset_heartbeat=True)
        await client.workflow_service.reset_activity(request)
        assert await handle.result() == "hello 1 []"


async def test_an_activity_moves_to_a_queue_that_has_a_worker(client: Client, worker: Workers) -> None:
    elsewhere = str(uuid.uuid4())
    let_go.set()
    async with worker([OneActivity], []) as running, worker([], [beats], task_queue=elsewhere):
        handle = await begin(client, running.task_queue, "beats")
        while not (await handle.describe()).raw_description.pending_activities:
            pass
        options = ActivityOptions()
        options.task_queue.name = elsewhere
        reply = await client.workflow_service.update_activity_options(
            UpdateActivityOptionsRequest(
                namespace="default",
                execution=execution(handle),
                id="the-activity",
                activity_options=options,
                update_mask=FieldMask(paths=["task_queue.name"]),
            )
        )
        assert reply.activity_options.task_queue.name == elsewhere and reply.activity_options.start_to_close_timeout.seconds == 30
        assert await handle.result() == "hello 1 []"
