"""Proves that what one run does to another is done once: through power cuts at any commit, failing storages, and full memory."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.history.v1 import History

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from faulty_storage import FaultyStorage
from scripted_family import ALL_DONE, CHILDREN, Worker, all_stand, check_once, check_stored_once, kinds, start_all, stored

from perdure.engine import background, between_runs, live_runs, open_engine, timer_queue
from perdure.engine import deliveries as deliveries_module
from perdure.engine.deliveries import Deliveries
from perdure.engine.engine import Engine
from perdure.model.errors import StorageError
from perdure.model.ids import run_id_text
from perdure.model.rpc import RpcError
from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage
from perdure.storage.contract import Committed, Transaction


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(deliveries_module, "BACKOFF_FIRST_SECONDS", 0.01)
    caplog.set_level("CRITICAL")


class Cut:
    """A storage that loses its power after some groups: nothing is written any more."""

    def __init__(self, inner: WorkflowStorage, groups: int) -> None:
        self.inner = inner
        self.left = groups
        self.dark = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        if self.left <= 0:
            self._loop.call_soon_threadsafe(self.dark.set)
            raise StorageError("the power is gone")
        self.left -= 1
        return self.inner.commit(group)

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed]:
        return self.commit(group)


async def wait_for_all(storage: WorkflowStorage) -> None:
    """Returns when all is done."""
    async with asyncio.timeout(30):
        while not all_stand(storage, ALL_DONE):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", range(6))
async def test_power_cuts_at_any_commit(tmp_path: Path, seed: int) -> None:
    """The engine is stopped after a few commits and opened again on what was written, until all is done."""
    print(f"seed {seed}")
    roll = random.Random(seed)
    cuts = 0
    while True:
        storage = Cut(SQLiteStorage(tmp_path / "runs.db"), roll.randint(1, 9) if cuts < 25 else 10**6)
        engine = await open_engine_insisting(storage)
        if engine is not None:
            worker = Worker(engine.frontend(in_process=True))
            finished = asyncio.create_task(run_all(engine, storage))
            dark = asyncio.create_task(storage.dark.wait())
            await asyncio.wait((finished, dark), return_when=asyncio.FIRST_COMPLETED)
            done = finished.done()
            for task in (finished, dark):
                task.cancel()
            await asyncio.gather(finished, dark, return_exceptions=True)
            await worker.stop()
            await engine.close()
            if done and not storage.dark.is_set():
                finished.result()
                break
        cuts += 1
    assert cuts >= 3
    check_stored_once(tmp_path / "runs.db")


async def open_engine_insisting(storage: Any) -> Engine | None:
    try:
        return await open_engine(storage)
    except (StorageError, RpcError):  # the power went while it opened
        storage.inner.close()
        return None


async def run_all(engine: Engine, storage: Any) -> None:
    await start_all(engine.frontend(in_process=True))
    await wait_for_all(storage)


async def test_what_one_engine_does_not_deliver_the_next_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The crash between a commit and what follows it, everywhere: one engine delivers nothing, the next one finds everything."""
    path = tmp_path / "runs.db"
    with monkeypatch.context() as deaf:
        deaf.setattr(Deliveries, "take_up", lambda self, live: None)
        engine = await open_engine(SQLiteStorage(path))
        worker = Worker(engine.frontend(in_process=True))
        await start_all(engine.frontend(in_process=True))
        while kinds(stored(engine.storage)["parent"][0])["StartChildWorkflowExecutionInitiated"] < CHILDREN:
            await asyncio.sleep(0.01)
        while kinds(stored(engine.storage)["leaver"][0])["StartChildWorkflowExecutionInitiated"] < CHILDREN:
            await asyncio.sleep(0.01)
        await worker.stop()
        await engine.close()
    storage = SQLiteStorage(path)
    storage.open()
    assert set(stored(storage)) == {"receiver", "quitter", "parent", "leaver"}  # law 3, and nothing more
    assert len(storage.due_runs(1, 10)) == 2
    storage.close()
    engine = await open_engine(SQLiteStorage(path))
    worker = Worker(engine.frontend(in_process=True))
    await wait_for_all(engine.storage)
    await worker.stop()
    await engine.close()
    check_stored_once(path)


async def test_closed_runs_find_what_they_owe_when_the_engine_opens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that closed without telling its parent, and a parent that closed without ending its children."""
    path = tmp_path / "runs.db"
    honest = Deliveries.take_up

    def deaf_when_closed(self: Deliveries, live: Any) -> None:
        if not live.run.closed:
            honest(self, live)

    with monkeypatch.context() as deaf:
        deaf.setattr(Deliveries, "take_up", deaf_when_closed)
        engine = await open_engine(SQLiteStorage(path))
        worker = Worker(engine.frontend(in_process=True))
        await start_all(engine.frontend(in_process=True))
        owing = CHILDREN + 2  # the parent's children have closed, the leaver and the quitter too; the quitter owes nobody
        async with asyncio.timeout(50):
            while len(engine.storage.due_runs(1, 100)) < owing - 1:
                await asyncio.sleep(0.01)
        await worker.stop()
        await engine.close()
    engine = await open_engine(SQLiteStorage(path))
    worker = Worker(engine.frontend(in_process=True))
    await wait_for_all(engine.storage)
    await worker.stop()
    await engine.close()
    check_stored_once(path)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_storage_faults_delay_and_double_nothing(kind: str, tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    inner: WorkflowStorage = MemoryStorage() if kind == "memory" else SQLiteStorage(tmp_path / "runs.db")
    storage = FaultyStorage(inner, seed)
    engine = await open_engine(storage)  # type: ignore[arg-type]
    worker = Worker(engine.frontend(in_process=True))
    storage.arm()
    try:
        await start_all(engine.frontend(in_process=True))
        await wait_for_all(inner)
        storage.disarm()
        check_once(stored(inner))
        async with asyncio.timeout(30):
            while engine.deliveries._senders or engine.deliveries._tasks:
                await asyncio.sleep(0.01)
    finally:
        print(dict(storage.faults))
        storage.disarm()
        await worker.stop()
        await engine.close()
    assert sum(storage.faults.values()) >= 3


async def test_runs_that_leave_memory_while_they_wait_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four runs in memory, and forty that have to do with each other."""
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 4)
    monkeypatch.setattr(deliveries_module, "IN_FLIGHT_MAX", 3)
    monkeypatch.setattr(deliveries_module, "OF_ONE_SENDER_MAX", 2)
    monkeypatch.setattr(between_runs, "ENDED_TOGETHER_MAX", 1)
    engine = await open_engine(MemoryStorage())
    worker = Worker(engine.frontend(in_process=True))
    await start_all(engine.frontend(in_process=True))
    await wait_for_all(engine.storage)
    check_once(stored(engine.storage))
    await worker.stop()
    await engine.close()


async def test_senders_beyond_the_bound_are_found_by_the_timer_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries_module, "SENDERS_MAX", 1)
    monkeypatch.setattr(timer_queue, "HORIZON_SECONDS", 0.2)
    monkeypatch.setattr(timer_queue, "RETRY_SECONDS", 0.1)
    engine = await open_engine(MemoryStorage())
    worker = Worker(engine.frontend(in_process=True))
    await start_all(engine.frontend(in_process=True))
    await wait_for_all(engine.storage)
    check_once(stored(engine.storage))
    await worker.stop()
    await engine.close()


async def test_a_child_and_what_its_parent_hears_are_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is delivered before its sender's commit, and nothing without its answer: seen in each transaction that is written."""
    storage = MemoryStorage()
    initiated: set[str] = set()
    together = 0
    honest = storage.commit

    def watch(group: Sequence[Transaction]) -> list[Committed]:
        nonlocal together
        for transaction in group:
            parts = {run_id_text(write.row.run_id): History.FromString(write.history).events for write in transaction.writes}
            for events in parts.values():
                begun = events[0].workflow_execution_started_event_attributes if events else None
                if begun is not None and begun.HasField("parent_workflow_execution"):
                    parent = begun.parent_workflow_execution.run_id
                    assert parent in parts and parent in initiated
                    together += 1
        answers = honest(group)
        for transaction in group:
            for write in transaction.writes:
                if kinds(History.FromString(write.history).events)["StartChildWorkflowExecutionInitiated"]:
                    initiated.add(run_id_text(write.row.run_id))
        return answers

    monkeypatch.setattr(storage, "commit", watch)
    engine = await open_engine(storage)
    worker = Worker(engine.frontend(in_process=True))
    await start_all(engine.frontend(in_process=True))
    await wait_for_all(storage)
    await worker.stop()
    await engine.close()
    assert together == 2 * CHILDREN
