"""Signals of a run: who handles them, and those that nobody has asked for yet.

A signal goes to the handler of its name, else to who waits for it (`await_signal`), else to the dynamic handler, else it is kept,
in order of arrival, for whichever comes first. It is decoded when it is taken: only then is its type known.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1.message_pb2 import Payload

from perdure.model.call_shape import CallShape
from perdure.model.conversion import DataConverter
from perdure.model.definitions import HandlerDefinition
from perdure.model.errors import InvalidInput, UsageError


@dataclass(slots=True, frozen=True)
class Handler:
    """A function that answers a signal or a query. A dynamic one gets the name first, then the values as they come: as a list, or one
    after the other where it takes `*args`.
    """

    name: str | None
    fn: Callable[..., Any]
    shape: CallShape
    arg_types: Sequence[Any]
    is_async: bool
    description: str = ""

    @property
    def dynamic(self) -> bool:
        return self.name is None

    def arguments(self, name: str, payloads: Sequence[Payload], converter: DataConverter) -> list[Any]:
        """What to call it with. InvalidInput when that many or such values cannot be right."""
        if self.dynamic:
            values = converter.decode_args(payloads, ())
            return [name, *values] if self.shape.variadic else [name, values]
        try:
            self.shape.check_count(len(payloads))
        except UsageError as error:
            raise InvalidInput(str(error)) from error
        return converter.decode_args(payloads, self.arg_types, self.shape.arg_names, self.shape.where)


def bound_handler(name: str | None, handler: HandlerDefinition, instance: Any) -> Handler:
    """A handler method of a workflow class, bound to its object."""
    if instance is None:
        raise UsageError(f"handler {name!r} belongs to a workflow that is no class")
    fn = handler.fn.__get__(instance)
    return Handler(name, fn, handler.shape, handler.arg_types, handler.is_async, (handler.fn.__doc__ or "").partition("\n")[0])


def _own(payload: Payload) -> Payload:
    """A copy: the original keeps the whole response alive that it came in."""
    copy = Payload()
    copy.CopyFrom(payload)
    return copy


class SignalRegistry:
    """Handlers, waiters and kept signals, by name."""

    __slots__ = ("_converter", "_dispatch", "_drop", "_handlers", "_kept", "_waiters")

    def __init__(
        self,
        converter: DataConverter,
        dispatch: Callable[[Handler, list[Any]], None],
        drop: Callable[[str, Exception], None],
    ) -> None:
        self._converter = converter
        self._dispatch = dispatch
        self._drop = drop
        self._handlers: dict[str | None, Handler] = {}
        self._kept: dict[str, collections.deque[list[Payload]]] = {}
        self._waiters: dict[str, collections.deque[asyncio.Future[list[Payload]]]] = {}

    @property
    def handlers(self) -> Sequence[Handler]:
        return list(self._handlers.values())

    def pending(self, name: str) -> int:
        """How many signals of this name wait to be taken."""
        return len(self._kept.get(name, ()))

    def set_handler(self, handler: Handler) -> None:
        """From now on `handler` gets the signals of its name, those kept so far first."""
        if handler.name is not None and self._waiters.get(handler.name):
            raise UsageError(f"signal {handler.name!r} is awaited already; use a handler or await_signal for it, not both")
        self._handlers[handler.name] = handler
        names = [handler.name] if handler.name is not None else list(self._kept)
        for name in names:
            for payloads in self._kept.pop(name, ()):
                self._call(handler, name, payloads)

    def deliver(self, name: str, payloads: list[Payload]) -> None:
        """A signal has arrived."""
        handler = self._handlers.get(name)
        if handler is not None:
            self._call(handler, name, payloads)
            return
        waiters = self._waiters.get(name)
        while waiters:
            future = waiters.popleft()
            if not future.done():
                future.set_result(payloads)
                return
        dynamic = self._handlers.get(None)
        if dynamic is not None:
            self._call(dynamic, name, payloads)
            return
        self._kept.setdefault(name, collections.deque()).append([_own(payload) for payload in payloads])

    async def take(self, name: str, type_hint: Any) -> Any:
        """The oldest signal of this name that nobody has taken; waits for one."""
        if name in self._handlers:
            raise UsageError(f"signal {name!r} has a handler, which gets all of them; use a handler or await_signal for it, not both")
        while True:
            kept = self._kept.get(name)
            decoded = self._decode(name, kept.popleft() if kept else await self._next(name), type_hint)
            if decoded is not None:
                return decoded[0]

    async def _next(self, name: str) -> list[Payload]:
        future: asyncio.Future[list[Payload]] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(name, collections.deque()).append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.done() or future.cancelled():
                self._leave(name, future)
            else:  # it came in the same moment as the cancellation: the next one takes it
                self._kept.setdefault(name, collections.deque()).appendleft(future.result())
            raise

    def _leave(self, name: str, future: asyncio.Future[list[Payload]]) -> None:
        """Nobody waits there any more."""
        waiters = self._waiters.get(name)
        if waiters is not None and future in waiters:
            waiters.remove(future)

    def _decode(self, name: str, payloads: list[Payload], type_hint: Any) -> tuple[Any] | None:
        if not payloads:
            return (None,)
        try:
            return (self._converter.from_payload(payloads[0], type_hint),)
        except InvalidInput as error:
            self._drop(name, error)
            return None

    def _call(self, handler: Handler, name: str, payloads: list[Payload]) -> None:
        try:
            arguments = handler.arguments(name, payloads, self._converter)
        except InvalidInput as error:
            self._drop(name, error)
            return
        self._dispatch(handler, arguments)
