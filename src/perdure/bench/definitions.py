"""The workflows and activities that the workloads run: small on purpose, so that what is measured is perdure."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from perdure import WorkflowContext, activity, workflow
from perdure.bench.countdown import arrived

SLEEP = timedelta(days=7)


@activity
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@activity
async def step(number: int) -> int:
    return number + 1


@activity(cpu_bound=True, start_to_close_timeout=3600)
def burn(folder: str) -> int:
    """Keeps one core busy in pure Python, from writing `burning` into the folder until somebody writes `enough` there."""
    rounds = 0
    Path(folder, "burning").touch()
    while not os.path.exists(os.path.join(folder, "enough")):
        rounds += sum(number * number for number in range(100_000)) > 0
    return rounds


@workflow
async def hello(ctx: WorkflowContext, name: str) -> str:
    return await ctx.execute_activity(greet, name, start_to_close_timeout=60)


@workflow
async def chain(ctx: WorkflowContext, steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await ctx.execute_activity(step, number, start_to_close_timeout=60)
    return number


@workflow
async def fanout(ctx: WorkflowContext, width: int) -> int:
    results = await asyncio.gather(*(ctx.execute_activity(step, number, start_to_close_timeout=60) for number in range(width)))
    return len(results)


@workflow
async def heat(ctx: WorkflowContext, folder: str) -> int:
    return await ctx.execute_activity(burn, folder)


@workflow
class Tally:
    """Waits until it has handled as many signals as it was told to expect."""

    def __init__(self) -> None:
        self.seen = 0

    @workflow.signal
    def tick(self, number: int) -> None:
        self.seen += 1

    async def run(self, ctx: WorkflowContext, expected: int) -> int:
        await ctx.wait_condition(lambda: self.seen >= expected)
        return self.seen


@workflow
async def sleeper(ctx: WorkflowContext, number: int) -> int:
    arrived()
    await ctx.sleep(SLEEP)
    return number


@workflow
class Waiting:
    """Waits for one signal, and is done."""

    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def go(self, number: int) -> None:
        self.told = True

    async def run(self, ctx: WorkflowContext, number: int) -> int:
        arrived()
        await ctx.wait_condition(lambda: self.told)
        return number


WORKFLOWS: list[Any] = [hello, chain, fanout, heat, Tally, sleeper, Waiting]
ACTIVITIES = [greet, step, burn]
