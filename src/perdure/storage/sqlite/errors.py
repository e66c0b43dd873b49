"""Translates what apsw raises into our errors: the one edge where it happens."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager

import apsw

from perdure.model.errors import StorageCorrupt, StorageError

BadValue = (TypeError, ValueError, OverflowError, apsw.TooBigError, apsw.MismatchError, apsw.RangeError)
"""One of the values cannot be stored: the fault of one transaction, not of the storage."""

_DISK_FULL = "the disk is full: free some space"
_READ_ONLY = "the file or its directory is read-only"
_REASONS: dict[type[apsw.Error], str] = {
    apsw.FullError: _DISK_FULL,
    apsw.ReadOnlyError: _READ_ONLY,
    apsw.IOError: "the disk failed",
    apsw.BusyError: "another program holds a lock on the file (a database browser?)",
    apsw.CantOpenError: "the file cannot be opened",
    apsw.PermissionsError: "access is not permitted",
    apsw.NoMemError: "memory is exhausted",
}
_SYSTEM_REASONS = {
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: "the quota of the disk is used up: free some space",
    errno.EROFS: _READ_ONLY,
    errno.EACCES: _READ_ONLY,
    errno.EPERM: "access is not permitted",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
}


def translated(error: Exception, path: str, doing: str) -> StorageError:
    """The StorageError to raise from `error`; `doing` completes "… cannot be"."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, apsw.NotADBError):
        return StorageCorrupt(f"{path} is not a SQLite database: choose another path, or restore the file from a backup.")
    if isinstance(error, apsw.CorruptError):
        return StorageCorrupt(f"{path} is damaged ({error}): restore it from a backup.")
    reason = _of_the_system(error) or next((text for kind, text in _REASONS.items() if isinstance(error, kind)), "SQLite refused")
    return StorageError(f"{path} cannot be {doing}: {reason} ({error}).")


def _of_the_system(error: Exception) -> str:
    """What the operating system gave as the reason; empty if it is not known."""
    if isinstance(error, OSError):
        return _SYSTEM_REASONS.get(error.errno or 0, "the operating system refused")
    full = getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE  # SQLite has no room for the index of its log
    return _DISK_FULL if full else ""


@contextmanager
def translating(path: str, doing: str) -> Generator[None]:
    """Raises a StorageError for whatever goes wrong inside."""
    try:
        yield
    except (apsw.Error, OSError, *BadValue) as error:
        raise translated(error, path, doing) from error
