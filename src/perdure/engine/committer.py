"""Group commit: what is ready now becomes durable together, and only then is anything told.

What one turn of the event loop submits is handed to the writer thread at the end of the turn; the writer takes all that has been
handed over, gives it to the storage as one group (one flush to disk), and the answers come back to the loop in the order of
submission. While a group is being written the next one gathers, so an idle engine pays one flush of latency and a busy one
shares it. A transaction that is alone does not go to the thread if the disk is quick: the loop would only wait for it (`LoneWrites`).

The rule a newcomer would get wrong: an entry's callback runs on the loop, after durability, never inside `submit`, and callbacks of
one run never overtake each other. The writer shares the interpreter's lock with the loop, so it does little else than call the
storage, and is not woken for every transaction of a turn: it would take the lock for a group of one (chains of 50 workflows: 3
transactions in a group instead of 40).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import perf_counter
from typing import TypeAlias

from perdure.engine.lone_writes import LoneWrites
from perdure.model.errors import StorageError
from perdure.storage.contract import Committed, Transaction, WorkflowStorage

logger = logging.getLogger("perdure.engine")

GROUP_TRANSACTIONS_MAX = 512
"""In one database transaction, but for the turn that passes it: more would delay the first of them for no gain in throughput."""

EARLY_TRANSACTIONS = 16
"""So many of one turn are handed over before its end, while the writer has nothing: the loop and the disk work at the same time."""


Entry: TypeAlias = tuple[Transaction, Callable[[Committed], None]]
"""A transaction, and who hears what became of it."""


class Committer:
    """The one way from the engine to durable storage."""

    def __init__(self, storage: WorkflowStorage) -> None:
        self._storage = storage
        self._loop = asyncio.get_running_loop()
        self._gathering: list[Entry] = []
        """What this turn of the loop has submitted."""
        self._handed_over: SimpleQueue[list[Entry] | None] = SimpleQueue()
        """Whole turns, for the writer; None: it ends."""
        self._in_flight = 0
        self._lone_writes = LoneWrites()
        self._settled: asyncio.Future[None] | None = None
        self._behind: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits until how many transactions have been answered."""
        self._closed = False
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
        gathering = self._gathering
        if not gathering:
            self._loop.call_soon(self._hand_over)
        gathering.append((transaction, done))
        if len(gathering) >= EARLY_TRANSACTIONS and self._thread is not None and self._handed_over.empty():
            self._hand_over()

    async def settle(self) -> None:
        """Waits until everything that was submitted has been answered."""
        while self._in_flight:
            if self._settled is None or self._settled.done():
                self._settled = self._loop.create_future()
            await asyncio.shield(self._settled)

    async def catch_up(self) -> None:
        """Waits until what has been submitted by now has been answered, whatever is submitted meanwhile."""
        if self._in_flight:
            caught_up: asyncio.Future[None] = self._loop.create_future()
            self._behind.append((self.transactions + self._in_flight, caught_up))
            await caught_up

    def close(self) -> None:
        """Ends the writer; call `settle` first. What is submitted later is not written, and is told so."""
        self._closed = True
        if self._thread is not None and self._thread.is_alive():
            self._handed_over.put(None)
            self._thread.join()

    def _hand_over(self) -> None:
        """The turn is over, or long enough for the writer to begin."""
        turn, self._gathering = self._gathering, []
        if not turn:
            return
        if self._closed:
            self._answer(turn, [Committed.FAILED] * len(turn), 0.0)
        elif self._thread is None:
            self._answer(turn, self._commit(turn, self._storage.commit) or _unknown(turn), 0.0)
        elif self._in_flight > 1 or not self._lone_writes.suit(turn[0][0]) or not self._write_here(turn):
            self._handed_over.put(turn)

    def _write_here(self, group: list[Entry]) -> bool:
        """Writes a group on the loop, while the writer has nothing; False if the storage would rather have it in a thread."""
        began = perf_counter()
        answers = self._commit(group, self._storage.commit_at_once)
        if answers is None:
            return False
        self._answer(group, answers, perf_counter() - began)
        return True

    def _write_groups(self) -> None:
        """The writer thread."""
        while (group := self._next_group()) is not None:
            began = perf_counter()
            answers = self._commit(group, self._storage.commit) or _unknown(group)
            try:
                self._loop.call_soon_threadsafe(self._answer, group, answers, perf_counter() - began)
            except RuntimeError:  # the loop has been closed under us: nobody is left to be told
                return

    def _next_group(self) -> list[Entry] | None:
        """All turns that have been handed over, up to the bound; waits for one. None: nothing comes any more."""
        group = self._handed_over.get()
        while group is not None and len(group) < GROUP_TRANSACTIONS_MAX:
            if self._handed_over.empty():
                break
            turn = self._handed_over.get()  # nobody else takes any
            if turn is None:
                self._handed_over.put(None)  # after this group
                break
            group.extend(turn)
        return group

    def _commit(self, group: list[Entry], commit: Callable[[list[Transaction]], list[Committed] | None]) -> list[Committed] | None:
        """What `commit` says; UNKNOWN for all if it breaks."""
        try:
            return commit([transaction for transaction, _ in group])
        except StorageError:
            logger.exception("The storage %s did not say what became of %d transactions", self._storage.url, len(group))
        except Exception:
            logger.exception("The storage %s broke its contract: commit() raised", self._storage.url)
        return _unknown(group)

    def _answer(self, group: list[Entry], answers: list[Committed], seconds: float) -> None:
        self.groups += 1
        self.transactions += len(group)
        for (_, done), answer in zip(group, answers, strict=True):
            try:
                done(answer)
            except Exception:
                logger.exception("A callback after commit failed")
        self._in_flight -= len(group)
        self._lone_writes.note(group[0][0], len(group), seconds)
        if self._behind:
            self._tell_those_behind()
        if not self._in_flight and self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    def _tell_those_behind(self) -> None:
        answered = self.transactions
        for wanted, caught_up in self._behind:
            if wanted <= answered and not caught_up.done():
                caught_up.set_result(None)
        self._behind = [each for each in self._behind if each[0] > answered]


def _unknown(group: list[Entry]) -> list[Committed]:
    return [Committed.UNKNOWN] * len(group)
