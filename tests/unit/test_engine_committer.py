"""Proves how transactions reach the storage: in whose thread, in which groups, and what their callers hear."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from perdure.engine import lone_writes
from perdure.engine.committer import Committer
from perdure.engine.lone_writes import STEADY, WARY_GROUPS, LoneWrites
from perdure.model.errors import StorageError
from perdure.storage import MemoryStorage
from perdure.storage.conformance.rows import start, step
from perdure.storage.contract import Committed, Transaction

QUICK = lone_writes.QUICK_SECONDS
LOOP, WRITER = "loop", "writer"


class Watched(MemoryStorage):
    """Notes in which thread each group is written."""

    blocking = True
    refuses = False
    breaks = False

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[str, int]] = []

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        self.written.append((LOOP if threading.current_thread() is threading.main_thread() else WRITER, len(group)))
        if self.breaks:
            raise StorageError("planned")
        return super().commit(group)

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed] | None:
        return None if self.refuses else self.commit(group)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone_writes, "QUICK_SECONDS", 60.0)  # however slow the machine is


@pytest.fixture
def storage() -> Watched:
    storage = Watched()
    storage.open()
    return storage


@pytest.fixture
async def committer(storage: Watched) -> AsyncIterator[Committer]:
    committer = Committer(storage)
    yield committer
    await committer.settle()
    committer.close()


async def commit(committer: Committer, *transactions: Transaction) -> list[Committed]:
    """Submits them in one turn of the loop."""
    answers = [asyncio.get_running_loop().create_future() for _ in transactions]
    for transaction, answer in zip(transactions, answers, strict=True):
        committer.submit(transaction, answer.set_result)
        assert not answer.done()
    return await asyncio.gather(*answers)


async def settle_in(committer: Committer, storage: Watched) -> int:
    """One run at work, until the loop writes; returns the version that comes next."""
    assert await commit(committer, start(1, "order-1")) == [Committed.YES]
    version = 2
    while storage.written[-1][0] == WRITER:
        assert await commit(committer, step(1, version, b"<two>")) == [Committed.YES]
        version += 1
        assert version < WARY_GROUPS + 10
    return version


async def test_what_is_alone_is_written_by_the_loop_once_the_disk_is_known_to_be_quick(committer: Committer, storage: Watched) -> None:
    await settle_in(committer, storage)
    assert storage.written == [(WRITER, 1)] * WARY_GROUPS + [(LOOP, 1)]
    assert (committer.groups, committer.transactions) == (WARY_GROUPS + 1, WARY_GROUPS + 1)


async def test_what_comes_together_goes_to_the_writer_as_one_group(committer: Committer, storage: Watched) -> None:
    version = await settle_in(committer, storage)
    assert await commit(committer, step(1, version, b"<a>"), start(2, "order-2"), start(3, "order-3")) == [Committed.YES] * 3
    assert storage.written[-1] == (WRITER, 3)


async def test_what_the_storage_will_not_do_at_once_goes_to_the_writer(committer: Committer, storage: Watched) -> None:
    version = await settle_in(committer, storage)
    storage.refuses = True
    assert await commit(committer, step(1, version, b"<a>")) == [Committed.YES]
    assert storage.written[-1] == (WRITER, 1)


async def test_a_storage_that_breaks_under_the_loop_leaves_the_outcome_unknown(
    committer: Committer, storage: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    version = await settle_in(committer, storage)
    storage.breaks = True
    assert await commit(committer, step(1, version, b"<a>")) == [Committed.UNKNOWN]
    assert storage.written[-1] == (LOOP, 1)
    assert "did not say what became of 1 transactions" in caplog.text


# --- the judgement


def judged(script: Sequence[Transaction], prepare: Callable[[LoneWrites], None] = lambda writes: None) -> list[bool]:
    """What is said of each of these, one after the other, on a quick disk that is known."""
    writes = LoneWrites()
    for version in range(2, WARY_GROUPS + 2):
        writes.note(step(9, version), 1, QUICK / 2)
    prepare(writes)
    said = []
    for transaction in script:
        said.append(writes.suit(transaction))
        writes.note(transaction, 1, QUICK / 2)
    return said


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone_writes, "QUICK_SECONDS", QUICK)


@pytest.mark.usefixtures("exact")
def test_one_run_after_the_other_is_written_by_the_loop() -> None:
    script = [step(run, version) for run in range(1, 30) for version in range(2, 6)]
    assert all(judged(script))


@pytest.mark.usefixtures("exact")
def test_runs_that_take_turns_are_left_to_the_writer() -> None:
    said = judged([step(1 + number % 2, 2 + number // 2) for number in range(40)])
    assert not any(said[STEADY:])


@pytest.mark.usefixtures("exact")
def test_a_slow_write_makes_it_wary() -> None:
    said = judged([step(9, version) for version in range(60, 180)], lambda writes: writes.note(step(9, 59), 1, QUICK * 2))
    assert said == [False] * WARY_GROUPS + [True] * (120 - WARY_GROUPS)


@pytest.mark.usefixtures("exact")
def test_a_shared_group_says_that_more_is_at_work() -> None:
    said = judged([step(9, version) for version in range(60, 64)], lambda writes: writes.note(step(9, 59), 2, QUICK / 2))
    assert said == [False, True, True, True]


async def test_what_comes_after_the_end_is_not_written_and_is_told_so(storage: Watched) -> None:
    committer = Committer(storage)
    committer.close()
    async with asyncio.timeout(30):
        assert await commit(committer, start(1, "order-1")) == [Committed.FAILED]
        await committer.settle()
    assert storage.written == []
