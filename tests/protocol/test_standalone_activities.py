"""Proves activities without a workflow with the official SDK: results, failures, retries, cancellation, by-id reports, policies."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio import activity
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflowservice.v1 import (
    DeleteActivityExecutionRequest,
    DescribeActivityExecutionRequest,
    PauseActivityExecutionRequest,
    ResetActivityExecutionRequest,
    UnpauseActivityExecutionRequest,
    UpdateActivityExecutionOptionsRequest,
)
from temporalio.client import ActivityExecutionStatus, ActivityFailureError, ActivityHandle, Client
from temporalio.common import ActivityIDConflictPolicy, ActivityIDReusePolicy, RetryPolicy
from temporalio.exceptions import ActivityAlreadyStartedError, ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

SHORT = timedelta(seconds=10)
started: asyncio.Queue[activity.Info]


@pytest.fixture(autouse=True)
async def inbox() -> None:
    global started
    started = asyncio.Queue()


@activity.defn
async def double(number: int) -> int:
    assert activity.info().workflow_id is None
    return 2 * number


@activity.defn
async def fails_once(text: str) -> str:
    if activity.info().attempt == 1:
        raise ApplicationError("first attempt")
    return f"{text} {activity.info().attempt}"


@activity.defn
async def fails() -> None:
    raise ApplicationError("no", non_retryable=True)


@activity.defn
async def waits() -> None:
    started.put_nowait(activity.info())
    while True:
        activity.heartbeat("beat")
        await asyncio.sleep(0.02)


@activity.defn
async def handed_on() -> str:
    started.put_nowait(activity.info())
    activity.raise_complete_async()


QUICK = {"max_heartbeat_throttle_interval": timedelta(milliseconds=10), "default_heartbeat_throttle_interval": timedelta(milliseconds=10)}


async def test_result_and_description(client: Client, worker: Workers) -> None:
    async with worker([], [double]) as running:
        handle = await client.start_activity(
            double, 21, id="a", task_queue=running.task_queue, start_to_close_timeout=SHORT, summary="doubles"
        )
        assert await handle.result() == 42
        shown = await handle.describe()
        assert shown.status is ActivityExecutionStatus.COMPLETED and shown.close_time is not None and shown.attempt == 1
        assert shown.last_worker_identity and shown.raw_info.user_metadata.summary.data == b'"doubles"'
        assert await client.get_activity_handle("a", result_type=int).result() == 42


async def test_retry_and_failure(client: Client, worker: Workers) -> None:
    quick = RetryPolicy(initial_interval=timedelta(milliseconds=10))
    async with worker([], [fails_once, fails]) as running:
        result = await client.execute_activity(
            fails_once, "done", id="a", task_queue=running.task_queue, start_to_close_timeout=SHORT, retry_policy=quick
        )
        assert result == "done 2"
        with pytest.raises(ActivityFailureError) as failed:
            await client.execute_activity(fails, id="b", task_queue=running.task_queue, start_to_close_timeout=SHORT)
        assert isinstance(failed.value.cause, ApplicationError) and str(failed.value.cause) == "no"


async def test_nobody_takes_it_in_time(client: Client) -> None:
    with pytest.raises(ActivityFailureError):
        await client.execute_activity(fails, id="a", task_queue="empty", schedule_to_close_timeout=timedelta(milliseconds=50))
    assert (await client.get_activity_handle("a").describe()).status is ActivityExecutionStatus.TIMED_OUT


async def test_cancel_and_terminate(client: Client, worker: Workers) -> None:
    async with worker([], [waits], **QUICK) as running:

        async def begin(name: str) -> ActivityHandle[None]:
            handle = await client.start_activity(
                waits, id=name, task_queue=running.task_queue, start_to_close_timeout=SHORT, heartbeat_timeout=SHORT
            )
            await started.get()
            return handle

        handle = await begin("cancelled")
        await handle.cancel(reason="enough")
        with pytest.raises(ActivityFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, CancelledError)
        assert (await handle.describe()).canceled_reason == "enough"
        handle = await begin("terminated")
        await handle.terminate(reason="now")
        with pytest.raises(ActivityFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, TerminatedError)


async def test_completed_by_id_from_outside(client: Client, worker: Workers) -> None:
    async with worker([], [handed_on]) as running:
        handle = await client.start_activity(handed_on, id="a", task_queue=running.task_queue, start_to_close_timeout=SHORT)
        await started.get()
        outside = client.get_async_activity_handle(activity_id="a", run_id=None)
        await outside.heartbeat("so far")
        assert (await handle.describe()).raw_info.last_heartbeat_time.seconds
        await outside.complete("from outside")
        assert await handle.result() == "from outside"


async def test_ids(client: Client, worker: Workers) -> None:
    async with worker([], [double]) as running:
        options = {"id": "a", "task_queue": "later", "start_to_close_timeout": SHORT}
        first = await client.start_activity(double, 1, **options)  # type: ignore[call-overload]
        with pytest.raises(ActivityAlreadyStartedError) as refused:
            await client.start_activity(double, 1, **options)  # type: ignore[call-overload]
        assert refused.value.run_id == first.run_id
        same = await client.start_activity(double, 1, id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING, **options)  # type: ignore[call-overload]
        assert same.run_id == first.run_id
        await first.terminate()
        with pytest.raises(ActivityAlreadyStartedError):
            await client.start_activity(double, 1, id_reuse_policy=ActivityIDReusePolicy.REJECT_DUPLICATE, **options)  # type: ignore[call-overload]
        options["task_queue"] = running.task_queue
        again = await client.start_activity(double, 2, **options)  # type: ignore[call-overload]
        assert again.run_id != first.run_id and await again.result() == 4


async def test_a_description_waits_for_a_change(client: Client) -> None:
    handle = await client.start_activity(double, 1, id="a", task_queue="nobody", start_to_close_timeout=SHORT)
    request = DescribeActivityExecutionRequest(namespace="default", activity_id="a", include_input=True, include_outcome=True)
    before = await client.workflow_service.describe_activity_execution(request)
    assert before.input.payloads[0].data == b"1" and not before.HasField("outcome")
    request.long_poll_token = before.long_poll_token
    waiting = asyncio.create_task(client.workflow_service.describe_activity_execution(request))
    await handle.cancel()
    after = await waiting
    assert after.outcome.failure.HasField("canceled_failure_info") and not after.long_poll_token
    assert after.info.state_transition_count > before.info.state_transition_count
    request.long_poll_token = b"garbage"
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.describe_activity_execution(request)
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_a_delayed_start(client: Client, worker: Workers) -> None:
    async with worker([], [double]) as running:
        delay = timedelta(milliseconds=300)
        handle = await client.start_activity(
            double, 1, id="a", task_queue=running.task_queue, start_to_close_timeout=SHORT, start_delay=delay
        )
        assert await handle.result() == 2
        shown = (await handle.describe()).raw_info
        assert shown.last_started_time.ToDatetime() - shown.schedule_time.ToDatetime() >= delay


async def test_an_activity_that_is_not_there(client: Client) -> None:
    for call in (client.get_activity_handle("none").describe(), client.get_activity_handle("none").result()):
        with pytest.raises(RPCError, match=r"^activity not found for activity_id: none, namespace: default$") as refused:
            await call
        assert refused.value.status is RPCStatusCode.NOT_FOUND
    with pytest.raises(RPCError) as refused:
        await client.get_workflow_handle("none").describe()
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_activities_are_listed_counted_and_deleted_apart_from_workflows(client: Client, worker: Workers) -> None:
    async with worker([], [double]) as running:
        done = await client.start_activity(double, 1, id="a-1", task_queue=running.task_queue, start_to_close_timeout=SHORT)
        await done.result()
    for number in (2, 3):
        await client.start_activity(double, 1, id=f"a-{number}", task_queue="nobody", start_to_close_timeout=SHORT)
    found = [each.activity_id async for each in client.list_activities("ActivityId STARTS_WITH 'a-' AND ActivityType = 'double'")]
    assert sorted(found) == ["a-1", "a-2", "a-3"]
    running_now = {each.activity_id async for each in client.list_activities("ExecutionStatus = 'Running'")}
    assert running_now == {"a-2", "a-3"}
    counted = await client.count_activities("GROUP BY ExecutionStatus")
    assert counted.count == 3 and {(g.group_values[0], g.count) for g in counted.groups} == {("Running", 2), ("Completed", 1)}
    assert (await client.count_workflows("")).count == 0
    for name in ("a-1", "a-2"):
        await client.workflow_service.delete_activity_execution(DeleteActivityExecutionRequest(namespace="default", activity_id=name))
        with pytest.raises(RPCError) as refused:
            await client.get_activity_handle(name).describe()
        assert refused.value.status is RPCStatusCode.NOT_FOUND
    assert (await client.count_activities("")).count == 1
    with pytest.raises(RPCError) as refused:
        await client.count_activities("Nonsense = 1")
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


PAUSED = PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
ONE = {"namespace": "default", "activity_id": "a"}


async def test_an_operator_pauses_and_unpauses_it(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    handle = await client.start_activity(double, 21, id="a", task_queue="q", start_to_close_timeout=SHORT)
    await service.pause_activity_execution(PauseActivityExecutionRequest(**ONE, reason="look", request_id="r", identity="me"))
    assert (await handle.describe()).raw_info.run_state == PAUSED
    with pytest.raises(RPCError) as refused:
        await service.pause_activity_execution(PauseActivityExecutionRequest(**ONE, request_id="another"))
    assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION
    async with worker([], [double], task_queue="q"):
        await service.unpause_activity_execution(UnpauseActivityExecutionRequest(**ONE))
        assert await handle.result() == 42


async def test_an_operator_gives_it_other_options_and_begins_again(client: Client, worker: Workers) -> None:
    service = client.workflow_service
    retry = RetryPolicy(initial_interval=timedelta(hours=1))
    handle = await client.start_activity(fails_once, "ok", id="a", task_queue="q", start_to_close_timeout=SHORT, retry_policy=retry)
    async with worker([], [fails_once], task_queue="q"):
        while (await handle.describe()).attempt == 1:
            pass
    options = ActivityOptions()
    options.task_queue.name = "other"
    update = UpdateActivityExecutionOptionsRequest(**ONE, activity_options=options)
    update.update_mask.paths.append("task_queue.name")
    reply = await service.update_activity_execution_options(update)
    assert reply.activity_options.task_queue.name == "other" == (await handle.describe()).task_queue
    await service.reset_activity_execution(ResetActivityExecutionRequest(**ONE, keep_paused=True))
    assert (await handle.describe()).attempt == 1
    await service.update_activity_execution_options(UpdateActivityExecutionOptionsRequest(**ONE, restore_original=True))
    assert (await handle.describe()).task_queue == "q"
    await handle.terminate()
    with pytest.raises(RPCError) as refused:
        await service.reset_activity_execution(ResetActivityExecutionRequest(**ONE))
    assert refused.value.status is RPCStatusCode.FAILED_PRECONDITION


async def test_a_workflows_activity_is_named_with_its_workflow(client: Client) -> None:
    request = PauseActivityExecutionRequest(**ONE, workflow_id="nobody")
    with pytest.raises(RPCError, match="nobody") as refused:
        await client.workflow_service.pause_activity_execution(request)
    assert refused.value.status is RPCStatusCode.NOT_FOUND
    with pytest.raises(RPCError) as refused:
        await client.workflow_service.pause_activity_execution(PauseActivityExecutionRequest(namespace="default"))
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
