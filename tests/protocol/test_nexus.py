"""Proves Nexus operations with the official SDK on both sides: how each ends, what the histories say, and how they are cancelled."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import nexusrpc
import nexusrpc.handler
import pytest
from temporalio import nexus, workflow
from temporalio.api.enums.v1 import EventType, PendingNexusOperationState
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, CancelledError, NexusOperationError, TerminatedError, TimeoutError

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Workers

STARTED = ["WorkflowExecutionStarted"]
TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
SCHEDULED = ["NexusOperationScheduled"]
RUNS = ["NexusOperationStarted"]
END = ["WorkflowExecutionCompleted"]


@dataclass
class Order:
    """What an operation is asked."""

    how: str
    workflow_id: str = ""


@workflow.defn
class Backing:
    """The workflow behind an asynchronous operation."""

    def __init__(self) -> None:
        self.told = ""

    @workflow.run
    async def run(self, order: Order) -> str:
        if order.how == "fail":
            raise ApplicationError("the backing failed", type="Bad", non_retryable=True)
        if order.how == "again" and not workflow.info().continued_run_id:
            workflow.continue_as_new(order)
        if order.how == "wait":
            await workflow.wait_condition(lambda: bool(self.told))
        return f"backed {order.how}{self.told}"

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told = text


@nexusrpc.service
class Desk:
    """The operations."""

    at_once: nexusrpc.Operation[Order, str]
    by_workflow: nexusrpc.Operation[Order, str]


@nexusrpc.handler.service_handler(service=Desk)
class DeskHandler:
    """Serves them; counts the attempts of those that are to fail first."""

    def __init__(self) -> None:
        self.attempts = 0
        self.hold = asyncio.Event()

    @nexusrpc.handler.sync_operation
    async def at_once(self, _context: nexusrpc.handler.StartOperationContext, order: Order) -> str:
        self.attempts += 1
        if order.how == "flaky" and self.attempts == 1:
            raise nexusrpc.HandlerError("busy", type=nexusrpc.HandlerErrorType.RESOURCE_EXHAUSTED)
        if order.how == "bad request":
            raise nexusrpc.HandlerError("no such order", type=nexusrpc.HandlerErrorType.BAD_REQUEST)
        if order.how == "fail":
            raise nexusrpc.OperationError("sold out", state=nexusrpc.OperationErrorState.FAILED)
        if order.how == "cancel":
            raise nexusrpc.OperationError("not wanted", state=nexusrpc.OperationErrorState.CANCELED)
        if order.how == "hold":
            await self.hold.wait()
        return f"did {order.how}"

    @nexus.workflow_run_operation
    async def by_workflow(self, context: nexus.WorkflowRunOperationContext, order: Order) -> nexus.WorkflowHandle[str]:
        return await context.start_workflow(
            Backing.run,
            order,
            id=order.workflow_id or f"backing-{uuid.uuid4()}",
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING if order.how == "wait" else WorkflowIDConflictPolicy.UNSPECIFIED,
        )


@workflow.defn
class Caller:
    """Calls one operation and says how it ended."""

    @workflow.run
    async def run(self, endpoint: str, operation: str, order: Order, seconds: float, cancel: bool) -> str:
        client = workflow.create_nexus_client(service=Desk, endpoint=endpoint)
        timeout = timedelta(seconds=seconds) if seconds else None
        chosen: Any = Desk.at_once if operation == "at_once" else Desk.by_workflow
        handle: Any = await client.start_operation(chosen, order, schedule_to_close_timeout=timeout)
        if cancel:
            handle.cancel()
        return str(await handle)


Call = Callable[..., Awaitable[WorkflowHandle[Any, Any]]]


@asynccontextmanager
async def running(client: Client, worker: Workers, handler: DeskHandler) -> AsyncGenerator[Call]:
    """A worker with all of this behind an endpoint; gives what starts a caller."""
    async with worker([Caller, Backing], nexus_service_handlers=[handler]) as made:
        endpoint = f"desk-{uuid.uuid4()}"
        await add_endpoint(client, endpoint, made.task_queue)

        async def call(
            operation: str, how: str, *, workflow_id: str = "", seconds: float = 0, cancel: bool = False
        ) -> WorkflowHandle[Any, Any]:
            return await client.start_workflow(
                Caller.run,
                args=[endpoint, operation, Order(how, workflow_id), seconds, cancel],
                id=f"caller-{uuid.uuid4()}",
                task_queue=made.task_queue,
            )

        yield call


async def add_endpoint(client: Client, name: str, queue: str) -> None:
    spec = EndpointSpec(name=name)
    spec.target.worker.namespace, spec.target.worker.task_queue = client.namespace, queue
    await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))


async def story(handle: WorkflowHandle[Any, Any]) -> list[str]:
    history = await handle.fetch_history()
    return [
        "".join(word.title() for word in EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").split("_"))
        for event in history.events
    ]


async def cause_of(handle: WorkflowHandle[Any, Any]) -> BaseException | None:
    """Why the operation of a caller that has failed did."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    error = failed.value.cause
    assert isinstance(error, NexusOperationError)
    return error.cause


async def until(handle: WorkflowHandle[Any, Any], kind: str) -> None:
    """Returns when the history has an event of that kind."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if EventType.Name(event.event_type) == f"EVENT_TYPE_{kind}":
            return


# Operations that are answered at once.


async def test_an_operation_answered_at_once(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("at_once", "it")
        assert await handle.result() == "did it"
        assert await story(handle) == [*STARTED, *TASK, *SCHEDULED, "NexusOperationCompleted", *TASK, *END]


async def test_an_operation_that_is_tried_again(client: Client, worker: Workers) -> None:
    handler = DeskHandler()
    async with running(client, worker, handler) as call:
        handle = await call("at_once", "flaky")
        assert await handle.result() == "did flaky"
        assert handler.attempts == 2
        assert await story(handle) == [*STARTED, *TASK, *SCHEDULED, "NexusOperationCompleted", *TASK, *END]


async def test_an_attempt_that_failed_is_described(client: Client, worker: Workers) -> None:
    handler = DeskHandler()
    async with running(client, worker, handler) as call:
        handle = await call("at_once", "flaky")
        while True:
            described = await handle.describe()
            pending = described.raw_description.pending_nexus_operations
            if pending and pending[0].state == PendingNexusOperationState.PENDING_NEXUS_OPERATION_STATE_BACKING_OFF:
                break
        assert (pending[0].service, pending[0].operation, pending[0].attempt) == ("Desk", "at_once", 1)
        assert pending[0].last_attempt_failure.nexus_handler_failure_info.type == "RESOURCE_EXHAUSTED"
        await handle.result()


async def test_a_handler_error_that_is_final(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("at_once", "bad request")
        cause = await cause_of(handle)
        assert isinstance(cause, nexusrpc.HandlerError) and cause.type is nexusrpc.HandlerErrorType.BAD_REQUEST
        assert await story(handle) == [*STARTED, *TASK, *SCHEDULED, "NexusOperationFailed", *TASK, "WorkflowExecutionFailed"]


async def test_an_operation_that_fails(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("at_once", "fail")
        cause = await cause_of(handle)
        assert isinstance(cause, ApplicationError) and "sold out" in str(cause)
        assert (await story(handle))[4:6] == [*SCHEDULED, "NexusOperationFailed"]


async def test_an_operation_that_cancels_itself(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("at_once", "cancel")
        assert isinstance(await cause_of(handle), CancelledError)
        assert (await story(handle))[4:6] == [*SCHEDULED, "NexusOperationCanceled"]


async def test_an_operation_that_takes_too_long(client: Client, worker: Workers) -> None:
    handler = DeskHandler()
    async with running(client, worker, handler) as call:
        handle = await call("at_once", "hold", seconds=1)
        assert isinstance(await cause_of(handle), TimeoutError)
        assert (await story(handle))[4:6] == [*SCHEDULED, "NexusOperationTimedOut"]
        handler.hold.set()


async def test_an_endpoint_that_does_not_exist(client: Client, worker: Workers) -> None:
    async with worker([Caller], task_queue="lonely"):
        handle = await client.start_workflow(
            Caller.run, args=["nowhere", "at_once", Order("it"), 0, False], id="caller", task_queue="lonely"
        )
        await until(handle, "WORKFLOW_TASK_FAILED")
        failed = (await handle.fetch_history()).events[3].workflow_task_failed_event_attributes
        assert 'endpoint "nowhere" not found' in failed.failure.message
        await handle.terminate()


async def test_a_queue_that_nobody_polls_yet(client: Client, worker: Workers) -> None:
    async with worker([Caller]) as made:
        await add_endpoint(client, "late-desk", "late-queue")
        handle = await client.start_workflow(
            Caller.run, args=["late-desk", "at_once", Order("it"), 0, False], id="caller", task_queue=made.task_queue
        )
        await until(handle, "NEXUS_OPERATION_SCHEDULED")
        async with worker(nexus_service_handlers=[DeskHandler()], task_queue="late-queue"):
            assert await handle.result() == "did it"


# Operations that a workflow does.


async def test_an_operation_by_workflow(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("by_workflow", "it", workflow_id="backing")
        assert await handle.result() == "backed it"
        told = await story(handle)
        assert [kind for kind in told if not kind.startswith("WorkflowTask")] == [
            *STARTED,
            *SCHEDULED,
            *RUNS,
            "NexusOperationCompleted",
            *END,
        ]
        history = (await handle.fetch_history()).events
        backing = client.get_workflow_handle("backing")
        first = (await backing.fetch_history()).events[0]
        assert first.workflow_execution_started_event_attributes.completion_callbacks[0].nexus.url == "temporal://system"
        started = next(event for event in history if event.event_type == EventType.EVENT_TYPE_NEXUS_OPERATION_STARTED)
        assert started.links[0].workflow_event.workflow_id == "backing"
        links = [*first.links, *first.workflow_execution_started_event_attributes.completion_callbacks[0].links]
        assert {link.workflow_event.workflow_id for link in links} == {handle.id}
        assert {link.workflow_event.event_ref.event_type for link in links} == {EventType.EVENT_TYPE_NEXUS_OPERATION_SCHEDULED}


async def test_a_backing_workflow_that_continues_as_new(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        assert await (await call("by_workflow", "again")).result() == "backed again"


async def test_a_backing_workflow_that_fails(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("by_workflow", "fail")
        cause = await cause_of(handle)
        assert isinstance(cause, ApplicationError) and cause.type == "Bad"
        assert "NexusOperationFailed" in await story(handle)


async def test_a_backing_workflow_that_is_terminated(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("by_workflow", "wait", workflow_id="backing")
        await until(handle, "NEXUS_OPERATION_STARTED")
        await client.get_workflow_handle("backing").terminate()
        assert isinstance(await cause_of(handle), TerminatedError)
        assert "NexusOperationFailed" in await story(handle)


async def test_an_operation_that_is_asked_to_cancel_itself(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handle = await call("by_workflow", "wait", workflow_id="backing", cancel=True)
        assert isinstance(await cause_of(handle), CancelledError)
        assert (await client.get_workflow_handle("backing").describe()).status is WorkflowExecutionStatus.CANCELED
        told = [kind for kind in await story(handle) if kind.startswith("Nexus")]
        # The end of the operation may overtake the answer to the request, of which nothing is said then.
        noted = ["NexusOperationCancelRequestCompleted"] if len(told) == 5 else []
        assert told == [*SCHEDULED, *RUNS, "NexusOperationCancelRequested", *noted, "NexusOperationCanceled"]


async def test_two_callers_of_one_backing_workflow(client: Client, worker: Workers) -> None:
    async with running(client, worker, DeskHandler()) as call:
        handles = [await call("by_workflow", "wait", workflow_id="backing") for _ in range(2)]
        for handle in handles:
            await until(handle, "NEXUS_OPERATION_STARTED")
        backing = client.get_workflow_handle("backing")
        assert len((await backing.describe()).raw_description.callbacks) == 2
        assert "WorkflowExecutionOptionsUpdated" in await story(backing)
        await backing.signal(Backing.tell, " twice")
        assert [await handle.result() for handle in handles] == ["backed wait twice"] * 2


# The engine's own endpoint.


@workflow.defn
class SignalWithStart:
    """Signals a workflow, which is started if need be."""

    @workflow.run
    async def run(self, workflow_id: str) -> str:
        handle = await workflow.signal_with_start_workflow(
            "Backing", Order("wait"), id=workflow_id, task_queue=workflow.info().task_queue, signal="tell", signal_args=[" by signal"]
        )
        return handle.run_id or ""


async def test_a_workflow_signals_with_start(client: Client, worker: Workers) -> None:
    async with worker([SignalWithStart, Backing]) as made:
        run_id = await client.execute_workflow(SignalWithStart.run, "backing", id="caller", task_queue=made.task_queue)
        backing = client.get_workflow_handle("backing", run_id=run_id)
        assert await backing.result() == "backed wait by signal"
        signaled = (await backing.fetch_history()).events[1]
        assert signaled.links[0].workflow_event.workflow_id == "caller"
        assert [kind for kind in await story(client.get_workflow_handle("caller")) if kind.startswith("Nexus")] == [
            *SCHEDULED,
            "NexusOperationCompleted",
        ]
