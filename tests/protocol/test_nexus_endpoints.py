"""Proves what endpoints of Nexus promise: names, versions, refusals, and that they survive the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.nexus.v1 import EndpointSpec
from temporalio.api.operatorservice.v1 import (
    CreateNexusEndpointRequest,
    DeleteNexusEndpointRequest,
    GetNexusEndpointRequest,
    ListNexusEndpointsRequest,
    UpdateNexusEndpointRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from perdure.engine import open_engine
from perdure.storage import SQLiteStorage


def spec(name: str, queue: str = "queue", namespace: str = "default") -> EndpointSpec:
    made = EndpointSpec(name=name)
    made.target.worker.namespace = namespace
    made.target.worker.task_queue = queue
    return made


async def test_the_life_of_an_endpoint(client: Client) -> None:
    operator = client.operator_service
    made = (await operator.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec("orders")))).endpoint
    assert made.version == 1
    assert made.spec == spec("orders")
    assert (await operator.get_nexus_endpoint(GetNexusEndpointRequest(id=made.id))).endpoint == made
    changed = (
        await operator.update_nexus_endpoint(UpdateNexusEndpointRequest(id=made.id, version=1, spec=spec("bills", "other")))
    ).endpoint
    assert (changed.version, changed.spec) == (2, spec("bills", "other"))
    with pytest.raises(RPCError) as stale:
        await operator.update_nexus_endpoint(UpdateNexusEndpointRequest(id=made.id, version=1, spec=spec("bills")))
    assert stale.value.status is RPCStatusCode.FAILED_PRECONDITION
    with pytest.raises(RPCError) as stale:
        await operator.delete_nexus_endpoint(DeleteNexusEndpointRequest(id=made.id, version=1))
    assert stale.value.status is RPCStatusCode.FAILED_PRECONDITION
    await operator.delete_nexus_endpoint(DeleteNexusEndpointRequest(id=made.id, version=2))
    with pytest.raises(RPCError) as gone:
        await operator.get_nexus_endpoint(GetNexusEndpointRequest(id=made.id))
    assert gone.value.status is RPCStatusCode.NOT_FOUND
    await operator.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec("bills")))  # the name is free again


async def test_a_name_belongs_to_one_endpoint(client: Client) -> None:
    operator = client.operator_service
    await operator.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec("orders")))
    with pytest.raises(RPCError) as taken:
        await operator.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec("orders", "other")))
    assert taken.value.status is RPCStatusCode.ALREADY_EXISTS


def external() -> EndpointSpec:
    made = EndpointSpec(name="outside")
    made.target.external.url = "https://example.org"
    return made


@pytest.mark.parametrize(
    ("wrong", "status", "says"),
    [
        (spec(""), RPCStatusCode.INVALID_ARGUMENT, "name is not set"),
        (spec("1st"), RPCStatusCode.INVALID_ARGUMENT, "beginning with a letter"),
        (spec("a_b"), RPCStatusCode.INVALID_ARGUMENT, "letters, digits and -"),
        (spec("n" * 201), RPCStatusCode.INVALID_ARGUMENT, "200"),
        (spec("ok", ""), RPCStatusCode.INVALID_ARGUMENT, "task queue"),
        (spec("ok", namespace=""), RPCStatusCode.INVALID_ARGUMENT, "target namespace"),
        (spec("ok", namespace="nowhere"), RPCStatusCode.FAILED_PRECONDITION, "nowhere"),
        (external(), RPCStatusCode.INVALID_ARGUMENT, "external URL"),
    ],
)
async def test_what_is_refused(client: Client, wrong: EndpointSpec, status: RPCStatusCode, says: str) -> None:
    with pytest.raises(RPCError) as refused:
        await client.operator_service.create_nexus_endpoint(CreateNexusEndpointRequest(spec=wrong))
    assert refused.value.status is status
    assert says in refused.value.message


async def test_pages_and_names(client: Client) -> None:
    operator = client.operator_service
    for number in range(5):
        await operator.create_nexus_endpoint(CreateNexusEndpointRequest(spec=spec(f"endpoint-{number}")))
    names: list[str] = []
    request = ListNexusEndpointsRequest(page_size=2)
    while True:
        page = await operator.list_nexus_endpoints(request)
        names += [each.spec.name for each in page.endpoints]
        request.next_page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert sorted(names) == [f"endpoint-{number}" for number in range(5)]
    named = await operator.list_nexus_endpoints(ListNexusEndpointsRequest(name="endpoint-3"))
    assert [each.spec.name for each in named.endpoints] == ["endpoint-3"]


async def test_an_endpoint_outlives_the_engine(tmp_path: Path) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    made = await engine.endpoints.create(spec("orders"))
    await engine.close()
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    assert engine.endpoints.get(made.id) == made
    assert engine.endpoints.id_of("orders") == made.id
    await engine.close()
