"""What travels between an owner and those who join it: frames on a stream socket.

A frame is a length (4 bytes), a kind (1), a call's number (4) and the rest; before the first one each side sends a byte, the version of all
this. The joiner begins with HELLO, the owner answers WELCOME or REFUSED, and then:

    joiner → owner   CALL    the RPC's name (1 byte of length before it), who asks (`Asking`), and the request, serialised
                     CANCEL  the caller has gone: the call ends, a task that is on its way is taken back
                     TAKEN   the task has arrived, and is the joiner's from now on
    owner → joiner   REPLY   the response, serialised
                     TASK    a poll's response with a task in it: TAKEN or CANCEL must follow
                     ERROR   code (1 byte), length of the message (4), the message, and the detail as `google.protobuf.Any` if there is one
                     LATE    the owner is closing and has not begun the call: ask the next one

The rule a newcomer would get wrong: reading goes on after writing has failed. What the other side sent before it died (TAKEN, above
all) still stands in our buffer and must be heard, which asyncio's transports would not do; so these are plain sockets.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import weakref
from collections import deque
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.symbol_database import Default as Registered

from perdure.model.rpc import RpcError, StatusCode

FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Beyond any message that the engine takes or gives; a longer frame is a broken or hostile peer, and ends the connection."""
RECEIVED_AT_ONCE_BYTES = 256 * 1024
_HEAD = Struct(">IBI")
_LENGTH = Struct(">I")
_ASKING = Struct(">f?")
_FOR_EVER = float("inf")
_NUMBERED = 5
"""Bytes of the head that the length counts."""

_open: weakref.WeakSet[FrameSocket] = weakref.WeakSet()


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    CALL = 4
    CANCEL = 5
    TAKEN = 6
    REPLY = 7
    TASK = 8
    ERROR = 9
    LATE = 10


class Frame(NamedTuple):
    """One frame as it was read."""

    kind: int
    number: int
    body: bytes


class Asking(NamedTuple):
    """What an answer may depend on beside its request; what `seconds_left` and `sees_unrecorded` say where the call was made."""

    seconds_left: float | None = None
    sees_unrecorded: bool = False


NOBODY = Asking()


class BrokenPeer(Exception):
    """What came over the socket is not this protocol."""


class FrameSocket:
    """Frames over a connected socket, which it owns. Writing never waits; `room` does, for those who write much."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._sending: asyncio.Task[None] | None = None
        self._deaf = False
        """The other side takes nothing any more."""
        _open.add(self)

    async def read_byte(self) -> int | None:
        """The first byte; None at the end."""
        if not self._received and not await self._receive():
            return None
        return self._received.pop(0)

    async def read(self) -> Frame | None:
        """The next frame; None at the end.

        Raises:
            BrokenPeer: it is longer than any may be.
        """
        while True:
            held = len(self._received)
            if held >= _HEAD.size:
                length, kind, number = _HEAD.unpack_from(self._received)
                if not _NUMBERED <= length <= FRAME_BYTES_MAX + _NUMBERED:
                    raise BrokenPeer(f"a frame of {length} bytes")
                end = _LENGTH.size + length
                if held >= end:
                    body = bytes(memoryview(self._received)[_HEAD.size : end])
                    del self._received[:end]
                    return Frame(kind, number, body)
            if not await self._receive():
                return None

    async def _receive(self) -> bool:
        try:
            data = await self._loop.sock_recv(self._socket, RECEIVED_AT_ONCE_BYTES)
        except OSError:
            return False
        self._received += data
        return bool(data)

    def send_byte(self, value: int) -> None:
        self._send(bytes((value,)))

    def send(self, kind: Kind, number: int, body: bytes = b"") -> bool:
        """Sends a frame; whether all that was sent so far has left this process."""
        return self._send(_HEAD.pack(_NUMBERED + len(body), kind, number) + body)

    def _send(self, data: bytes) -> bool:
        if self._deaf:
            return False
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self._deaf = True
                return False
            if sent == len(data):
                return True
            data = data[sent:]
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._sending is None:
            self._sending = self._loop.create_task(self._send_unsent())
        return False

    async def _send_unsent(self) -> None:
        try:
            while self._unsent:
                await self._loop.sock_sendall(self._socket, self._unsent[0])
                self._unsent_bytes -= len(self._unsent.popleft())
        except OSError:
            self._deaf = True
            self._unsent.clear()
            self._unsent_bytes = 0
        finally:
            self._sending = None

    async def room(self, bytes_max: int) -> None:
        """Returns once no more than so many bytes wait to be sent, or nobody takes them any more."""
        while self._unsent_bytes > bytes_max and self._sending is not None:
            await asyncio.wait((self._sending,))

    async def close(self) -> None:
        """Closes the socket; what has not been sent is dropped. Nobody may be reading."""
        if self._sending is not None:
            sending = self._sending
            sending.cancel()
            await asyncio.wait((sending,))
        self.forget()

    def forget(self) -> None:
        """Closes our descriptor; in a forked child that leaves the connection to the parent, which is meant."""
        self._deaf = True
        self._socket.close()


def _forget_in_child() -> None:
    for each in list(_open):
        each.forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_in_child)


def call_body(name: str, request: bytes, asking: Asking = NOBODY) -> bytes:
    """The rest of a CALL."""
    encoded = name.encode()
    left = _FOR_EVER if asking.seconds_left is None else asking.seconds_left
    return bytes((len(encoded),)) + encoded + _ASKING.pack(left, asking.sees_unrecorded) + request


def split_call(body: bytes) -> tuple[str, Asking, bytes]:
    """Name, asker and request of a CALL; an empty name if it is none."""
    end = 1 + body[0] if body else 0
    start = end + _ASKING.size
    if len(body) < start:
        return "", NOBODY, b""
    left, sees_unrecorded = _ASKING.unpack_from(body, end)
    return body[1:end].decode("ascii", "replace"), Asking(None if left == _FOR_EVER else left, sees_unrecorded), body[start:]


def error_body(error: RpcError) -> bytes:
    """The rest of an ERROR."""
    message = error.message.encode()
    packed = b""
    if error.detail is not None:
        detail = AnyMessage()
        detail.Pack(error.detail)
        packed = detail.SerializeToString()
    return bytes((error.code,)) + _LENGTH.pack(len(message)) + message + packed


def error_of(body: bytes) -> RpcError:
    """The error that an ERROR carries."""
    start = 1 + _LENGTH.size
    end = start + _LENGTH.unpack_from(body, 1)[0]
    return RpcError(StatusCode(body[0]), body[start:end].decode(), _detail(body[end:]))


def _detail(packed: bytes) -> Message | None:
    if not packed:
        return None
    holder = AnyMessage.FromString(packed)
    try:
        detail = Registered().GetSymbol(holder.TypeName())()
    except KeyError:
        return None  # of a kind that this process has not loaded; code and message say the same
    holder.Unpack(detail)
    return detail
