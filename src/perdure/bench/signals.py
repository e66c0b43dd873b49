"""`signals`: many signals to one waiting workflow, until it has handled them all."""

from __future__ import annotations

from perdure import WorkflowClient
from perdure.bench import definitions
from perdure.bench.load import RUN, repeat, running
from perdure.bench.measurement import timed
from perdure.bench.setting import Setting

SIGNALS, SIGNALS_SMOKE = 2000, 100
SENDERS = 50


async def signals(setting: Setting) -> None:
    """Two lines: one sender, then 50. The clock stops when the workflow has ended; `p50_ms` is that of a send."""
    async with running(setting.url("signals")) as client:
        await tally(client, "warm-up", SIGNALS_SMOKE, 1)
        for senders in [setting.concurrency] if setting.concurrency else [1, SENDERS]:
            await measured(setting, client, senders)


async def measured(setting: Setting, client: WorkflowClient, senders: int) -> None:
    count = setting.amount(SIGNALS, SIGNALS_SMOKE)
    with timed() as watch:
        times = await tally(client, f"signals-{senders}", count, senders)
    setting.report("signals", watch, count=count, concurrency=senders, times=times)


async def tally(client: WorkflowClient, prefix: str, count: int, senders: int) -> list[float]:
    """Milliseconds of each send; returns when the workflow has counted them all."""
    handle = await client.start_workflow(definitions.Tally, count, id=f"{prefix}-{RUN}")
    times = await repeat(lambda number: handle.signal("tick", number), count=count, concurrency=senders)
    await handle.result()
    return times
