"""Translates what apsw raises into our errors: the one edge where it happens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import apsw

from perdure.model.errors import StorageCorrupt, StorageError

BadValue = (TypeError, ValueError, OverflowError, apsw.TooBigError, apsw.MismatchError, apsw.RangeError)
"""One of the values cannot be stored: the fault of one transaction, not of the storage."""

_REASONS: dict[type[apsw.Error], str] = {
    apsw.FullError: "the disk is full: free some space",
    apsw.ReadOnlyError: "the file or its directory is read-only",
    apsw.IOError: "the disk failed",
    apsw.BusyError: "another program holds a lock on the file (a database browser?)",
    apsw.CantOpenError: "the file cannot be opened",
    apsw.PermissionsError: "access is not permitted",
    apsw.NoMemError: "memory is exhausted",
}


def translated(error: Exception, path: str, doing: str) -> StorageError:
    """The StorageError to raise from `error`; `doing` completes "… cannot be"."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, apsw.NotADBError):
        return StorageCorrupt(f"{path} is not a SQLite database: choose another path, or restore the file from a backup.")
    if isinstance(error, apsw.CorruptError):
        return StorageCorrupt(f"{path} is damaged ({error}): restore it from a backup.")
    reason = next((text for kind, text in _REASONS.items() if isinstance(error, kind)), "SQLite refused")
    return StorageError(f"{path} cannot be {doing}: {reason} ({error}).")


@contextmanager
def translating(path: str, doing: str) -> Generator[None]:
    """Raises a StorageError for whatever goes wrong inside."""
    try:
        yield
    except (apsw.Error, OSError, *BadValue) as error:
        raise translated(error, path, doing) from error
