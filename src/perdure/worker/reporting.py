"""Reports to the engine are not given up because it is away for a moment: they are repeated until the task's own time is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, StatusCode

__all__ = ["TRANSIENT", "report"]

TRANSIENT = frozenset(
    (
        StatusCode.UNAVAILABLE,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.ABORTED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.INTERNAL,
        StatusCode.UNKNOWN,
    )
)
"""Answers after which the same request may succeed. Repeating is safe: a report that did arrive is answered NOT_FOUND."""

_FIRST_PAUSE_NS = 50_000_000
_LONGEST_PAUSE_NS = 5_000_000_000

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


async def report(call: Callable[[RequestT], Awaitable[ReplyT]], request: RequestT, clock: Clock, until_ns: int) -> ReplyT:
    """The engine's reply; raises its RpcError when it refuses, or is still away at `until_ns`."""
    pause = _FIRST_PAUSE_NS
    while True:
        try:
            return await call(request)
        except RpcError as error:
            now = clock.now()
            if error.code not in TRANSIENT or now >= until_ns:
                raise
        await clock.sleep_until(min(now + pause, until_ns))
        pause = min(pause * 2, _LONGEST_PAUSE_NS)
