"""A load that uses all of it: activities that fail and are tried again, timers, signals, queries, continue-as-new, cancellation.

Every workflow's result follows from its arguments and the signals that were acknowledged, so a test can say what must come out.
`Effects` is where activities leave a trace of each run: what the storage says must explain it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from perdure import ActivityContext, ApplicationError, RetryPolicy, WorkflowClient, WorkflowContext, activity, workflow

QUICK = RetryPolicy(initial_interval=0.01, maximum_interval=0.05)  # type: ignore[arg-type]
ONCE = RetryPolicy(maximum_attempts=1)
SIGNALS_EACH = 6
ATTEMPT_SECONDS = float(os.environ.get("PERDURE_ATTEMPT_SECONDS", "60"))
"""After which an attempt is given up: where the engine's own process runs it, that is known before."""

journal: Callable[..., None] = lambda *entry: None  # noqa: E731 - replaced by the test
"""Hears of each run of an activity: workflow id, activity id, attempt, name."""


def _note(ctx: ActivityContext, name: str) -> None:
    journal(ctx.workflow_id, ctx.run_id, ctx.activity_id, ctx.attempt, name)


@activity(retry_policy=QUICK, start_to_close_timeout=ATTEMPT_SECONDS)
async def double(ctx: ActivityContext, number: int) -> int:
    _note(ctx, "double")
    return 2 * number


@activity(retry_policy=QUICK, start_to_close_timeout=ATTEMPT_SECONDS)
def double_in_thread(ctx: ActivityContext, number: int) -> int:
    _note(ctx, "double_in_thread")
    return 2 * number


@activity(retry_policy=QUICK, start_to_close_timeout=ATTEMPT_SECONDS)
async def fails_twice(ctx: ActivityContext, number: int) -> int:
    _note(ctx, "fails_twice")
    if ctx.attempt <= 2:
        raise ApplicationError(f"attempt {ctx.attempt} fails")
    return number


@activity(retry_policy=QUICK, start_to_close_timeout=ATTEMPT_SECONDS, heartbeat_timeout=30)
async def counts(ctx: ActivityContext, last: int) -> int:
    _note(ctx, "counts")
    first = ctx.last_heartbeat(int) or 0
    for number in range(first, last):
        ctx.heartbeat(number + 1)
        await asyncio.sleep(0.005)
    return last


@activity(retry_policy=ONCE, start_to_close_timeout=ATTEMPT_SECONDS)
async def once(ctx: ActivityContext, number: int) -> int:
    _note(ctx, "once")
    await asyncio.sleep(0.002)
    return number


@workflow
async def steps(ctx: WorkflowContext, number: int) -> int:
    """4·number + 6, unless the activity that runs once was lost (then 4·number + 5)."""
    total = await double(number)
    await ctx.sleep(0.02)
    total = await double_in_thread(total)
    parts = await asyncio.gather(fails_twice(1), counts(3), double(1))
    try:
        await once(number)
    except Exception:
        return total + sum(parts) - 1
    return total + sum(parts)


@workflow
class Mailbox:
    """The sum of as many "add" signals as it is told to wait for."""

    def __init__(self) -> None:
        self.total = 0
        self.count = 0

    async def run(self, ctx: WorkflowContext, wanted: int) -> int:
        await ctx.wait_condition(lambda: self.count >= wanted)
        return await double(self.total)

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number
        self.count += 1

    @workflow.query
    def sum_so_far(self) -> int:
        return self.total


@workflow
async def rounds(ctx: WorkflowContext, left: int, total: int = 0) -> int:
    """2 for each round; each round is a run."""
    total += await double(1)
    if left > 1:
        ctx.continue_as_new(left - 1, total)
    return total


@workflow
async def until_cancelled(ctx: WorkflowContext) -> str:
    try:
        await ctx.sleep(3600)
    except asyncio.CancelledError:
        return f"cleaned up {await double(21)}"
    return "slept"


@workflow
async def impatient(ctx: WorkflowContext, number: int) -> int:
    """Races a short timer against a long one, and cancels the loser."""
    done, waiting = await asyncio.wait(
        [asyncio.create_task(ctx.sleep(seconds)) for seconds in (0.01, 1000)], return_when=asyncio.FIRST_COMPLETED
    )
    for each in waiting:
        each.cancel()
    return number + len(done)


WORKFLOWS = [steps, Mailbox, rounds, until_cancelled, impatient]
ACTIVITIES = [double, double_in_thread, fails_twice, counts, once]
KINDS = ("steps", "mailbox", "rounds", "cancel", "impatient")


async def start_one(client: WorkflowClient, kind: str, number: int, **options: Any) -> None:
    """Starts one workflow of the load; it is durable on return."""
    options |= {"id": f"{kind}-{number}", "task_timeout": 1}
    if kind == "steps":
        await client.start_workflow(steps, number, **options)
    elif kind == "mailbox":
        await client.start_workflow(Mailbox, SIGNALS_EACH, **options)
    elif kind == "rounds":
        await client.start_workflow(rounds, 3, **options)
    elif kind == "cancel":
        await client.start_workflow(until_cancelled, **options)
    else:
        await client.start_workflow(impatient, number, **options)


def expected(kind: str, number: int, signals: dict[str, int]) -> tuple[object, ...]:
    """The results that may come out."""
    if kind == "steps":
        return 4 * number + 6, 4 * number + 5
    if kind == "mailbox":
        return (2 * sum(signals.values()),)
    return {"rounds": (6,), "cancel": ("cleaned up 42",), "impatient": (number + 1,)}[kind]
