"""Proves that a stall delays and never lies: blocked loops, jumping clocks and a full disk lose nothing and time nothing out falsely."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from perdure import (
    ActivityContext,
    EngineUnavailable,
    Signal,
    WorkflowClient,
    WorkflowContext,
    WorkflowWorker,
    activity,
    workflow,
)
from perdure.client import calls
from perdure.engine import open_engine
from perdure.storage import MemoryStorage, SQLiteStorage
from perdure.testing import ManualClock

HOUR = 3600
begun: asyncio.Event
release: asyncio.Event


@pytest.fixture(autouse=True)
def events() -> None:
    global begun, release
    begun, release = asyncio.Event(), asyncio.Event()


@activity
async def blocks() -> None:
    await begun.wait()
    time.sleep(5)


@activity(heartbeat_timeout=2, start_to_close_timeout=3)
async def beats(ctx: ActivityContext) -> int:
    for number in range(4):
        ctx.heartbeat(number)
        begun.set()
        await asyncio.sleep(0.05)
    return ctx.attempt


@workflow
async def both(ctx: WorkflowContext) -> int:
    _, attempt = await asyncio.gather(blocks(), beats())
    return attempt


async def test_a_blocking_call_times_nothing_out_and_its_line_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "perdure")
    async with WorkflowClient.connect("memory://") as client, WorkflowWorker(client, workflows=[both], activities=[blocks, beats]):
        assert await client.execute_workflow(both, id="stalled") == 1
        history = await client.history("stalled")
    assert not [event for event in history if "TIMED_OUT" in str(event).upper()]
    assert "test_stalls_and_clocks.py" in caplog.text and "time.sleep(5)" in caplog.text


@activity(heartbeat_timeout=30, start_to_close_timeout=60)
async def held(ctx: ActivityContext) -> int:
    begun.set()
    await release.wait()
    return ctx.attempt


@workflow
async def holds(ctx: WorkflowContext) -> int:
    return await held()


@workflow
async def sleeps(ctx: WorkflowContext, hours: int) -> str:
    await ctx.sleep(hours * HOUR)
    return f"slept {hours} hours"


class Rig:
    """An engine, a client and a worker on one clock that tests move."""

    def __init__(self) -> None:
        self.clock = ManualClock()

    async def __aenter__(self) -> Rig:
        self.engine = await open_engine(MemoryStorage(), clock=self.clock)
        self.client = WorkflowClient(self.engine.frontend(in_process=True), clock=self.clock)
        self.worker = WorkflowWorker(
            self.client, workflows=[holds, sleeps], activities=[held], max_concurrent_workflow_tasks=2, max_concurrent_activity_tasks=2
        )
        await self.worker.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.worker.stop()
        await self.engine.close()

    async def ends(self, result: asyncio.Future[Any], seconds: float) -> Any:
        """Moves the clock on until the result is there, for at most that time."""
        for _ in range(100):
            if result.done():
                break
            await self.clock.advance(seconds / 100)
        assert result.done(), "not in time"
        return result.result()


async def test_a_workflow_sleeps_by_the_clock() -> None:
    async with Rig() as rig:
        result = asyncio.ensure_future(rig.client.execute_workflow(sleeps, 7, id="long"))
        await rig.clock.advance(7 * HOUR - 60)
        assert not result.done()
        assert await rig.ends(result, 120) == "slept 7 hours"


async def test_a_machine_that_was_suspended_times_nothing_out() -> None:
    async with Rig() as rig:
        result = asyncio.ensure_future(rig.client.execute_workflow(holds, id="suspended"))
        await begun.wait()
        rig.clock.jump(3600)
        release.set()
        assert await rig.ends(result, 2) == 1


async def test_an_activity_that_is_silent_after_a_suspension_does_time_out() -> None:
    async with Rig() as rig:
        result = asyncio.ensure_future(rig.client.execute_workflow(holds, id="silent"))
        await begun.wait()
        begun.clear()
        rig.clock.jump(3600)
        for _ in range(200):
            await rig.clock.advance(0.5)
            if begun.is_set():
                break
        release.set()
        assert await rig.ends(result, 5) == 2


async def test_timers_that_fell_due_in_a_suspension_fire_after_it() -> None:
    async with Rig() as rig:
        results = [asyncio.ensure_future(rig.client.execute_workflow(sleeps, hours, id=f"{hours}")) for hours in (1, 2, 3)]
        await rig.clock.advance(10)
        rig.clock.jump(10 * HOUR)
        assert [await rig.ends(result, 300) for result in results] == ["slept 1 hours", "slept 2 hours", "slept 3 hours"]


@pytest.mark.parametrize("back", [0.5, HOUR, 10 * HOUR])
async def test_a_clock_that_is_set_back_stops_nothing(back: float) -> None:
    async with Rig() as rig:
        held_result = asyncio.ensure_future(rig.client.execute_workflow(holds, id="held"))
        await begun.wait()
        asleep = asyncio.ensure_future(rig.client.execute_workflow(sleeps, 1, id="asleep"))
        await rig.clock.advance(5)
        rig.clock.jump(-back)
        release.set()
        assert await rig.ends(held_result, 10) == 1
        assert await rig.ends(asleep, HOUR + back + 60) == "slept 1 hours"


class FullDisk(apsw.VFS):
    """A disk on which nothing can be written while it is full."""

    def __init__(self) -> None:
        super().__init__("full-disk", "")
        self.full = False

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return FullFile(self, name, flags)


class FullFile(apsw.VFSFile):
    def __init__(self, disk: FullDisk, name: Any, flags: list[int]) -> None:
        self.disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self.disk.full:
            raise apsw.FullError("planned: the disk is full")
        super().xWrite(data, offset)


@pytest.fixture
def disk() -> Iterator[FullDisk]:
    disk = FullDisk()
    yield disk
    disk.unregister()


@workflow
async def adds(ctx: WorkflowContext) -> int:
    """Sums signals until a zero comes; sleeps a little after each."""
    total = 0
    while number := await ctx.await_signal(Signal("add", int)):
        await ctx.sleep(0.05)
        total += number
    return total


async def test_a_full_disk_is_told_and_loses_nothing(
    disk: FullDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "perdure")
    monkeypatch.setattr(calls, "RETRY_SECONDS", 0.3)
    storage = SQLiteStorage(tmp_path / "runs.db", vfs="full-disk")
    engine = await open_engine(storage)
    client = WorkflowClient(engine.frontend(in_process=True))
    async with WorkflowWorker(client, workflows=[adds], activities=[held]):
        for number in range(5):
            await client.start_workflow(adds, id=f"adds-{number}", task_timeout=1)
            await client.signal_workflow(f"adds-{number}", Signal("add", int), 10)
        disk.full = True
        for number in range(5):
            with pytest.raises(EngineUnavailable, match=r"the storage failed .*; try again"):
                await client.signal_workflow(f"adds-{number}", Signal("add", int), 100)
        with pytest.raises(EngineUnavailable):
            await client.start_workflow(adds, id="refused")
        disk.full = False
        for number in range(5):
            await insist(lambda number=number: client.signal_workflow(f"adds-{number}", Signal("add", int), 1))
            await insist(lambda number=number: client.signal_workflow(f"adds-{number}", Signal("add", int), 0))
        async with asyncio.timeout(50):
            assert [await client.result(f"adds-{number}") for number in range(5)] == [11] * 5
    await engine.close()
    again = SQLiteStorage(tmp_path / "runs.db")
    again.open()
    assert {shown.workflow_id for shown in again.list_runs("default", None, 100)} == {f"adds-{number}" for number in range(5)}
    again.close()


async def insist(call: Callable[[], Any]) -> Any:
    while True:
        try:
            return await call()
        except EngineUnavailable:
            continue
