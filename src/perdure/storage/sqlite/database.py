"""The little of apsw that we use, with types for it (apsw's own annotations need Python 3.12 to be understood)."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterable, Sequence
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
    def config(self, op: int, *args: int) -> int: ...
    def close(self) -> None: ...


STATEMENTS_CACHED = 64

BUSY_MS = 5_000
"""How long to wait for another program (a database browser) that locks the file."""

_open: set[Connection] = set()
"""Every connection until `disconnect`. A forked child forgets its parent's threads with all that only they held: were a connection
among it, SQLite would be called where its locks may be held by threads that are not there."""


def connect(path: str, *pragmas: str, read_only: bool = False, vfs: str | None = None) -> Connection:
    """Opens a database, until `disconnect`; not read-only, it creates the file."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = cast(Connection, apsw.Connection(path, flags=flags, vfs=vfs, statementcachesize=STATEMENTS_CACHED))
    connection.set_busy_timeout(BUSY_MS)
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}").fetchall()
    _open.add(connection)
    return connection


def disconnect(connection: Connection) -> None:
    """Closes a connection; no error if it is closed."""
    _open.discard(connection)
    connection.close()


def _keep_in_child() -> None:
    """Not even its end lets a forked child close its parent's connections."""
    for connection in _open:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_keep_in_child)


_carray: Callable[[tuple[bytes, ...]], object] = getattr(apsw, "carray")  # noqa: B009 its annotations are the problem


def array(values: Iterable[bytes] | Iterable[str]) -> object:
    """A parameter for `SqliteSeam.among`: any number of values, bound at once."""
    every = tuple(value.encode() if isinstance(value, str) else value for value in values)
    return _carray(every) if every else None


class FileWatch:
    """Whether the file of a connection still has its name; asking costs two microseconds, and keeps the interpreter's lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._answer = ctypes.c_int(0)
        self._pointer = ctypes.addressof(self._answer)

    def has_moved(self) -> bool:
        self._connection.file_control("main", apsw.SQLITE_FCNTL_HAS_MOVED, self._pointer)
        return self._answer.value != 0
