"""`chain` and `fanout`: the steps of one workflow, one after the other and all at once."""

from __future__ import annotations

from statistics import median

from perdure import WorkflowClient
from perdure.bench import definitions
from perdure.bench.load import RUN, repeat, running
from perdure.bench.measurement import timed
from perdure.bench.setting import Setting

STEPS, STEPS_SMOKE = 100, 10
RUNS = 5
AT_ONCE = 50
WIDTH, WIDTH_SMOKE = 1000, 50


async def chain(setting: Setting) -> None:
    """Two lines: the median of 5 chains run one at a time, then 50 at once. `per_second` counts steps, `p50_ms` is of whole chains."""
    async with running(setting.url("chain")) as client:
        await chains(client, "warm-up", STEPS_SMOKE, 2, 1)
        for concurrency in [setting.concurrency] if setting.concurrency else [1, AT_ONCE]:
            await measured_chains(setting, client, concurrency)


async def measured_chains(setting: Setting, client: WorkflowClient, concurrency: int) -> None:
    steps = setting.amount(STEPS, STEPS_SMOKE)
    count = RUNS if concurrency == 1 else concurrency
    with timed() as watch:
        times = await chains(client, f"chain-{concurrency}", steps, count, concurrency)
    per_second = steps / (median(times) / 1e3) if concurrency == 1 else None
    setting.report(
        "chain", watch, count=steps * count, concurrency=concurrency, times=times, per_second=per_second, workflows=count, steps_each=steps
    )


async def chains(client: WorkflowClient, prefix: str, steps: int, count: int, concurrency: int) -> list[float]:
    async def one(number: int) -> None:
        await client.execute_workflow(definitions.chain, steps, id=f"{prefix}-{RUN}-{number}")

    return await repeat(one, count=count, concurrency=concurrency)


async def fanout(setting: Setting) -> None:
    """One line: a workflow that starts all its activities in one task and gathers them. `concurrency` is its width."""
    width = setting.amount(WIDTH, WIDTH_SMOKE)
    async with running(setting.url("fanout")) as client:
        await client.execute_workflow(definitions.fanout, WIDTH_SMOKE, id=f"warm-up-{RUN}")
        with timed() as watch:
            await client.execute_workflow(definitions.fanout, width, id=f"fanout-{RUN}")
    setting.report("fanout", watch, count=width, concurrency=width)
