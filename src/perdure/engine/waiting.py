"""Waiting for a future, but not beyond a time of the engine's clock."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TypeVar

from perdure.model.clock import Clock

T = TypeVar("T")


async def wait_until(clock: Clock, future: asyncio.Future[T], deadline: int, late: T) -> T:
    """The future's result; `late`, which it then has as its result, if `deadline` (nanoseconds since the epoch) comes first."""
    limit = clock.call_at(deadline, partial(_settle, future, late))
    try:
        return await future
    finally:
        limit.cancel()


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
