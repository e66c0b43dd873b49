"""Senders wait, where the rules alone would let work pile up or fail.

Events faster than a workflow takes them:

More than 100 events that wait for one workflow task fail it (B6). With many senders, or many activities that end at once, that
limit is reached without anybody doing wrong; the task then fails, its worker replays from the first event, and meanwhile the next
hundred events come in. So who brings an event waits from some events before the limit until the task has come back; after a
while it is told to come back itself.

Starts faster than workers take first tasks: a backlog beyond what memory holds makes the engine read every one of its runs again.
A start waits for the workers of its queue, for a moment, if there are any; it is never refused for that.
"""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import ResourceExhaustedCause

from perdure.engine.core.limits import BUFFERED_EVENTS_MAX
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import TaskQueue
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.rpc import resource_exhausted

WAITING_EVENTS_MAX = BUFFERED_EVENTS_MAX - 3
"""Buffered events from which on senders wait: an activity's end brings two more, and the limit itself must not be reached."""
WAIT_SECONDS = 20
"""How long they wait."""
START_WAIT_SECONDS = 1
"""How long a start waits for the workers of its queue."""


def is_crowded(live: LiveRun) -> bool:
    """Whether who brings an event has to wait."""
    return live.run.buffered_count >= WAITING_EVENTS_MAX and not live.evicted and not live.run.closed


async def make_room(live: LiveRun, clock: Clock) -> None:
    """Returns when the run can take another event, or is no longer the one in memory.

    Raises:
        RpcError: RESOURCE_EXHAUSTED, when that took too long.
    """
    while is_crowded(live):
        drained: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        live.drained.append(drained)
        try:
            made_room = await wait_until(clock, drained, clock.now() + WAIT_SECONDS * 1_000_000_000, late=False)
        finally:
            if drained in live.drained:
                live.drained.remove(drained)
        if not made_room:
            raise resource_exhausted(
                f"workflow {live.run.workflow_id} has {live.run.buffered_count} events waiting for its workflow task; try again later",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
            )


async def make_way(queue: TaskQueue, clock: Clock) -> None:
    """Returns when the workers of a queue have caught up, or after a moment."""
    caught_up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    queue.crowd.append(caught_up)
    await wait_until(clock, caught_up, clock.now() + START_WAIT_SECONDS * 1_000_000_000, late=False)
