"""The client on the real engine, in memory and in a file: everything it offers, and how connections share engines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    ActivityContext,
    ApplicationError,
    DeterminismViolation,
    ExecutionFailed,
    Query,
    QueryFailed,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    Signal,
    UnknownEngine,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowClient,
    WorkflowClosed,
    WorkflowContext,
    WorkflowFailed,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
    WorkflowNotFound,
    WorkflowStatus,
    WorkflowTerminated,
    WorkflowWorker,
    activity,
    query,
    signal,
    workflow,
)
from perdure.service import connect as connecting
from perdure.service.connect import check_engine_url, connect, engine_url


@dataclass
class Order:
    id: str
    amount: int = 1


@signal
class Approval:
    by: str


@query
class State:
    approvals: int


LEVEL = Signal("level", int)
SUM = Query("sum", int)


@activity
async def charge(ctx: ActivityContext, order: Order) -> str:
    if order.amount < 0:
        raise ApplicationError("no money", type="InsufficientFunds", non_retryable=True)
    return f"charged {order.id}"


@workflow
async def fulfil(ctx: WorkflowContext, order: Order) -> str:
    return await charge(order)


@workflow
async def countdown(ctx: WorkflowContext, left: int) -> str:
    if left:
        ctx.continue_as_new(left - 1)
    return f"done in {ctx.workflow_id}"


@workflow
async def stubborn(ctx: WorkflowContext) -> int:
    if ctx.attempt < 2:
        raise ApplicationError("again")
    return ctx.attempt


@workflow
class Collector:
    def __init__(self) -> None:
        self.approvals: list[Approval] = []
        self.levels: list[int] = []
        self.done = False

    async def run(self, ctx: WorkflowContext) -> list[str]:
        await ctx.wait_condition(lambda: self.done)
        return [each.by for each in self.approvals]

    @workflow.signal
    def approve(self, approval: Approval) -> None:
        self.approvals.append(approval)

    @workflow.signal("level")
    async def raise_level(self, by: int) -> None:
        self.levels.append(by)

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query(State)
    def state(self) -> State:
        return State(approvals=len(self.approvals))  # type: ignore[call-arg]

    @workflow.query("sum")
    def total(self) -> int:
        return sum(self.levels)

    @workflow.query
    def broken(self, number: int) -> int:
        raise KeyError(number)


@pytest.fixture(params=["memory", "sqlite"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WorkflowClient]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'app.db'}"
    async with (
        WorkflowClient.connect(url) as client,
        WorkflowWorker(client, workflows=[fulfil, countdown, stubborn, Collector], activities=[charge]),
    ):
        yield client


async def test_execute_is_safe_to_repeat(client: WorkflowClient) -> None:
    order = Order("A-17")
    both = await asyncio.gather(*(client.execute_workflow(fulfil, order, id=order.id) for _ in range(2)))
    assert both == ["charged A-17"] * 2
    assert await client.execute_workflow(fulfil, order, id=order.id) == "charged A-17"
    first = (await client.describe(order.id)).run_id
    again = client.execute_workflow(fulfil, order, id=order.id, id_reuse_policy=WorkflowIdReusePolicy.ALLOW_DUPLICATE)
    assert await again == "charged A-17"
    assert (await client.describe(order.id)).run_id != first


async def test_a_failure_comes_with_its_causes(client: WorkflowClient) -> None:
    poor = Order("B", -1)
    for _ in range(2):
        with pytest.raises(WorkflowFailed) as caught:
            await client.execute_workflow(fulfil, poor, id="B")
        failed = caught.value.__cause__
        assert isinstance(failed, ExecutionFailed)
        assert (failed.activity_type, str(failed)) == ("charge", "activity charge failed: InsufficientFunds: no money")
        assert isinstance(failed.__cause__, ApplicationError)
        assert failed.__cause__.type == "InsufficientFunds"
    rerun = client.execute_workflow(fulfil, Order("B"), id="B", id_reuse_policy=WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    assert await rerun == "charged B"


async def test_start_keeps_temporals_defaults(client: WorkflowClient) -> None:
    handle = await client.start_workflow(Collector, id="C")
    with pytest.raises(WorkflowAlreadyStarted) as caught:
        await client.start_workflow(Collector, id="C")
    assert caught.value.run_id == handle.first_run_id
    same = await client.start_workflow(Collector, id="C", id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING)
    assert same.first_run_id == handle.first_run_id
    other = await client.start_workflow(Collector, id="C", id_conflict_policy=WorkflowIdConflictPolicy.TERMINATE_EXISTING)
    assert other.first_run_id != handle.first_run_id
    with pytest.raises(WorkflowTerminated):
        await handle.result()
    await other.terminate("end of test", {"why": 1})
    with pytest.raises(WorkflowTerminated, match=r"workflow 'C' was terminated \(end of test\)") as terminated:
        await other.result()
    assert terminated.value.details == ({"why": 1},)


async def test_signals_and_queries_are_typed(client: WorkflowClient) -> None:
    handle = await client.start_workflow(Collector, id="S")
    await handle.signal(Approval(by="ann"))  # type: ignore[call-arg]
    await handle.signal(Collector.approve, Approval(by="bob"))  # type: ignore[call-arg]
    await client.signal_workflow("S", LEVEL, 3)
    await client.signal_workflow("S", "level", 4)
    assert await handle.query(State) == State(approvals=2)  # type: ignore[call-arg]
    assert await client.query_workflow("S", Collector.state) == State(approvals=2)  # type: ignore[call-arg]
    assert await handle.query(SUM) == 7
    assert await handle.query("sum", result_type=int) == 7
    with pytest.raises(QueryFailed, match="workflow 'S' did not answer the query") as broken:
        await handle.query(Collector.broken, 5)
    assert isinstance(broken.value.__cause__, ApplicationError)
    with pytest.raises(QueryFailed, match="nothing"):
        await handle.query("nothing")
    await handle.signal("finish")
    assert await handle.result() == ["ann", "bob"]
    with pytest.raises(WorkflowClosed):
        await handle.signal("finish")
    assert await handle.query(SUM) == 7


async def test_a_signal_sent_twice_with_one_request_id_is_one_signal(client: WorkflowClient) -> None:
    handle = await client.start_workflow(Collector, id="I")
    for _ in range(2):
        await handle.signal(LEVEL, 5, request_id="once")
    assert await handle.query(SUM) == 5
    await handle.terminate()


async def test_signal_with_start(client: WorkflowClient) -> None:
    for number in range(2):
        handle = await client.signal_with_start(Collector, id="W", signal=LEVEL, signal_args=[number + 1])
    assert await handle.query(SUM) == 3
    await handle.terminate()


async def test_results_come_across_continue_as_new_and_retries(client: WorkflowClient) -> None:
    assert await client.execute_workflow(countdown, 1, id="D") == "done in D"
    first = (await client.describe("D")).run_id
    assert await client.get_workflow_handle("D", run_id=first, result_type=str).result() == "done in D"
    retried = client.execute_workflow(stubborn, id="R", retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=3))
    assert await retried == 2


async def test_cancelling(client: WorkflowClient) -> None:
    handle = await client.start_workflow(Collector, id="X")
    await handle.cancel("no longer wanted")
    with pytest.raises(WorkflowCancelled, match="workflow 'X' was cancelled"):
        await handle.result()
    assert (await handle.describe()).status is WorkflowStatus.CANCELED


async def test_search_attributes_are_added_by_who_needs_them(client: WorkflowClient) -> None:
    customer, tags = SearchAttributeKey.for_keyword("customer"), SearchAttributeKey.for_keyword_list("tags")
    await client.add_search_attributes()
    await client.add_search_attributes(customer)
    await client.add_search_attributes(customer, tags)  # a program says it each time it starts
    values = [SearchAttributePair(customer, "ann"), SearchAttributePair(tags, ["new", "big"])]
    handle = await client.start_workflow(fulfil, Order("S"), id="S", search_attributes=values)
    assert (await handle.describe()).search_attributes == {"customer": "ann", "tags": ["new", "big"]}


async def test_describe_and_history(client: WorkflowClient) -> None:
    before = datetime.now(UTC)
    handle = await client.start_workflow(fulfil, Order("H"), id="H", memo={"customer": "ann"}, task_queue="default")
    await handle.result()
    found = await client.describe("H")
    assert (found.workflow_id, found.workflow_type, found.task_queue, found.status) == ("H", "fulfil", "default", WorkflowStatus.COMPLETED)
    assert (found.run_id, found.memo, found.status.closed) == (handle.first_run_id, {"customer": "ann"}, True)
    assert found.start_time is not None
    assert found.close_time is not None
    assert before <= found.start_time <= found.close_time
    history = await client.history("H")
    assert len(history) == found.history_length == 11
    assert [each.id for each in history] == list(range(1, 12))
    assert [history[0].type, history[4].type, history[-1].type] == [
        "WorkflowExecutionStarted",
        "ActivityTaskScheduled",
        "WorkflowExecutionCompleted",
    ]
    scheduled = history[4].attributes
    assert (scheduled["activity_type"], scheduled["input"]) == ({"name": "charge"}, [{"id": "H", "amount": 1}])
    assert history[-1].attributes["result"] == ["charged H"]
    assert before <= history[0].time <= history[-1].time
    assert (history.run_id, repr(history[0]), repr(history)) == (
        handle.first_run_id,
        "<1 WorkflowExecutionStarted>",
        "<WorkflowHistory H: 11 events>",
    )
    exported = json.loads(history.to_json())
    assert exported["events"][4]["activityTaskScheduledEventAttributes"]["activityType"] == {"name": "charge"}
    assert exported["events"][0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"


async def test_a_run_that_waits_shows_what_is_pending(client: WorkflowClient) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @activity
    async def slow(ctx: ActivityContext) -> None:
        ctx.heartbeat({"row": 7})
        started.set()
        await go.wait()

    @workflow
    async def waiting(ctx: WorkflowContext) -> None:
        await ctx.execute_activity(slow, start_to_close_timeout=30, heartbeat_timeout=10)

    async with WorkflowWorker(client, task_queue="other", workflows=[waiting], activities=[slow]):
        handle = await client.start_workflow(waiting, id="P", task_queue="other")
        await started.wait()
        (pending,) = (await handle.describe()).pending_activities
        assert (pending.activity_type, pending.state, pending.attempt) == ("slow", "STARTED", 1)
        go.set()
        await handle.result()
        assert list((await handle.describe()).pending_activities) == []


async def test_what_is_not_there(client: WorkflowClient) -> None:
    handle = client.get_workflow_handle("nobody")
    calls: list[Any] = [handle.describe(), handle.history(), handle.result(), handle.signal("x"), handle.cancel(), handle.terminate()]
    for call in calls:
        with pytest.raises(WorkflowNotFound, match="no workflow has the id 'nobody'") as caught:
            await call
        assert caught.value.workflow_id == "nobody"


async def test_a_run_that_is_not_there_is_not_called_a_workflow_that_is_not_there(client: WorkflowClient) -> None:
    await client.start_workflow("anything", id="somebody")
    run_id = "01a226a5-95d4-7038-afe2-ef883e8efea5"
    handle = client.get_workflow_handle("somebody", run_id=run_id)
    calls: list[Any] = [handle.describe(), handle.history(), handle.result(), handle.signal("x"), handle.cancel()]
    for call in calls:
        with pytest.raises(WorkflowNotFound, match=f"workflow 'somebody' has no run '{run_id}'") as caught:
            await call
        assert (caught.value.workflow_id, caught.value.run_id) == ("somebody", run_id)


# --- connecting -----------------------------------------------------------------------------------------------------------------


async def test_connections_to_one_url_share_an_engine_until_the_last_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = await connect("sqlite:///app.db"), await connect(f"sqlite:///{tmp_path}/app.db")
    engine = one.service.engine  # type: ignore[attr-defined]
    assert two.service.engine is engine  # type: ignore[attr-defined]
    await one.close()
    await one.close()
    assert not engine.closed
    await two.close()
    assert engine.closed
    again = await connect("sqlite:///app.db")
    assert again.service.engine is not engine  # type: ignore[attr-defined]
    await again.close()


async def test_an_engine_in_memory_is_its_own_unless_it_has_a_name() -> None:
    opened = [await connect(url) for url in ("memory://", "memory://", "memory://shared", "memory://shared")]
    engines = [each.service.engine for each in opened]  # type: ignore[attr-defined]
    assert engines[0] is not engines[1]
    assert engines[2] is engines[3]
    for each in opened:
        await each.close()
    assert all(each.closed for each in engines)


async def test_connections_opened_and_closed_at_once_end_in_one_engine(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"

    async def use() -> None:
        async with WorkflowClient.connect(url) as client:
            await client.start_workflow("w", id="x", id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING)

    await asyncio.gather(*(use() for _ in range(5)))


async def test_connect_can_be_awaited(tmp_path: Path) -> None:
    client = await WorkflowClient.connect(f"sqlite:///{tmp_path / 'app.db'}", identity="me")
    assert (client.identity, client.namespace) == ("me", "default")
    assert repr(client) == f"<WorkflowClient sqlite:///{tmp_path / 'app.db'}>"
    async with client:
        pass
    assert "closed" in repr(client)


def test_the_url_comes_from_the_argument_the_environment_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERDURE_ENGINE", raising=False)
    assert engine_url(None) == "sqlite:///perdure.db"
    monkeypatch.setenv("PERDURE_ENGINE", "memory://")
    assert engine_url(None) == "memory://"
    assert engine_url("sqlite:///x.db") == "sqlite:///x.db"


def test_a_url_is_checked_without_a_server_behind_it() -> None:
    check_engine_url("perdure://nobody.invalid:7233?namespace=orders")
    with pytest.raises(UnknownEngine, match="is no address of a server"):
        check_engine_url("perdure://")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("app.db", "'app.db' is not a URL; for a SQLite file say sqlite:///app.db, for an engine in memory memory://"),
        (
            "postgresql://x",
            (
                "there is no engine for postgresql:// in this release; say sqlite:///perdure.db for a SQLite file, "
                "perdure://HOST:PORT for a server, or memory://"
            ),
        ),
        ("sqlite:///:memory:", "for an engine in memory say memory://"),
    ],
)
async def test_urls_that_name_no_engine(url: str, says: str) -> None:
    with pytest.raises(UnknownEngine) as caught:
        await WorkflowClient.connect(url)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


async def test_a_namespace_that_does_not_exist_is_noticed_at_once() -> None:
    from perdure import RequestRefused

    with pytest.raises(RequestRefused, match="there is no namespace 'nowhere'; connect with namespace='default'"):
        await WorkflowClient.connect("memory://", namespace="nowhere")
    assert connecting._engines.get(asyncio.get_running_loop(), {}) == {}


async def test_a_client_is_of_no_use_to_workflow_code(client: WorkflowClient) -> None:
    @workflow
    async def asks(ctx: WorkflowContext) -> str:
        try:
            await client.describe("w")
        except DeterminismViolation as error:
            return str(error)
        return "described"

    async with WorkflowWorker(client, "asking", workflows=[asks]):
        said = await client.execute_workflow(asks, id="w", task_queue="asking")
    assert said == "workflow code cannot use a client: it would not do the same on replay. Use it in an activity."
