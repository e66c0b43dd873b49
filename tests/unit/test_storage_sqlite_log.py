"""Proves that readers and the writer do not disturb each other, and that the write-ahead log stays bounded."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from perdure.storage import SQLiteStorage
from perdure.storage.conformance.rows import activity, run_id, start, step
from perdure.storage.contract import Committed, join_history
from perdure.storage.sqlite import commits
from perdure.storage.sqlite.database import BUSY_MS


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteStorage]:
    monkeypatch.setattr(commits, "CHECKPOINT_PAGES", 40)
    monkeypatch.setattr(commits, "LOG_PAGES_MAX", 160)
    monkeypatch.setattr(commits, "LOG_WAIT_MS", 1)
    storage = SQLiteStorage(tmp_path / "runs.db")
    storage.open()
    storage.commit([start(1, "order-1")])
    yield storage
    storage.close()


def write_steps(storage: SQLiteStorage, first: int, last: int) -> None:
    for version in range(first, last):
        closed = [3 * (version - 2) + 1] if version > 2 else []
        group = [step(1, version, b"<two>" * 400, activities=[activity(3 * (version - 1) + 1)], closed=closed)]
        assert storage.commit(group) == [Committed.YES]


def test_readers_see_whole_transactions_while_the_writer_writes(storage: SQLiteStorage) -> None:
    written, seen, wrong = threading.Event(), list[int](), list[object]()

    def read() -> None:
        while not written.is_set():
            run = storage.load_run(run_id(1))
            assert run is not None
            steps = (len(join_history(run.history)) - len(b"<start>")) // (5 * 400)
            expected = [activity(3 * (run.row.version - 1) + 1)] if run.row.version > 1 else []
            if steps != run.row.version - 1 or run.activities != expected:
                wrong.append(run)
            seen.append(run.row.version)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    write_steps(storage, 2, 150)
    written.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(set(seen)) > 1


def test_the_log_starts_again_after_each_checkpoint(storage: SQLiteStorage) -> None:
    write_steps(storage, 2, 100)
    assert storage.sizes()["wal_bytes"] < 100 * 4120


def test_a_reader_that_does_not_end_holds_back_the_log_but_no_commit(storage: SQLiteStorage, caplog: pytest.LogCaptureFixture) -> None:
    storage._owned().pragma("journal_size_limit", 80 * 4120)
    browser = apsw.Connection(storage.path)
    browser.execute("BEGIN")
    browser.execute("SELECT count(*) FROM runs").fetchall()
    write_steps(storage, 2, 60)
    assert "cannot be checkpointed" in caplog.text
    assert storage.sizes()["wal_bytes"] > 160 * 4120
    browser.execute("ROLLBACK")
    browser.close()
    write_steps(storage, 60, 90)
    assert storage.sizes()["wal_bytes"] < 160 * 4120


def test_a_reader_thread_takes_its_connection_with_it(storage: SQLiteStorage) -> None:
    def read() -> None:
        assert storage.load_run(run_id(1)) is not None

    for _ in range(5):
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    assert len(storage._readers._all) == 0


def test_a_commit_at_once_leaves_the_checkpoint_to_the_next_commit(storage: SQLiteStorage) -> None:
    version = 2
    while storage.commit_at_once([step(1, version, b"<two>" * 400)]) is not None:
        version += 1
        assert version < 100
    assert storage.commit_at_once([step(1, version, b"<two>" * 400)]) is None
    assert storage.commit([step(1, version, b"<two>" * 400)]) == [Committed.YES]
    assert storage.commit_at_once([step(1, version + 1, b"<two>" * 400)]) == [Committed.YES]


def test_a_commit_at_once_waits_for_no_other_program(storage: SQLiteStorage) -> None:
    browser = apsw.Connection(storage.path)
    browser.execute("BEGIN IMMEDIATE")
    assert storage.commit_at_once([step(1, 2, b"<two>")]) is None
    browser.execute("ROLLBACK")
    browser.close()
    assert storage.commit_at_once([step(1, 2, b"<two>")]) == [Committed.YES]
    assert storage._owned().pragma("busy_timeout") == BUSY_MS


def test_a_commit_at_once_that_cannot_be_done_is_left_to_commit(storage: SQLiteStorage) -> None:
    assert storage.commit_at_once([start(1, "lone surrogate \ud800")]) is None
    assert storage.commit_at_once([step(1, 7, b"<ahead>")]) == [Committed.CONFLICT]
    stored = storage.load_run(run_id(1))
    assert stored is not None and stored.row.version == 1


# --- the file of the log, laid out before it is needed

LAID_OUT_BYTES = 32 + 40 * 4120
"""For the 40 pages after which the log starts again."""


@pytest.fixture
def early(storage: SQLiteStorage) -> SQLiteStorage:
    assert storage._committer is not None
    storage._committer._attend_at = 0
    return storage


def test_a_process_that_goes_on_writing_has_its_log_laid_out(storage: SQLiteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "CHECKPOINT_PAGES", 2 * commits.LAID_OUT_AT_PAGES)
    version = 1
    while (size := storage.sizes()["wal_bytes"]) < 2 * commits.LAID_OUT_AT_PAGES * 4120:
        assert size < (commits.LAID_OUT_AT_PAGES + 10) * 4120
        version += 1
        assert storage.commit([step(1, version, b"<two>" * 400)]) == [Committed.YES]
    for further in range(version + 1, version + 5):
        assert storage.commit([step(1, further, b"<two>" * 400)]) == [Committed.YES]
    assert storage.sizes()["wal_bytes"] == size  # written over, not added to


def test_what_follows_in_the_log_is_nothing_to_who_reads_it_after_a_crash(early: SQLiteStorage, tmp_path: Path) -> None:
    for version in (2, 3, 4):
        assert early.commit([step(1, version, b"<two>")]) == [Committed.YES]
    assert early.sizes()["wal_bytes"] == LAID_OUT_BYTES
    for suffix in ("", "-wal"):
        (tmp_path / f"crashed.db{suffix}").write_bytes(Path(early.path + suffix).read_bytes())
    crashed = SQLiteStorage(tmp_path / "crashed.db")
    crashed.open()
    stored = crashed.load_run(run_id(1))
    assert stored is not None and stored.row.version == 4
    assert crashed.commit([step(1, 5, b"<two>")]) == [Committed.YES]
    crashed.close()
    again = SQLiteStorage(tmp_path / "crashed.db")
    again.open()
    stored = again.load_run(run_id(1))
    assert stored is not None and stored.row.version == 5
    again.close()


def test_a_disk_without_room_for_it_costs_no_commit(early: SQLiteStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[int] = []

    def refuse(descriptor: int, data: bytes) -> int:
        refusals.append(len(data))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    assert early.commit([step(1, 2, b"<two>")]) == [Committed.YES]
    assert early.commit([step(1, 3, b"<two>")]) == [Committed.YES]
    assert len(refusals) == 1  # and it is not tried with each commit
    assert early.sizes()["wal_bytes"] < LAID_OUT_BYTES
    stored = early.load_run(run_id(1))
    assert stored is not None and stored.row.version == 3
