"""Closed runs go when the retention of their namespace is over, and everything goes with a deleted namespace.

In memory is one timer: for the run that is the first to go. It is found again after each sweep, from the time of the earliest
close that the storage knows; where nothing has closed yet, nothing can be due before a whole retention from now.

The rule a newcomer would get wrong: being late is no fault here. A sweep takes what is due by then in bounded groups, with the
engine's other work between them, and the next one is at least `SPACING_SECONDS` later.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from perdure.engine.core.state import BESIDE
from perdure.engine.deletions import Deletions
from perdure.engine.namespaces import Namespace, Namespaces
from perdure.engine.reader import Reader
from perdure.engine.records import Conflict, Records
from perdure.model.clock import Cancellable, Clock
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError

logger = logging.getLogger("perdure.engine")

TOGETHER_MAX: Final = 100
"""Runs deleted at a time."""
SPACING_SECONDS: Final = 60
"""Between two sweeps, so that runs that close one after the other go together."""
RETRY_SECONDS: Final = 5
_SECOND: Final = 1_000_000_000


class Retention:
    """Deletes what nobody is to find any more."""

    def __init__(self, clock: Clock, namespaces: Namespaces, reader: Reader, records: Records, deletions: Deletions) -> None:
        self._clock = clock
        self._namespaces = namespaces
        self._reader = reader
        self._records = records
        self._deletions = deletions
        self._armed: Cancellable | None = None
        self.sweeping: asyncio.Task[None] | None = None
        """The sweep under way, or the last one."""
        self._again = False
        self._closed = False
        self.deleted = 0
        """Runs since the engine opened."""

    def __repr__(self) -> str:
        return f"<Retention: {self.deleted} runs deleted>"

    def open(self) -> None:
        """Begins with what is due now, and follows what becomes of the namespaces."""
        self._namespaces.on_changed = self.look
        self.look()

    def look(self) -> None:
        """Something has changed: looks at once what is due."""
        self._again = True
        if not self._closed and (self.sweeping is None or self.sweeping.done()):
            self.sweeping = asyncio.get_running_loop().create_task(self._sweep())

    async def close(self) -> None:
        """Deletes nothing any more."""
        self._closed = True
        if self._armed is not None:
            self._armed.cancel()
        if self.sweeping is not None:
            self.sweeping.cancel()
            await asyncio.gather(self.sweeping, return_exceptions=True)

    async def _sweep(self) -> None:
        while self._again and not self._closed:
            self._again = False
            try:
                due = await self._sweep_all()
            except (StorageError, RpcError, Conflict) as error:
                logger.warning("What is to be deleted could not be; trying again in %d s: %s", RETRY_SECONDS, error)
                due = self._clock.now() + RETRY_SECONDS * _SECOND
            self._arm(due)

    def _arm(self, when: int | None) -> None:
        if self._closed:
            return
        if self._armed is not None:
            self._armed.cancel()
        self._armed = None if when is None else self._clock.call_at(when, self.look)

    async def _sweep_all(self) -> int | None:
        """Deletes what is due, and says when the next is; None: no namespace has a retention."""
        for namespace in list(self._namespaces.deleted.values()):
            await self._reclaim(namespace.name)
        known = [each for each in self._namespaces.by_name.values() if each.retention]
        names = [(name, each) for each in known for name in (each.name + mark for mark in BESIDE)]
        following = [await self._sweep_namespace(name, each) for name, each in names]
        return max(min(following), self._clock.now() + SPACING_SECONDS * _SECOND) if following else None

    async def _sweep_namespace(self, name: str, namespace: Namespace) -> int:
        storage, retention = self._reader.storage, namespace.retention
        while found := await self._reader.read(storage.closed_runs, name, self._clock.now() - retention, TOGETHER_MAX):
            gone = await self._deletions.delete_many(name, found)
            self.deleted += gone
            if not gone:
                break
        first = await self._reader.read(storage.first_close, name)
        return (self._clock.now() if first is None else first) + retention

    async def _reclaim(self, name: str) -> None:
        """Everything of a deleted namespace: its runs, its records, at last itself."""
        storage = self._reader.storage
        for runs_of in (name + mark for mark in BESIDE):
            while found := await self._reader.read(storage.runs_of_namespace, runs_of, TOGETHER_MAX):
                gone = await self._deletions.delete_many(runs_of, found)
                self.deleted += gone
                if not gone:
                    await self._clock.sleep_until(self._clock.now() + RETRY_SECONDS * _SECOND)
        for kind in await self._reader.read(storage.record_kinds):
            while records := await self._records.list(kind, name, limit=TOGETHER_MAX):
                for record in records:
                    await self._records.delete(kind, name, record.key, expected_version=record.version)
        await self._namespaces.forget(name)
