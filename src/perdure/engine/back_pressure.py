"""Signals faster than a workflow takes them: senders wait, where the rules alone would fail the workflow task.

More than 100 events that wait for one workflow task fail it (B6). With many senders that limit is reached without anybody doing
wrong, so a sender waits from some events before it until the task has come back; after a while it is told to come back itself.
"""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import ResourceExhaustedCause

from perdure.engine.live_runs import LiveRun
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.rpc import resource_exhausted

BUFFERED_SIGNALS_MAX = 80
"""Buffered events from which on senders wait."""
WAIT_SECONDS = 20
"""How long they wait."""


async def room_for_signal(live: LiveRun, clock: Clock) -> None:
    """Returns when the run can take another signal, or is no longer the one in memory.

    Raises:
        RpcError: RESOURCE_EXHAUSTED, when that took too long.
    """
    while live.run.buffered_count >= BUFFERED_SIGNALS_MAX and not live.evicted and not live.run.closed:
        drained: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        live.drained.append(drained)
        try:
            made_room = await wait_until(clock, drained, clock.now() + WAIT_SECONDS * 1_000_000_000, late=False)
        finally:
            if drained in live.drained:
                live.drained.remove(drained)
        if not made_room:
            raise resource_exhausted(
                f"workflow {live.run.workflow_id} has {live.run.buffered_count} events waiting for its workflow task; send more slowly",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
            )
