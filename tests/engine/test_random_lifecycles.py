"""Proves that whatever clients, operators and workers do to workflows, in any order, no call breaks or hangs, every history is one, what is
in memory is what is stored, every run delivers what it owes to others, and no parent waits for a child that has ended."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from random_lifecycles import Lives

from perdure.engine import background, live_runs, open_engine
from perdure.storage import MemoryStorage
from perdure.storage.contract import Committed, Transaction
from perdure.testing import ManualClock

STEPS = 500


class Flaky(MemoryStorage):
    """A storage that fails at times, and does not always know whether it did."""

    def __init__(self, roll: random.Random, rate: float) -> None:
        super().__init__()
        self.roll, self.rate = roll, rate

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        if self.roll.random() >= self.rate:
            return super().commit(group)
        if self.roll.random() < 0.5:
            return [Committed.FAILED] * len(group)
        return [Committed.UNKNOWN if answer is Committed.YES else answer for answer in super().commit(group)]


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_happens(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seed: int) -> None:
    """Every second seed has memory for few runs, every third a storage whose commits fail at times."""
    print(f"seed {seed}")
    caplog.set_level("CRITICAL")
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 1000 if seed % 2 else 5)
    clock, storage = ManualClock(), Flaky(random.Random(seed), 0 if seed % 3 else 0.03)
    engine = await open_engine(storage, clock=clock)
    lives = Lives(engine, clock, seed)
    async with asyncio.timeout(60):
        for _ in range(STEPS):
            await lives.step()
        storage.rate = 0
        await lives.rest()
    lives.check()
    await engine.close()
