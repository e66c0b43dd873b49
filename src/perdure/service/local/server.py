"""The owner's end: serves an engine to those who join it.

Each connection is a session, with its own limits, so that a slow or greedy joiner holds up nobody else: so many calls at once, and
nothing more is read from one that does not take its answers. When a connection ends, so do its calls; a task that was on its way is
taken back, as if it had never left.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope, TaskQueueKind
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest, PollNexusTaskQueueRequest, PollWorkflowTaskQueueRequest

from perdure.model.callers import sees_unrecorded
from perdure.model.patience import seconds_left
from perdure.model.rpc import RpcError, internal, invalid_argument, resource_exhausted, unimplemented
from perdure.service.local.address import Listener
from perdure.service.local.frames import FRAME_BYTES_MAX, Asking, BrokenPeer, Frame, FrameSocket, Kind, error_body, split_call
from perdure.service.local.greeting import HANDSHAKE_SECONDS, OTHER_PROTOCOL, WIRE_VERSION, Greeting, Refusal
from perdure.service.methods import Method, method_named

logger = logging.getLogger("perdure.service")

SESSIONS_MAX = 1_000
CALLS_MAX = 5_000
"""Calls under way of one session, its polls among them; the next one is refused with RESOURCE_EXHAUSTED."""
UNSENT_BYTES_MAX = 8 * 1024 * 1024
"""Answers that a session may leave unread; beyond, none of its calls are read until it has taken some."""
LAST_WORDS_SECONDS = 1.0
"""What a closing owner waits for answers to leave."""
_POLLS = (PollWorkflowTaskQueueRequest, PollActivityTaskQueueRequest, PollNexusTaskQueueRequest)


class Served(Protocol):
    """What is served: an engine."""

    @property
    def closed(self) -> bool: ...
    def return_task(self, request: Any, response: Any) -> None: ...
    def drop_sticky_queue(self, namespace: str, name: str) -> None: ...


class LocalServer:
    """Serves until `close`; `stop_listening` comes before the engine is closed, and `close` after."""

    def __init__(self, engine: Served, service: object, listener: Listener, greeting: Greeting) -> None:
        self.engine = engine
        self.service = service
        self.secret = listener.address.secret
        self.greeting = greeting
        self._listener = listener
        self._sessions: dict[_Session, asyncio.Task[None]] = {}
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener.socket))

    def __repr__(self) -> str:
        return f"<LocalServer {self._listener.address.place}: {len(self._sessions)} joined>"

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, _ = await loop.sock_accept(listening)
            except OSError as error:  # too many open files, above all: those who wait keep waiting
                logger.warning("A process that wants to join cannot be let in: %s", error)
                await asyncio.sleep(1)
                continue
            if len(self._sessions) >= SESSIONS_MAX:
                connected.close()
                continue
            connected.setblocking(False)
            session = _Session(self, FrameSocket(connected))
            self._sessions[session] = task = loop.create_task(session.run())
            task.add_done_callback(lambda _, ended=session: self._sessions.pop(ended, None))  # type: ignore[misc]

    async def stop_listening(self) -> None:
        """Lets nobody in any more. Those who are stay until `close`, to get their last answers."""
        self._accepting.cancel()
        await asyncio.wait((self._accepting,))
        self._listener.close()

    async def close(self) -> None:
        """Ends all sessions, once their last answers are out. The engine is closed."""
        sessions = dict(self._sessions)
        await asyncio.gather(*(session.last_words() for session in sessions))
        for task in sessions.values():
            task.cancel()
        await asyncio.gather(*sessions.values(), return_exceptions=True)


class _Session:
    """One joiner."""

    def __init__(self, server: LocalServer, frames: FrameSocket) -> None:
        self._server = server
        self._frames = frames
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._on_their_way: dict[int, tuple[Message, Message]] = {}
        """Polls whose task was sent, with that, until the joiner says that it has it."""
        self._sticky_queues: set[tuple[str, str]] = set()
        """Which only workers of this joiner poll, by namespace and name."""

    async def run(self) -> None:
        try:
            if await self._greet():
                await self._serve()
        except BrokenPeer as error:
            logger.warning("A process that had joined is cut off: it sent %s", error)
        finally:
            await self._end()

    async def _greet(self) -> bool:
        frames, server = self._frames, self._server
        frames.send_byte(WIRE_VERSION)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                hello = await frames.read() if await frames.read_byte() == WIRE_VERSION else None
        except TimeoutError:
            return False
        if hello is None or hello.kind != Kind.HELLO:
            refusal: Refusal | None = Refusal(OTHER_PROTOCOL, forever=True)
        else:
            refusal = server.greeting.judge(hello.body, server.secret)
        if refusal is None:
            frames.send(Kind.WELCOME, 0)
        else:
            frames.send(Kind.REFUSED, 0, refusal.encoded())
        return refusal is None

    async def _serve(self) -> None:
        frames = self._frames
        handlers: dict[int, Callable[[Frame], None]] = {Kind.CALL: self._call, Kind.CANCEL: self._cancel, Kind.TAKEN: self._taken}
        while (frame := await frames.read()) is not None:
            handler = handlers.get(frame.kind)
            if handler is None:
                raise BrokenPeer(f"a frame of kind {frame.kind}")
            handler(frame)
            await frames.room(UNSENT_BYTES_MAX)

    def _call(self, frame: Frame) -> None:
        if self._server.engine.closed:
            self._frames.send(Kind.LATE, frame.number)
            return
        try:
            method, asking, request = self._parsed(frame.body)
        except RpcError as error:
            self._frames.send(Kind.ERROR, frame.number, error_body(error))
            return
        if isinstance(request, PollWorkflowTaskQueueRequest) and request.task_queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY:
            self._sticky_queues.add((request.namespace, request.task_queue.name))
        task = asyncio.get_running_loop().create_task(self._answer(frame.number, method, asking, request))
        self._calls[frame.number] = task

    def _parsed(self, body: bytes) -> tuple[Method, Asking, Message]:
        name, asking, data = split_call(body)
        method = method_named(name)
        if method is None or not hasattr(self._server.service, name):
            raise unimplemented(f"unknown method {name}")
        if len(self._calls) >= CALLS_MAX:
            raise resource_exhausted(
                f"{CALLS_MAX} calls of this process are under way, which is the limit; try again later",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
                ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
            )
        try:
            return method, asking, method.request.FromString(data)
        except DecodeError as error:
            raise invalid_argument(f"the request of {name} cannot be read: {error}") from None

    async def _answer(self, number: int, method: Method, asking: Asking, request: Message) -> None:
        seconds_left.set(asking.seconds_left)
        sees_unrecorded.set(asking.sees_unrecorded)
        try:
            response = await getattr(self._server.service, method.name)(request)
            self._reply(number, request, response)
        except RpcError as error:
            if not self._server.engine.closed:  # what it could not finish the next owner is asked again, where that is safe
                self._frames.send(Kind.ERROR, number, error_body(error))
        except Exception as error:
            logger.exception("%s failed", method.name)
            self._frames.send(Kind.ERROR, number, error_body(internal(f"{method.name} failed: {error}")))
        finally:
            self._calls.pop(number, None)

    def _reply(self, number: int, request: Message, response: Any) -> None:
        data = response.SerializeToString()
        if len(data) > FRAME_BYTES_MAX:
            raise resource_exhausted(
                f"the answer has {len(data)} bytes, and {FRAME_BYTES_MAX} are allowed; ask for smaller pages",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
                ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
            )
        if isinstance(request, _POLLS) and response.task_token:
            self._on_their_way[number] = request, response
            self._frames.send(Kind.TASK, number, data)
        else:
            self._frames.send(Kind.REPLY, number, data)

    def _cancel(self, frame: Frame) -> None:
        task = self._calls.get(frame.number)
        if task is not None:
            task.cancel()
        self._take_back(frame.number)

    def _taken(self, frame: Frame) -> None:
        self._on_their_way.pop(frame.number, None)

    def _take_back(self, number: int) -> None:
        sent = self._on_their_way.pop(number, None)
        if sent is not None and not self._server.engine.closed:
            self._server.engine.return_task(*sent)

    async def last_words(self) -> None:
        """Waits for the answers that are still to come from an engine that is closed; not for long."""
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                while self._calls:
                    await asyncio.wait(list(self._calls.values()))
                await self._frames.room(0)
        except TimeoutError:
            logger.warning("A process that had joined did not get all its answers before this one closed the file")

    async def _end(self) -> None:
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._frames.close()
        if self._server.engine.closed:
            return
        for namespace, name in self._sticky_queues:
            self._server.engine.drop_sticky_queue(namespace, name)
        for number in list(self._on_their_way):
            self._take_back(number)
