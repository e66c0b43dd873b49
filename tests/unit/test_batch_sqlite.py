"""Rows and progress are one transaction: whatever happens between two attempts at a chunk, each row is stored once or rejected once."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from perdure.patterns.batch_csv import CsvFile, Range, open_csv
from perdure.patterns.batch_rows import Chunk, Position, Rejected, SupersededError
from perdure.patterns.batch_sqlite import Database, SqliteSink, write_rejects

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (row INTEGER PRIMARY KEY, value INTEGER NOT NULL CHECK (value < 100))"


def store(db: sqlite3.Connection, rows: Sequence[tuple[int, int]]) -> Mapping[int, str]:
    db.executemany("INSERT INTO numbers VALUES (?, ?)", rows)
    return {}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "numbers.db"
    Database.close_at(tmp_path / "numbers.db")


@pytest.fixture
def sink(path: Path) -> SqliteSink[int]:
    return SqliteSink(path, schema=SCHEMA, store=store)


def chunk(give_up: str = "") -> Chunk:
    return Chunk("i", CsvFile("f"), "numbers.db", Range(10, 50, 1, 4), give_up=give_up)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    return Database.at(path).connection.execute(sql).fetchall()


def test_the_next_attempt_goes_on_where_the_rows_end(sink: SqliteSink[int], path: Path) -> None:
    start = sink.position(chunk())
    assert start == Position(10, 1)
    after = sink.commit(chunk(), start, Position(30, 3), [(1, 11, b"1,11"), (2, 22, b"2,22")], [])
    assert after == Position(30, 3, stored=2) == sink.position(chunk())
    assert query(path, "SELECT * FROM numbers") == [(1, 11), (2, 22)]


def test_an_attempt_that_was_overtaken_stores_nothing(sink: SqliteSink[int], path: Path) -> None:
    start = sink.position(chunk())
    sink.commit(chunk(), start, Position(30, 3), [(1, 11, b""), (2, 22, b"")], [])
    with pytest.raises(SupersededError):
        sink.commit(chunk(), start, Position(40, 4), [(3, 33, b"")], [Rejected(4, "bad", b"x")])
    assert query(path, "SELECT COUNT(*) FROM numbers") == [(2,)]
    assert query(path, "SELECT COUNT(*) FROM import_rejects") == [(0,)]


def test_an_attempt_that_was_given_up_stores_nothing_until_the_chunk_is_tried_again(sink: SqliteSink[int], path: Path) -> None:
    start = sink.position(chunk())
    assert sink.give_up(chunk("no more attempts")) == start
    with pytest.raises(SupersededError):
        sink.commit(chunk(), start, Position(20, 2), [(1, 11, b"")], [])
    assert query(path, "SELECT failure FROM import_chunks") == [("no more attempts",)]
    again = sink.position(chunk())
    assert sink.commit(chunk(), again, Position(50, 5), [(1, 11, b"")], []).stored == 1
    assert query(path, "SELECT failure FROM import_chunks") == [(None,)]


def test_a_row_that_breaks_a_constraint_takes_no_neighbour_along(sink: SqliteSink[int], path: Path) -> None:
    rows = [(1, 11, b"1"), (2, 1_000, b"2,1000"), (3, 33, b"3")]
    after = sink.commit(chunk(), sink.position(chunk()), Position(40, 4), rows, [Rejected(4, "bad", b"4")])
    assert (after.stored, after.rejected) == (2, 2)
    assert query(path, "SELECT row FROM numbers") == [(1,), (3,)]
    reasons = query(path, "SELECT row, reason, record FROM import_rejects")
    assert reasons == [(2, "CHECK constraint failed: value < 100", b"2,1000"), (4, "bad", b"4")]


def test_an_error_in_the_users_store_leaves_nothing_behind(path: Path) -> None:
    def broken(db: sqlite3.Connection, rows: Sequence[tuple[int, int]]) -> Mapping[int, str]:
        store(db, rows)
        raise RuntimeError("the user's mistake")

    sink = SqliteSink(path, schema=SCHEMA, store=broken)
    start = sink.position(chunk())
    with pytest.raises(RuntimeError, match="the user's mistake"):
        sink.commit(chunk(), start, Position(20, 2), [(1, 11, b"")], [])
    assert query(path, "SELECT COUNT(*) FROM numbers") == [(0,)]
    assert sink.position(chunk()) == start


def test_what_was_not_stored_becomes_a_file_to_mend(sink: SqliteSink[int], path: Path, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes(b'id,note\n1,"a, b"\n2\n3,fine\n4,fine\n')
    source = open_csv(CsvFile(str(tmp_path / "f.csv")))
    at = Chunk("i", source, str(path), Range(source.body, source.size, 1, 4))
    rejected = [Rejected(1, "not liked", b'1,"a, b"\n'), Rejected(2, "too short", b"2\n")]
    sink.commit(at, sink.position(at), Position(source.body + 11, 3), [], rejected)
    sink.give_up(Chunk("i", source, str(path), at.range, give_up="disk full"))
    assert write_rejects(path, "i", source, tmp_path / "rejects.csv") == 4
    with open(tmp_path / "rejects.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "note", "reason"],
        ["1", "a, b", "not liked"],
        ["2", "", "too short"],
        ["3", "fine", "disk full"],
        ["4", "fine", "disk full"],
    ]


def test_the_connection_that_stores_waits_for_the_disk(path: Path, sink: SqliteSink[int]) -> None:
    sink.position(chunk())
    assert query(path, "PRAGMA synchronous") == [(2,)]
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
