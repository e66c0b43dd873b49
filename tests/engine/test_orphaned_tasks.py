"""Proves what becomes of a workflow task that was started for a poll which had ended: the next poll gets it, unless it is void by then."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from one_worker import Rig


async def orphan(rig: Rig) -> None:
    """The first task of a run is started for a poll that ends before that is durable."""
    gone = rig.poll()
    await rig.turns()
    started = asyncio.ensure_future(rig.start())
    while not gone.done():
        if rig.engine.committer._in_flight:
            gone.cancel()
        await asyncio.sleep(0)
    await started
    assert gone.cancelled()


async def test_the_next_poll_gets_it(rig: Rig) -> None:
    await orphan(rig)
    task = await rig.poll()
    assert (task.attempt, task.started_event_id) == (1, 3)
    await rig.complete(task)


async def test_one_that_has_timed_out_is_not_handed_over(rig: Rig) -> None:
    await orphan(rig)
    await rig.clock.advance(11)
    task = await rig.poll()
    assert task.attempt == 2
    await rig.complete(task)


async def test_one_of_a_run_that_has_ended_is_not_handed_over(rig: Rig) -> None:
    await orphan(rig)
    await rig.terminate()
    poll = rig.poll()
    await rig.turns()
    assert not poll.done()
    await rig.clock.advance(60)
    assert not (await poll).task_token
