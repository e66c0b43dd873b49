"""Proves Nexus operations without a workflow with the official SDK: results, failures, cancellation, ids, links, lists."""

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
from temporalio import nexus, workflow
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType, NexusOperationIdConflictPolicy, NexusOperationWaitStage
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import CreateNexusEndpointRequest
from temporalio.api.workflowservice.v1 import (
    DeleteNexusOperationExecutionRequest,
    DescribeNamespaceRequest,
    DescribeNexusOperationExecutionRequest,
    PollNexusOperationExecutionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    StartNexusOperationExecutionRequest,
)
from temporalio.client import Client, NexusClient, NexusOperationFailureError
from temporalio.common import (
    NexusOperationExecutionStatus,
    NexusOperationIDConflictPolicy,
    NexusOperationIDReusePolicy,
    WorkerDeploymentVersion,
)
from temporalio.exceptions import ApplicationError, CancelledError, NexusOperationAlreadyStartedError, TerminatedError, TimeoutError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig
from tests.protocol.conftest import Workers

SHORT = timedelta(seconds=20)


@workflow.defn
class Behind:
    """The workflow behind an operation."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, signals: int) -> str:
        await workflow.wait_condition(lambda: len(self.told) >= signals)
        return ",".join(self.told)

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)


@nexusrpc.service
class Desk:
    double: nexusrpc.Operation[int, int]
    who: nexusrpc.Operation[int, str]
    fail: nexusrpc.Operation[str, str]
    wait: nexusrpc.Operation[str, str]
    signal: nexusrpc.Operation[str, str]


@nexusrpc.handler.service_handler(service=Desk)
class DeskHandler:
    def __init__(self, name: str = "") -> None:
        self.name = name

    @nexusrpc.handler.sync_operation
    async def who(self, _context: nexusrpc.handler.StartOperationContext, _number: int) -> str:
        return self.name

    @nexusrpc.handler.sync_operation
    async def double(self, _context: nexusrpc.handler.StartOperationContext, number: int) -> int:
        return 2 * number

    @nexusrpc.handler.sync_operation
    async def fail(self, _context: nexusrpc.handler.StartOperationContext, how: str) -> str:
        if how == "operation":
            raise nexusrpc.OperationError("sold out", state=nexusrpc.OperationErrorState.FAILED)
        raise ApplicationError("broken", non_retryable=True)

    @nexus.workflow_run_operation
    async def wait(self, context: nexus.WorkflowRunOperationContext, workflow_id: str) -> nexus.WorkflowHandle[str]:
        return await context.start_workflow(Behind.run, 1, id=workflow_id)

    @nexusrpc.handler.sync_operation
    async def signal(self, _context: nexusrpc.handler.StartOperationContext, workflow_id: str) -> str:
        queue = nexus.info().task_queue
        await nexus.client().start_workflow(Behind.run, 2, id=workflow_id, task_queue=queue, start_signal="tell", start_signal_args=["a"])
        await nexus.client().get_workflow_handle(workflow_id).signal(Behind.tell, "b")
        return "told"


@asynccontextmanager
async def desk(client: Client, worker: Workers) -> AsyncGenerator[NexusClient[Any]]:
    """A worker with all of this behind an endpoint; gives the client of its service."""
    async with worker([Behind], nexus_service_handlers=[DeskHandler()]) as made:
        spec = EndpointSpec(name=f"desk-{uuid.uuid4()}")
        spec.target.worker.namespace, spec.target.worker.task_queue = client.namespace, made.task_queue
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
        yield client.create_nexus_client(service=Desk, endpoint=spec.name)


async def test_result_and_description(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        handle = await calls.start_operation(Desk.double, 21, id="o", schedule_to_close_timeout=SHORT, summary="doubles")
        assert await handle.result() == 42
        shown = await handle.describe()
        assert shown.status is NexusOperationExecutionStatus.COMPLETED and shown.operation == "double" and shown.attempt == 1
        assert await shown.static_summary() == "doubles" and shown.close_time is not None
        assert await client.get_nexus_operation_handle("o", result_type=int).result() == 42
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert described.namespace_info.capabilities.standalone_nexus_operation


async def test_failures(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        with pytest.raises(NexusOperationFailureError) as failed:
            await calls.execute_operation(Desk.fail, "operation", id="o1", schedule_to_close_timeout=SHORT)
        assert isinstance(failed.value.cause, ApplicationError) and "sold out" in str(failed.value.cause)
        with pytest.raises(NexusOperationFailureError) as failed:
            await calls.execute_operation(Desk.fail, "handler", id="o2", schedule_to_close_timeout=SHORT)
        assert isinstance(failed.value.cause, nexusrpc.HandlerError)


async def test_nobody_serves_it_in_time(client: Client, worker: Workers) -> None:
    spec = EndpointSpec(name="nobody")
    spec.target.worker.namespace, spec.target.worker.task_queue = client.namespace, "nobody's"
    await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    calls = client.create_nexus_client(service=Desk, endpoint="nobody")
    with pytest.raises(NexusOperationFailureError) as failed:
        await calls.execute_operation(Desk.double, 1, id="o", schedule_to_close_timeout=timedelta(milliseconds=100))
    assert isinstance(failed.value.cause, TimeoutError)
    with pytest.raises(RPCError) as refused:
        await client.create_nexus_client(service=Desk, endpoint="unknown").start_operation(Desk.double, 1, id="p")
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_cancel_and_terminate(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        handle = await calls.start_operation(Desk.wait, "behind-1", id="cancelled", schedule_to_close_timeout=SHORT)
        await handle.cancel(reason="enough")
        with pytest.raises(NexusOperationFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, CancelledError)
        assert (await handle.describe()).raw_description.cancellation_info.reason == "enough"
        handle = await calls.start_operation(Desk.wait, "behind-2", id="terminated", schedule_to_close_timeout=SHORT)
        await handle.terminate(reason="now")
        with pytest.raises(NexusOperationFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, TerminatedError)


async def test_stages_and_news(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        handle = await calls.start_operation(Desk.wait, "behind", id="o", schedule_to_close_timeout=SHORT)
        poll = PollNexusOperationExecutionRequest(namespace="default", operation_id="o")
        poll.wait_stage = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_STARTED
        told = await client.workflow_service.poll_nexus_operation_execution(poll)
        assert told.wait_stage == poll.wait_stage and told.operation_token and told.run_id == handle.run_id
        request = DescribeNexusOperationExecutionRequest(namespace="default", operation_id="o", include_input=True, include_outcome=True)
        before = await client.workflow_service.describe_nexus_operation_execution(request)
        assert before.input.data == b'"behind"' and before.WhichOneof("outcome") is None
        request.long_poll_token = before.long_poll_token
        waiting = asyncio.create_task(client.workflow_service.describe_nexus_operation_execution(request))
        await client.get_workflow_handle("behind").signal(Behind.tell, "done")
        after = await waiting
        assert after.result.data == b'"done"' and not after.long_poll_token
        told = await client.workflow_service.poll_nexus_operation_execution(poll)
        assert told.wait_stage == NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_CLOSED and told.result.data == b'"done"'


async def test_links_both_ways(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        handle = await calls.start_operation(Desk.wait, "behind", id="o", schedule_to_close_timeout=SHORT)
        poll = PollNexusOperationExecutionRequest(namespace="default", operation_id="o")
        poll.wait_stage = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_STARTED
        await client.workflow_service.poll_nexus_operation_execution(poll)
        behind = client.get_workflow_handle("behind")
        first = (await behind.fetch_history()).events[0]
        to_operation = Link(nexus_operation=Link.NexusOperation(namespace="default", operation_id="o", run_id=handle.run_id or ""))
        callbacks = first.workflow_execution_started_event_attributes.completion_callbacks
        assert [*first.links, *(link for callback in callbacks for link in callback.links)] == [to_operation]
        (back,) = (await handle.describe()).raw_description.links
        assert (back.workflow_event.workflow_id, back.workflow_event.event_ref.event_id) == ("behind", 1)
        await behind.signal(Behind.tell, "done")
        assert await handle.result() == "done"
        handle = await calls.start_operation(Desk.signal, "signalled", id="p", schedule_to_close_timeout=SHORT)
        assert await handle.result() == "told"
        signals = [
            event
            async for event in client.get_workflow_handle("signalled").fetch_history_events()
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]
        assert [[link.nexus_operation.operation_id for link in event.links] for event in signals] == [["p"], ["p"]]
        requests = [event.workflow_execution_signaled_event_attributes.request_id for event in signals]
        links = (await handle.describe()).raw_description.links
        assert [link.workflow_event.request_id_ref.request_id for link in links] == requests


async def test_ids(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        first = await calls.start_operation(Desk.wait, "behind", id="o", schedule_to_close_timeout=SHORT)
        with pytest.raises(NexusOperationAlreadyStartedError) as refused:
            await calls.start_operation(Desk.double, 1, id="o", schedule_to_close_timeout=SHORT)
        assert refused.value.run_id == first.run_id
        same = await calls.start_operation(
            Desk.double, 1, id="o", schedule_to_close_timeout=SHORT, id_conflict_policy=NexusOperationIDConflictPolicy.USE_EXISTING
        )
        assert same.run_id == first.run_id
        request = StartNexusOperationExecutionRequest(namespace="default", operation_id="o", request_id="further", service="Desk")
        request.endpoint, request.operation = (await first.describe()).endpoint, "double"
        request.id_conflict_policy = NexusOperationIdConflictPolicy.NEXUS_OPERATION_ID_CONFLICT_POLICY_USE_EXISTING
        request.on_conflict_options.attach_request_id = request.on_conflict_options.attach_links = True
        request.links.add().workflow_event.workflow_id = "elsewhere"
        assert (await client.workflow_service.start_nexus_operation_execution(request)).run_id == first.run_id
        assert "elsewhere" in [link.workflow_event.workflow_id for link in (await first.describe()).raw_description.links]
        await first.terminate()
        with pytest.raises(NexusOperationAlreadyStartedError):
            await calls.start_operation(
                Desk.double, 1, id="o", schedule_to_close_timeout=SHORT, id_reuse_policy=NexusOperationIDReusePolicy.REJECT_DUPLICATE
            )
        again = await calls.start_operation(Desk.double, 2, id="o", schedule_to_close_timeout=SHORT)
        assert again.run_id != first.run_id and await again.result() == 4


async def test_the_workers_of_the_current_version_serve_requests(client: Client, worker: Workers) -> None:
    queue = f"queue-{uuid.uuid4()}"
    spec = EndpointSpec(name="versioned")
    spec.target.worker.namespace, spec.target.worker.task_queue = client.namespace, queue
    await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec))
    calls = client.create_nexus_client(service=Desk, endpoint="versioned")

    def of(build: str) -> Any:
        version = WorkerDeploymentVersion("desks", build)
        options = WorkerDeploymentConfig(version=version, use_worker_versioning=True)
        return worker([], nexus_service_handlers=[DeskHandler(build)], deployment_config=options, task_queue=queue)

    async def make_current(build: str) -> None:
        request = SetWorkerDeploymentCurrentVersionRequest(namespace="default", deployment_name="desks", build_id=build)
        while True:
            try:
                await client.workflow_service.set_worker_deployment_current_version(request)
            except RPCError as error:  # its worker has not polled yet
                assert error.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)
            else:
                return

    async with worker([], nexus_service_handlers=[DeskHandler("none")], task_queue=queue), of("1"), of("2"):
        for number, build in enumerate(("2", "1", "2")):
            await make_current(build)
            answers = [
                await calls.execute_operation(Desk.who, each, id=f"o-{number}-{each}", schedule_to_close_timeout=SHORT) for each in range(3)
            ]
            assert answers == [build] * 3


async def test_operations_are_listed_counted_and_deleted_apart_from_workflows(client: Client, worker: Workers) -> None:
    async with desk(client, worker) as calls:
        assert await calls.execute_operation(Desk.double, 1, id="o-1", schedule_to_close_timeout=SHORT) == 2
        for number in (2, 3):
            await calls.start_operation(Desk.wait, f"behind-{number}", id=f"o-{number}", schedule_to_close_timeout=SHORT)
        endpoint = (await client.get_nexus_operation_handle("o-1").describe()).endpoint
        query = f"Endpoint = '{endpoint}' AND Service = 'Desk' AND OperationId STARTS_WITH 'o-'"
        found = {each.operation_id: each async for each in client.list_nexus_operations(query)}
        assert sorted(found) == ["o-1", "o-2", "o-3"]
        shown = found["o-1"]
        assert (shown.endpoint, shown.service, shown.operation) == (endpoint, "Desk", "double")
        assert {each.operation_id async for each in client.list_nexus_operations("Operation = 'wait'")} == {"o-2", "o-3"}
        counted = await client.count_nexus_operations("GROUP BY ExecutionStatus")
        assert counted.count == 3 and {(g.group_values[0], g.count) for g in counted.groups} == {("Running", 2), ("Completed", 1)}
        assert (await client.count_nexus_operations("Service = 'Other'")).count == 0
        assert (await client.count_activities("")).count == 0
        for name in ("o-1", "o-2"):
            request = DeleteNexusOperationExecutionRequest(namespace="default", operation_id=name)
            await client.workflow_service.delete_nexus_operation_execution(request)
            with pytest.raises(RPCError) as refused:
                await client.get_nexus_operation_handle(name).describe()
            assert refused.value.status is RPCStatusCode.NOT_FOUND
        with pytest.raises(RPCError) as refused:
            await client.count_nexus_operations("Nonsense = 1")
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
