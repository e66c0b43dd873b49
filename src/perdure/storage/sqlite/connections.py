"""Connections to the file: the one that writes, and one for each thread that reads.

Only the writing connection checkpoints (`perdure.storage.sqlite.commits`). Readers are read-only and run one statement at
a time, so none of them holds back the log for long.
"""

from __future__ import annotations

import os
import threading
import weakref

import apsw

from perdure.model.errors import StorageError
from perdure.storage.sqlite.database import Connection, connect, disconnect

PAGE_BYTES = 4096
WRITER_CACHE_KIB = 8 * 1024
READER_CACHE_KIB = 1024

LOG_BYTES_KEPT = 16 * 1024 * 1024
"""What the log is cut back to when it starts again after a reader had made it grow."""


def open_writer(path: str, vfs: str | None) -> Connection:
    """Opens the file for writing, and sets nothing that would change it."""
    return connect(
        path,
        f"cache_size = -{WRITER_CACHE_KIB}",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {LOG_BYTES_KEPT}",
        "temp_store = memory",
        "synchronous = full",
        "fullfsync = on",  # macOS: fsync alone does not reach the disk there; elsewhere this changes nothing
        "checkpoint_fullfsync = on",
        "foreign_keys = off",
        "trusted_schema = off",
        vfs=vfs,
    )


def check_unused(path: str, vfs: str | None) -> None:
    """Makes sure that nobody has a database open, when the lock's file cannot tell.

    Every connection in WAL mode holds a lock on the database while it is open, so one that wants it alone is refused.

    Raises:
        StorageError: somebody has it open.
    """
    if not os.path.getsize(path):
        return
    connection = connect(path, "locking_mode = exclusive", vfs=vfs)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # looking changes nothing
        connection.set_busy_timeout(0)
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except apsw.BusyError as error:
        raise StorageError(
            f"{path} is open in another process, and {path}-lock, which said in which one, has been deleted: end that process, "
            "and start again."
        ) from error
    finally:
        disconnect(connection)


class Readers:
    """A read-only connection for each thread that asks; a thread's goes when the thread does."""

    def __init__(self, path: str, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._mine = threading.local()
        self._all: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._adding = threading.Lock()

    def mine(self) -> Connection:
        """This thread's connection."""
        reader: _Reader | None = getattr(self._mine, "reader", None)
        if reader is None:
            reader = self._mine.reader = self._open()
        return reader.connection

    def _open(self) -> _Reader:
        reader = _Reader(connect(self._path, f"cache_size = -{READER_CACHE_KIB}", read_only=True, vfs=self._vfs))
        with self._adding:
            self._all.add(reader)
        return reader

    def close(self) -> None:
        """Closes them all: nobody reads any more."""
        with self._adding:
            readers = list(self._all)
            self._all.clear()
        for reader in readers:
            reader.close()
        self._mine = threading.local()


class _Reader:
    """A thread's connection, closed when the thread ends; not in a forked child, where all threads but one have ended."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._pid = os.getpid()

    def close(self) -> None:
        disconnect(self.connection)

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            self.close()
