"""Proves law 5: whatever the storage answers, nothing is shown that is not durable, what was acknowledged is kept, and all goes on.

A mixed load runs while transactions fail, conflict, are lost or written with an unknown outcome, groups raise and reads fail, by a
seeded plan. Afterwards every workflow has its result, each history folds to the live state, and no poller is lost.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
from temporalio.api.history.v1 import History
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure import ClientError, EngineUnavailable, WorkflowClient, WorkflowWorker
from perdure.engine import background, live_runs, lone_writes, open_engine
from perdure.engine.committer import Committer
from perdure.engine.engine import Engine
from perdure.engine.loading import fold
from perdure.model.ids import run_id_bytes
from perdure.storage import MemoryStorage, SQLiteStorage, WorkflowStorage
from perdure.storage.contract import Committed, Transaction, join_history

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import mixed_load
from core_support import check_history, snapshot
from faulty_storage import FaultyStorage, Witness
from mixed_load import ACTIVITIES, KINDS, SIGNALS_EACH, WORKFLOWS, expected, start_one

EACH = 4


@pytest.fixture(params=["memory", "sqlite"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WorkflowStorage]:
    yield MemoryStorage() if request.param == "memory" else SQLiteStorage(tmp_path / "runs.db")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.02)
    caplog.set_level("CRITICAL")


async def insist(call: Callable[[], Any]) -> Any:
    """A user who tries again, as the message says."""
    while True:
        try:
            return await call()
        except EngineUnavailable:
            continue


async def drive(client: WorkflowClient, kind: str, number: int, signals: dict[str, int]) -> object:
    """One workflow from start to result; `signals` gets what was acknowledged."""
    handle = client.get_workflow_handle(f"{kind}-{number}")
    with suppress(ClientError):  # a start that was written after all is met again
        await insist(lambda: start_one(client, kind, number))
    if kind == "mailbox":
        for value in range(SIGNALS_EACH):
            request_id = f"{handle.id}/{value}"
            await insist(lambda value=value, request_id=request_id: handle.signal(mixed_load.Mailbox.add, value, request_id=request_id))
            signals[request_id] = value
            if value % 2:
                await insist(lambda: handle.query(mixed_load.Mailbox.sum_so_far))
    if kind == "cancel":
        await asyncio.sleep(0.03)
        await insist(handle.cancel)
    return await insist(handle.result)


@pytest.mark.parametrize(("seed", "in_process"), [(1, True), (2, True), (3, True), (4, True), (5, False), (6, False)])
async def test_nothing_is_shown_early_and_nothing_is_lost(inner: WorkflowStorage, seed: int, in_process: bool) -> None:
    await go_through(inner, seed, in_process)


@pytest.mark.parametrize(("seed", "in_process"), [(8, True), (9, False)])
async def test_the_same_where_memory_holds_one_run(
    inner: WorkflowStorage, seed: int, in_process: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run leaves as soon as nothing of it is under way, and comes back in the middle of whatever it does."""
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 1)
    await go_through(inner, seed, in_process)


async def test_a_run_does_not_make_room_for_the_one_that_replaces_it(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the transaction is being made of both."""
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 1)
    service = engine.frontend(in_process=True)
    for number in range(3):
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id=str(number))
        request.workflow_type.name, request.task_queue.name = "t", "q"
        request.workflow_id_conflict_policy = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
        assert (await service.start_workflow_execution(request)).started
    assert len(engine.runs) <= 2


async def test_a_run_that_was_read_is_the_one_in_memory(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though many were read at once, and most had to make room for the others again: a change to one that has left is seen by nobody."""
    client = WorkflowClient(engine.frontend(in_process=True))
    for number in range(5):
        await start_one(client, "steps", number)
    started = list(engine.runs.in_memory())
    for live in started:
        engine.runs.evict(live)
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 1)

    async def is_in_memory(run_id: str) -> bool:
        live = await engine.runs.load(run_id)
        return live is not None and engine.runs.get(run_id) is live

    async with asyncio.timeout(30):
        assert all(await asyncio.gather(*(is_in_memory(live.run.run_id) for live in started)))


async def go_through(inner: WorkflowStorage, seed: int, in_process: bool) -> None:
    print(f"seed {seed}")
    storage = FaultyStorage(inner, seed)
    engine = await open_engine(storage)  # type: ignore[arg-type]
    witness = Witness(engine.frontend(in_process=in_process), inner, in_process=in_process)
    client = WorkflowClient(witness)  # type: ignore[arg-type]
    runs: Counter[tuple[Any, ...]] = Counter()
    mixed_load.journal = lambda *entry: runs.update([entry])
    worker = WorkflowWorker(client, workflows=WORKFLOWS, activities=ACTIVITIES, poll_error_backoff=0.01)
    await worker.start()
    signals: dict[str, dict[str, int]] = {}
    work = [(kind, number) for number in range(EACH) for kind in KINDS]
    storage.arm()
    try:
        async with asyncio.timeout(50):
            results = await asyncio.gather(*(drive(client, *one, signals.setdefault("{}-{}".format(*one), {})) for one in work))
        storage.disarm()
        for (kind, number), result in zip(work, results, strict=True):
            assert result == expected(kind, number, signals[f"{kind}-{number}"])[0], (kind, number, result)
        check_runs_once(runs)
        await check_pollers(engine, worker, in_process)
        await engine.committer.settle()
        live = {each.run.run_id: snapshot(each.run) for each in engine.runs._runs.values()}
    finally:
        print(dict(storage.faults), dict(witness.seen))
        storage.disarm()
        await worker.stop()
        await engine.close()
    assert sum(storage.faults.values()) >= 8
    check_stored(inner, live)


async def test_the_same_where_the_loop_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One workflow after the other, so that their transactions are alone, and nearly all are written by the loop itself."""
    monkeypatch.setattr(lone_writes, "QUICK_SECONDS", 60.0)
    monkeypatch.setattr(lone_writes, "WARY_GROUPS", 0)
    inner = SQLiteStorage(tmp_path / "runs.db")
    storage = FaultyStorage(inner, 7)
    engine = await open_engine(storage)  # type: ignore[arg-type]
    client = WorkflowClient(Witness(engine.frontend(in_process=True), inner))  # type: ignore[arg-type]
    runs: Counter[tuple[Any, ...]] = Counter()
    mixed_load.journal = lambda *entry: runs.update([entry])
    worker = WorkflowWorker(client, workflows=WORKFLOWS, activities=ACTIVITIES, poll_error_backoff=0.01)
    await worker.start()
    storage.arm()
    try:
        async with asyncio.timeout(50):
            for number in range(2):
                for kind in KINDS:
                    signals: dict[str, int] = {}
                    assert await drive(client, kind, number, signals) == expected(kind, number, signals)[0], (kind, number)
    finally:
        print(dict(storage.faults))
        storage.disarm()
        await worker.stop()
        await engine.close()
    check_runs_once(runs)
    assert storage.at_once > 50
    assert sum(storage.faults.values()) >= 5
    check_stored(inner, {}, each=2)


async def test_an_answer_before_the_commit_would_be_noticed(inner: WorkflowStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the engine answers when it hands a transaction to the committer, which writes it later."""
    handed: list[Transaction] = []

    def hasty(committer: Committer, transaction: Transaction, done: Callable[[Committed], None]) -> None:
        done(Committed.YES)
        handed.append(transaction)

    monkeypatch.setattr(Committer, "submit", hasty)
    engine = await open_engine(inner)
    client = WorkflowClient(Witness(engine.frontend(in_process=True), inner))  # type: ignore[arg-type]
    try:
        with pytest.raises(AssertionError, match="was shown and is not stored"):
            await start_one(client, "steps", 1)
        assert handed
    finally:
        await engine.close()


def check_runs_once(runs: Counter[tuple[Any, ...]]) -> None:
    """No attempt ran twice: an attempt's token is given to one worker only."""
    assert {run: count for run, count in runs.items() if count > 1} == {}


async def check_pollers(engine: Engine, worker: WorkflowWorker, in_process: bool) -> None:
    """Every slot of the worker polls again; elsewhere, as many for each of its three queues as may poll at once."""
    config = worker.config
    slots = config.max_concurrent_workflow_tasks + config.max_concurrent_activity_tasks
    wanted = slots if in_process else 3 * config.max_concurrent_polls
    async with asyncio.timeout(30):
        while sum(not poller.future.done() for queue in engine.matching.queues() for poller in queue.pollers) < wanted:
            await asyncio.sleep(0.01)


def check_stored(storage: WorkflowStorage, live: dict[str, dict[str, Any]], each: int = EACH) -> None:
    """Every history is legal and folds; where the run was in memory, to the state that was there."""
    storage.open()
    try:
        shown = storage.list_runs("default", None, 10_000)
        assert len(shown) == each * (len(KINDS) + 2)  # "rounds" are three runs each
        for row in shown:
            stored = storage.load_run(row.run_id)
            assert stored is not None
            events = list(History.FromString(join_history(stored.history)).events)
            check_history(events)
            run = fold(stored).run
            assert run.closed and not stored.activities and not stored.buffered
            assert (stored.row.status, stored.row.next_event_id, stored.row.due) == (run.status, run.next_event_id, None)
            assert row.status == run.status
            if run.run_id in live:
                assert snapshot(run) == live[run.run_id]
        assert {run_id_bytes(run_id) for run_id in live} <= {row.run_id for row in shown}
    finally:
        storage.close()
