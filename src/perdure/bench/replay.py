"""`replay`: how fast a history is replayed from its stored bytes: parsing, the workflow's code, and the comparison of both."""

from __future__ import annotations

from temporalio.api.history.v1 import History

from perdure import EventProcessor
from perdure.bench import definitions
from perdure.bench.load import RUN, running
from perdure.bench.measurement import timed
from perdure.bench.setting import Setting

EVENTS, EVENTS_SMOKE = 30_000, 300
EVENTS_EACH_STEP = 6
"""Activity scheduled, started, completed; workflow task scheduled, started, completed."""


async def replay(setting: Setting) -> None:
    """One line; `per_second` counts events. The history is that of a real chain, run on the engine before, a workflow task per step."""
    stored = await chain_history(setting, setting.amount(EVENTS, EVENTS_SMOKE) // EVENTS_EACH_STEP)
    with timed() as watch:
        result = EventProcessor([definitions.chain]).replay_history(stored)
    result.check()
    setting.report("replay", watch, count=result.events, history_bytes=len(stored))


async def chain_history(setting: Setting, steps: int) -> bytes:
    """The serialised history of a chain of `steps` activities."""
    async with running(setting.url("replay")) as client:
        handle = await client.start_workflow(definitions.chain, steps, id=f"replay-{RUN}")
        await handle.result()
        history = await handle.history()
    return History(events=[event.message for event in history]).SerializeToString()
