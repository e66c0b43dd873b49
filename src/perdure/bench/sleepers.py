"""`sleepers`: what a workflow that sleeps for days costs: to start, in memory, on disk."""

from __future__ import annotations

from pathlib import Path

from perdure.bench import definitions
from perdure.bench.load import RUN, running
from perdure.bench.measurement import timed
from perdure.bench.memory import resident_bytes
from perdure.bench.setting import Setting
from perdure.bench.waiting import STARTERS, start_waiting

SLEEPERS, SLEEPERS_SMOKE = 100_000, 500
WARM_UP = 100


async def sleepers(setting: Setting) -> None:
    """One line. Memory is all that the process grew by, caches included, after a collection; disk all that the closed file grew by."""
    count, starters = setting.amount(SLEEPERS, SLEEPERS_SMOKE), setting.concurrency or STARTERS
    async with running(setting.url("sleepers")) as client:
        await start_waiting(client, definitions.sleeper, prefix=f"warm-up-{RUN}", count=WARM_UP, starters=starters)
    disk = disk_bytes(setting.file("sleepers"))
    async with running(setting.url("sleepers")) as client:
        await start_waiting(client, definitions.sleeper, prefix=f"warmer-{RUN}", count=WARM_UP, starters=starters)
        before = resident_bytes()
        with timed() as watch:
            times = await start_waiting(client, definitions.sleeper, prefix=f"sleeper-{RUN}", count=count, starters=starters)
        grown = resident_bytes() - before
    setting.report(
        "sleepers",
        watch,
        count=count,
        concurrency=starters,
        times=times,
        rss_bytes_each=round(grown / count),
        disk_bytes_each=round((disk_bytes(setting.file("sleepers")) - disk) / (count + WARM_UP)),
        rss_bytes=before + grown,
    )


def disk_bytes(file: Path) -> int:
    """The size of a closed database; closing it has checkpointed what its WAL held. 0 for an engine without a file."""
    return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
