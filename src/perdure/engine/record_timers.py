"""When which record has something to do: schedules that are due, batch operations that go on.

A record says with each write when it is due next; that time stands in its row. In memory is one timer, for the earliest, and
the records that are being handled: a million sleeping schedules cost nothing here.

The rule a newcomer would get wrong: a record stays due until its handler has written it anew. So one that is being handled is not
handed out again meanwhile, and when its handler returns, the storage is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from perdure.engine.records import Records
from perdure.model.clock import Cancellable, Clock
from perdure.model.errors import StorageError
from perdure.storage.contract import Record

logger = logging.getLogger("perdure.engine")

HANDLED_MAX = 200
"""Records handled at a time; when more are due, the others wait for them."""
RETRY_SECONDS = 1
"""Between two attempts to read what is due."""

Handler: TypeAlias = Callable[[Record], Awaitable[None]]
"""Does what a record is due for. It returns when the record is not due any more, or after a pause when it could not be written."""


class RecordTimers:
    """Wakes the handlers of records by kind."""

    def __init__(self, clock: Clock, records: Records) -> None:
        self._clock = clock
        self._records = records
        self._handlers: dict[str, Handler] = {}
        self._handled: dict[tuple[str, str, str], asyncio.Task[None]] = {}
        self._armed: Cancellable | None = None
        self._armed_for = 0
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<RecordTimers: {len(self._handled)} records are being handled>"

    def handle(self, kind: str, handler: Handler) -> None:
        """Names who handles records of a kind; before `open`."""
        self._handlers[kind] = handler

    def open(self) -> None:
        """Begins with what is due now."""
        self._look()

    def set(self, due: int | None) -> None:
        """A record has been written, durably, that is due then."""
        if due is not None and (self._armed is None or due < self._armed_for):
            self._arm(due)

    async def close(self) -> None:
        """Wakes nobody any more, and ends those who are awake."""
        self._closed = True
        if self._armed is not None:
            self._armed.cancel()
        tasks = [*self._handled.values(), *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _arm(self, when: int) -> None:
        if self._closed:
            return
        if self._armed is not None:
            self._armed.cancel()
        self._armed_for = when
        self._armed = self._clock.call_at(when, self._wake)

    def _wake(self) -> None:
        self._armed = None
        self._look()

    def _look(self) -> None:
        self._look_again = True
        if not self._closed and (self._looking is None or self._looking.done()):
            self._looking = asyncio.get_running_loop().create_task(self._hand_out())

    async def _hand_out(self) -> None:
        while self._look_again and not self._closed:
            self._look_again = False
            now = self._clock.now()
            try:
                due = await self._records.due(now, HANDLED_MAX)
                following = await self._records.next_due(now)
            except StorageError:
                logger.exception("The storage could not say which records are due; asking again in %d s", RETRY_SECONDS)
                self._arm(now + RETRY_SECONDS * 1_000_000_000)
                return
            for record in due:
                self._begin(record)
            self.set(following)

    def _begin(self, record: Record) -> None:
        key = record.kind, record.namespace, record.key
        handler = self._handlers.get(record.kind)
        if handler is not None and key not in self._handled:
            self._handled[key] = asyncio.get_running_loop().create_task(self._handle(handler, record))

    async def _handle(self, handler: Handler, record: Record) -> None:
        try:
            await handler(record)
        except Exception:
            logger.exception("Handling %s %s failed; trying again in %d s", record.kind, record.key, RETRY_SECONDS)
            await self._clock.sleep_until(self._clock.now() + RETRY_SECONDS * 1_000_000_000)
        finally:
            self._handled.pop((record.kind, record.namespace, record.key), None)
            self._look()
