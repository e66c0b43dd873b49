"""Proves Nexus operations behind which stands an activity without a workflow: results, failures, cancellation, links, several callers."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import nexusrpc
import nexusrpc.handler
import pytest
from temporalio import activity, nexus, workflow
from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import ActivityExecutionStatus, CallbackState, EventType
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    StartActivityExecutionRequest,
    TerminateActivityExecutionRequest,
)
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import ActivityIDConflictPolicy, RetryPolicy
from temporalio.exceptions import ApplicationError, CancelledError, NexusOperationError, TerminatedError, TimeoutError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

SHORT = timedelta(seconds=30)
go_on: asyncio.Event


@activity.defn
async def bake(what: str) -> str:
    if what == "nothing":
        raise ApplicationError("no flour", type="Empty")
    if what == "slow":
        await asyncio.Event().wait()
    while what == "stopped":
        activity.heartbeat()
        await asyncio.sleep(0.02)
    await go_on.wait()
    return f"baked {what}"


@nexusrpc.service
class Oven:
    bake: nexusrpc.Operation[list[str], str]


@nexusrpc.handler.service_handler(service=Oven)
class OvenHandler:
    @nexus.temporal_operation
    async def bake(
        self, _context: nexus.TemporalStartOperationContext, client: nexus.TemporalNexusClient, order: list[str]
    ) -> nexus.TemporalOperationResult[str]:
        activity_id, what = order
        return await client.start_activity(
            bake,
            what,
            id=activity_id,
            start_to_close_timeout=timedelta(seconds=0.2) if what == "slow" else SHORT,
            heartbeat_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(maximum_attempts=1),
            id_conflict_policy=ActivityIDConflictPolicy.USE_EXISTING,
        )


@workflow.defn
class Guest:
    @workflow.run
    async def run(self, endpoint: str, order: list[str]) -> str:
        client = workflow.create_nexus_client(service=Oven, endpoint=endpoint)
        return str(await client.execute_operation(Oven.bake, order))


class Scene:
    def __init__(self, client: Client, queue: str) -> None:
        self.client, self.queue = client, queue

    async def order(self, activity_id: str, what: str) -> WorkflowHandle[Any, Any]:
        """A workflow that waits for the operation, once that has started."""
        args: list[Any] = ["oven", [activity_id, what]]
        handle = await self.client.start_workflow(Guest.run, args=args, id=f"guest-{uuid.uuid4()}", task_queue=self.queue)
        await event(handle, EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED)
        return handle

    async def described(self, activity_id: str) -> DescribeActivityExecutionResponse:
        request = DescribeActivityExecutionRequest(namespace="default", activity_id=activity_id)
        return await self.client.workflow_service.describe_activity_execution(request)


@asynccontextmanager
async def oven(client: Client, worker: Workers) -> AsyncGenerator[Scene]:
    global go_on
    go_on = asyncio.Event()
    async with worker([Guest], [bake], nexus_service_handlers=[OvenHandler()]) as made:
        spec = EndpointSpec(name="oven")
        spec.target.worker.namespace, spec.target.worker.task_queue = client.namespace, made.task_queue
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        yield Scene(client, made.task_queue)
        go_on.set()


async def event(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> Any:
    """The first event of that kind."""
    async for found in handle.fetch_history_events(wait_new_event=True):
        if found.event_type == kind:
            return found
    raise AssertionError("the history has no such event")


async def cause_of(handle: WorkflowHandle[Any, Any]) -> BaseException | None:
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, NexusOperationError)
    return failed.value.cause.cause


async def test_a_caller_waits_for_an_activity_and_both_know_of_each_other(client: Client, worker: Workers) -> None:
    async with oven(client, worker) as scene:
        guest = await scene.order("a", "bread")
        started = await event(guest, EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED)
        scheduled = await event(guest, EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED)
        before = await scene.described("a")
        (there,) = started.links
        assert (there.activity.namespace, there.activity.activity_id, there.activity.run_id) == ("default", "a", before.run_id)
        (waiting,) = before.callbacks
        assert waiting.trigger.HasField("activity_closed") and waiting.info.state == CallbackState.CALLBACK_STATE_STANDBY
        assert waiting.info.request_id == scheduled.nexus_operation_scheduled_event_attributes.request_id
        (back,) = waiting.info.callback.links
        assert (back.workflow_event.workflow_id, back.workflow_event.event_ref.event_id) == (guest.id, scheduled.event_id)
        go_on.set()
        assert await guest.result() == "baked bread"
        while (await scene.described("a")).callbacks[0].info.state != CallbackState.CALLBACK_STATE_SUCCEEDED:
            pass  # that it was told is noted after it was told


async def test_several_callers_wait_for_one_activity(client: Client, worker: Workers) -> None:
    async with oven(client, worker) as scene:
        guests = [await scene.order("a", "bread") for _ in range(3)]
        described = await scene.described("a")
        assert len(described.callbacks) == 3 and len({each.info.request_id for each in described.callbacks}) == 3
        go_on.set()
        assert await asyncio.gather(*(guest.result() for guest in guests)) == ["baked bread"] * 3


async def test_an_activity_that_fails(client: Client, worker: Workers) -> None:
    async with oven(client, worker) as scene:
        cause = await cause_of(await scene.order("a", "nothing"))
        assert isinstance(cause, ApplicationError) and (cause.message, cause.type) == ("no flour", "Empty")


async def test_an_activity_that_takes_too_long(client: Client, worker: Workers) -> None:
    async with oven(client, worker) as scene:
        assert isinstance(await cause_of(await scene.order("a", "slow")), TimeoutError)


async def test_an_activity_that_is_terminated(client: Client, worker: Workers) -> None:
    async with oven(client, worker) as scene:
        guest = await scene.order("a", "bread")
        await client.workflow_service.terminate_activity_execution(
            TerminateActivityExecutionRequest(namespace="default", activity_id="a", reason="enough")
        )
        cause = await cause_of(guest)
        assert isinstance(cause, TerminatedError) and cause.message == "enough"


async def test_a_caller_that_is_cancelled_cancels_the_activity(client: Client, worker: Workers) -> None:
    async with oven(client, worker) as scene:
        guest = await scene.order("a", "stopped")
        await guest.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await guest.result()
        assert isinstance(failed.value.cause, CancelledError)
        ended = await event(guest, EventType.EVENT_TYPE_NEXUS_OPERATION_CANCELED)
        cause = ended.nexus_operation_canceled_event_attributes.failure.cause
        assert cause.HasField("canceled_failure_info")
        assert (await scene.described("a")).info.status == ActivityExecutionStatus.ACTIVITY_EXECUTION_STATUS_CANCELED


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("https://example.com/back", RPCStatusCode.INVALID_ARGUMENT, "no other URL"),
        ("", RPCStatusCode.INVALID_ARGUMENT, "no other URL"),
        ("temporal://system", RPCStatusCode.INVALID_ARGUMENT, "names no operation"),
    ],
)
async def test_nobody_else_is_called_back(client: Client, url: str, code: RPCStatusCode, message: str) -> None:
    request = StartActivityExecutionRequest(namespace="default", activity_id="a", request_id="r")
    request.activity_type.name, request.task_queue.name, request.start_to_close_timeout.seconds = "bake", "q", 1
    request.completion_callbacks.append(Callback(nexus=Callback.Nexus(url=url)))
    with pytest.raises(RPCError, match=message) as refused:
        await client.workflow_service.start_activity_execution(request)
    assert refused.value.status is code
