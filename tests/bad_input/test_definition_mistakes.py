"""Proves that what cannot work is refused where it is defined or registered, with one sentence that says what to type."""

from __future__ import annotations

import datetime
import random
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from perdure import WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow

sys.path.insert(0, str(Path(__file__).parent))

from mistakes import Row, Table, seen

mistake = Table()
Client = WorkflowClient


@workflow
async def nothing(ctx: WorkflowContext) -> None: ...


@activity
async def charge(order: str) -> str:
    return order


@pytest.fixture
async def client() -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient.connect("memory://") as connected:
        yield connected


# What workflow code must not call.


@mistake(
    "DeterminismViolation",
    "test_definition_mistakes.py:<line>: time.time() in workflow code gives another answer on replay; say ctx.now()",
)
async def calls_time(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> float:
        return time.time()


@mistake(
    "DeterminismViolation",
    "test_definition_mistakes.py:<line>: datetime.datetime.now() in workflow code gives another answer on replay; say ctx.now()",
)
async def calls_datetime_now(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> Any:
        return datetime.datetime.now()  # noqa: DTZ005


@mistake(
    "DeterminismViolation",
    "test_definition_mistakes.py:<line>: random.random() in workflow code gives another answer on replay; say ctx.random()",
)
async def calls_random(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> float:
        return random.random()


@mistake(
    "DeterminismViolation",
    "test_definition_mistakes.py:<line>: uuid.uuid4() in workflow code gives another answer on replay; say ctx.uuid4()",
)
async def calls_uuid4(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> Any:
        return uuid.uuid4()


@mistake(
    "DeterminismViolation",
    "test_definition_mistakes.py:<line>: time.sleep() in workflow code gives another answer on replay; say await ctx.sleep(…)",
)
async def calls_blocking_sleep(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> None:
        time.sleep(1)


@mistake(
    "DeterminismViolation",
    "test_definition_mistakes.py:<line>: open() in workflow code gives another answer on replay; do it in an activity",
)
async def opens_a_file(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> Any:
        return open("orders.csv")


# Workflows.


@mistake("DefinitionError", "workflow ship must be an `async def`; write `async def ship(ctx, …)`, or a class with an async `run`")
async def synchronous_workflow(client: Client) -> None:
    @workflow
    def ship(ctx: WorkflowContext) -> None: ...


@mistake("DefinitionError", "workflow ship must take the WorkflowContext first; write `async def ship(ctx: WorkflowContext, …)`")
async def workflow_without_context(client: Client) -> None:
    @workflow
    async def ship(order: str) -> None: ...


@mistake("DefinitionError", "workflow class Ship has no method `run`; name its main method so: `async def run(self, ctx, …)`")
async def workflow_class_without_run(client: Client) -> None:
    @workflow
    class Ship:
        async def execute(self, ctx: WorkflowContext) -> None: ...


@mistake("DefinitionError", "Ship.run must be an `async def`; write `async def run(self, ctx, …)`")
async def workflow_class_with_synchronous_run(client: Client) -> None:
    @workflow
    class Ship:
        def run(self, ctx: WorkflowContext) -> None: ...


@mistake("DefinitionError", "workflow class Ship is created without arguments, and its __init__ needs some; take them in `run`")
async def workflow_class_that_needs_arguments(client: Client) -> None:
    @workflow
    class Ship:
        def __init__(self, order: str) -> None: ...

        async def run(self, ctx: WorkflowContext) -> None: ...


@mistake(
    "DefinitionError",
    "workflow ship has the keyword-only parameter 'order', and calls are sent by position; make it positional, or better"
    " take one dataclass",
)
async def keyword_only_parameter(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext, *, order: str) -> None: ...


@mistake("DefinitionError", "workflow ship is a generator (it has a yield); return a value, and show progress with ctx.set_query_handler")
async def generator_as_workflow(client: Client) -> None:
    @workflow
    async def ship(ctx: WorkflowContext) -> Any:
        yield 1


@mistake("UsageError", "the workflow's name is ''; give a string that is not empty, as in @workflow(name=\"order\")")
async def workflow_name_empty(client: Client) -> None:
    @workflow(name="")
    async def ship(ctx: WorkflowContext) -> None: ...


@mistake("UsageError", "nothing is a workflow; run it with client.execute_workflow(nothing, …, id=…)")
async def workflow_called_outside(client: Client) -> None:
    await nothing(None)  # type: ignore[arg-type]


# Activities.


@mistake("UsageError", "@activity has no option 'max_attempts'; say retry_policy=RetryPolicy(maximum_attempts=…)")
async def activity_max_attempts(client: Client) -> None:
    @activity(max_attempts=3)  # type: ignore[call-overload]
    async def charge() -> None: ...


@mistake("UsageError", "start_to_close_timeout is '30s'; give seconds as a number, or a timedelta")
async def activity_timeout_as_text(client: Client) -> None:
    @activity(start_to_close_timeout="30s")  # type: ignore[arg-type]
    async def charge() -> None: ...


@mistake("UsageError", 'the activity\'s name is 3; give a string that is not empty, as in @activity(name="charge")')
async def activity_name_number(client: Client) -> None:
    @activity(name=3)  # type: ignore[arg-type]
    async def charge() -> None: ...


@mistake("DefinitionError", "activity charge is cpu_bound and async; a process runs it from start to end, so make it a plain def")
async def cpu_bound_and_async(client: Client) -> None:
    @activity(cpu_bound=True)
    async def charge() -> None: ...


@mistake("DefinitionError", "activity charge is cpu_bound and not at the top of its module; move it there, so that a process can import it")
async def cpu_bound_and_local(client: Client) -> None:
    @activity(cpu_bound=True)
    def charge() -> None: ...


@mistake("DefinitionError", "activity charge is a generator (it has a yield); return a list, or report progress with ctx.heartbeat(…)")
async def generator_as_activity(client: Client) -> None:
    @activity
    async def charge() -> Any:
        yield 1


@mistake("DefinitionError", "the activity class Charge has no method `run`; add it, or put @activity on its methods instead")
async def activity_class_without_run(client: Client) -> None:
    @activity
    class Charge: ...


# Workers.


@mistake("UsageError", "a worker needs a connected client, not 'memory://'; write `async with WorkflowClient.connect(url) as client:`")
async def worker_with_url(client: Client) -> None:
    WorkflowWorker("memory://", workflows=[nothing])  # type: ignore[arg-type]


@mistake(
    "UsageError",
    "a worker needs a connected client, not <perdure.client.connecting.Connecting object>; write `async with "
    "WorkflowClient.connect(url) as client:`",
)
async def worker_with_unawaited_connection(client: Client) -> None:
    WorkflowWorker(WorkflowClient.connect("memory://"), workflows=[nothing])  # type: ignore[arg-type]


@mistake("StartFailed", "The worker has nothing to run: WorkflowWorker(client, workflows=[…], activities=[…]).")
async def worker_without_work(client: Client) -> None:
    await WorkflowWorker(client).start()


@mistake(
    "DefinitionError",
    'Two workflows are called "nothing": test_definition_mistakes.nothing and '
    "test_definition_mistakes.worker_with_one_name_twice.<locals>.another; give one of them another name: "
    '@workflow(name="…").',
)
async def worker_with_one_name_twice(client: Client) -> None:
    @workflow(name="nothing")
    async def another(ctx: WorkflowContext) -> None: ...

    WorkflowWorker(client, workflows=[nothing, another])


@mistake("DefinitionError", "workflows takes a list; write workflows=[nothing]")
async def worker_without_list(client: Client) -> None:
    WorkflowWorker(client, workflows=nothing)  # type: ignore[arg-type]


@mistake("DefinitionError", "charge is an activity, not a workflow; call it from a workflow, with await charge(…)")
async def worker_with_activity_as_workflow(client: Client) -> None:
    WorkflowWorker(client, workflows=[charge])


@mistake("DefinitionError", "plain is not an activity; put @activity on it")
async def worker_with_plain_function(client: Client) -> None:
    def plain() -> None: ...

    WorkflowWorker(client, activities=[plain])


@mistake("DefinitionError", "Mailer.run is a method; pass its class: Mailer")
async def worker_with_the_run_of_a_class(client: Client) -> None:
    @activity
    class Mailer:
        def run(self, to: str) -> None: ...

    WorkflowWorker(client, activities=[Mailer.run])


@mistake("ConfigError", "max_concurrent_activity_tasks must be a whole number from 0 to 10000, not -1.")
async def worker_with_negative_slots(client: Client) -> None:
    WorkflowWorker(client, workflows=[nothing], max_concurrent_activity_tasks=-1)


@mistake("ConfigError", 'A worker has no setting "max_concurrent_activities": did you mean "max_concurrent_activity_tasks"?')
async def worker_with_unknown_setting(client: Client) -> None:
    WorkflowWorker(client, workflows=[nothing], max_concurrent_activities=3)  # type: ignore[call-arg]


@mistake("ConfigError", "task_queue must be a name of 1 to 1000 bytes, for example \"orders\", not ''.")
async def worker_with_empty_queue(client: Client) -> None:
    WorkflowWorker(client, workflows=[nothing], task_queue="")


@mistake("StartFailed", "The worker of default is stopped; a worker starts once: make another one.")
async def worker_used_again(client: Client) -> None:
    worker = WorkflowWorker(client, workflows=[nothing])
    await worker.start()
    await worker.stop()
    await worker.start()


@mistake("StartFailed", "The worker of default is running; a worker starts once: make another one.")
async def worker_started_twice(client: Client) -> None:
    async with WorkflowWorker(client, workflows=[nothing]) as worker:
        await worker.start()


@mistake("UsageError", "register_activity comes before start(): this worker is running.")
async def registered_too_late(client: Client) -> None:
    async with WorkflowWorker(client, workflows=[nothing]) as worker:
        worker.register_activity(charge)


@pytest.mark.parametrize("row", mistake.rows, ids=lambda row: row.name)
async def test_what_its_author_sees(client: WorkflowClient, row: Row) -> None:
    assert await seen(row.code(client)) == (row.error, row.text)


async def test_an_activity_outside_of_a_workflow_is_the_plain_function() -> None:
    assert await charge("o-1") == "o-1"


async def test_two_workers_with_the_same_work_share_it(client: WorkflowClient) -> None:
    async with WorkflowWorker(client, workflows=[nothing]), WorkflowWorker(client, workflows=[nothing]):
        assert await client.execute_workflow(nothing, id="shared") is None
