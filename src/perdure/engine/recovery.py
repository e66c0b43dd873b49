"""What an engine does when it opens: it takes up what the last one left.

Three things, found by three indexes, so that the cost follows the work that was interrupted and not the runs that sleep:
attempts that ran in the last engine's own process have died with it, and time out at once; workflow tasks that wait on a
sticky queue have lost the worker that knew their run, and go to the normal queue; every other queue with tasks is marked, and
read when somebody polls it. Timers are the timer queue's own. All other runs are loaded when something asks for them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from perdure.engine.core import AbandonInProcess, StickyUnavailable, TaskKind
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import QueueKey
from perdure.engine.stored_tasks import read_key
from perdure.model.errors import StorageCorrupt, StorageError
from perdure.model.ids import run_id_text
from perdure.storage.contract import Waiting

if TYPE_CHECKING:
    from perdure.engine.engine import Engine

logger = logging.getLogger("perdure.engine")

TOGETHER_MAX = 64
"""Runs taken up at a time."""
ATTEMPTS_MAX = 5
"""How often opening tries to make durable what it takes up."""
RETRY_SECONDS = 1
"""Between two attempts to read what waits on a sticky queue."""


async def recover(engine: Engine) -> None:
    """Takes up the work. When it returns, no task of an earlier incarnation counts as running in this process."""
    await engine.timers.open()
    read, storage = engine.reader.read, engine.storage
    damaged: set[str] = set()
    for _ in range(ATTEMPTS_MAX):
        abandoned = [run_id_text(run_id) for run_id in await read(storage.abandoned_runs, engine.incarnation)]
        abandoned = [run_id for run_id in abandoned if run_id not in damaged]
        if not abandoned:
            break
        damaged.update(await _request_each(engine, abandoned, AbandonInProcess(engine.incarnation)))
    else:
        raise StorageError(f"{storage.url} does not take up the work that was interrupted; see the log, and open it again")
    for key, activities in await read(storage.waiting_queues):
        namespace, name, sticky, lane = read_key(key)
        if sticky:
            engine.background.spawn(_leave_sticky_queue(engine, key))
        else:
            queue = engine.matching.queue(QueueKey(TaskKind.ACTIVITY if activities else TaskKind.WORKFLOW, namespace, name))
            queue.leave_in_storage(lane)


async def _leave_sticky_queue(engine: Engine, key: str) -> None:
    after: Waiting | None = None
    while not engine.closed:
        try:
            found = await engine.runs.waiting(key, False, after, TOGETHER_MAX)
            await _request_each(engine, [task.run_id for _, task in found], StickyUnavailable())
        except StorageError:
            logger.exception("The storage could not say what waits for a worker that is gone; asking again in %d s", RETRY_SECONDS)
            await engine.clock.sleep_until(engine.clock.now() + RETRY_SECONDS * 1_000_000_000)
            continue
        if len(found) < TOGETHER_MAX:
            return
        after = found[-1][0]


async def _request_each(engine: Engine, run_ids: list[str], request: object) -> list[str]:
    """Applies a request to many runs, some at a time, and waits until each is durable or has failed (then it is offered again).

    Returns those that cannot be read, which are left alone.
    """
    damaged: list[str] = []
    for start in range(0, len(run_ids), TOGETHER_MAX):
        some = run_ids[start : start + TOGETHER_MAX]
        loaded = await asyncio.gather(*(engine.runs.load(run_id) for run_id in some), return_exceptions=True)
        taken: list[LiveRun] = []
        for run_id, live in zip(some, loaded, strict=True):
            if isinstance(live, StorageCorrupt):
                logger.error("%s Everything else goes on.", live)
                damaged.append(run_id)
            elif isinstance(live, BaseException):
                raise live
            elif live is not None:
                engine.dispatch.request_live(live, request)
                taken.append(live)
        await asyncio.gather(*(engine.transactions.settled(live) for live in taken), return_exceptions=True)
    return damaged
