"""Proves that a mistake inside of workflow or activity code is answered with one sentence that says what to type.

Where the workflow fails, its caller sees it ("WorkflowFailed"). Where the code has to be mended, the workflow waits for that and the
log says so ("log").
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import ActivityContext, ApplicationError, RetryPolicy, WorkflowClient, WorkflowContext, activity
from perdure.engine import unpolled

sys.path.insert(0, str(Path(__file__).parent))

from mistakes import Row, Table, of_workflow

mistake = Table()
LARGE = 2 * 1024 * 1024 + 1
ONCE = RetryPolicy(maximum_attempts=1)


@activity
async def charge(order: str) -> str:
    return order


@activity
async def forgotten() -> None: ...


async def plain() -> None: ...


@activity(retry_policy=ONCE)
async def gives_object() -> Any:
    return object()


@activity(retry_policy=ONCE)
async def gives_much() -> str:
    return "x" * LARGE


@activity
async def double(number: int) -> int:
    return 2 * number


@activity(retry_policy=ONCE)
async def exits() -> None:
    raise SystemExit(3)


@activity(retry_policy=ONCE)
async def beats_with_object(ctx: ActivityContext) -> None:
    ctx.heartbeat(object())


@activity(retry_policy=ONCE)
async def asks(ctx: ActivityContext) -> None:
    ctx.record_heartbeat(3)  # type: ignore[attr-defined]


ACTIVITIES = [asks, charge, gives_object, gives_much, double, exits, beats_with_object]


# Calling activities.


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: ActivityOptions has no option 'args'; say the arguments themselves, "
    "one after the other, before the options. It stays where it is and is tried again (this was attempt 1); mend the "
    "code and start the worker anew.",
)
async def activity_args_list(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, args=["x"])  # type: ignore[call-arg]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: ActivityOptions has no option 'max_attempts'; say "
    "retry_policy=RetryPolicy(maximum_attempts=…). It stays where it is and is tried again (this was attempt 1); mend "
    "the code and start the worker anew.",
)
async def activity_max_attempts(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", max_attempts=3)  # type: ignore[call-arg]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: ActivityOptions has no option 'timeout'; say "
    "start_to_close_timeout=… (of one attempt) or schedule_to_close_timeout=… (of all attempts). It stays where it is "
    "and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def activity_timeout(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", timeout=3)  # type: ignore[call-arg]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: start_to_close_timeout is '30s'; give seconds as a number, or a "
    "timedelta. It stays where it is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def activity_timeout_as_text(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", start_to_close_timeout="30s")  # type: ignore[arg-type]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: start_to_close_timeout is -1; a duration cannot be negative. It "
    "stays where it is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def activity_timeout_negative(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", start_to_close_timeout=-1)


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: start_to_close_timeout is 0; give the seconds that one attempt may "
    "take, or leave it out. It stays where it is and is tried again (this was attempt 1); mend the code and start the "
    "worker anew.",
)
async def activity_timeout_zero(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", start_to_close_timeout=0)


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: retry_policy is {'maximum_attempts': 3}; give a RetryPolicy, as in "
    "retry_policy=RetryPolicy(maximum_attempts=3). It stays where it is and is tried again (this was attempt 1); mend "
    "the code and start the worker anew.",
)
async def activity_retry_policy_dict(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", retry_policy={"maximum_attempts": 3})  # type: ignore[arg-type]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: plain is not an activity; put @activity on it. It stays where it is "
    "and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def activity_without_decorator(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(plain)


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: <lambda> is not an activity; put @activity on it. It stays where it "
    "is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def lambda_as_activity(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(lambda: 1)  # type: ignore[arg-type,return-value]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: an activity was called; pass the activity itself and its arguments "
    "after it: ctx.execute_activity(charge, …). It stays where it is and is tried again (this was attempt 1); mend the "
    "code and start the worker anew.",
)
async def called_activity(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge("x"))  # type: ignore[arg-type]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: activity charge takes 1 argument (order), and 2 were given. It stays"
    " where it is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def activity_with_too_many_arguments(ctx: WorkflowContext) -> Any:
    return await charge("x", "y")  # type: ignore[call-arg]


@mistake(
    "log",
    'The activity "forgotten" is not registered on the worker <worker> of task queue "default", which has: '
    "asks, beats_with_object, charge, double, exits, gives_much, gives_object. Pass it to the worker: activities=[…].",
)
async def forgotten_registration(ctx: WorkflowContext) -> Any:
    return await forgotten()


@mistake(
    "log",
    'The activity "chrge" is not registered on the worker <worker> of task queue "default", which has: '
    "asks, beats_with_object, charge, double, exits, gives_much, gives_object. Pass it to the worker: activities=[…].",
)
async def misspelt_activity(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity("chrge", "x", retry_policy=ONCE)


@mistake(
    "log",
    'Activities wait on the task queue "ordres", which no worker polls; queues with a worker: "default". Start a worker '
    'with task_queue="ordres", or start the workflow on one of those.',
)
async def activity_on_a_queue_that_nobody_polls(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity(charge, "x", task_queue="ordres")


# Values.


@mistake(
    "WorkflowFailed",
    "workflow 'w' failed: InvalidInput: argument 'order' of activity charge (of type object) cannot be converted to "
    "JSON: Object of type object is not JSON serializable; pass a dataclass, a pydantic model or builtin types, or give "
    "the client a payload converter; its history shows where: client.history('w')",
)
async def argument_object(ctx: WorkflowContext) -> Any:
    return await charge(object())  # type: ignore[arg-type]


@mistake(
    "log",
    "The activity double 1 of workflow w failed on attempt 1: argument 'number' of activity double (json/plain) is not "
    "of type int: Expected value to be int|float, was <class 'str'>; send what the annotation says, or change the "
    "annotation",
)
async def argument_of_another_type(ctx: WorkflowContext) -> Any:
    return await ctx.execute_activity("double", "seven")


@mistake(
    "WorkflowFailed",
    "workflow 'w' failed: InvalidInput: the result of workflow flow cannot be stored: a value of type object cannot be "
    "converted to JSON: Object of type object is not JSON serializable; pass a dataclass, a pydantic model or builtin "
    "types, or give the client a payload converter; its history shows where: client.history('w')",
)
async def result_object(ctx: WorkflowContext) -> Any:
    return object()


@mistake(
    "WorkflowFailed",
    "workflow 'w' failed: ExecutionFailed: activity gives_object failed: InvalidInput: The result of the activity "
    "gives_object cannot be stored: a value of type object cannot be converted to JSON: Object of type object is not "
    "JSON serializable; pass a dataclass, a pydantic model or builtin types, or give the client a payload converter; its"
    " history shows where: client.history('w')",
)
async def activity_result_object(ctx: WorkflowContext) -> Any:
    return await gives_object()


@mistake(
    "WorkflowFailed",
    "workflow 'w' failed: ExecutionFailed: activity gives_much failed: ServerFailure: Activity result exceeds size "
    "limit; store large data elsewhere and return its key; its history shows where: client.history('w')",
)
async def activity_result_large(ctx: WorkflowContext) -> Any:
    return await gives_much()


@mistake(
    "log",
    "The activity beats_with_object 1 of workflow w failed on attempt 1: The details of a heartbeat cannot be converted:"
    " argument 1 (of type object) cannot be converted to JSON: Object of type object is not JSON serializable; pass a "
    "dataclass, a pydantic model or builtin types, or give the client a payload converter",
)
async def heartbeat_object(ctx: WorkflowContext) -> Any:
    return await beats_with_object()


# Time, threads, the network.


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: the time to sleep is -1; a duration cannot be negative. It stays "
    "where it is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def sleep_negative(ctx: WorkflowContext) -> None:
    await ctx.sleep(-1)


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: the time to sleep is '7d'; give seconds as a number, or a timedelta."
    " It stays where it is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def sleep_as_text(ctx: WorkflowContext) -> None:
    await ctx.sleep("7d")  # type: ignore[arg-type]


def helper() -> None:
    time.sleep(0.1)


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: test_workflow_mistakes.py:<line>: workflow code in 'helper' calls "
    "time.sleep(): it would block every workflow of this worker, and happen again on replay; write `await "
    "ctx.sleep(seconds)`, which is durable and blocks nobody. It stays where it is and is tried again (this was attempt "
    "1); mend the code and start the worker anew.",
)
async def blocking_sleep_in_a_helper(ctx: WorkflowContext) -> None:
    helper()


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: workflow code cannot use threads (asyncio.to_thread, "
    "run_in_executor): they would not do the same on replay. Put the blocking call into an activity (a plain `def` "
    "activity runs in a thread, `@activity(cpu_bound=True)` in a process). It stays where it is and is tried again (this"
    " was attempt 1); mend the code and start the worker anew.",
)
async def thread(ctx: WorkflowContext) -> Any:
    return await asyncio.to_thread(len, "x")


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: workflow code cannot use network connections: they would not do the "
    "same on replay. Move it into an activity and call that from the workflow. It stays where it is and is tried again "
    "(this was attempt 1); mend the code and start the worker anew.",
)
async def connection(ctx: WorkflowContext) -> Any:
    return await asyncio.open_connection("localhost", 80)


# Errors and names.


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: no stock. It stays where it is and is tried again (this was attempt "
    "1); mend the code and start the worker anew, or raise ApplicationError where the workflow is to fail.",
)
async def own_exception(ctx: WorkflowContext) -> None:
    raise ValueError("no stock")


@mistake("WorkflowFailed", "workflow 'w' failed: OutOfStock: no stock; its history shows where: client.history('w')")
async def application_error(ctx: WorkflowContext) -> None:
    raise ApplicationError("no stock", type="OutOfStock")


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: workflow code called sys.exit(3), which would end the worker; raise "
    "ApplicationError to fail the workflow. It stays where it is and is tried again (this was attempt 1); mend the code "
    "and start the worker anew.",
)
async def exit_in_workflow(ctx: WorkflowContext) -> None:
    sys.exit(3)


@mistake(
    "log",
    "The activity exits 1 of workflow w failed on attempt 1: The activity called sys.exit(3); raise an error to fail it.",
)
async def exit_in_activity(ctx: WorkflowContext) -> None:
    await exits()


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: workflow code cannot use a client: it would not do the same on replay. Use "
    "it in an activity. It stays where it is and is tried again (this was attempt 1); mend the code and start the worker anew.",
)
async def client_in_workflow(ctx: WorkflowContext) -> None:
    async with WorkflowClient.connect("memory://"):
        pass


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: WorkflowContext has no 'info'; say ctx.workflow_id, ctx.run_id, "
    "ctx.workflow_type, ctx.attempt, …. It stays where it is and is tried again (this was attempt 1); mend the code and "
    "start the worker anew.",
)
async def unknown_name(ctx: WorkflowContext) -> None:
    ctx.info()  # type: ignore[attr-defined]


@mistake(
    "log",
    "The workflow w (flow, run <run>) cannot go on: WorkflowContext has no 'execute_child_workflow'; say "
    "client.execute_workflow(…) in an activity: WorkflowContext has no child workflows yet. It stays where it is and is tried "
    "again (this was attempt 1); mend the code and start the worker anew.",
)
async def temporal_child(ctx: WorkflowContext) -> None:
    await ctx.execute_child_workflow("flow")  # type: ignore[attr-defined]


@mistake(
    "log",
    "The activity asks 1 of workflow w failed on attempt 1: ActivityContext has no 'record_heartbeat'; say ctx.heartbeat(details)",
)
async def unknown_name_in_activity(ctx: WorkflowContext) -> None:
    await asks()


@pytest.mark.parametrize("row", mistake.rows, ids=lambda row: row.name)
async def test_what_its_author_sees(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpolled, "UNPOLLED_WARNING_SECONDS", 0.1)
    assert await of_workflow(row.code, *ACTIVITIES) == (row.error, row.text)
