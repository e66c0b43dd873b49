"""The joiner's end: calls to the owner of a file, over one socket.

A call ends with its answer, or with `OwnerLost` when the connection has ended; what then is to be done, `shared_file` decides.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from google.protobuf.message import DecodeError, Message
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.model.callers import sees_unrecorded
from perdure.model.patience import seconds_left
from perdure.model.rpc import internal, resource_exhausted
from perdure.service.local.address import Address
from perdure.service.local.frames import FRAME_BYTES_MAX, Asking, BrokenPeer, Frame, FrameSocket, Kind, call_body, error_of
from perdure.service.local.greeting import HANDSHAKE_SECONDS, OTHER_PROTOCOL, WIRE_VERSION, Greeting, Refusal
from perdure.service.methods import method_named

logger = logging.getLogger("perdure.service")

_NUMBERS = 2**32


class OwnerLost(Exception):
    """The connection has ended before an answer came; `begun` says whether the call may have been carried out."""

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class NotLetIn(Exception):
    """The owner refuses this process."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class LocalConnection:
    """A joined owner. `ended` is set once the connection is gone."""

    def __init__(self, frames: FrameSocket, address: Address) -> None:
        self.ended = asyncio.Event()
        self.address = address
        self._frames = frames
        self._calls: dict[int, asyncio.Future[Frame]] = {}
        self._last_number = 0
        self._reading = asyncio.get_running_loop().create_task(self._read())

    def __repr__(self) -> str:
        return f"<LocalConnection {self.address.place}: {len(self._calls)} calls{' ended' if self.ended.is_set() else ''}>"

    async def call(self, name: str, request: Message) -> Any:
        """The owner's answer.

        Raises:
            RpcError: the owner's refusal.
            OwnerLost: there was no answer.
        """
        method = method_named(name)
        assert method is not None
        body = call_body(name, request.SerializeToString(), Asking(seconds_left.get(), sees_unrecorded.get()))
        if len(body) > FRAME_BYTES_MAX:
            raise resource_exhausted(
                f"the request has {len(body)} bytes, and {FRAME_BYTES_MAX} are allowed",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
                ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
            )
        if self.ended.is_set():
            raise OwnerLost(begun=False)
        number = self._last_number = (self._last_number + 1) % _NUMBERS
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        self._frames.send(Kind.CALL, number, body)
        try:
            frame = await answer
        except asyncio.CancelledError:  # perhaps with a task in hand, which is given back
            self._calls.pop(number, None)
            self._frames.send(Kind.CANCEL, number)
            raise
        if frame.kind == Kind.TASK and not self._frames.send(Kind.TAKEN, number):
            # That the task is here has to be out before it begins: else it might be taken back, should this process die, and begin again.
            await self._frames.room(0)
        try:
            return method.response.FromString(frame.body)
        except DecodeError as error:
            raise internal(f"the answer of {name} cannot be read: {error}") from None

    async def _read(self) -> None:
        try:
            while (frame := await self._frames.read()) is not None:
                self._take(frame)
        except BrokenPeer as error:
            logger.error("The process that has the file open is left: it sent %s", error)
        finally:
            self.ended.set()
            calls, self._calls = self._calls, {}
            for answer in calls.values():
                if not answer.done():
                    answer.set_exception(OwnerLost(begun=True))

    def _take(self, frame: Frame) -> None:
        answer = self._calls.pop(frame.number, None)
        if answer is None:
            return
        if answer.done():  # cancelled a moment ago
            self._frames.send(Kind.CANCEL, frame.number)
        elif frame.kind in (Kind.REPLY, Kind.TASK):
            answer.set_result(frame)
        elif frame.kind == Kind.ERROR:
            answer.set_exception(error_of(frame.body))
        elif frame.kind == Kind.LATE:
            answer.set_exception(OwnerLost(begun=False))
        else:
            raise BrokenPeer(f"a frame of kind {frame.kind}")

    async def close(self) -> None:
        """Ends the connection, and what is being called over it."""
        self._reading.cancel()
        await asyncio.wait((self._reading,))
        await self._frames.close()


async def join(address: Address, greeting: Greeting) -> LocalConnection:
    """Joins the owner at an address.

    Raises:
        OSError: nobody answers there.
        NotLetIn: the owner refuses.
    """
    frames = FrameSocket(await address.connect())
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await _greet(frames, address, greeting)
    except BaseException:
        await frames.close()
        raise
    return LocalConnection(frames, address)


async def _greet(frames: FrameSocket, address: Address, greeting: Greeting) -> None:
    frames.send_byte(WIRE_VERSION)
    frames.send(Kind.HELLO, 0, greeting.hello(address.secret))
    version = await frames.read_byte()
    if version is not None and version != WIRE_VERSION:
        raise NotLetIn(Refusal(OTHER_PROTOCOL, forever=True))
    try:
        answer = await frames.read()
    except BrokenPeer as error:
        raise ConnectionResetError(f"the owner sent {error}") from error
    if answer is not None and answer.kind == Kind.REFUSED:
        raise NotLetIn(Refusal.decoded(answer.body))
    if answer is None or answer.kind != Kind.WELCOME:
        raise ConnectionResetError("the owner has gone")
