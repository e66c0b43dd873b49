"""Proves what becomes of a group, and of the storage, when the disk is full or fails at any write or sync."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from perdure.model.errors import StorageError
from perdure.storage import SQLiteStorage
from perdure.storage.conformance.rows import run_id, start, step
from perdure.storage.contract import Committed
from perdure.storage.sqlite import commits

YES, FAILED, UNKNOWN = Committed.YES, Committed.FAILED, Committed.UNKNOWN


class Faults:
    """Fails the calls numbered `first` to `last` (from 1) that a file of this suffix receives, with `error`."""

    def __init__(self) -> None:
        self.plan: dict[tuple[str, str], tuple[int, int, type[apsw.Error]]] = {}
        self.calls: dict[tuple[str, str], int] = {}

    def fail(self, call: str, suffix: str, error: type[apsw.Error], *, first: int = 1, last: int = 10**9) -> None:
        self.plan[call, suffix] = first, last, error
        self.calls[call, suffix] = 0

    def heal(self) -> None:
        self.plan.clear()

    def check(self, call: str, name: str) -> None:
        for (failing, suffix), (first, last, error) in self.plan.items():
            if failing == call and name.endswith(suffix):
                self.calls[failing, suffix] += 1
                if first <= self.calls[failing, suffix] <= last:
                    raise error(f"planted: {call} of {Path(name).name}")


class FaultyVFS(apsw.VFS):
    def __init__(self, faults: Faults) -> None:
        super().__init__("faulty", "")
        self.faults = faults

    def xOpen(self, name: Any, flags: list[int]) -> FaultyFile:  # noqa: N802
        return FaultyFile(name, flags, self.faults)


class FaultyFile(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], faults: Faults) -> None:
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.faults = faults
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.faults.check("write", self.name)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.faults.check("sync", self.name)
        super().xSync(flags)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self.faults.check("read", self.name)
        return super().xRead(amount, offset)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def storage(tmp_path: Path, faults: Faults) -> Iterator[SQLiteStorage]:
    vfs = FaultyVFS(faults)
    storage = SQLiteStorage(tmp_path / "runs.db", vfs="faulty")
    storage.open()
    storage.commit([start(1, "order-1")])
    yield storage
    faults.heal()
    storage.close()
    vfs.unregister()


def test_a_full_disk_fails_the_group_and_nothing_else(storage: SQLiteStorage, faults: Faults, caplog: pytest.LogCaptureFixture) -> None:
    faults.fail("write", "-wal", apsw.FullError)
    assert storage.commit([start(2, "order-2"), step(1, 2, b"<two>")]) == [FAILED, FAILED]
    assert "the disk is full: free some space" in caplog.text
    run = storage.load_run(run_id(1))
    assert run is not None
    assert run.row.version == 1
    faults.heal()
    assert storage.commit([start(2, "order-2"), step(1, 2, b"<two>")]) == [YES, YES]


@pytest.mark.parametrize("call", ["write", "sync"])
@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
def test_a_disk_that_fails_once_at_any_call_leaves_a_certain_answer(
    storage: SQLiteStorage, faults: Faults, call: str, error: type[apsw.Error], caplog: pytest.LogCaptureFixture
) -> None:
    """The n-th call fails, and the next works: each answer is YES or FAILED, and the contents agree with it."""
    answers: list[Committed] = []
    for number in range(2, 30):
        faults.fail(call, "-wal", error, first=number - 1, last=number - 1)
        answer = storage.commit([start(number, f"order-{number}"), step(number, 2, b"<two>" * 2000)])
        assert answer[0] is answer[1]
        assert (storage.load_run(run_id(number)) is not None) is (answer[0] is YES)
        answers.append(answer[0])
    assert set(answers) == {YES, FAILED}
    faults.heal()
    assert storage.commit([start(100, "order-100")]) == [YES]


def test_a_disk_that_stays_broken_gives_unknown_then_refuses_then_recovers(
    storage: SQLiteStorage, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    faults.fail("sync", "-wal", apsw.IOError)
    assert storage.commit([start(2, "order-2")]) == [UNKNOWN]
    assert "it is unknown whether a group was written" in caplog.text
    assert storage.commit([start(3, "order-3")]) == [FAILED]
    assert storage.load_run(run_id(2)) is None
    faults.heal()
    assert storage.commit([start(2, "order-2"), start(3, "order-3")]) == [YES, YES]


def test_a_failing_checkpoint_costs_no_answer(
    storage: SQLiteStorage, faults: Faults, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The database file cannot be written: commits go on in the log, and are there when it heals."""
    monkeypatch.setattr(commits, "CHECKPOINT_PAGES", 5)
    assert storage._committer is not None
    storage._committer._attend_at = 5
    faults.fail("write", ".db", apsw.FullError)
    for number in range(2, 20):
        assert storage.commit([start(number, f"order-{number}")]) == [YES]
    assert "cannot be checkpointed" in caplog.text
    faults.heal()
    assert storage.commit([start(20, "order-20")]) == [YES]
    storage.close()
    storage.open()
    assert storage.sizes()["runs"] == 20


def test_a_read_that_fails_is_a_storage_error(storage: SQLiteStorage, faults: Faults) -> None:
    faults.fail("read", "-wal", apsw.IOError)
    with pytest.raises(StorageError, match=r"runs\.db cannot be read: the disk failed"):
        storage.load_run(run_id(1))
    faults.heal()
    assert storage.load_run(run_id(1)) is not None


def test_a_value_that_cannot_be_stored_harms_no_neighbour(storage: SQLiteStorage, caplog: pytest.LogCaptureFixture) -> None:
    group = [start(2, "order-2"), start(3, "lone surrogate \ud800"), step(1, 2, b"<two>", due=2**70), start(4, "order-4")]
    assert storage.commit(group) == [YES, FAILED, FAILED, YES]
    assert "cannot be stored" in caplog.text


def test_a_lock_by_another_program_fails_the_group(
    storage: SQLiteStorage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage._owned().set_busy_timeout(1)
    browser = apsw.Connection(storage.path)
    browser.execute("BEGIN IMMEDIATE")
    assert storage.commit([start(2, "order-2")]) == [FAILED]
    assert "another program holds a lock" in caplog.text
    browser.execute("ROLLBACK")
    browser.close()
    assert storage.commit([start(2, "order-2")]) == [YES]


def test_a_failure_while_opening_gives_the_lock_back(tmp_path: Path, faults: Faults) -> None:
    vfs = FaultyVFS(faults)
    storage = SQLiteStorage(tmp_path / "new.db", vfs="faulty")
    faults.fail("write", "-wal", apsw.FullError)
    with pytest.raises(StorageError, match="cannot be opened: the disk is full"):
        storage.open()
    faults.heal()
    storage.open()
    assert storage.commit([start(1, "order-1")]) == [YES]
    storage.close()
    vfs.unregister()
