"""An import into a SQLite table, each row once.

How storing twice is prevented: the rows of a batch and the line "chunk n has come to row m" are committed in one transaction, and
the next attempt goes on from that line. A crash before the commit leaves neither, a crash after it leaves both. An attempt that was
given up but still runs (a zombie) changes nothing any more: the line may only move from the place where the attempt that moves it
last saw it.

Two tables of ours stand beside the user's: import_chunks (progress), import_rejects (records that were not stored), both keyed by
the import's id.
"""

from __future__ import annotations

import csv
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from perdure.patterns.batch_csv import CsvFile, Raw, parse, read_range
from perdure.patterns.batch_rows import Chunk, Position, Rejected, SupersededError

T = TypeVar("T")

Store = Callable[[sqlite3.Connection, Sequence[tuple[int, T]]], Mapping[int, str]]
"""Inserts numbered rows inside the transaction that is open; returns those that the table refused, with the reason."""

IMPORT_SCHEMA = """
CREATE TABLE IF NOT EXISTS import_chunks (
    import_id TEXT NOT NULL, first_row INTEGER NOT NULL, rows INTEGER NOT NULL, end_offset INTEGER NOT NULL,
    next_offset INTEGER NOT NULL, next_row INTEGER NOT NULL, stored INTEGER NOT NULL, rejected INTEGER NOT NULL,
    failure TEXT, PRIMARY KEY (import_id, first_row)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS import_rejects (
    import_id TEXT NOT NULL, row INTEGER NOT NULL, reason TEXT NOT NULL, record BLOB NOT NULL,
    PRIMARY KEY (import_id, row)) WITHOUT ROWID;
"""
_POSITION = "SELECT next_offset, next_row, stored, rejected FROM import_chunks WHERE import_id = ? AND first_row = ?"
_ENTER = "INSERT INTO import_chunks VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?) ON CONFLICT DO UPDATE SET failure = excluded.failure"
_MOVE = (
    "UPDATE import_chunks SET next_offset = ?, next_row = ?, stored = ?, rejected = ?"
    " WHERE import_id = ? AND first_row = ? AND next_row = ? AND failure IS NULL"
)
_REJECT = "INSERT INTO import_rejects VALUES (?, ?, ?, ?)"


class Database:
    """One connection to a SQLite file, for all threads of the process, one after the other."""

    _opened: ClassVar[dict[Path, Database]] = {}
    _opening = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        # FULL: a chunk is reported as done to the engine after this commit, so the commit must outlive a power failure as well.
        self.connection.execute("PRAGMA synchronous = FULL")
        # A unique index is written all over; 32 MB of it gathered in the WAL cost less to bring home than 4 MB eight times.
        self.connection.execute("PRAGMA wal_autocheckpoint = 8000")
        self.connection.executescript(IMPORT_SCHEMA)

    @classmethod
    def at(cls, path: str | Path) -> Database:
        """The process's connection to this file; opened, and the file created, on first use."""
        key = Path(path).absolute()
        with cls._opening:
            if key not in cls._opened:
                cls._opened[key] = cls(key)
            return cls._opened[key]

    @classmethod
    def close_at(cls, path: str | Path) -> None:
        """Close the process's connection to this file, if there is one."""
        with cls._opening:
            database = cls._opened.pop(Path(path).absolute(), None)
        if database is not None:
            with database.lock:
                database.connection.close()

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """All or nothing; one at a time."""
        with self.lock:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise


class SqliteSink(Generic[T]):
    """Rows go into a table of this database by the user's `store`, in the transaction that records the progress."""

    def __init__(self, path: str | Path, *, schema: str, store: Store[T]) -> None:
        self._path, self._schema, self._store = path, schema, store

    def position(self, chunk: Chunk) -> Position:
        """How far earlier attempts came; the chunk is entered when it is new."""
        with Database.at(self._path).transaction() as connection:
            connection.execute(self._schema)
            return _enter(connection, chunk, None)

    def commit(
        self, chunk: Chunk, before: Position, after: Position, rows: Sequence[tuple[int, T, bytes]], rejected: Sequence[Rejected]
    ) -> Position:
        """Rows, rejections and position in one transaction; durable on return."""
        with Database.at(self._path).transaction() as connection:
            refused = self._insert(connection, [(number, value) for number, value, _ in rows])
            rejected = [*rejected, *(Rejected(number, refused[number], record) for number, _, record in rows if number in refused)]
            connection.executemany(_REJECT, [(chunk.import_id, *rejection) for rejection in rejected])
            after = replace(after, stored=before.stored + len(rows) - len(refused), rejected=before.rejected + len(rejected))
            key = (chunk.import_id, chunk.range.first_row, before.row)
            if connection.execute(_MOVE, (after.offset, after.row, after.stored, after.rejected, *key)).rowcount != 1:
                raise SupersededError(f"Another attempt has gone on with the rows from {before.row}.")
        return after

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[int, T]]) -> Mapping[int, str]:
        """Together; where a constraint breaks, one by one, so that one bad row does not take its neighbours along."""
        if not rows:
            return {}
        try:
            with _savepoint(connection):
                return self._store(connection, rows)
        except sqlite3.IntegrityError as error:
            if len(rows) == 1:
                return {rows[0][0]: str(error)}
        refused: dict[int, str] = {}
        for row in rows:
            refused.update(self._insert(connection, [row]))
        return refused

    def give_up(self, chunk: Chunk) -> Position:
        """Record the failure beside the progress: no attempt that still runs moves it on, and `write_rejects` finds it."""
        with Database.at(self._path).transaction() as connection:
            return _enter(connection, chunk, chunk.give_up)


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("SAVEPOINT rows")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO rows")
        raise
    finally:
        connection.execute("RELEASE rows")


def _enter(connection: sqlite3.Connection, chunk: Chunk, failure: str | None) -> Position:
    where = chunk.range
    connection.execute(_ENTER, (chunk.import_id, where.first_row, where.rows, where.end, where.start, where.first_row, failure))
    return Position(*connection.execute(_POSITION, (chunk.import_id, where.first_row)).fetchone())


def write_rejects(database: str | Path, import_id: str, source: CsvFile, path: str | Path) -> int:
    """Write the records that were not stored as a CSV file with a column `reason` added, to be mended and imported again; how many.

    Those of failed chunks are among them, except where `source` is gone. `source` is the file as `open_csv` returns it.
    """
    with closing(sqlite3.connect(database)) as connection, open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*source.columns, "reason"])
        count = 0
        for record, reason in _rejects(connection, import_id, source):
            fields = parse(Raw(0, record, 0, None), source).fields
            values = [fields[column] for column in source.columns] if fields else [record.decode(source.encoding, "replace").strip()]
            values += [""] * (len(source.columns) - len(values))
            writer.writerow([*values, reason])
            count += 1
    return count


def _rejects(connection: sqlite3.Connection, import_id: str, source: CsvFile) -> Iterator[tuple[bytes, str]]:
    yield from connection.execute("SELECT record, reason FROM import_rejects WHERE import_id = ? ORDER BY row", (import_id,))
    failed = "SELECT next_offset, end_offset, failure FROM import_chunks WHERE import_id = ? AND failure IS NOT NULL ORDER BY first_row"
    for start, end, failure in connection.execute(failed, (import_id,)):
        for record in read_range(source, start, end):
            yield record.data, failure
