"""Whether an engine has nothing to do before its next timer: for whoever may then set the clock forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.engine.core.codes import READY, STARTED
from perdure.engine.live_runs import LiveRun

if TYPE_CHECKING:
    from perdure.engine.engine import Engine

__all__ = ["is_idle", "next_timer"]

_FAR = 2**62
_SCHEDULES = 100
"""Records looked through for the next schedule."""


def is_idle(engine: Engine) -> bool:
    """Whether nothing is being written, delivered or worked on. (What is in memory is looked at: in tests that is everything.)"""
    between = engine.deliveries.in_flight or engine.operations.in_flight
    return not between and not any(_is_busy(live) for live in engine.runs.in_memory())


def _is_busy(live: LiveRun) -> bool:
    run = live.run
    if live.pending:
        return True
    return not run.closed and (run.task is not None or any(each.state in (READY, STARTED) for each in run.activities.values()))


async def next_timer(engine: Engine) -> int | None:
    """When the first timer of a run, or the first schedule, is due (nanoseconds since the epoch); None if there is none."""
    storage, read = engine.storage, engine.reader.read
    runs = await read(storage.due_runs, _FAR, 1)
    records = await read(storage.due_records, _FAR, _SCHEDULES)
    found = [run.due for run in runs] + [record.due for record in records if record.kind == "schedule" and record.due is not None]
    return min(found, default=None)
