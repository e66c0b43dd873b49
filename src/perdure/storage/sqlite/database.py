"""The little of apsw that we use, with types for it (apsw's own annotations need Python 3.12 to be understood)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ctypes import addressof, c_int
from typing import Any, Protocol, cast

import apsw


class Rows(Protocol):
    """What a statement returns."""

    def fetchall(self) -> list[tuple[Any, ...]]: ...


class Backup(Protocol):
    """A copy in progress."""

    def step(self, npages: int = -1) -> bool: ...
    def finish(self) -> None: ...


class Connection(Protocol):
    """A connection to a database; errors are apsw's."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, statements: str, bindings: Sequence[Any] = ...) -> Rows: ...
    def pragma(self, name: str, value: str | int | None = None) -> Any: ...
    def backup(self, databasename: str, sourceconnection: Connection, sourcedatabasename: str) -> Backup: ...
    def wal_checkpoint(self, dbname: str | None = None, mode: int = ...) -> tuple[int, int]: ...
    def status(self, op: int, reset: bool = False) -> tuple[int, int]: ...
    def file_control(self, dbname: str, op: int, pointer: int) -> bool: ...
    def set_busy_timeout(self, milliseconds: int) -> None: ...
    def close(self) -> None: ...


STATEMENTS_CACHED = 64


def connect(path: str, *, read_only: bool = False, vfs: str | None = None) -> Connection:
    """Opens a database; not read-only, it creates the file."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    return cast(Connection, apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=STATEMENTS_CACHED))


_carray: Callable[[tuple[bytes, ...]], object] = getattr(apsw, "carray")  # noqa: B009 its annotations are the problem


def array(values: Iterable[bytes] | Iterable[str]) -> object:
    """A parameter for `SqliteSeam.among`: any number of values, bound at once."""
    every = tuple(value.encode() if isinstance(value, str) else value for value in values)
    return _carray(every) if every else None


class FileWatch:
    """Whether the file of a connection still has its name; asking costs two microseconds, and keeps the interpreter's lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer = c_int(0)
        self._pointer = addressof(self._answer)

    def has_moved(self) -> bool:
        self._connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, self._pointer)
        return self._answer.value != 0
