"""When which run has something to do.

A run says with each transaction when its next timer is due; that time stands in its row. In memory are only the runs that
are due within the horizon, a few minutes; the storage is asked for the next ones before the horizon is reached, so a run that
sleeps for days costs no memory here. The number of entries has a bound too: when more runs are due, the horizon is nearer.

The rule a newcomer would get wrong: being late proves nothing. When this queue itself wakes late, the loop was blocked or the
process suspended, and heartbeats and results may be waiting to be heard. Then no timeout is judged until the loop has run
freely for a moment (law 9: a stall delays, and never lies).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable

from perdure.model.clock import Cancellable, Clock
from perdure.model.errors import StorageError
from perdure.model.ids import run_id_text
from perdure.storage.contract import Due

logger = logging.getLogger("perdure.engine")

HORIZON_SECONDS = 300
"""Runs due within this time are held in memory."""
ENTRIES_MAX = 20_000
"""Runs read from the storage at a time; when more are due, the horizon ends at the last of them."""
STALL_SECONDS = 0.2
"""Waking later than this means that the loop did not run."""
GRACE_SECONDS = 0.5
"""How long the loop has to run freely after a stall before timeouts are judged."""
GRACE_MAX_SECONDS = 60
"""A loop that stalls again and again is judged after this time all the same."""
FIRED_AT_ONCE_MAX = 200
"""Runs fired in one turn of the loop; the others wait for the next turn."""
RETRY_SECONDS = 1
"""Between two attempts to read due runs."""
_SECOND = 1_000_000_000
GRACE_NS = int(GRACE_SECONDS * _SECOND)


class TimerQueue:
    """The runs that are due within the horizon, the earliest first."""

    def __init__(self, clock: Clock, fire: Callable[[str], None], read: Callable[[int, int], Awaitable[list[Due]]]) -> None:
        """`fire` is called with the id of a run that is due; `read(until, limit)` asks the storage."""
        self._clock = clock
        self._fire = fire
        self._read = read
        self._heap: list[tuple[int, str]] = []
        self._entries: dict[str, int] = {}
        """Run id to the earliest time at which the heap will look at it."""
        self._due: dict[str, int] = {}
        """Run id to when it is really due."""
        self._horizon = 0
        self._armed: Cancellable | None = None
        self._armed_for = 0
        self._armed_extension: Cancellable | None = None
        self._stalled_since: int | None = None
        self._grace_until = 0
        """After a stall nothing fires before, whatever becomes due meanwhile: what has arrived is handled first."""
        self._extension: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<TimerQueue: {len(self._due)} runs>"

    def __len__(self) -> int:
        return len(self._due)

    async def open(self) -> None:
        """Reads what is due within the horizon."""
        await self._extend()

    def set(self, run_id: str, due: int | None) -> None:
        """A run's next timer, as its last durable transaction left it."""
        if due is None or due > self._horizon:
            self._due.pop(run_id, None)
            return
        self._due[run_id] = due
        looked_at = self._entries.get(run_id)
        if looked_at is None or due < looked_at:
            # A later due time is found out when the earlier entry comes up: most timers are replaced, not fired.
            self._push(run_id, due)

    async def close(self) -> None:
        """Fires nothing any more."""
        self._closed = True
        for armed in (self._armed, self._armed_extension):
            if armed is not None:
                armed.cancel()
        if self._extension is not None:
            self._extension.cancel()
            await asyncio.gather(self._extension, return_exceptions=True)

    def _push(self, run_id: str, due: int) -> None:
        self._entries[run_id] = due
        heapq.heappush(self._heap, (due, run_id))
        if self._armed is None or due < self._armed_for:
            self._arm()

    def _arm(self) -> None:
        """Wakes when the earliest entry is due, but not within a grace; a time that has passed means now."""
        if self._closed or not self._heap:
            return
        if self._armed is not None:
            self._armed.cancel()
        now = self._clock.now()
        self._grace_until = min(self._grace_until, now + GRACE_NS)  # the clock may have been set back
        self._armed_for = max(self._heap[0][0], now, self._grace_until)
        self._armed = self._clock.call_at(self._armed_for, self._wake)

    def _wake(self) -> None:
        self._armed = None
        now = self._clock.now()
        if self._stalled(now):
            self._grace_until = now + GRACE_NS
            self._arm()
            return
        self._fire_due(now)
        self._arm()

    def _stalled(self, now: int) -> bool:
        if now - self._armed_for <= STALL_SECONDS * _SECOND:
            self._stalled_since = None
            return False
        if self._stalled_since is None:
            self._stalled_since = now
        return now - self._stalled_since < GRACE_MAX_SECONDS * _SECOND

    def _fire_due(self, now: int) -> None:
        heap, entries, due = self._heap, self._entries, self._due
        fired = 0
        while heap and heap[0][0] <= now and fired < FIRED_AT_ONCE_MAX:
            when, run_id = heapq.heappop(heap)
            if entries.get(run_id) != when:
                continue
            del entries[run_id]
            really = due.get(run_id)
            if really is None:
                continue
            if really > now:
                entries[run_id] = really
                heapq.heappush(heap, (really, run_id))
                continue
            del due[run_id]
            fired += 1
            self._fire(run_id)

    async def _extend(self) -> None:
        """Moves the horizon on and reads the runs that are due before it."""
        # The horizon moves first: what is committed while the storage reads is then taken by `set`.
        self._horizon = self._clock.now() + HORIZON_SECONDS * _SECOND
        try:
            found = await self._read(self._horizon, ENTRIES_MAX)
        except StorageError:
            logger.exception("The storage could not say which timers are due; asking again in %d s", RETRY_SECONDS)
            self._arm_extension(self._clock.now() + RETRY_SECONDS * _SECOND)
            return
        if len(found) == ENTRIES_MAX:
            self._horizon = found[-1].due
        for due, run in found:
            run_id = run_id_text(run)
            if run_id not in self._due:
                self._due[run_id] = due
                if self._entries.get(run_id, due + 1) > due:
                    self._push(run_id, due)
        self._arm_extension(max(self._horizon - HORIZON_SECONDS * _SECOND // 2, self._clock.now() + RETRY_SECONDS * _SECOND))

    def _arm_extension(self, when: int) -> None:
        if not self._closed:
            self._armed_extension = self._clock.call_at(when, self._start_extension)

    def _start_extension(self) -> None:
        self._extension = asyncio.get_running_loop().create_task(self._extend())
