"""The files of a SQLite storage: where they are, who may read them, and the lock that keeps a second process out.

The lock is an advisory one on a file of its own, beside the database: it goes with the process that holds it, however
that dies. Its text says which process that is, and what that one has to tell others about the file. A file without a text
may stand where a signed one has been deleted from under its owner, which whoever takes it has to look into before signing.
The database file itself is never opened here while SQLite has it: closing any descriptor of it would drop SQLite's own locks.
"""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path
from typing import NamedTuple

from perdure.model.errors import StorageError, StorageLocked

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_SUFFIX = "-lock"
LOCK_BYTES_MAX = 4096
PRIVATE = 0o600

_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def check_place(path: str) -> None:
    """Refuses a path where no database can be.

    Raises:
        StorageError: its directory is missing, or it is a directory itself.
    """
    directory = Path(path).absolute().parent
    if not directory.is_dir():
        raise StorageError(f"The directory {directory} does not exist: create it, or choose another path for {Path(path).name}.")
    if Path(path).is_dir():
        raise StorageError(f"{path} is a directory: name a file in it, such as {Path(path) / 'perdure.db'}.")


def create_private(path: str) -> None:
    """Creates an empty file that only its owner may read, unless there is one; and makes its name durable."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE)
    except FileExistsError:
        return
    os.close(descriptor)
    sync_directory(path)


def sync_directory(path: str) -> None:
    """Makes the name of a new file survive the loss of power (Windows has no such call, and needs none)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(Path(path).absolute().parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sizes(path: str) -> dict[str, int]:
    """Bytes on disk of the database and of what SQLite keeps beside it."""
    beside = {f"{name}_bytes": Path(path + suffix) for name, suffix in (("file", ""), ("wal", "-wal"), ("shm", "-shm"))}
    return {name: file.stat().st_size for name, file in beside.items() if file.exists()}


class Holder(NamedTuple):
    """What the lock's file says of the process that holds the lock (or held it last)."""

    pid: int
    note: str
    """What it has to tell (`FileLock.announce`); empty: nothing."""


def read_holder(database: str) -> Holder | None:
    """Who holds a database; None if nobody ever did, or the file is being written at this moment."""
    try:
        with open(database + LOCK_SUFFIX, "rb", buffering=0) as file:
            file.seek(1)  # the first byte is what Windows locks, against reading too
            text = file.read(LOCK_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return None
    pid, _, note = text.rstrip("\n").partition(" ")
    return Holder(int(pid), note.strip()) if text.endswith("\n") and pid.isdigit() else None


class FileLock:
    """Held from `acquire` until `release` or the end of the process; once it is signed the file names that process."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._path = database + LOCK_SUFFIX
        self._descriptor: int | None = None
        self._note = ""

    def announce(self, note: str) -> None:
        """One line for those who find the lock held: at once if it is held, otherwise as soon as it is."""
        self._note = note
        if self._descriptor is not None:
            self._write(self._descriptor)

    def acquire(self) -> bool:
        """Takes the lock; whether its file has been signed before, by us or anybody else.

        Raises:
            StorageLocked: it is held, by another process or by this one.
        """
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, PRIVATE)
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise StorageLocked(self._refusal(read_holder(self._database))) from error
        self._descriptor = descriptor
        _held.add(self)
        return os.fstat(descriptor).st_size > 0

    def sign(self) -> None:
        """Names this process in the file."""
        assert self._descriptor is not None
        self._write(self._descriptor)

    def _write(self, descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f" {os.getpid()} {self._note}".rstrip().encode() + b"\n")

    def _refusal(self, holder: Holder | None) -> str:
        if holder is not None and holder.pid == os.getpid():
            return f"This process ({holder.pid}) already has {self._database} open: share its client, or use another file."
        who = f"process {holder.pid}" if holder is not None else "another process"
        return f"{self._database} is open in {who}: stop it, or use another file."

    def release(self) -> None:
        """Gives the lock up; the file stays. Releasing twice is no error."""
        self.forget()

    def forget(self) -> None:
        """Closes our descriptor. In a forked child that leaves the lock to the parent, which is meant."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _forget_in_child() -> None:
    for lock in list(_held):
        lock.forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_in_child)
