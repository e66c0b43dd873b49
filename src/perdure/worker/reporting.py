"""Reports to the engine are not given up because it is away for a moment: they are repeated until the task's own time is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, StatusCode

__all__ = ["TRANSIENT", "repeat", "report"]

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


async def report(call: Callable[[RequestT], Awaitable[ReplyT]], request: RequestT, clock: Clock, seconds: float) -> ReplyT:
    """The engine's reply; raises its RpcError when it refuses, or is still away after `seconds`."""
    try:
        return await call(request)
    except RpcError as error:
        return await repeat(error, call, request, clock, seconds)


async def repeat(error: RpcError, call: Callable[[RequestT], Awaitable[ReplyT]], request: RequestT, clock: Clock, seconds: float) -> ReplyT:
    """`report` after a first try that ended with `error`: who reports all day makes that one itself, one await less."""
    until = clock.now() + int(seconds * 1e9)
    pause = _FIRST_PAUSE_NS
    while error.code in TRANSIENT and (now := clock.now()) < until:
        await clock.sleep_until(min(now + pause, until))
        pause = min(pause * 2, _LONGEST_PAUSE_NS)
        try:
            return await call(request)
        except RpcError as last:
            error = last
    raise error
