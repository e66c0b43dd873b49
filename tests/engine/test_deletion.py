"""Proves that a deleted run leaves nothing, that closed runs go in time, and that a deleted namespace goes with all in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest
from temporalio.api.workflowservice.v1 import (
    CountNexusOperationExecutionsRequest,
    CountWorkflowExecutionsRequest,
    DeleteWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
    StartActivityExecutionRequest,
    StartNexusOperationExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateActivityExecutionRequest,
    TerminateNexusOperationExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)

from perdure.engine.engine import Engine, open_engine
from perdure.engine.frontend import Frontend
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import WorkflowStorage
from perdure.testing import ManualClock

HOUR = 3600
TABLES = "runs", "current_runs", "history", "activities", "buffered_events", "visibility", "search_values"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def engine(storage: WorkflowStorage, clock: ManualClock) -> AsyncGenerator[Engine]:
    engine = await open_engine(storage, clock=clock)
    yield engine
    await engine.close()


@pytest.fixture
async def service(engine: Engine) -> Frontend:
    service = engine.frontend(in_process=True)
    await service.register_namespace(
        RegisterNamespaceRequest(namespace="orders", workflow_execution_retention_period=Duration(seconds=HOUR))
    )
    return service


async def start(service: Frontend, workflow_id: str, namespace: str = "orders") -> str:
    request = StartWorkflowExecutionRequest(namespace=namespace, workflow_id=workflow_id)
    request.workflow_type.name, request.task_queue.name = "Order", "orders"
    return (await service.start_workflow_execution(request)).run_id


async def end(service: Frontend, workflow_id: str, namespace: str = "orders") -> None:
    request = TerminateWorkflowExecutionRequest(namespace=namespace)
    request.workflow_execution.workflow_id = workflow_id
    await service.terminate_workflow_execution(request)


async def delete(service: Frontend, workflow_id: str, run_id: str = "") -> None:
    request = DeleteWorkflowExecutionRequest(namespace="orders")
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    await service.delete_workflow_execution(request)


async def count(service: Frontend, namespace: str = "orders") -> int:
    return (await service.count_workflow_executions(CountWorkflowExecutionsRequest(namespace=namespace))).count


async def swept(engine: Engine) -> None:
    """Nothing is being deleted any more."""
    while (sweeping := engine.retention.sweeping) is not None and not sweeping.done():
        await asyncio.wait([sweeping])


def rows(engine: Engine) -> dict[str, int]:
    sizes = engine.storage.sizes()
    return {table: sizes[table] for table in TABLES}


async def is_gone(service: Frontend, workflow_id: str, run_id: str) -> bool:
    described = DescribeWorkflowExecutionRequest(namespace="orders")
    history = GetWorkflowExecutionHistoryRequest(namespace="orders")
    for execution in (described.execution, history.execution):
        execution.workflow_id, execution.run_id = workflow_id, run_id
    calls = service.describe_workflow_execution(described), service.get_workflow_execution_history(history)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    gone = [isinstance(answer, RpcError) and answer.code is StatusCode.NOT_FOUND for answer in answers]
    assert len(set(gone)) == 1
    return gone[0]


@pytest.mark.parametrize("closed", [False, True])
async def test_a_deleted_run_leaves_nothing(engine: Engine, service: Frontend, closed: bool) -> None:
    run_id = await start(service, "order")
    if closed:
        await end(service, "order")
    await delete(service, "order")
    assert await is_gone(service, "order", run_id) and await is_gone(service, "order", "")
    assert (await count(service), set(rows(engine).values())) == (0, {0})
    await start(service, "order")
    assert await count(service) == 1


async def test_an_older_run_goes_alone(service: Frontend) -> None:
    old = await start(service, "order")
    await end(service, "order")
    new = await start(service, "order")
    await delete(service, "order", old)
    assert await is_gone(service, "order", old) and not await is_gone(service, "order", "")
    assert not await is_gone(service, "order", new)


async def test_what_is_not_there_cannot_be_deleted(service: Frontend) -> None:
    with pytest.raises(RpcError, match="NOT_FOUND"):
        await delete(service, "nobody")
    with pytest.raises(RpcError, match="INVALID_ARGUMENT"):
        await delete(service, "")


async def test_deletions_of_one_run_at_once_agree(engine: Engine, service: Frontend) -> None:
    await start(service, "order")
    answers = await asyncio.gather(*(delete(service, "order") for _ in range(5)), return_exceptions=True)
    assert None in answers
    assert {error.code for error in answers if isinstance(error, RpcError)} <= {StatusCode.NOT_FOUND}
    assert set(rows(engine).values()) == {0}


async def test_a_run_that_is_not_in_memory_is_deleted(storage: WorkflowStorage, engine: Engine, service: Frontend) -> None:
    run_id = await start(service, "order")
    await engine.close()
    again = await open_engine(storage)
    await delete(again.frontend(in_process=True), "order", run_id)
    assert set(rows(again).values()) == {0}
    await again.close()


async def test_closed_runs_go_when_their_retention_is_over(engine: Engine, service: Frontend, clock: ManualClock) -> None:
    for number in range(5):
        await start(service, f"order-{number}")
    for number in range(3):
        await end(service, f"order-{number}")
    await clock.advance(HOUR / 2)
    await end(service, "order-3")
    await swept(engine)
    assert await count(service) == 5
    await clock.advance(HOUR / 2 + 120)
    await swept(engine)
    assert (await count(service), engine.retention.deleted) == (2, 3)
    await clock.advance(HOUR)
    await swept(engine)
    assert (await count(service), rows(engine)["runs"]) == (1, 1)


async def test_where_nobody_asked_for_a_retention_runs_are_kept_for_ever(engine: Engine, service: Frontend, clock: ManualClock) -> None:
    await start(service, "charge", "default")
    await end(service, "charge", "default")
    clock.jump(10 * 365 * 24 * HOUR)
    engine.retention.look()
    await swept(engine)
    assert (await count(service, "default"), engine.retention.deleted) == (1, 0)


async def test_retention_is_kept_over_restarts(storage: WorkflowStorage, engine: Engine, service: Frontend, clock: ManualClock) -> None:
    await start(service, "order")
    await end(service, "order")
    await engine.close()
    clock.jump(HOUR + 1)
    again = await open_engine(storage, clock=clock)
    await swept(again)
    assert set(rows(again).values()) == {0}
    await again.close()


async def test_a_shorter_retention_holds_at_once(engine: Engine, service: Frontend, clock: ManualClock) -> None:
    request = UpdateNamespaceRequest(namespace="orders")
    request.config.workflow_execution_retention_ttl.seconds = 10 * HOUR
    await service.update_namespace(request)
    await start(service, "order")
    await end(service, "order")
    await clock.advance(2 * HOUR)
    await swept(engine)
    assert await count(service) == 1
    request.config.workflow_execution_retention_ttl.seconds = HOUR
    await service.update_namespace(request)
    await swept(engine)
    assert await count(service) == 0


async def test_what_has_no_workflow_goes_as_workflows_do(engine: Engine, service: Frontend, clock: ManualClock) -> None:
    spec = EndpointSpec(name="desk")
    spec.target.worker.namespace, spec.target.worker.task_queue = "default", "desks"
    await engine.endpoints.create(spec)
    for name in ("ended", "open"):
        activity = StartActivityExecutionRequest(namespace="orders", activity_id=name, start_to_close_timeout=Duration(seconds=9))
        activity.activity_type.name = activity.task_queue.name = "charge"
        await service.start_activity_execution(activity)
        operation = StartNexusOperationExecutionRequest(
            namespace="orders", operation_id=name, endpoint="desk", service="Desk", operation="do"
        )
        await service.start_nexus_operation_execution(operation)
    await service.terminate_activity_execution(TerminateActivityExecutionRequest(namespace="orders", activity_id="ended"))
    await service.terminate_nexus_operation_execution(TerminateNexusOperationExecutionRequest(namespace="orders", operation_id="ended"))
    assert rows(engine)["runs"] == 4
    await clock.advance(HOUR + 120)
    await swept(engine)
    counted = await service.count_nexus_operation_executions(CountNexusOperationExecutionsRequest(namespace="orders"))
    assert (rows(engine)["runs"], counted.count) == (2, 1)
    await service.delete_namespace(DeleteNamespaceRequest(namespace="orders"))
    await swept(engine)
    assert set(rows(engine).values()) == {0}


async def test_a_deleted_namespace_goes_with_everything_in_it(engine: Engine, service: Frontend) -> None:
    kept = await start(service, "kept", "default")
    for number in range(4):
        await start(service, f"order-{number}")
    await end(service, "order-1")
    await engine.records.put("schedule", "orders", "nightly", b"", expected_version=0)
    await service.delete_namespace(DeleteNamespaceRequest(namespace="orders"))
    await swept(engine)
    assert (rows(engine)["runs"], rows(engine)["current_runs"]) == (1, 1)
    assert await engine.records.list("schedule", None) == []
    assert engine.namespaces.deleted == {}
    listed = await service.list_namespaces(ListNamespacesRequest())
    assert [found.namespace_info.name for found in listed.namespaces] == ["default"]
    request = RegisterNamespaceRequest(namespace="orders", workflow_execution_retention_period=Duration(seconds=HOUR))
    await service.register_namespace(request)
    assert await count(service) == 0
    described = DescribeWorkflowExecutionRequest(namespace="default")
    described.execution.workflow_id, described.execution.run_id = "kept", kept
    await service.describe_workflow_execution(described)


async def test_a_namespace_whose_deletion_was_interrupted_goes_on_the_next_opening(
    storage: WorkflowStorage, engine: Engine, service: Frontend
) -> None:
    await start(service, "order")
    await swept(engine)
    engine.namespaces.on_changed = lambda: None  # the engine dies before it deletes anything
    await service.delete_namespace(DeleteNamespaceRequest(namespace="orders"))
    with pytest.raises(RpcError, match="ALREADY_EXISTS"):
        await service.register_namespace(
            RegisterNamespaceRequest(namespace="orders", workflow_execution_retention_period=Duration(seconds=HOUR))
        )
    await engine.close()
    again = await open_engine(storage)
    await swept(again)
    assert (rows(again)["runs"], again.namespaces.deleted) == (0, {})
    await again.close()
