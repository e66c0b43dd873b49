"""Proves lists, counts, search attributes, memo and namespaces as the official SDK sees them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import temporalio.api.enums.v1 as enums
import temporalio.api.operatorservice.v1 as operator
import temporalio.api.workflowservice.v1 as service
from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

KEYWORD = SearchAttributeKey.for_keyword("MyKeyword")
KEYWORDS = SearchAttributeKey.for_keyword_list("MyKeywords")
TEXT = SearchAttributeKey.for_text("MyText")
INT = SearchAttributeKey.for_int("MyInt")
FLOAT = SearchAttributeKey.for_float("MyFloat")
BOOL = SearchAttributeKey.for_bool("MyBool")
DATETIME = SearchAttributeKey.for_datetime("MyDatetime")
KEYS: list[SearchAttributeKey[Any]] = [KEYWORD, KEYWORDS, TEXT, INT, FLOAT, BOOL, DATETIME]
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@workflow.defn
class Waits:
    """Ends as it is told."""

    def __init__(self) -> None:
        self._end = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self._end))
        if self._end == "fail":
            raise ApplicationError("told to")
        return self._end

    @workflow.signal
    def end(self, how: str) -> None:
        self._end = how


@workflow.defn
class Upserts:
    """Changes its attributes and memo."""

    @workflow.run
    async def run(self) -> list[Any]:
        workflow.upsert_search_attributes([KEYWORD.value_set("after"), INT.value_unset()])
        workflow.upsert_memo({"b": 2, "a": None})
        found = workflow.info().typed_search_attributes
        return [found[KEYWORD], found.get(INT), sorted(workflow.memo())]


@workflow.defn
class UpsertsWrongly:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes([SearchAttributeKey.for_keyword("NotThere").value_set("x")])
        await asyncio.sleep(0)


@workflow.defn
class Continues:
    @workflow.run
    async def run(self, left: int) -> None:
        if left:
            workflow.continue_as_new(left - 1)


@pytest.fixture
async def attributes(client: Client) -> None:
    """All types are there, under the names of the keys."""
    types = {key.name: key.indexed_value_type.value for key in KEYS}
    await client.operator_service.add_search_attributes(
        operator.AddSearchAttributesRequest(namespace=client.namespace, search_attributes=types)  # type: ignore[arg-type]
    )


async def start(client: Client, number: int, *pairs: SearchAttributePair[Any], **options: Any) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        Waits.run, id=f"w-{number}", task_queue="nobody", search_attributes=TypedSearchAttributes(list(pairs)), **options
    )


async def ids(client: Client, query: str = "", **options: Any) -> list[str]:
    return [found.id async for found in client.list_workflows(query, **options)]


async def test_what_was_started_is_listed_at_once_the_latest_first(client: Client) -> None:
    for number in range(3):
        await start(client, number)
    assert await ids(client) == ["w-2", "w-1", "w-0"]


async def test_a_list_says_what_a_run_is(client: Client) -> None:
    handle = await start(client, 1, memo={"owner": "ann"})
    (found,) = [each async for each in client.list_workflows("WorkflowId = 'w-1'")]
    described = await handle.describe()
    assert (found.id, found.run_id, found.workflow_type, found.task_queue) == ("w-1", handle.first_execution_run_id, "Waits", "nobody")
    assert (found.status, found.close_time, found.start_time) == (WorkflowExecutionStatus.RUNNING, None, described.start_time)
    assert await found.memo() == {"owner": "ann"}
    assert found.raw_info.root_execution.workflow_id == "w-1"


async def test_pages_show_every_run_once(client: Client) -> None:
    for number in range(7):
        await start(client, number)
    listed: list[str] = []
    async for found in client.list_workflows(page_size=2):
        listed.append(found.id)
        if len(listed) == 2:
            await start(client, 99)
            await client.get_workflow_handle("w-6").terminate()
            await client.get_workflow_handle("w-2").terminate()
    assert listed == [f"w-{number}" for number in reversed(range(7))]
    assert len(await ids(client, page_size=1000)) == 8
    assert len(await ids(client, limit=3)) == 3


async def test_closed_runs_come_after_open_ones(client: Client) -> None:
    for number in range(4):
        handle = await start(client, number)
        if number % 2:
            await handle.terminate()
    assert await ids(client) == ["w-2", "w-0", "w-3", "w-1"]


@pytest.mark.parametrize("status", ["Completed", "Failed", "Terminated", "Canceled", "Running", "ContinuedAsNew", "TimedOut"])
async def test_runs_are_found_by_status(client: Client, worker: Any, status: str) -> None:
    async with worker([Waits, Continues]) as running:
        queue = running.task_queue
        handle = await client.start_workflow(Waits.run, id="w", task_queue=queue)
        if status in ("Completed", "Failed"):
            await handle.signal(Waits.end, "fail" if status == "Failed" else "ok")
        elif status == "Terminated":
            await handle.terminate()
        elif status == "Canceled":
            await handle.cancel()
        elif status == "ContinuedAsNew":
            await client.execute_workflow(Continues.run, 1, id="c", task_queue=queue)
        elif status == "TimedOut":
            await handle.terminate()
            handle = await client.start_workflow(Waits.run, id="w", task_queue=queue, run_timeout=timedelta(milliseconds=100))
        if status not in ("Running", "ContinuedAsNew"):
            with pytest.raises(WorkflowFailureError) if status != "Completed" else _nothing():
                await handle.result()
    assert await ids(client, f"ExecutionStatus = '{status}'") == ["c" if status == "ContinuedAsNew" else "w"]
    assert (await client.count_workflows(f"ExecutionStatus = '{status}'")).count == 1


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


async def test_counts_by_status(client: Client) -> None:
    for number in range(5):
        handle = await start(client, number)
        if number < 2:
            await handle.terminate()
    counted = await client.count_workflows("GROUP BY ExecutionStatus")
    assert counted.count == 5
    assert {tuple(group.group_values): group.count for group in counted.groups} == {("Running",): 3, ("Terminated",): 2}
    assert (await client.count_workflows("WorkflowId = 'w-1'")).count == 1
    assert (await client.count_workflows("WorkflowId = 'nobody'")).count == 0


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("MyKeyword = 'k-1'", ["w-1"]),
        ("MyKeyword STARTS_WITH 'k-'", ["w-2", "w-1", "w-0"]),
        ("MyKeywords = 'tag-2'", ["w-2"]),
        ("MyKeywords IN ('all', 'x') AND MyInt > 0", ["w-2", "w-1"]),
        ("MyText = 'number'", ["w-2", "w-1", "w-0"]),
        ("MyText = '1'", ["w-1"]),
        ("MyInt BETWEEN 1 AND 2", ["w-2", "w-1"]),
        ("MyFloat < 0.75", ["w-1", "w-0"]),
        ("MyBool = true", ["w-2", "w-0"]),
        ("MyDatetime >= '2024-02-29T13:00:00Z'", ["w-2", "w-1"]),
        ("MyKeyword IS NULL", ["w-9"]),
        ("NOT (MyInt = 1 OR MyInt IS NULL)", ["w-2", "w-0"]),
    ],
)
async def test_custom_attributes_of_every_type_are_found(client: Client, attributes: None, query: str, wanted: Sequence[str]) -> None:
    for number in range(3):
        await start(
            client,
            number,
            SearchAttributePair(KEYWORD, f"k-{number}"),
            SearchAttributePair(KEYWORDS, ["all", f"tag-{number}"]),
            SearchAttributePair(TEXT, f"The number {number}."),
            SearchAttributePair(INT, number),
            SearchAttributePair(FLOAT, number / 2),
            SearchAttributePair(BOOL, number % 2 == 0),
            SearchAttributePair(DATETIME, NOON + timedelta(hours=number)),
        )
    await start(client, 9)
    assert await ids(client, query) == wanted


async def test_attributes_are_shown_with_their_types(client: Client, attributes: None) -> None:
    handle = await start(
        client, 1, SearchAttributePair(INT, 7), SearchAttributePair(DATETIME, NOON), SearchAttributePair(KEYWORDS, ["a", "b"])
    )
    (found,) = [each async for each in client.list_workflows()]
    for shown in (found.typed_search_attributes, (await handle.describe()).typed_search_attributes):
        assert (shown[INT], shown[DATETIME], list(shown[KEYWORDS])) == (7, NOON, ["a", "b"])


async def test_upserts_change_what_is_found(client: Client, worker: Any, attributes: None) -> None:
    async with worker([Upserts]) as running:
        pairs = [SearchAttributePair(KEYWORD, "before"), SearchAttributePair(INT, 5)]
        handle = await client.start_workflow(
            Upserts.run, id="u", task_queue=running.task_queue, search_attributes=TypedSearchAttributes(pairs), memo={"a": 1}
        )
        assert await handle.result() == ["after", None, ["b"]]
    assert await ids(client, "MyKeyword = 'before'") == await ids(client, "MyInt = 5") == []
    assert await ids(client, "MyKeyword = 'after' AND MyInt IS NULL") == ["u"]
    (found,) = [each async for each in client.list_workflows()]
    assert await found.memo() == {"b": 2}


async def test_a_workflow_that_sets_an_unknown_attribute_fails_its_task(client: Client, worker: Any) -> None:
    async with worker([UpsertsWrongly]) as running:
        handle = await client.start_workflow(UpsertsWrongly.run, id="u", task_queue=running.task_queue)
        while not [event for event in (await handle.fetch_history()).events if event.HasField("workflow_task_failed_event_attributes")]:
            await asyncio.sleep(0.02)
        event = (await handle.fetch_history()).events[3]
        cause = enums.WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES
        assert event.workflow_task_failed_event_attributes.cause == cause
        await handle.terminate()


async def test_a_start_with_a_wrong_attribute_is_refused(client: Client, attributes: None) -> None:
    with pytest.raises(RPCError, match="has no mapping defined for search attribute Unknown") as refused:
        await start(client, 1, SearchAttributePair(SearchAttributeKey.for_keyword("Unknown"), "x"))
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError, match="invalid value for search attribute MyInt of type Int"):
        await start(client, 1, SearchAttributePair(SearchAttributeKey.for_keyword("MyInt"), "x"))


async def test_a_wrong_query_is_refused(client: Client) -> None:
    with pytest.raises(RPCError, match="invalid query: ") as refused:
        await ids(client, "WorkflowId ==")
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError, match="Invalid NextPageToken") as refused:
        await ids(client, next_page_token=b"made up")
    assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_the_lists_from_before_queries(client: Client) -> None:
    for number in range(4):
        handle = await start(client, number)
        if number % 2:
            await handle.terminate()
    opened = service.ListOpenWorkflowExecutionsRequest(namespace="default")
    found = await client.workflow_service.list_open_workflow_executions(opened)
    assert [info.execution.workflow_id for info in found.executions] == ["w-2", "w-0"]
    opened.execution_filter.workflow_id = "w-0"
    found = await client.workflow_service.list_open_workflow_executions(opened)
    assert [info.execution.workflow_id for info in found.executions] == ["w-0"]
    closed = service.ListClosedWorkflowExecutionsRequest(namespace="default")
    closed.status_filter.status = enums.WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED
    assert [info.execution.workflow_id for info in (await client.workflow_service.list_closed_workflow_executions(closed)).executions] == [
        "w-3",
        "w-1",
    ]
    closed.start_time_filter.latest_time.FromSeconds(1)
    assert not (await client.workflow_service.list_closed_workflow_executions(closed)).executions
    scanned = await client.workflow_service.scan_workflow_executions(
        service.ScanWorkflowExecutionsRequest(namespace="default", page_size=3)
    )
    assert len(scanned.executions) == 3 and scanned.next_page_token


async def test_namespaces_keep_their_workflows_apart(client: Client, server: str) -> None:
    name = f"team-{uuid.uuid4()}"
    await client.workflow_service.register_namespace(
        service.RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    other = await Client.connect(server, namespace=name)
    await start(client, 1)
    await start(other, 2)
    assert (await ids(client), await ids(other)) == (["w-1"], ["w-2"])
    with pytest.raises(RPCError) as refused:
        await other.get_workflow_handle("w-1").describe()
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_a_worker_needs_its_namespace(client: Client, server: str) -> None:
    with pytest.raises(RPCError, match="Namespace nowhere is not found") as refused:
        await start(await Client.connect(server, namespace="nowhere"), 1)
    assert refused.value.status is RPCStatusCode.NOT_FOUND
