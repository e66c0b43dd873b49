"""`TestService`: time that passes at once when nobody has anything to do.

Skipping is locked at first. While it is unlocked (the SDKs do that while they wait for a result) and the engine is idle, the clock is set
to the next timer of a workflow, to the next schedule, or to the end of a sleep that was asked for here, whichever comes first.

The rule a newcomer would get wrong: timers of the server itself, such as the ends of long polls, are nothing to jump to.
They fall due on the way.
"""

from __future__ import annotations

import asyncio

from google.protobuf.empty_pb2 import Empty
from temporalio.api.testservice.v1 import (
    GetCurrentTimeResponse,
    LockTimeSkippingRequest,
    LockTimeSkippingResponse,
    SleepRequest,
    SleepResponse,
    SleepUntilRequest,
    UnlockTimeSkippingRequest,
    UnlockTimeSkippingResponse,
)

from perdure.engine.engine import Engine
from perdure.engine.idleness import is_idle, next_timer
from perdure.model.rpc import failed_precondition
from perdure.server.skipping_clock import SkippingClock

__all__ = ["TimeSkipping"]

_SETTLE_SECONDS = 0.002
"""After an answer, the engine may be idle only because its caller has not asked for the next thing yet."""


class TimeSkipping:
    """The methods of `TestService`, and the decision to jump."""

    def __init__(self, engine: Engine, clock: SkippingClock) -> None:
        self._engine = engine
        self._clock = clock
        self._locks = 1
        self._sleeps: list[int] = []
        self._armed: asyncio.TimerHandle | None = None
        self._skipping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<TimeSkipping {'unlocked' if self._locks == 0 else f'{self._locks} locks'}, {self._clock!r}>"

    async def lock_time_skipping(self, request: LockTimeSkippingRequest) -> LockTimeSkippingResponse:
        """Time passes as usual, until it has been unlocked as often."""
        self._locks += 1
        return LockTimeSkippingResponse()

    async def unlock_time_skipping(self, request: UnlockTimeSkippingRequest) -> UnlockTimeSkippingResponse:
        """Takes one lock away."""
        self._unlock()
        return UnlockTimeSkippingResponse()

    async def sleep(self, request: SleepRequest) -> SleepResponse:
        """Returns after so much time, skipped time included."""
        await self._sleep_until(self._clock.now() + request.duration.ToNanoseconds())
        return SleepResponse()

    async def sleep_until(self, request: SleepUntilRequest) -> SleepResponse:
        """Returns at that time."""
        await self._sleep_until(request.timestamp.ToNanoseconds())
        return SleepResponse()

    async def unlock_time_skipping_with_sleep(self, request: SleepRequest) -> SleepResponse:
        """Sleeps with one lock less."""
        self._unlock()
        try:
            return await self.sleep(request)
        finally:
            self._locks += 1

    async def get_current_time(self, request: Empty) -> GetCurrentTimeResponse:
        """The clock's time."""
        response = GetCurrentTimeResponse()
        response.time.FromNanoseconds(self._clock.now())
        return response

    def consider(self) -> None:
        """Something has been answered: perhaps there is nothing left to do."""
        if self._locks == 0 and self._armed is None:
            self._armed = asyncio.get_running_loop().call_later(_SETTLE_SECONDS, self._begin)

    def close(self) -> None:
        """Skips no more."""
        self._locks += 1
        if self._armed is not None:
            self._armed.cancel()
        if self._skipping is not None:
            self._skipping.cancel()

    def _unlock(self) -> None:
        if self._locks == 0:
            raise failed_precondition("Time skipping is not locked.")
        self._locks -= 1
        self.consider()

    async def _sleep_until(self, when: int) -> None:
        self._sleeps.append(when)
        self.consider()
        try:
            await self._clock.sleep_until(when)
        finally:
            self._sleeps.remove(when)

    def _begin(self) -> None:
        self._armed = None
        if self._skipping is None or self._skipping.done():
            self._skipping = asyncio.get_running_loop().create_task(self._skip())

    async def _skip(self) -> None:
        if not self._may_skip():
            return
        timer = await next_timer(self._engine)
        if not self._may_skip():
            return  # somebody came while the storage was read
        due = min([when for when in (timer, *self._sleeps) if when is not None], default=None)
        if due is None:
            return
        self._clock.jump(due)
        await self._engine.committer.settle()
        self.consider()

    def _may_skip(self) -> bool:
        return self._locks == 0 and is_idle(self._engine)
