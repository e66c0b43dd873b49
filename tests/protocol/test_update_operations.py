"""Proves Nexus operations behind which stands an update of a running workflow: results, failures, links, several callers of one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import nexusrpc
import nexusrpc.handler
import pytest
from temporalio import nexus, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateStage
from temporalio.exceptions import ApplicationError, NexusOperationError
from tests.protocol.conftest import Workers


@workflow.defn
class Ledger:
    """Takes updates, each of which waits until it is told to go on."""

    def __init__(self) -> None:
        self.going = 0
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return "closed"

    @workflow.update(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def book(self, what: str) -> str:
        await workflow.wait_condition(lambda: self.going > 0)
        if what == "wrong":
            raise ApplicationError("not booked")
        return f"booked {what}"

    @workflow.signal
    def go(self) -> None:
        self.going += 1

    @workflow.signal
    def close(self) -> None:
        self.done = True


@nexusrpc.service
class Books:
    book: nexusrpc.Operation[list[str], str]


@nexusrpc.handler.service_handler(service=Books)
class BooksHandler:
    @nexus.temporal_operation
    async def book(
        self, _context: nexus.TemporalStartOperationContext, client: nexus.TemporalNexusClient, order: list[str]
    ) -> nexus.TemporalOperationResult[str]:
        workflow_id, update_id, what = order
        return await client.start_workflow_update(
            workflow_id, Ledger.book, what, update_id=update_id, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )


@workflow.defn
class Caller:
    @workflow.run
    async def run(self, endpoint: str, order: list[str]) -> str:
        client = workflow.create_nexus_client(service=Books, endpoint=endpoint)
        return str(await client.execute_operation(Books.book, order))


class Scene:
    def __init__(self, client: Client, queue: str, endpoint: str) -> None:
        self.client, self.queue, self.endpoint = client, queue, endpoint

    async def call(self, update_id: str, what: str) -> WorkflowHandle[Any, Any]:
        args: list[Any] = [self.endpoint, ["ledger", update_id, what]]
        return await self.client.start_workflow(Caller.run, args=args, id=f"caller-{uuid.uuid4()}", task_queue=self.queue)

    @property
    def ledger(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle("ledger")


@asynccontextmanager
async def books(client: Client, worker: Workers) -> AsyncGenerator[Scene]:
    async with worker([Ledger, Caller], nexus_service_handlers=[BooksHandler()]) as made:
        spec = EndpointSpec(name="books")
        spec.target.worker.namespace, spec.target.worker.task_queue = client.namespace, made.task_queue
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        await client.start_workflow(Ledger.run, id="ledger", task_queue=made.task_queue)
        yield Scene(client, made.task_queue, "books")


async def until(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> Any:
    """The first event of that kind."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.event_type == kind:
            return event
    raise AssertionError("the history has no such event")


async def test_a_caller_waits_for_an_update_and_both_know_of_each_other(client: Client, worker: Workers) -> None:
    async with books(client, worker) as scene:
        caller = await scene.call("u", "tea")
        started = await until(caller, EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED)
        scheduled = await until(caller, EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED)
        request_id = scheduled.nexus_operation_scheduled_event_attributes.request_id
        (there,) = started.links
        assert there.workflow_event.workflow_id == "ledger" and there.workflow_event.request_id_ref.request_id == request_id
        assert there.workflow_event.request_id_ref.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
        accepted = await until(scene.ledger, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
        (back,) = accepted.links
        assert (back.workflow_event.workflow_id, back.workflow_event.event_ref.event_id) == (caller.id, scheduled.event_id)
        (waiting,) = (await scene.ledger.describe()).raw_description.callbacks
        assert waiting.trigger.update_workflow_execution_completed.update_id == "u"
        await scene.ledger.signal(Ledger.go)
        assert await caller.result() == "booked tea"


async def test_several_callers_wait_for_one_update(client: Client, worker: Workers) -> None:
    async with books(client, worker) as scene:
        callers = [await scene.call("u", "tea") for _ in range(3)]
        for caller in callers:
            await until(caller, EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED)
        await scene.ledger.signal(Ledger.go)
        assert await asyncio.gather(*(caller.result() for caller in callers)) == ["booked tea"] * 3
        assert await (await scene.call("u", "tea")).result() == "booked tea"
        kinds = [event.event_type for event in (await scene.ledger.fetch_history()).events]
        assert kinds.count(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED) == 1


@pytest.mark.parametrize(("what", "signal", "message"), [("wrong", Ledger.go, "not booked"), ("tea", Ledger.close, "completed before")])
async def test_an_update_that_comes_to_nothing(client: Client, worker: Workers, what: str, signal: Any, message: str) -> None:
    async with books(client, worker) as scene:
        caller = await scene.call("u", what)
        await until(caller, EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED)
        await scene.ledger.signal(signal)
        with pytest.raises(WorkflowFailureError) as failed:
            await caller.result()
        error = failed.value.cause
        assert isinstance(error, NexusOperationError) and isinstance(error.cause, ApplicationError) and message in str(error.cause)
