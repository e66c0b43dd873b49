"""Group commit: what is ready now becomes durable together, and only then is anything told.

The event loop submits entries; one writer thread takes all that wait, hands them to the storage as one group (one flush to
disk), and the answers come back to the loop in the order of submission. While a group is being written the next one
gathers, so an idle engine pays one flush of latency and a busy one shares it.

The rule a newcomer would get wrong: an entry's callback runs on the loop, after durability, and callbacks of one run never
overtake each other. The writer shares the interpreter's lock with the loop, so it does little else than call the storage.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from perdure.model.errors import StorageError
from perdure.storage.contract import Committed, Transaction, WorkflowStorage

logger = logging.getLogger("perdure.engine")

GROUP_TRANSACTIONS_MAX = 512
"""In one database transaction: more would delay the first of them for no gain in throughput."""


class Entry(NamedTuple):
    """A transaction, and who hears what became of it."""

    transaction: Transaction
    done: Callable[[Committed], None]


class Committer:
    """The one way from the engine to durable storage."""

    def __init__(self, storage: WorkflowStorage) -> None:
        self._storage = storage
        self._loop = asyncio.get_running_loop()
        self._gathering: deque[Entry] = deque()
        self._in_flight = 0
        self._idle_writer = False
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._flush_scheduled = False
        self._settled: asyncio.Future[None] | None = None
        self.groups = 0
        """Groups written since the engine opened; with `transactions`, how well commits are shared."""
        self.transactions = 0
        self._thread: threading.Thread | None = None
        if storage.blocking:
            self._thread = threading.Thread(target=self._write_groups, name="perdure-writer", daemon=True)
            self._thread.start()

    def __repr__(self) -> str:
        return f"<Committer {self._storage.url}: {self._in_flight} in flight, {self.transactions} in {self.groups} groups>"

    def submit(self, transaction: Transaction, done: Callable[[Committed], None]) -> None:
        """Queues a transaction; `done` is called on the loop with what became of it."""
        self._in_flight += 1
        self._gathering.append(Entry(transaction, done))
        if self._thread is None:
            if not self._flush_scheduled:
                self._flush_scheduled = True
                self._loop.call_soon(self._flush_inline)
        elif self._idle_writer:
            self._idle_writer = False
            self._wake.put(True)

    async def settle(self) -> None:
        """Waits until everything that was submitted has been answered."""
        while self._in_flight:
            if self._settled is None or self._settled.done():
                self._settled = self._loop.create_future()
            await asyncio.shield(self._settled)

    def close(self) -> None:
        """Ends the writer; call `settle` first."""
        if self._thread is not None and self._thread.is_alive():
            self._wake.put(False)
            self._thread.join()

    def _flush_inline(self) -> None:
        self._flush_scheduled = False
        group = self._take_group()
        self._answer(group, self._commit(group))
        if self._gathering and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush_inline)

    def _take_group(self) -> list[Entry]:
        # The two ends of a deque may be used by two threads; a list that is swapped would lose what is appended meanwhile.
        take = self._gathering.popleft
        return [take() for _ in range(min(len(self._gathering), GROUP_TRANSACTIONS_MAX))]

    def _write_groups(self) -> None:
        """The writer thread."""
        while True:
            if not self._gathering:
                self._idle_writer = True
                # An entry that came in between has seen either the flag (and wakes us) or is seen here.
                if not self._gathering and not self._wake.get():
                    return
                self._idle_writer = False
                continue
            group = self._take_group()
            answers = self._commit(group)
            try:
                self._loop.call_soon_threadsafe(self._answer, group, answers)
            except RuntimeError:  # the loop has been closed under us: nobody is left to be told
                return

    def _commit(self, group: list[Entry]) -> list[Committed]:
        self.groups += 1
        self.transactions += len(group)
        try:
            return self._storage.commit([entry.transaction for entry in group])
        except StorageError:
            logger.exception("The storage %s did not say what became of %d transactions", self._storage.url, len(group))
        except Exception:
            logger.exception("The storage %s broke its contract: commit() raised", self._storage.url)
        return [Committed.UNKNOWN] * len(group)

    def _answer(self, group: list[Entry], answers: list[Committed]) -> None:
        for entry, answer in zip(group, answers, strict=True):
            try:
                entry.done(answer)
            except Exception:
                logger.exception("A callback after commit failed")
        self._in_flight -= len(group)
        if not self._in_flight and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)
