"""Proves what the `temporal activity` command asks for: pause, unpause, reset and options of one activity, of a workflow or without any."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio import activity, workflow
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.enums.v1 import PendingActivityState as P
from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    ResetActivityExecutionRequest,
    UnpauseActivityExecutionRequest,
    UpdateActivityExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

SECONDS = timedelta(seconds=10)
ONCE_AN_HOUR = RetryPolicy(initial_interval=timedelta(hours=1))
attempts: asyncio.Queue[int]


@pytest.fixture(autouse=True)
async def inbox() -> None:
    global attempts
    attempts = asyncio.Queue()


@activity.defn
async def second_time_lucky() -> int:
    attempts.put_nowait(activity.info().attempt)
    if attempts.qsize() == 1:
        raise ApplicationError("the first time")
    return activity.info().attempt


@workflow.defn
class Asks:
    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            second_time_lucky, activity_id="a", start_to_close_timeout=SECONDS, retry_policy=ONCE_AN_HOUR
        )


class OfWorkflow:
    """The activity `a` of the workflow `w`."""

    names: ClassVar[dict[str, Any]] = {"namespace": "default", "workflow_id": "w", "activity_id": "a", "identity": "operator"}
    code_once_ended = RPCStatusCode.NOT_FOUND

    def __init__(self, client: Client, queue: str) -> None:
        self.client, self.queue = client, queue

    async def start(self) -> Any:
        return await self.client.start_workflow(Asks.run, id="w", task_queue=self.queue)

    async def state(self) -> tuple[P.ValueType, int]:
        for shown in (await self.client.get_workflow_handle("w").describe()).raw_description.pending_activities:
            return shown.state, shown.attempt
        return P.PENDING_ACTIVITY_STATE_UNSPECIFIED, 0


class Standalone(OfWorkflow):
    """The activity `a`, without a workflow."""

    names: ClassVar[dict[str, Any]] = {"namespace": "default", "activity_id": "a", "identity": "operator"}
    code_once_ended = RPCStatusCode.FAILED_PRECONDITION

    async def start(self) -> Any:
        return await self.client.start_activity(
            second_time_lucky, id="a", task_queue=self.queue, start_to_close_timeout=SECONDS, retry_policy=ONCE_AN_HOUR
        )

    async def state(self) -> tuple[P.ValueType, int]:
        shown = (await self.client.get_activity_handle("a").describe()).raw_info
        return shown.run_state, shown.attempt


async def until(state: Callable[[], Awaitable[tuple[P.ValueType, int]]], wanted: tuple[P.ValueType, int]) -> None:
    while await state() != wanted:
        pass  # it is on its way


async def refusal(call: Awaitable[Any]) -> RPCStatusCode:
    with pytest.raises(RPCError) as refused:
        await call
    return refused.value.status


@pytest.mark.parametrize("kind", [OfWorkflow, Standalone])
async def test_an_operator_holds_an_activity_changes_it_and_lets_it_go(client: Client, worker: Workers, kind: type[OfWorkflow]) -> None:
    async with worker([Asks], [second_time_lucky]) as running:
        target, service = kind(client, running.task_queue), client.workflow_service
        handle = await target.start()
        await until(target.state, (P.PENDING_ACTIVITY_STATE_SCHEDULED, 2))

        pause = PauseActivityExecutionRequest(**target.names, request_id="first", reason="wait")
        await service.pause_activity_execution(pause)
        await service.pause_activity_execution(pause)  # the same request again changes nothing
        assert await target.state() == (P.PENDING_ACTIVITY_STATE_PAUSED, 2)
        pause.request_id = "second"
        assert await refusal(service.pause_activity_execution(pause)) is RPCStatusCode.FAILED_PRECONDITION

        change = UpdateActivityExecutionOptionsRequest(**target.names, update_mask=FieldMask(paths=["heartbeat_timeout"]))
        change.activity_options.heartbeat_timeout.seconds = 3
        options: ActivityOptions = (await service.update_activity_execution_options(change)).activity_options
        assert options.heartbeat_timeout.seconds == 3 and options.start_to_close_timeout.seconds == 10
        change = UpdateActivityExecutionOptionsRequest(**target.names, restore_original=True)
        assert (await service.update_activity_execution_options(change)).activity_options.heartbeat_timeout.seconds == 0

        await service.reset_activity_execution(ResetActivityExecutionRequest(**target.names, keep_paused=True))
        assert await target.state() == (P.PENDING_ACTIVITY_STATE_PAUSED, 1)
        await service.unpause_activity_execution(UnpauseActivityExecutionRequest(**target.names))
        assert await handle.result() == 1
        assert await refusal(service.pause_activity_execution(pause)) is target.code_once_ended


@pytest.mark.parametrize("kind", [OfWorkflow, Standalone])
async def test_requests_that_mean_nothing(client: Client, worker: Workers, kind: type[OfWorkflow]) -> None:
    async with worker([Asks], [second_time_lucky]) as running:
        target, service = kind(client, running.task_queue), client.workflow_service
        await target.start()
        await until(target.state, (P.PENDING_ACTIVITY_STATE_SCHEDULED, 2))
        unknown, nameless = target.names | {"activity_id": "none"}, target.names | {"activity_id": ""}
        assert await refusal(service.reset_activity_execution(ResetActivityExecutionRequest(**unknown))) is RPCStatusCode.NOT_FOUND
        assert await refusal(service.pause_activity_execution(PauseActivityExecutionRequest(**nameless))) is RPCStatusCode.INVALID_ARGUMENT
        change = UpdateActivityExecutionOptionsRequest(**target.names)
        assert await refusal(service.update_activity_execution_options(change)) is RPCStatusCode.INVALID_ARGUMENT
        if kind is Standalone:
            unpause = UnpauseActivityExecutionRequest(**target.names)
            assert await refusal(service.unpause_activity_execution(unpause)) is RPCStatusCode.FAILED_PRECONDITION
