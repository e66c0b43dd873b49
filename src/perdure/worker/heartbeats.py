"""Heartbeats of one attempt: sent at most once an interval, the last word never lost.

The first is sent at once; what comes within the interval replaces what waits, and is sent at its end. When the attempt fails, what
was said last and is not known to have arrived goes with the failure (`last_heartbeat_details`), so that the next attempt finds it.
After a success or a cancellation nobody would read it, and nothing is sent.

`beat` may be called from the loop and from any thread. It stores the details first and looks at `_armed` afterwards, so that a
timer that fires in between either takes the new details or leaves `_armed` false, and none is left lying.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

from temporalio.api.common.v1 import Payload

from perdure.model.clock import Cancellable, Clock

__all__ = ["Heartbeats", "interval_seconds"]

_TIMEOUT_SHARE = 0.8
"""Of the heartbeat time-out, as in Temporal's SDKs: late enough to be cheap, early enough for one lost message."""
_RETRY_NS = 1_000_000_000
"""After a heartbeat that could not be sent."""


def interval_seconds(heartbeat_timeout: float, *, default: float, maximum: float) -> float:
    """The time between two heartbeats that are sent; a time-out of 0 is none."""
    return min(_TIMEOUT_SHARE * heartbeat_timeout if heartbeat_timeout else default, maximum)


class Heartbeats:
    """Throttles one attempt's heartbeats; `thread` is the loop's. `send` sends one: whether it arrived; it never raises."""

    __slots__ = (
        "_armed",
        "_clock",
        "_closed",
        "_interval_ns",
        "_loop",
        "_next_at",
        "_pending",
        "_send",
        "_sending",
        "_thread",
        "_timer",
        "_unconfirmed",
    )

    def __init__(
        self,
        send: Callable[[Sequence[Payload]], Awaitable[bool]],
        interval: float,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        thread: int,
    ) -> None:
        self._send = send
        self._interval_ns = int(interval * 1e9)
        self._clock = clock
        self._loop = loop
        self._thread = thread
        self._pending: Sequence[Payload] | None = None
        self._unconfirmed: Sequence[Payload] | None = None
        self._armed = False
        self._closed = False
        self._next_at = 0
        self._timer: Cancellable | None = None
        self._sending: asyncio.Task[None] | None = None

    def beat(self, details: Sequence[Payload]) -> None:
        """Takes the latest details; from any thread."""
        self._pending = details
        if self._armed:
            return
        if threading.get_ident() == self._thread:
            self._arm()
        else:
            self._loop.call_soon_threadsafe(self._arm)

    def close(self) -> Sequence[Payload] | None:
        """Ends it; the details that may not have arrived yet, if any."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._unconfirmed if self._pending is None else self._pending

    def _arm(self) -> None:
        if self._armed or self._closed or self._pending is None:
            return
        self._armed = True
        if self._clock.now() >= self._next_at:
            self._start()
        else:
            self._timer = self._clock.call_at(self._next_at, self._start)

    def _start(self) -> None:
        self._timer = None
        if not self._closed:
            self._sending = self._loop.create_task(self._send_pending(), name="perdure heartbeat")

    async def _send_pending(self) -> None:
        details, self._pending = self._pending, None
        if details is None:
            details = ()
        self._unconfirmed = details
        self._next_at = self._clock.now() + self._interval_ns
        if await self._send(details):
            self._unconfirmed = None
        else:
            self._next_at = min(self._next_at, self._clock.now() + _RETRY_NS)
            if self._pending is None:
                self._pending = details
        self._armed = False
        self._sending = None
        self._arm()
