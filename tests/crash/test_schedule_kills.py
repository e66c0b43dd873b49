"""Proves that schedules act exactly once, though their process is killed with `kill -9` at random moments (the seed is printed)."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import DescribeScheduleRequest, PatchScheduleRequest

from perdure.engine import open_engine
from perdure.storage import SQLiteStorage

CHILD = Path(__file__).parent / "schedule_child.py"


def kill_after(database: Path, seconds: float) -> None:
    """Runs the process until its schedules act, then for a while."""
    with subprocess.Popen([sys.executable, str(CHILD), str(database)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()


async def check(database: Path) -> int:
    """Catches up, stops the schedules, and compares what they count with what there is; the number of actions."""
    engine = await open_engine(SQLiteStorage(database))
    try:
        service = engine.frontend(in_process=True)
        states = await engine.schedules.list("default", None, 1000)
        for state in states:
            stop = PatchScheduleRequest(namespace="default", schedule_id=state.schedule_id)
            stop.patch.pause = "the end"
            await service.patch_schedule(stop)
        times = defaultdict(list)
        for row in engine.storage.list_runs("default", None, 100_000):
            name, _, nominal = row.workflow_id.partition("-")
            times[name].append(datetime.fromisoformat(nominal))
        for state in states:
            request = DescribeScheduleRequest(namespace="default", schedule_id=state.schedule_id)
            info = (await service.describe_schedule(request)).info
            started = sorted(times["w" + state.schedule_id[1:]])
            assert info.action_count == len(started)
            assert not info.missed_catchup_window
            assert started == [started[0] + timedelta(seconds=n) for n in range(len(started))], "an action was left out or taken twice"
        return sum(len(each) for each in times.values())
    finally:
        await engine.close()


@pytest.mark.parametrize("kills", [4, pytest.param(40, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_no_kill_makes_an_action_twice_or_not_at_all(kills: int, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    roll = random.Random(seed)
    for _ in range(kills):
        kill_after(tmp_path / "runs.db", roll.uniform(0.05, 1.2))
    assert await check(tmp_path / "runs.db") > kills
