"""Proves what namespaces are and keep: made, found, changed, refused, and the same after the engine was opened again."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import IndexedValueType as T
from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.errordetails.v1 import NamespaceAlreadyExistsFailure, NamespaceInvalidStateFailure, NamespaceNotFoundFailure
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    DeleteNamespaceRequest,
    ListClustersRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    GetClusterInfoRequest,
    GetSearchAttributesRequest,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)

from perdure.engine.engine import Engine, open_engine
from perdure.engine.frontend import Frontend
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import WorkflowStorage

HOUR = Duration(seconds=3600)


@pytest.fixture
def service(engine: Engine) -> Frontend:
    return engine.frontend(in_process=True)


def start_of(namespace: str = "default", **attributes: bytes) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace=namespace, workflow_id="order", request_id="r")
    request.workflow_type.name, request.task_queue.name = "Order", "orders"
    for name, value in attributes.items():
        request.search_attributes.indexed_fields[name].CopyFrom(Payload(metadata={"encoding": b"json/plain"}, data=value))
    return request


async def register(service: Frontend, name: str = "orders", **fields: object) -> None:
    await service.register_namespace(RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=HOUR, **fields))  # type: ignore[arg-type]


# --- namespaces


async def test_default_is_there_from_the_start(service: Frontend) -> None:
    found = await service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert found.namespace_info.state == NamespaceState.NAMESPACE_STATE_REGISTERED
    assert found.namespace_info.capabilities.reported_problems_search_attribute
    assert not found.namespace_info.capabilities.worker_commands
    assert found.namespace_info.limits.blob_size_limit_error == 2 * 1024 * 1024
    assert found.config.workflow_execution_retention_ttl.seconds == 0
    assert not found.is_global_namespace
    by_id = await service.describe_namespace(DescribeNamespaceRequest(id=found.namespace_info.id))
    assert by_id == found


async def test_a_registered_namespace_is_kept_and_takes_workflows(storage: WorkflowStorage) -> None:
    engine = await open_engine(storage)
    service = engine.frontend(in_process=True)
    await register(service, description="all orders", owner_email="a@b.c", data={"team": "red"})
    await service.start_workflow_execution(start_of("orders"))
    before = await service.describe_namespace(DescribeNamespaceRequest(namespace="orders"))
    assert (before.namespace_info.description, before.namespace_info.owner_email) == ("all orders", "a@b.c")
    assert dict(before.namespace_info.data) == {"team": "red"}
    assert before.config.workflow_execution_retention_ttl == HOUR
    await engine.close()
    engine = await open_engine(storage)
    service = engine.frontend(in_process=True)
    assert await service.describe_namespace(DescribeNamespaceRequest(namespace="orders")) == before
    request = DescribeWorkflowExecutionRequest(namespace="orders")
    request.execution.workflow_id = "order"
    assert (await service.describe_workflow_execution(request)).workflow_execution_info.type.name == "Order"
    await engine.close()


async def test_an_engine_makes_the_namespaces_it_is_asked_for(storage: WorkflowStorage) -> None:
    engine = await open_engine(storage, namespaces=["default", "other"])
    first = engine.namespaces.get("other").described
    await engine.close()
    engine = await open_engine(storage, namespaces=["default"])
    assert engine.namespaces.get("other").described == first
    await engine.close()


async def test_an_unknown_namespace_is_named(service: Frontend) -> None:
    with pytest.raises(RpcError) as refused:
        await service.start_workflow_execution(start_of("nowhere"))
    assert refused.value.code is StatusCode.NOT_FOUND
    assert refused.value.detail == NamespaceNotFoundFailure(namespace="nowhere")
    with pytest.raises(RpcError, match="NOT_FOUND"):
        await service.describe_namespace(DescribeNamespaceRequest(id="no-such-id"))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (RegisterNamespaceRequest(workflow_execution_retention_period=HOUR), "Namespace not set on request"),
        (RegisterNamespaceRequest(namespace="orders"), "A valid retention period is not set on request"),
        (RegisterNamespaceRequest(namespace="orders", workflow_execution_retention_period=Duration(seconds=3599)), "A valid retention"),
        (RegisterNamespaceRequest(namespace="x" * 1001, workflow_execution_retention_period=HOUR), "Namespace length exceeds limit"),
        (RegisterNamespaceRequest(namespace="orders", workflow_execution_retention_period=HOUR, is_global_namespace=True), "global"),
    ],
)
async def test_what_cannot_be_registered(service: Frontend, request_: RegisterNamespaceRequest, message: str) -> None:
    with pytest.raises(RpcError, match=message) as refused:
        await service.register_namespace(request_)
    assert refused.value.code is StatusCode.INVALID_ARGUMENT


async def test_a_name_is_taken_once(service: Frontend) -> None:
    with pytest.raises(RpcError) as refused:
        await register(service, "default")
    assert (refused.value.code, refused.value.detail) == (StatusCode.ALREADY_EXISTS, NamespaceAlreadyExistsFailure())


async def test_an_update_changes_what_it_names(service: Frontend) -> None:
    await register(service, description="old", data={"a": "1", "b": "2"})
    request = UpdateNamespaceRequest(namespace="orders")
    request.update_info.description = "new"
    request.update_info.data["b"] = "3"
    request.config.workflow_execution_retention_ttl.seconds = 7200
    changed = await service.update_namespace(request)
    found = await service.describe_namespace(DescribeNamespaceRequest(namespace="orders"))
    assert (found.namespace_info, found.config) == (changed.namespace_info, changed.config)
    assert found.namespace_info.description == "new"
    assert dict(found.namespace_info.data) == {"a": "1", "b": "3"}
    assert found.config.workflow_execution_retention_ttl.seconds == 7200
    request.config.workflow_execution_retention_ttl.seconds = 5
    with pytest.raises(RpcError, match="retention"):
        await service.update_namespace(request)
    with pytest.raises(RpcError, match="does not replicate"):
        await service.update_namespace(UpdateNamespaceRequest(namespace="orders", promote_namespace=True))
    request.namespace = "nowhere"
    with pytest.raises(RpcError, match="NOT_FOUND"):
        await service.update_namespace(request)


async def test_namespaces_are_listed_in_pages(service: Frontend) -> None:
    for name in ("b", "c", "a"):
        await register(service, name)
    names: list[str] = []
    token = b""
    while True:
        page = await service.list_namespaces(ListNamespacesRequest(page_size=2, next_page_token=token))
        assert len(page.namespaces) <= 2
        names += [found.namespace_info.name for found in page.namespaces]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a", "b", "c", "default"]
    with pytest.raises(RpcError, match="INVALID_ARGUMENT"):
        await service.list_namespaces(ListNamespacesRequest(next_page_token=b"\xff"))


async def test_nothing_starts_in_a_deprecated_namespace(service: Frontend) -> None:
    await register(service)
    await service.start_workflow_execution(start_of("orders"))
    await service.deprecate_namespace(DeprecateNamespaceRequest(namespace="orders"))
    with pytest.raises(RpcError) as refused:
        await service.start_workflow_execution(start_of("orders"))
    assert refused.value.code is StatusCode.FAILED_PRECONDITION
    assert isinstance(refused.value.detail, NamespaceInvalidStateFailure)
    assert refused.value.detail.state == NamespaceState.NAMESPACE_STATE_DEPRECATED
    signal = SignalWithStartWorkflowExecutionRequest(namespace="orders", workflow_id="order", signal_name="go")
    with pytest.raises(RpcError, match="Namespace has invalid state: Deprecated"):
        await service.signal_with_start_workflow_execution(signal)
    request = DescribeWorkflowExecutionRequest(namespace="orders")
    request.execution.workflow_id = "order"
    await service.describe_workflow_execution(request)


async def test_a_deleted_namespace_is_not_found(service: Frontend) -> None:
    await register(service)
    deleted = await service.delete_namespace(DeleteNamespaceRequest(namespace="orders"))
    assert deleted.deleted_namespace.startswith("orders-deleted-")
    with pytest.raises(RpcError, match="NOT_FOUND"):
        await service.start_workflow_execution(start_of("orders"))
    listed = await service.list_namespaces(ListNamespacesRequest())
    assert [found.namespace_info.name for found in listed.namespaces] == ["default"]
    with pytest.raises(RpcError, match="INVALID_ARGUMENT"):
        await service.delete_namespace(DeleteNamespaceRequest())


async def test_the_cluster_has_an_id_that_stays(storage: WorkflowStorage) -> None:
    ids = set()
    for _ in range(2):
        engine = await open_engine(storage)
        service = engine.frontend(in_process=True)
        info = await service.get_cluster_info(GetClusterInfoRequest())
        ids.add(info.cluster_id)
        (only,) = (await service.list_clusters(ListClustersRequest())).clusters
        assert (only.cluster_name, only.cluster_id, only.is_connection_enabled) == (info.cluster_name, info.cluster_id, True)
        assert info.persistence_store in ("memory", "sqlite")
        assert info.supported_clients["temporal-python"]
        await engine.close()
    assert len(ids) == 1


# --- search attributes


async def add(service: Frontend, namespace: str = "default", **attributes: T.ValueType) -> None:
    await service.add_search_attributes(AddSearchAttributesRequest(namespace=namespace, search_attributes=attributes))


async def test_an_attribute_is_usable_at_once(service: Frontend) -> None:
    with pytest.raises(RpcError, match="Namespace default has no mapping defined for search attribute Customer") as refused:
        await service.start_workflow_execution(start_of(Customer=b'"ann"'))
    assert refused.value.code is StatusCode.INVALID_ARGUMENT
    await add(service, Customer=T.INDEXED_VALUE_TYPE_KEYWORD)
    await service.start_workflow_execution(start_of(Customer=b'"ann"'))
    request = DescribeWorkflowExecutionRequest(namespace="default")
    request.execution.workflow_id = "order"
    info = (await service.describe_workflow_execution(request)).workflow_execution_info
    assert info.search_attributes.indexed_fields["Customer"].data == b'"ann"'
    assert info.search_attributes.indexed_fields["Customer"].metadata["type"] == b"Keyword"


@pytest.mark.parametrize("name", ["1st_Keyword", "0307a3e9-89d1_text"])
async def test_names_that_an_attribute_may_have(service: Frontend, name: str) -> None:
    await add(service, **{name: T.INDEXED_VALUE_TYPE_KEYWORD})
    names = (await service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))).custom_attributes
    assert list(names) == [name]


async def test_attributes_belong_to_a_namespace(service: Frontend) -> None:
    await register(service)
    await add(service, "orders", Customer=T.INDEXED_VALUE_TYPE_KEYWORD)
    with pytest.raises(RpcError, match="Namespace default has no mapping"):
        await service.start_workflow_execution(start_of(Customer=b'"ann"'))
    own = await service.list_search_attributes(ListSearchAttributesRequest(namespace="orders"))
    assert dict(own.custom_attributes) == {"Customer": T.INDEXED_VALUE_TYPE_KEYWORD}
    assert own.system_attributes["WorkflowId"] == T.INDEXED_VALUE_TYPE_KEYWORD
    assert own.system_attributes["StartTime"] == T.INDEXED_VALUE_TYPE_DATETIME
    everything = (await service.get_search_attributes(GetSearchAttributesRequest())).keys
    assert everything["Customer"] == T.INDEXED_VALUE_TYPE_KEYWORD and everything["CloseTime"] == T.INDEXED_VALUE_TYPE_DATETIME
    described = await service.describe_namespace(DescribeNamespaceRequest(namespace="orders"))
    assert dict(described.config.custom_search_attribute_aliases) == {"Keyword01": "Customer"}


async def test_adding_again_is_harmless_and_another_type_is_refused(service: Frontend) -> None:
    await add(service, Customer=T.INDEXED_VALUE_TYPE_KEYWORD)
    await add(service, Customer=T.INDEXED_VALUE_TYPE_KEYWORD)
    with pytest.raises(RpcError, match="already exists and has different type Keyword") as refused:
        await add(service, Customer=T.INDEXED_VALUE_TYPE_INT)
    assert refused.value.code is StatusCode.ALREADY_EXISTS


async def test_a_namespace_has_so_many_of_a_type(service: Frontend) -> None:
    await add(service, **{f"Count{number}": T.INDEXED_VALUE_TYPE_INT for number in range(3)})
    with pytest.raises(RpcError, match="cannot have more than 3 search attribute of type Int"):
        await add(service, Count3=T.INDEXED_VALUE_TYPE_INT)
    await service.remove_search_attributes(RemoveSearchAttributesRequest(namespace="default", search_attributes=["Count1"]))
    await add(service, Count3=T.INDEXED_VALUE_TYPE_INT)
    names = (await service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))).custom_attributes
    assert sorted(names) == ["Count0", "Count2", "Count3"]


@pytest.mark.parametrize("name", ["WorkflowId", "TemporalMine", "BuildIds", "-st", "a b", ""])
async def test_names_that_no_attribute_may_have(service: Frontend, name: str) -> None:
    with pytest.raises(RpcError, match="INVALID_ARGUMENT"):
        await add(service, **{name: T.INDEXED_VALUE_TYPE_KEYWORD})


async def test_removing_what_is_not_there(service: Frontend) -> None:
    with pytest.raises(RpcError, match="NOT_FOUND: Search attribute Nothing doesn't exist"):
        await service.remove_search_attributes(RemoveSearchAttributesRequest(namespace="default", search_attributes=["Nothing"]))
    with pytest.raises(RpcError, match="INVALID_ARGUMENT: Unable to remove non-custom"):
        await service.remove_search_attributes(RemoveSearchAttributesRequest(namespace="default", search_attributes=["RunId"]))


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("KEYWORD", [b'"a"', b'["a"]', b"[]"], [b"1", b'["a","b"]', b"{}", b"no json", b'"\\ud800"']),
        ("TEXT", [b'"some words"'], [b"true"]),
        ("INT", [b"-5", b"[7]", b"9223372036854775807"], [b"1.5", b'"1"', b"true", b"9223372036854775808"]),
        ("DOUBLE", [b"1", b"1.5", b"-1e300"], [b'"1"', b"false"]),
        ("BOOL", [b"true", b"[false]"], [b"0", b'"true"']),
        ("DATETIME", [b'"2024-02-29T12:00:00Z"', b'"2024-02-29T12:00:00.123456789+02:00"'], [b'"2024-02-30T12:00:00Z"', b"5", b'"soon"']),
        ("KEYWORD_LIST", [b'["a","b"]', b"[]", b'["a"]'], [b'"a"', b"[1]"]),
    ],
)
async def test_values_are_of_the_type(service: Frontend, kind: str, good: list[bytes], bad: list[bytes]) -> None:
    await add(service, Mine=T.Value(f"INDEXED_VALUE_TYPE_{kind}"))
    for value in bad:
        with pytest.raises(RpcError, match="INVALID_ARGUMENT: invalid value for search attribute Mine of type"):
            await service.start_workflow_execution(start_of(Mine=value))
    for number, value in enumerate(good):
        request = start_of(Mine=value)
        request.workflow_id, request.request_id = f"order-{number}", f"r-{number}"
        await service.start_workflow_execution(request)


async def test_system_attributes_cannot_be_set(service: Frontend) -> None:
    with pytest.raises(RpcError, match="WorkflowId attribute can't be set in SearchAttributes"):
        await service.start_workflow_execution(start_of(WorkflowId=b'"x"'))
    await service.start_workflow_execution(start_of(BuildIds=b'["x"]'))


@pytest.mark.parametrize("state", [NamespaceState.NAMESPACE_STATE_DELETED, 99])
async def test_a_state_that_no_update_can_bring_about(service: Frontend, state: int) -> None:
    await register(service)
    request = UpdateNamespaceRequest(namespace="orders")
    request.update_info.state = state  # type: ignore[assignment]
    with pytest.raises(RpcError, match="INVALID_ARGUMENT"):
        await service.update_namespace(request)
