"""Connections to the file: the one that writes, and one for each thread that reads.

Only the writing connection checkpoints (`perdure.storage.sqlite.commits`). Readers are read-only and run one statement at
a time, so none of them holds back the log for long.
"""

from __future__ import annotations

import threading
import weakref

from perdure.storage.sqlite.database import Connection, connect

PAGE_BYTES = 4096
WRITER_CACHE_KIB = 8 * 1024
READER_CACHE_KIB = 1024

LOG_BYTES_KEPT = 16 * 1024 * 1024
"""What the log is cut back to when it starts again after a reader had made it grow."""

BUSY_MS = 5_000
"""How long to wait for another program (a database browser) that locks the file."""


def open_writer(path: str, vfs: str | None) -> Connection:
    """Opens the file for writing, and sets nothing that would change it."""
    connection = connect(path, vfs=vfs)
    connection.set_busy_timeout(BUSY_MS)
    for pragma in (
        f"cache_size = -{WRITER_CACHE_KIB}",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {LOG_BYTES_KEPT}",
        "temp_store = memory",
        "synchronous = full",
        "fullfsync = on",  # macOS: fsync alone does not reach the disk there; elsewhere this changes nothing
        "checkpoint_fullfsync = on",
        "foreign_keys = off",
        "trusted_schema = off",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


class Readers:
    """A read-only connection for each thread that asks; a thread's goes when the thread does."""

    def __init__(self, path: str, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._mine = threading.local()
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._adding = threading.Lock()

    def mine(self) -> Connection:
        """This thread's connection."""
        connection: Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = self._open()
        return connection

    def _open(self) -> Connection:
        connection = connect(self._path, read_only=True, vfs=self._vfs)
        connection.set_busy_timeout(BUSY_MS)
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        with self._adding:
            self._all.add(connection)
        return connection

    def close(self) -> None:
        """Closes them all: nobody reads any more."""
        with self._adding:
            connections = list(self._all)
            self._all.clear()
        for connection in connections:
            connection.close()
        self._mine = threading.local()
