"""Proves the HTTP/JSON gateway over real HTTP: every path of the API, JSON both ways, refusals, the document, and what is kept out."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from perdure import WorkflowClient, WorkflowContext, WorkflowWorker, workflow
from perdure.model.errors import ServerStartFailed
from perdure.web import Gateway, HttpServer
from perdure.web.routes import matches, routes


@workflow
class Basket:
    def __init__(self) -> None:
        self.items: list[str] = []

    async def run(self, ctx: WorkflowContext, first: str) -> list[str]:
        self.items.append(first)
        await ctx.wait_condition(lambda: len(self.items) > 2)
        return self.items

    @workflow.signal
    def add(self, item: str) -> None:
        self.items.append(item)

    @workflow.query
    def contents(self) -> list[str]:
        return self.items


class Http:
    """Requests to the server, each over a connection of its own, in a thread."""

    def __init__(self, port: int, client: WorkflowClient) -> None:
        self.port, self.client = port, client

    async def __call__(self, verb: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return await asyncio.to_thread(self.ask, verb, path, body, headers)

    def ask(self, verb: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body)
            connection.request(verb, path, data, headers)
            response = connection.getresponse()
            text = response.read()
            assert response.headers["content-type"] == "application/json"
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()


@pytest.fixture
async def ask() -> AsyncIterator[Http]:
    async with WorkflowClient.connect("memory://") as client, WorkflowWorker(client, workflows=[Basket]):
        server = HttpServer(Gateway(client.service, allowed_hosts={"127.0.0.1", "localhost"}), "127.0.0.1", 0)
        await server.start()
        try:
            yield Http(server.port, client)
        finally:
            await server.stop()


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_workflow_from_start_to_result(ask: Http, prefix: str) -> None:
    path = f"{prefix}/namespaces/default/workflows/b1"
    status, started = await ask("POST", path, {"workflowType": {"name": "Basket"}, "taskQueue": {"name": "default"}, "input": ["bread"]})
    assert status == 200 and started["started"] and started["runId"]
    assert await ask("POST", f"{path}/signal/add", {"input": ["milk"]}) == (200, {})
    status, answer = await ask("POST", f"{path}/query/contents", {})
    assert (status, base64.b64decode(answer["queryResult"]["payloads"][0]["data"])) == (200, b'["bread","milk"]')
    status, described = await ask("GET", path)
    assert (status, described["workflowExecutionInfo"]["status"]) == (200, "WORKFLOW_EXECUTION_STATUS_RUNNING")
    long_form = {
        "payloads": [{"metadata": {"encoding": base64.b64encode(b"json/plain").decode()}, "data": base64.b64encode(b'"salt"').decode()}]
    }
    assert await ask("POST", f"{path}/signal/add", {"input": long_form}) == (200, {})
    wait = "waitNewEvent=true&historyEventFilterType=HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT"
    status, history = await ask("GET", f"{path}/history?{wait}&execution.run_id={started['runId']}")
    closed = history["history"]["events"][0]["workflowExecutionCompletedEventAttributes"]
    assert (status, base64.b64decode(closed["result"]["payloads"][0]["data"])) == (200, b'["bread","milk","salt"]')


async def test_ids_may_hold_anything(ask: Http) -> None:
    body = {"workflow_type": {"name": "Basket"}, "task_queue": {"name": "default"}, "input": ["x"], "memo": {"fields": {"note": {"a": 1}}}}
    assert (await ask("POST", "/api/v1/namespaces/default/workflows/a%2Fb%20%C3%A9", body))[0] == 200
    description = await ask.client.describe("a/b é")
    assert description.memo == {"note": {"a": 1}}


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("namespaces", {}),
        ("cluster-info", {}),
        ("namespaces/default/search-attributes", {}),
        ("namespaces/default/workflows", {"pageSize": "100", "nextPageToken": ""}),
        ("namespaces/default/workflows", {"query": 'TemporalScheduledById="s" AND WorkflowId in ("s-1", "s-2")'}),
        ("namespaces/default/workflow-count", {"query": "GROUP BY ExecutionStatus"}),
        ("namespaces/default/workflow-count", {"query": 'RootWorkflowId = "w" AND RootRunId = "r" GROUP BY ExecutionStatus'}),
        (
            "namespaces/default/workflow-count",
            {"query": '`ExecutionStatus`="Running" AND `TemporalReportedProblems` IN ("category=WorkflowTaskFailed")'},
        ),
        ("namespaces/default/workflows/w", {"execution.runId": ""}),
        ("namespaces/default/workflows/w/history", {"execution.runId": "", "waitNewEvent": "true"}),
        ("namespaces/default/workflows/w/history-reverse", {"execution.runId": "", "waitNewEvent": "false", "maximumPageSize": "1000"}),
        ("namespaces/default/task-queues/default", {"taskQueueType": "1"}),
        ("namespaces/default/task-queues/default", {"taskQueueType": "3"}),
        ("namespaces/default/schedules", {"maximumPageSize": "100", "nextPageToken": ""}),
        ("namespaces/default/schedule-count", {}),
        ("namespaces/default/batch-operations", {}),
        ("namespaces/default/workers", {"pageSize": "100", "nextPageToken": "", "query": 'TaskQueue="default"'}),
        ("namespaces/default/worker-count", {"query": '`WorkerStatus`="ShuttingDown"'}),
        ("namespaces/default/worker-deployments", {"pageSize": "100", "nextPageToken": ""}),
        ("namespaces/default/activities", {"pageSize": "100", "nextPageToken": ""}),
        ("namespaces/default/activity-count", {"query": "GROUP BY ExecutionStatus"}),
        ("nexus/endpoints", {"name": ""}),
    ],
)
async def test_what_the_pages_of_temporals_web_ui_ask_for(ask: Http, path: str, parameters: dict[str, str]) -> None:
    await ask.client.start_workflow(Basket, "bread", id="w")
    status, answer = await ask("GET", f"/api/v1/{path}?{urlencode(parameters)}")
    assert status == 200, answer


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "code", "says"),
    [
        ("GET", "/api/v1/namespaces/default/workflows/nobody", None, 404, 5, "nobody"),
        ("GET", "/api/v1/namespaces/nowhere/workflows/x", None, 404, 5, "Namespace nowhere is not found."),
        ("POST", "/api/v1/namespaces/default/workflows/x", b"{", 400, 3, "cannot be read as StartWorkflowExecutionRequest"),
        ("POST", "/api/v1/namespaces/default/workflows/x", b"[]", 400, 3, "the body is not a JSON object"),
        ("POST", "/api/v1/namespaces/default/workflows/x", {"workflowTyp": {}}, 400, 3, "workflowTyp"),
        ("POST", "/api/v1/namespaces/default/workflows/x", {"workflowType": 5}, 400, 3, "workflowType"),
        ("POST", "/api/v1/namespaces/default/workflows/x", b'{"input": [NaN]}', 400, 3, "NaN is not JSON"),
        ("POST", "/api/v1/namespaces/default/workflows/x", b'{"input": [-1e999]}', 400, 3, "-1e999 is not JSON"),
        ("POST", "/api/v1/namespaces/default/workflows/x", b"[" * 100_000, 400, 3, "cannot be read"),
        ("POST", "/api/v1/namespaces/default/workflows/x", b'{"input": ["' + b"x" * 7_000_000 + b'"]}', 413, 8, "the body has more than"),
        ("GET", "/api/v1/namespaces/default/workflows/x/history?waitNewEvent=perhaps", None, 400, 3, "waitNewEvent"),
        ("GET", "/api/v1/namespaces/default/workflows/x/history-reverse?waitNewEvent=false&a.b=1", None, 404, 5, "workflow not found"),
        ("GET", "/api/v1/namespaces/default/workflows/x/history?namespace.a=1", None, 400, 3, "namespace in namespace.a has no fields"),
        ("GET", "/nothing/here", None, 404, 5, "there is nothing at /nothing/here; see /openapi.json"),
        (
            "PUT",
            "/api/v1/namespaces/default/workflows/x",
            None,
            405,
            12,
            "PUT is not for /api/v1/namespaces/default/workflows/x; use GET, POST",
        ),
    ],
)
async def test_refusals_are_statuses(ask: Http, verb: str, path: str, body: Any, status: int, code: int, says: str) -> None:
    got, refusal = await ask(verb, path, body)
    assert (got, refusal["code"]) == (status, code)
    assert says in refusal["message"]


async def test_details_are_typed(ask: Http) -> None:
    path, body = (
        "/api/v1/namespaces/default/workflows/b1",
        {"workflowType": {"name": "Basket"}, "taskQueue": {"name": "default"}, "input": ["x"]},
    )
    _, started = await ask("POST", path, {**body, "requestId": "1"})
    status, refusal = await ask("POST", path, {**body, "requestId": "2"})
    assert (status, refusal["code"]) == (409, 6)
    [detail] = refusal["details"]
    assert detail["@type"].endswith("WorkflowExecutionAlreadyStartedFailure")
    assert detail["runId"] == started["runId"]


async def test_an_rpc_that_the_service_lacks_is_not_implemented(ask: Http) -> None:
    status, refusal = await ask("GET", "/api/v1/namespaces/default/archived-workflows")
    assert (status, refusal["code"]) == (501, 12)
    assert refusal["message"].startswith("unknown method ListArchivedWorkflowExecutions")


async def test_pages_of_other_sites_and_other_names_are_kept_out(ask: Http) -> None:
    assert (await ask("GET", "/api/v1/namespaces/default", Origin="https://evil.example"))[0] == 403
    assert (await ask("GET", "/api/v1/namespaces/default", Host="evil.example"))[0] == 421
    assert (await ask("GET", "/api/v1/namespaces/default", Origin=f"http://127.0.0.1:{ask.port}"))[0] == 200
    assert (await ask("GET", "/api/v1/namespaces/default", Host=f"localhost:{ask.port}"))[0] == 200


async def test_who_hangs_up_ends_the_call(ask: Http) -> None:
    gone: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    class Waits:
        async def describe_namespace(self, request: Any) -> Any:
            begun.set_result(True)
            try:
                await asyncio.Event().wait()
            finally:
                gone.set_result(True)

    server = HttpServer(Gateway(Waits()), "127.0.0.1", 0)  # type: ignore[arg-type]
    await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/v1/namespaces/default HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun
    writer.close()
    await writer.wait_closed()
    assert await gone
    await server.stop()


async def test_the_document_describes_what_is_served(ask: Http) -> None:
    status, document = await ask("GET", "/openapi.json")
    assert (status, document["openapi"]) == (200, "3.0.3")
    start = document["paths"]["/api/v1/namespaces/{namespace}/workflows/{workflow_id}"]["post"]
    assert [(each["name"], each["in"]) for each in start["parameters"]] == [("namespace", "path"), ("workflow_id", "path")]
    schemas = document["components"]["schemas"]
    request = schemas["temporal.api.workflowservice.v1.StartWorkflowExecutionRequest"]
    assert request["properties"]["workflowRunTimeout"]["type"] == "string"
    references = set(_references(document))
    assert {each.removeprefix("#/components/schemas/") for each in references} <= set(schemas)
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))
    assert "/api/v1/namespaces/{namespace}/archived-workflows" not in document["paths"]
    history = document["paths"]["/api/v1/namespaces/{namespace}/workflows/{execution.workflow_id}/history"]["get"]
    assert {"name": "waitNewEvent", "in": "query", "schema": {"type": "boolean"}} not in history["parameters"]
    assert {"name": "wait_new_event", "in": "query", "schema": {"type": "boolean"}} in history["parameters"]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in _references(inner)]
    return [each for inner in value for each in _references(inner)] if isinstance(value, list) else []


def test_every_path_of_the_api_leads_to_its_rpc() -> None:
    assert len(routes()) > 200
    for route in routes():
        path = "/" + "/".join("v" if segment.startswith("{") else segment for segment in route.segments)
        found = [match.route for match in matches(path) if match.route.verb == route.verb]
        assert found[0].rpc.name == route.rpc.name or len(found[0].fields) < len(route.fields)


async def test_it_mounts_below_a_path() -> None:
    """As Starlette and FastAPI mount it: the path keeps its prefix, and `root_path` says which."""
    async with WorkflowClient.connect("memory://") as client:
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/wf/api/v1/namespaces/default", "raw_path": b"/wf/api/v1/namespaces/default"}
        await Gateway(client.service)({**scope, "root_path": "/wf", "query_string": b"pretty", "headers": []}, receive, send)
        assert sent[0]["status"] == 200
        assert json.loads(sent[1]["body"])["namespaceInfo"]["name"] == "default"


async def test_a_port_that_is_taken_is_said(ask: Http) -> None:
    with pytest.raises(ServerStartFailed, match="choose another --http-port"):
        await HttpServer(Gateway(ask.client.service), "127.0.0.1", ask.port).start()
