"""One chunk: a bad record is rejected, a mistake in the code fails the chunk, and a retry goes on where the rows end."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from perdure import ActivityContext
from perdure.patterns.batch import (
    Chunk,
    ChunkResult,
    CsvFile,
    Database,
    Row,
    SqliteSink,
    SupersededError,
    ValidationError,
    import_chunk,
    open_csv,
)
from perdure.patterns.batch_csv import plan_ranges

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (row INTEGER PRIMARY KEY, value INTEGER NOT NULL)"


class Heart:
    """An ActivityContext of which only the heartbeat is used."""

    def __init__(self) -> None:
        self.beats: list[Any] = []

    def heartbeat(self, *details: Any) -> None:
        self.beats += details


def store(db: sqlite3.Connection, rows: Sequence[tuple[int, int]]) -> Mapping[int, str]:
    db.executemany("INSERT INTO numbers VALUES (?, ?)", rows)
    return {}


def validate(row: Row) -> None:
    if row["value"] == "bad":
        raise ValidationError("is bad")


def transform(row: Row) -> int:
    if row["value"] == "bug":
        raise KeyError("a mistake in the code")
    try:
        return int(row["value"])
    except ValueError:
        raise ValidationError(f"{row['value']} is no number") from None


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "numbers.db"
    Database.close_at(tmp_path / "numbers.db")


def one_chunk(path: Path, values: Sequence[object], store_every: int = 10) -> Chunk:
    file = path.with_name("numbers.csv")
    file.write_text("value\n" + "".join(f"{value}\n" for value in values))
    source = open_csv(CsvFile(str(file)))
    (where,) = plan_ranges(source, source.body, 1, len(values), 1)
    return Chunk("i", source, str(path), where, heartbeat_every=10, store_every=store_every)


def run(chunk: Chunk, heart: Heart | None = None) -> ChunkResult:
    sink = SqliteSink(chunk.target, schema=SCHEMA, store=store)
    return import_chunk(cast(ActivityContext, heart or Heart()), chunk, validate=validate, transform=transform, sink=sink)


def stored(path: Path) -> list[int]:
    return [row for (row,) in Database.at(path).connection.execute("SELECT row FROM numbers ORDER BY row")]


def test_records_are_stored_or_rejected(path: Path) -> None:
    assert run(one_chunk(path, [1, "bad", 3, "x", 5])) == ChunkResult(stored=3, rejected=2)
    assert stored(path) == [1, 3, 5]
    rejects = Database.at(path).connection.execute("SELECT row, reason, record FROM import_rejects").fetchall()
    assert rejects == [(2, "is bad", b"bad\n"), (4, "x is no number", b"x\n")]


def test_the_heart_beats_every_ten_records(path: Path) -> None:
    heart = Heart()
    run(one_chunk(path, range(35), store_every=100), heart)
    assert heart.beats == [1, 11, 21, 31]


def test_a_retry_goes_on_after_the_rows_that_are_stored(path: Path) -> None:
    chunk = one_chunk(path, [*range(25), "bug", *range(4)])
    with pytest.raises(KeyError):
        run(chunk)
    assert stored(path) == list(range(1, 21))
    mended = replace(one_chunk(path, [*range(25), "777", *range(4)]))
    heart = Heart()
    assert run(mended, heart) == ChunkResult(stored=30, rejected=0, resumed_from_row=21)
    assert stored(path) == list(range(1, 31))
    assert heart.beats == [21]


def test_a_chunk_that_is_done_is_not_read_again(path: Path) -> None:
    chunk = one_chunk(path, range(5))
    run(chunk)
    assert run(chunk) == ChunkResult(stored=5, rejected=0, resumed_from_row=6)


def test_a_chunk_that_is_given_up_says_what_it_left_unread(path: Path) -> None:
    chunk = one_chunk(path, [*range(25), "bug", *range(4)])
    with pytest.raises(KeyError):
        run(chunk)
    assert run(replace(chunk, give_up="three attempts")) == ChunkResult(stored=20, rejected=0, unread=10)


def test_of_two_attempts_at_once_only_one_stores(path: Path) -> None:
    chunk = one_chunk(path, range(30))

    class Overtaken(Heart):
        def heartbeat(self, *details: Any) -> None:
            if details == (11,):
                run(chunk)  # the next attempt, while this one still runs

    with pytest.raises(SupersededError):
        run(chunk, Overtaken())
    assert stored(path) == list(range(1, 31))


def test_a_file_that_changed_fails_the_chunk_for_good(path: Path) -> None:
    chunk = one_chunk(path, range(5))
    Path(chunk.source.path).write_text("value\n1\n")
    with pytest.raises(ValidationError, match="changed while it was being imported"):
        run(chunk)
