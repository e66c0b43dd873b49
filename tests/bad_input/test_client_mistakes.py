"""Proves that each wrong call of a client is answered at once with one sentence that says what to type."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import perdure
from perdure import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    Signal,
    WorkflowClient,
    WorkflowContext,
    WorkflowIdReusePolicy,
    WorkflowWorker,
    activity,
    signal,
    workflow,
)

sys.path.insert(0, str(Path(__file__).parent))

from mistakes import Row, Table, seen

mistake = Table()
Client = WorkflowClient
LARGE = "x" * (2 * 1024 * 1024 + 1)


@activity
async def charge(order: str) -> str:
    return order


@workflow
async def ship(ctx: WorkflowContext, order: str) -> str:
    return await charge(order)


@workflow
class Cart:
    async def run(self, ctx: WorkflowContext, size: int) -> int:
        return size


@workflow
async def waits(ctx: WorkflowContext) -> str:
    return await ctx.await_signal(Signal("go", str))


@pytest.fixture
async def client() -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient.connect("memory://") as connected, WorkflowWorker(connected, workflows=[ship, waits], activities=[charge]):
        yield connected


# Names of Temporal's SDK.


@mistake("UnknownName", "perdure's workflow has no 'defn'; say @workflow, without .defn")
async def temporal_workflow_defn(client: Client) -> None:
    @workflow.defn  # type: ignore[attr-defined]
    class Ship: ...


@mistake("UnknownName", "perdure's workflow has no 'run'; leave it out: the method that is named `run` is the one that runs")
async def temporal_workflow_run(client: Client) -> None:
    @workflow
    class Ship:
        @workflow.run  # type: ignore[attr-defined]
        async def run(self, ctx: WorkflowContext) -> None: ...


@mistake("UnknownName", "perdure's activity has no 'defn'; say @activity, without .defn")
async def temporal_activity_defn(client: Client) -> None:
    @activity.defn  # type: ignore[attr-defined]
    async def charge() -> None: ...


@mistake("UnknownName", "perdure has no 'Client'; say WorkflowClient")
async def temporal_client(client: Client) -> None:
    _ = perdure.Client


@mistake("UnknownName", "perdure has no 'Worker'; say WorkflowWorker")
async def temporal_worker(client: Client) -> None:
    _ = perdure.Worker


@mistake("UnknownName", "WorkflowClient has no 'get_handle'; say get_workflow_handle(id)")
async def temporal_get_handle(client: Client) -> None:
    client.get_handle("x")


@mistake("UnknownName", "WorkflowHandle has no 'get_result'; say result()")
async def handle_get_result(client: Client) -> None:
    await client.get_workflow_handle("x").get_result()  # type: ignore[attr-defined]


@mistake(
    "UsageError",
    "StartWorkflowOptions has no option 'args'; say the arguments themselves, one after the other, before the options",
)
async def temporal_args_list(client: Client) -> None:
    await client.start_workflow(ship, args=["a"], id="1")


@mistake("UsageError", "StartWorkflowOptions has no option 'workflow_execution_timeout'; say execution_timeout=…")
async def temporal_workflow_execution_timeout(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", workflow_execution_timeout=3)


@mistake(
    "RequestRefused",
    "Namespace default has no mapping defined for search attribute Customer; add it to the namespace first: "
    'await client.add_search_attributes(SearchAttributeKey.for_keyword("NAME")), or '
    "perdure operator search-attribute create --name NAME --type Keyword",
)
async def search_attribute_that_is_not_there(client: Client) -> None:
    customer = SearchAttributePair(SearchAttributeKey.for_keyword("Customer"), "c-1")
    await client.start_workflow(ship, "a", id="1", search_attributes=[customer])


@mistake("UsageError", "'Customer' is no search attribute; give SearchAttributeKey.for_keyword(\"customer\"), or for_int, for_text …")
async def search_attribute_by_its_name(client: Client) -> None:
    await client.add_search_attributes("Customer")


@mistake("RequestRefused", "Search attribute Customer already exists and has different type Keyword.")
async def search_attribute_of_two_types(client: Client) -> None:
    await client.add_search_attributes(SearchAttributeKey.for_keyword("Customer"))
    await client.add_search_attributes(SearchAttributeKey.for_int("Customer"))


OTHER_LOOP = (
    "this client belongs to another event loop (each asyncio.run makes one): connect a client in this one, or hand the call to the "
    "client's loop with asyncio.run_coroutine_threadsafe(…, loop)"
)


@mistake("UsageError", OTHER_LOOP)
async def client_in_another_thread(client: Client) -> None:
    await asyncio.to_thread(lambda: asyncio.run(client.start_workflow(ship, "a", id="1")))


@mistake("UsageError", OTHER_LOOP)
async def worker_in_another_thread(client: Client) -> None:
    async def work() -> None:
        await WorkflowWorker(client, workflows=[ship]).run()

    await asyncio.to_thread(lambda: asyncio.run(work()))


# What is not here yet.


@mistake(
    "UnknownName",
    "perdure's workflow has no 'update'; say @workflow.signal, and @workflow.query for the answer: there are no updates yet",
)
async def temporal_workflow_update(client: Client) -> None:
    workflow.update  # type: ignore[attr-defined]  # noqa: B018


@mistake(
    "UnknownName", "WorkflowClient has no 'list_workflows'; say perdure workflow list on the command line: the client has no lists yet"
)
async def temporal_list(client: Client) -> None:
    client.list_workflows("WorkflowType = 'ship'")


@mistake("UnknownName", "WorkflowHandle has no 'execute_update'; say signal(…), and query(…) for the answer: handles have no updates yet")
async def temporal_execute_update(client: Client) -> None:
    await client.get_workflow_handle("1").execute_update("price", 3)


# Which workflow.


@mistake("DefinitionError", "plain is not a workflow; put @workflow on it")
async def workflow_without_decorator(client: Client) -> None:
    async def plain(ctx: WorkflowContext) -> None: ...

    await client.start_workflow(plain, id="1")


@mistake("DefinitionError", "Cart.run is a method; pass its class: Cart")
async def run_of_a_workflow_class(client: Client) -> None:
    await client.start_workflow(Cart.run, 3, id="1")  # type: ignore[arg-type]


@mistake("DefinitionError", "<lambda> is not a workflow; put @workflow on it")
async def lambda_as_workflow(client: Client) -> None:
    await client.start_workflow(lambda ctx: 1, id="1")


@mistake("DefinitionError", "charge is an activity, not a workflow; call it from a workflow, with await charge(…)")
async def activity_as_workflow(client: Client) -> None:
    await client.start_workflow(charge, "a", id="1")


@mistake("UsageError", "ship is a workflow; run it with client.execute_workflow(ship, …, id=…)")
async def called_workflow(client: Client) -> None:
    await client.start_workflow(ship(None, "a"), id="1")  # type: ignore[arg-type]


@mistake("DefinitionError", "None is not a workflow; pass the function or class under @workflow")
async def none_as_workflow(client: Client) -> None:
    await client.start_workflow(None, id="1")


@mistake("UsageError", "the workflow's name is empty; give the workflow itself, or its type's name")
async def empty_workflow_name(client: Client) -> None:
    await client.start_workflow("", id="1")


@mistake("UsageError", "workflow ship takes 1 argument (order), and 0 were given")
async def argument_missing(client: Client) -> None:
    await client.start_workflow(ship, id="1")


@mistake("UsageError", "workflow ship takes 1 argument (order), and 2 were given")
async def argument_too_many(client: Client) -> None:
    await client.start_workflow(ship, "a", "b", id="1")


# Ids.


@mistake("UsageError", "start_workflow needs an id: the name of what the workflow is about, as in id=order.id")
async def no_id(client: Client) -> None:
    await client.start_workflow(ship, "a")


@mistake("UsageError", "execute_workflow needs an id: the name of what the workflow is about, as in id=order.id")
async def no_id_to_execute(client: Client) -> None:
    await client.execute_workflow(ship, "a")


@mistake("UsageError", "start_workflow: the id is 7; give a string that is not empty, as in id=str(order.id)")
async def number_as_id(client: Client) -> None:
    await client.start_workflow(ship, "a", id=7)


@mistake("UsageError", "start_workflow: the id is ''; give a string that is not empty, as in id=str(order.id)")
async def empty_id(client: Client) -> None:
    await client.start_workflow(ship, "a", id="")


@mistake("UsageError", "start_workflow: the id has 1002 bytes, and 1000 are allowed; shorten it")
async def long_id(client: Client) -> None:
    await client.start_workflow(ship, "a", id="é" * 501)


@mistake("UsageError", "start_workflow: the id is 'a\\ud800', and '\\ud800' is half of a character; leave it out")
async def half_a_character_in_id(client: Client) -> None:
    await client.start_workflow(ship, "a", id="a\ud800")


@mistake("UsageError", "StartWorkflowOptions has no option 'workflow_id'; say id=…")
async def workflow_id_for_id(client: Client) -> None:
    await client.start_workflow(ship, "a", workflow_id="1")


@mistake(
    "WorkflowAlreadyStarted",
    "a workflow with the id 'taken' exists already; take another id, join it with execute_workflow, or give "
    "id_reuse_policy or id_conflict_policy",
)
async def duplicate_id(client: Client) -> None:
    await client.start_workflow(waits, id="taken")
    await client.start_workflow(waits, id="taken")


@mistake(
    "WorkflowAlreadyStarted",
    "a workflow with the id 'taken' exists already; take another id, join it with execute_workflow, or give "
    "id_reuse_policy or id_conflict_policy",
)
async def closed_id_rejected(client: Client) -> None:
    await client.execute_workflow(ship, "a", id="taken")
    await client.start_workflow(ship, "a", id="taken", id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE)


@mistake("RequestRefused", "that is not the id of a run; client.describe(id) gives one as run_id")
async def bad_run_id(client: Client) -> None:
    await client.describe("nobody", run_id="not-a-run-id")


# Options.


@mistake(
    "UsageError",
    "StartWorkflowOptions has no option 'timeout'; say execution_timeout=… (over retries and continue-as-new) or "
    "run_timeout=… (of one run)",
)
async def timeout(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", timeout=3)


@mistake("UsageError", "execution_timeout is '30s'; give seconds as a number, or a timedelta")
async def timeout_as_text(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", execution_timeout="30s")


@mistake("UsageError", "run_timeout is -1; a duration cannot be negative")
async def timeout_negative(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", run_timeout=-1)


@mistake("UsageError", "run_timeout is nan; leave it out for no limit")
async def timeout_nan(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", run_timeout=float("nan"))


@mistake("UsageError", "run_timeout is inf; leave it out for no limit")
async def timeout_endless(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", run_timeout=float("inf"))


@mistake("UsageError", "run_timeout is True; give seconds as a number, or a timedelta")
async def timeout_bool(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", run_timeout=True)


@mistake("UsageError", "task_queue is ''; give a string that is not empty, as in task_queue=\"orders\"")
async def queue_empty(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", task_queue="")


@mistake("UsageError", 'task_queue is 3; give a string that is not empty, as in task_queue="orders"')
async def queue_number(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", task_queue=3)


@mistake("UsageError", "task_queue has 1001 bytes, and 1000 are allowed; shorten it")
async def queue_long(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", task_queue="q" * 1001)


@mistake(
    "UsageError",
    "retry_policy is {'maximum_attempts': 3}; give a RetryPolicy, as in retry_policy=RetryPolicy(maximum_attempts=3)",
)
async def retry_policy_dict(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", retry_policy={"maximum_attempts": 3})


@mistake("UsageError", "RetryPolicy has no option 'max_attempts'; say maximum_attempts=…")
async def retry_max_attempts(client: Client) -> None:
    RetryPolicy(max_attempts=3)  # type: ignore[call-arg]


@mistake("UsageError", "maximum_attempts is -1; it must be a whole number: 1 for a single attempt, 0 for no limit")
async def retry_attempts_negative(client: Client) -> None:
    RetryPolicy(maximum_attempts=-1)


@mistake("UsageError", "backoff_coefficient is 0.5; it must be a number of at least 1 (1 keeps the interval, 2 doubles it)")
async def retry_coefficient_small(client: Client) -> None:
    RetryPolicy(backoff_coefficient=0.5)


@mistake(
    "UsageError",
    "id_reuse_policy is 'reject'; give one of WorkflowIdReusePolicy.ALLOW_DUPLICATE, "
    "WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY, WorkflowIdReusePolicy.REJECT_DUPLICATE, "
    "WorkflowIdReusePolicy.TERMINATE_IF_RUNNING",
)
async def reuse_policy_text(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", id_reuse_policy="reject")


@mistake("RequestRefused", "Invalid CronSchedule: expected exactly 5 fields, found 2: 'every day'.")
async def cron(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", cron_schedule="every day")


@mistake("UsageError", "memo is ['x']; give a dict with strings as keys")
async def memo_list(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", memo=["x"])


@mistake(
    "UsageError",
    "search_attributes is {'x': 1}; give pairs, as in [SearchAttributePair(SearchAttributeKey.for_keyword('customer'), 'c-1')]",
)
async def search_attributes_dict(client: Client) -> None:
    await client.start_workflow(ship, "a", id="1", search_attributes={"x": 1})


# Arguments.


@mistake(
    "InvalidInput",
    "argument 'order' of workflow ship (of type object) cannot be converted to JSON: Object of type object is not JSON "
    "serializable; pass a dataclass, a pydantic model or builtin types, or give the client a payload converter",
)
async def argument_object(client: Client) -> None:
    await client.start_workflow(ship, object(), id="1")


@mistake(
    "InvalidInput",
    "argument 'order' of workflow ship (of type TextIOWrapper) cannot be converted to JSON: an open file stays in its "
    "process; pass its path, or what is in it; pass a dataclass, a pydantic model or builtin types, or give the client a"
    " payload converter",
)
async def argument_open_file(client: Client) -> None:
    with open("/dev/null") as file:
        await client.start_workflow(ship, file, id="1")


@mistake(
    "InvalidInput",
    "argument 'order' of workflow ship (of type lock) cannot be converted to JSON: Object of type lock is not JSON "
    "serializable; pass a dataclass, a pydantic model or builtin types, or give the client a payload converter",
)
async def argument_lock(client: Client) -> None:
    await client.start_workflow(ship, threading.Lock(), id="1")


@mistake(
    "InvalidInput",
    "argument 'order' of workflow ship (of type list) cannot be converted to JSON: Circular reference detected; pass a "
    "dataclass, a pydantic model or builtin types, or give the client a payload converter",
)
async def argument_circular(client: Client) -> None:
    circle: list[object] = []
    circle.append(circle)
    await client.start_workflow(ship, circle, id="1")


@mistake("RequestRefused", "the workflow's arguments are too large; store large data elsewhere and pass its key: 2 MiB are allowed")
async def argument_large(client: Client) -> None:
    await client.start_workflow(ship, LARGE, id="1")


# Signals, queries, results.


@mistake("WorkflowNotFound", "no workflow has the id 'nobody'; start it first, or look at the id again")
async def signal_to_nobody(client: Client) -> None:
    await client.signal_workflow("nobody", "go", "x")


@mistake("WorkflowClosed", "workflow 'closed' has already ended; start it again, or read its result")
async def signal_to_closed(client: Client) -> None:
    await client.execute_workflow(ship, "a", id="closed")
    await client.signal_workflow("closed", "go", "x")


@mistake("UsageError", "Approval is the signal's class; send an instance: Approval(…)")
async def signal_class_for_instance(client: Client) -> None:
    @signal
    class Approval:
        by: str = ""

    await client.signal_workflow("nobody", Approval)


@mistake("UsageError", "None is no signal; put @signal on its class, or say Signal('name', type)")
async def signal_none(client: Client) -> None:
    await client.signal_workflow("nobody", None)


@mistake("RequestRefused", "the signal's arguments are too large; store large data elsewhere and pass its key: 2 MiB are allowed")
async def signal_large(client: Client) -> None:
    await client.start_workflow(waits, id="open")
    await client.signal_workflow("open", "go", LARGE)


@mistake(
    "QueryFailed",
    "workflow 'open' did not answer the query: the workflow has no query 'progress'; it answers none of its own: set one"
    " with ctx.set_query_handler(name, function)",
)
async def query_unknown(client: Client) -> None:
    await client.start_workflow(waits, id="open")
    await client.query_workflow("open", "progress")


@mistake("WorkflowNotFound", "no workflow has the id 'nobody'; start it first, or look at the id again")
async def query_of_nobody(client: Client) -> None:
    await client.query_workflow("nobody", "progress")


@mistake("WorkflowNotFound", "no workflow has the id 'nobody'; start it first, or look at the id again")
async def result_of_nobody(client: Client) -> None:
    await client.result("nobody")


@mistake("WorkflowNotFound", "no workflow has the id 'nobody'; start it first, or look at the id again")
async def history_of_nobody(client: Client) -> None:
    await client.history("nobody")


@mistake("WorkflowNotFound", "no workflow has the id 'nobody'; start it first, or look at the id again")
async def cancel_nobody(client: Client) -> None:
    await client.cancel("nobody")


@mistake("WorkflowClosed", "workflow 'closed' has already ended; start it again, or read its result")
async def terminate_closed(client: Client) -> None:
    await client.execute_workflow(ship, "a", id="closed")
    await client.terminate("closed")


@pytest.mark.parametrize("row", mistake.rows, ids=lambda row: row.name)
async def test_what_its_author_sees(client: WorkflowClient, row: Row) -> None:
    assert await seen(row.code(client)) == (row.error, row.text)
