"""Where the owner of a file is reached: a socket beside the file, or what stands in for it.

A unix socket `app.db-socket`, which only the file's user may open. The name of such a socket has room for about a hundred bytes: where the
file's is longer, or its file system knows no sockets, it stands in a folder of the user's own among the temporary files; where there are no
unix sockets, a port on the loopback interface serves. The address stands in the lock's file (0600), with a secret that each
owner makes anew: so who can connect has read that file, and nobody is mistaken for an owner who is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import socket
import stat
import sys
import tempfile
import weakref
from pathlib import Path
from typing import NamedTuple

__all__ = ["OPENING", "Address", "Listener", "listen"]

SUFFIX = "-socket"
NAME_BYTES_MAX = 103
"""macOS has room for 103 bytes and their end, Linux for 107."""
WAITING_MAX = 128
"""Connections that the system keeps until the owner accepts them."""
OPENING = "opening"
"""Stands in the lock's file instead of an address while the owner gets ready."""


_listening: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class Address(NamedTuple):
    """How to reach an owner."""

    secret: str
    place: str
    """`unix:` and a path, or `tcp:` and a port."""

    def note(self) -> str:
        """As the lock's file says it."""
        return f"{self.secret} {self.place}"

    @classmethod
    def of_note(cls, note: str) -> Address | None:
        """The address that the lock's file gives; None if it gives none (yet)."""
        secret, _, place = note.partition(" ")
        return cls(secret, place) if place.startswith(("unix:", "tcp:")) else None

    @property
    def answers_only_for_an_owner(self) -> bool:
        """Whether nobody else can have the place once the owner has gone: a port may be any program's by then."""
        return self.place.startswith("unix:")

    async def connect(self) -> socket.socket:
        """A connected socket; OSError if nobody listens there."""
        kind, _, where = self.place.partition(":")
        unix = kind == "unix"
        made = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            await asyncio.get_running_loop().sock_connect(made, where if unix else ("127.0.0.1", int(where)))
            made.getpeername()  # a queue that is full looks like a connection to asyncio
        except BaseException:
            made.close()
            raise
        return made


class Listener(NamedTuple):
    """A socket that accepts connections, and where it is."""

    socket: socket.socket
    address: Address

    def close(self) -> None:
        """Nobody gets in any more. To be called while the file's lock is held: afterwards the name may be another's."""
        kind, _, where = self.address.place.partition(":")
        if kind == "unix":
            with contextlib.suppress(OSError):
                os.unlink(where)
        self.socket.close()


def listen(database: str) -> Listener:
    """Listens for those who join the owner of `database`, whose lock is held; OSError if that is not possible anywhere."""
    secret = secrets.token_hex(16)
    for path in _paths(database) if os.name == "posix" else ():
        with contextlib.suppress(OSError):
            unix = _unix(path)
            _listening.add(unix)
            return Listener(unix, Address(secret, f"unix:{path}"))
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.bind(("127.0.0.1", 0))
    made.listen(WAITING_MAX)
    made.setblocking(False)
    _listening.add(made)
    return Listener(made, Address(secret, f"tcp:{made.getsockname()[1]}"))


def _paths(database: str) -> list[str]:
    """Where a socket may stand, the best place first."""
    own = Path(tempfile.gettempdir()) / f"perdure-{os.getuid()}"
    paths = [database + SUFFIX]
    if _is_private(own):
        paths.append(str(own / hashlib.sha256(os.fsencode(database)).hexdigest()[:24]))
    return [path for path in paths if len(os.fsencode(path)) <= NAME_BYTES_MAX]


def _is_private(folder: Path) -> bool:
    """Whether a folder is there (now, if it was not) that belongs to this user alone."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return False


def _unix(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of an owner who was killed: the lock is ours
        made.bind(path)
        os.chmod(path, 0o600)  # before anybody can connect: that takes `listen`
        made.listen(WAITING_MAX)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _forget_in_child() -> None:
    """A forked child would keep the port open for an owner who is gone, and answer nobody."""
    for each in list(_listening):
        each.close()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_in_child)
