"""`sleepers`: what a workflow that sleeps for days costs: to start, in memory, on disk."""

from __future__ import annotations

from pathlib import Path

from perdure.bench import definitions
from perdure.bench.load import RUN, running
from perdure.bench.measurement import Stopwatch, timed
from perdure.bench.memory import resident_bytes
from perdure.bench.setting import Setting
from perdure.bench.waiting import STARTERS, start_waiting

SLEEPERS, SLEEPERS_SMOKE = 100_000, 500
WARM_UP = 100


async def sleepers(setting: Setting) -> None:
    """One line. Memory is all that the process grew by after a collection, caches included, and what it grew by over the second half, when
    those are full; disk is all that the closed file grew by."""
    count, starters = max(2, setting.amount(SLEEPERS, SLEEPERS_SMOKE)), setting.concurrency or STARTERS
    async with running(setting.url("sleepers")) as client:
        await start_waiting(client, definitions.sleeper, prefix=f"warm-up-{RUN}", count=WARM_UP, starters=starters)
    disk = disk_bytes(setting.file("sleepers"))
    async with running(setting.url("sleepers")) as client:
        await start_waiting(client, definitions.sleeper, prefix=f"warmer-{RUN}", count=WARM_UP, starters=starters)
        sizes, watches, times = [resident_bytes()], list[Stopwatch](), list[float]()
        for half in (count - count // 2, count // 2):
            with timed() as watch:
                prefix = f"sleeper-{len(sizes)}-{RUN}"
                times += await start_waiting(client, definitions.sleeper, prefix=prefix, count=half, starters=starters)
            watches.append(watch)
            sizes.append(resident_bytes())
    setting.report(
        "sleepers",
        Stopwatch(sum(watch.seconds for watch in watches), sum(watch.cpu_seconds for watch in watches)),
        count=count,
        concurrency=starters,
        times=times,
        rss_bytes_each=round((sizes[2] - sizes[0]) / count),
        rss_bytes_each_second_half=round((sizes[2] - sizes[1]) / (count // 2)),
        disk_bytes_each=round((disk_bytes(setting.file("sleepers")) - disk) / (count + WARM_UP)),
        rss_bytes=sizes[2],
    )


def disk_bytes(file: Path) -> int:
    """The size of a closed database; closing it has checkpointed what its WAL held. 0 for an engine without a file."""
    return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
