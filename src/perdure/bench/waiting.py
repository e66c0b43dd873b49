"""Many runs that wait: `sleepers` for a timer, `recovery` for a signal. Here they are started, until each waits durably."""

from __future__ import annotations

import asyncio
from typing import Any

from perdure import WorkflowClient
from perdure.bench.countdown import start_countdown
from perdure.bench.load import repeat

STARTERS = 200
SETTLED_EVENTS = 4
"""Started, task scheduled, task started, task completed: a run that has answered its first workflow task has at least these."""


async def start_waiting(client: WorkflowClient, definition: Any, *, prefix: str, count: int, starters: int = STARTERS) -> list[float]:
    """Starts `count` runs of `definition` and returns, when all wait durably, the milliseconds that each start took."""
    countdown = start_countdown(count)

    async def one(number: int) -> None:
        await client.start_workflow(definition, number, id=f"{prefix}-{number}")

    times = await repeat(one, count=count, concurrency=starters)
    await countdown.reached.wait()
    for number in range(max(0, count - 2 * starters), count):
        await _settled(client, f"{prefix}-{number}")
    return times


async def _settled(client: WorkflowClient, workflow_id: str) -> None:
    """The countdown says that the code waits; the description says that the commit behind it is durable."""
    while (await client.describe(workflow_id)).history_length < SETTLED_EVENTS:
        await asyncio.sleep(0.001)
