"""The runs that are in memory: a bounded cache of state that the storage can always give again.

A run's requests are applied one after the other to its state in memory, and nothing is held while a transaction is being
written: the next request builds on what is not durable yet. What the outside may see is therefore not the state but the
answers of the committer (`Transactions`). When a commit fails, the state built on it is worth nothing: the run is evicted, and
whoever needs it next loads it from the storage.

The rule a newcomer would get wrong: a run that is evicted may still have transactions on their way. Each names the version it
is built on, so the storage refuses what does not fit; but one may still be written (what came before it did not fail after all).
So a run is read again only when all of them have been answered: else what was read would be old, and nobody would notice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from perdure.engine.core import Run
from perdure.engine.core.state import OPERATION_MARK, STANDALONE_MARK
from perdure.engine.loading import LoadedRun, load_runs
from perdure.engine.matching import ReadyTask
from perdure.engine.reader import Reader
from perdure.model.errors import StorageCorrupt
from perdure.model.ids import run_id_bytes, run_id_text
from perdure.model.rpc import RpcError, invalid_argument, not_found, unavailable
from perdure.storage.contract import Waiting

LIVE_RUNS_MAX = 1_000
"""Runs in memory, about 6 KB each; as many as a worker keeps workflows.

Those beyond it that have no transaction under way are dropped, the longest unused first."""
LOOKED_AT_MAX = 64
"""How many of them each new run may have looked at."""
LOADED_TOGETHER_MAX = 64
"""Runs read from the storage in one go, when many are asked for at once."""
_KINDS = {STANDALONE_MARK: ("activity", "activity_id"), OPERATION_MARK: ("Nexus operation", "operation_id")}
"""What callers call a run, and its workflow id, by the mark on its namespace."""


class LiveRun:
    """A run in memory."""

    __slots__ = (
        "close_event",
        "drained",
        "durable_next_event_id",
        "durable_version",
        "evicted",
        "in_flight",
        "key",
        "run",
        "version",
        "waiting",
        "watchers",
    )

    def __init__(self, run: Run, version: int, close_event: bytes = b"") -> None:
        self.run = run
        self.key = run.run_id_bytes
        """The run id as the storage has it."""
        self.version = version
        """Of the last transaction that was submitted, durable or not."""
        self.durable_version = version
        self.in_flight = 0
        """Transactions submitted and not yet answered."""
        self.durable_next_event_id = run.next_event_id if version else 1
        """Events before it may be shown."""
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []
        """Who waits for which version to become durable."""
        self.close_event = close_event
        """The durable close event, as a serialised `History`, where it is at hand."""
        self.evicted = False
        self.watchers = 0
        """Callers that wait for an update, of which perhaps only this memory knows."""
        self.drained: list[asyncio.Future[bool]] = []
        """Signal senders that wait until buffered events have become history."""

    def __repr__(self) -> str:
        return f"<LiveRun {self.run.workflow_id}/{self.run.run_id} version {self.version}, durable {self.durable_version}>"

    @property
    def pending(self) -> int:
        """Transactions submitted and not durable: on their way, or failed."""
        return self.version - self.durable_version


class LiveRuns:
    """The cache, and the way to a run that is not in it."""

    def __init__(self, reader: Reader, on_loaded: Callable[[Run], None]) -> None:
        """`on_loaded` is told of each run that has been read, before anybody else sees it."""
        self._reader = reader
        self._on_loaded = on_loaded
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self._current: dict[tuple[str, str], str] = {}
        """Namespace and workflow id to the run id of the current run, of runs that are in memory."""
        self._added = 0
        """Runs that came when there was no room for them, and for which others have not been looked at yet."""
        self._loading: dict[str, asyncio.Future[LiveRun | None]] = {}
        self._leaving: dict[str, set[LiveRun]] = {}
        """Run id to evicted runs of it with transactions on their way."""
        self._left: list[asyncio.Future[None]] = []
        self._wanted: list[str] = []
        self._loader: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"<LiveRuns: {len(self._runs)} of {LIVE_RUNS_MAX}>"

    def in_memory(self) -> Iterable[LiveRun]:
        """Those that are in memory, in no order that means anything."""
        return self._runs.values()

    def get(self, run_id: str) -> LiveRun | None:
        """The run, if it is in memory."""
        live = self._runs.get(run_id)
        if live is not None:
            self._runs.move_to_end(run_id)
        return live

    def get_current(self, namespace: str, workflow_id: str) -> LiveRun | None:
        """The current run of a workflow id, if it is in memory."""
        run_id = self._current.get((namespace, workflow_id))
        return None if run_id is None else self.get(run_id)

    def add(self, live: LiveRun, *, current: bool) -> None:
        """Takes a run in; `current` says that its workflow id means this run now."""
        run = live.run
        self._runs[run.run_id] = live
        if current:
            self._current[run.namespace, run.workflow_id] = run.run_id
        if len(self._runs) > LIVE_RUNS_MAX:
            if not self._added:
                # Not now: this run may come of a change to another one, of which no transaction has been made yet.
                asyncio.get_running_loop().call_soon(self._trim)
            self._added += 1

    def evict(self, live: LiveRun) -> None:
        """Drops a run whose state in memory cannot be trusted, or is not needed."""
        live.evicted = True
        run = live.run
        if live.in_flight:
            self._leaving.setdefault(run.run_id, set()).add(live)
        if self._runs.get(run.run_id) is live:
            del self._runs[run.run_id]
        if self._current.get((run.namespace, run.workflow_id)) == run.run_id:
            del self._current[run.namespace, run.workflow_id]
        for waiter in live.drained:
            if not waiter.done():
                waiter.set_result(True)
        live.drained.clear()

    def answered(self, live: LiveRun) -> None:
        """The last transaction of an evicted run has been answered: it can be read again."""
        leaving = self._leaving.get(live.run.run_id)
        if leaving is None:
            return
        leaving.discard(live)
        if not leaving:
            del self._leaving[live.run.run_id]
            left, self._left = self._left, []
            for waiter in left:
                waiter.set_result(None)

    async def _wait_for_leaving(self, run_ids: Sequence[str]) -> None:
        while any(run_id in self._leaving for run_id in run_ids):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._left.append(waiter)
            await asyncio.shield(waiter)

    def _trim(self) -> None:
        """Drops the longest unused runs; looks at a bounded number, since those with commits under way stay."""
        added, self._added = self._added, 0
        for _ in range(LOOKED_AT_MAX * added):
            if len(self._runs) <= LIVE_RUNS_MAX:
                return
            run_id, live = next(iter(self._runs.items()))
            if live.pending or live.drained or live.waiting or live.watchers:
                self._runs.move_to_end(run_id)
            else:
                self.evict(live)

    def known(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun | None:
        """As `find`, if the run is in memory."""
        live = self.get(run_id) if run_id else self.get_current(namespace, workflow_id)
        return live if live is not None and live.run.workflow_id == workflow_id and live.run.namespace == namespace else None

    async def find(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun:
        """The run that a request names; without a run id, the current one.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT for a run id that is none.
        """
        live = self.get(run_id) if run_id else self.get_current(namespace, workflow_id)
        if live is None:
            live = await (self.load(run_id) if run_id else self.load_current(namespace, workflow_id))
        if live is None or live.run.workflow_id != workflow_id or live.run.namespace != namespace:
            raise _missing(namespace, workflow_id, run_id)
        return live

    async def load_current(self, namespace: str, workflow_id: str) -> LiveRun | None:
        """The current run of a workflow id; None if no run ever had it."""
        found = await self._reader.read(self._reader.storage.current_run, namespace, workflow_id)
        if found is None:
            return None
        live = await self.load(run_id_text(found.run_id))
        known = self._current.get((namespace, workflow_id))
        if known is not None and (newer := self.get(known)) is not None:
            return newer  # started while the storage was asked
        if live is not None and not live.evicted:
            self._current[namespace, workflow_id] = live.run.run_id
        return live

    async def load(self, run_id: str) -> LiveRun | None:
        """A run from memory or from the storage; None if there is none. Runs wanted at once are read together.

        What it returns is the one in memory, until its caller awaits something else.

        Raises:
            RpcError: INVALID_ARGUMENT for a run id that is none; UNAVAILABLE when the engine closes.
        """
        while (live := self.get(run_id)) is None:
            live = await asyncio.shield(self._loading.get(run_id) or self._want(run_id))
            if live is None or not live.evicted:
                break  # else it had to make room for others before we could look at it
        return live

    def _want(self, run_id: str) -> asyncio.Future[LiveRun | None]:
        if self._closed:
            raise _closing()
        try:
            run_id_bytes(run_id)
        except ValueError:
            raise invalid_argument("Invalid RunId.") from None
        loading = self._loading[run_id] = asyncio.get_running_loop().create_future()
        self._wanted.append(run_id)
        if self._loader is None or self._loader.done():
            self._loader = asyncio.get_running_loop().create_task(self._load_wanted())
        return loading

    async def _load_wanted(self) -> None:
        while self._wanted:
            run_ids, self._wanted = self._wanted[:LOADED_TOGETHER_MAX], self._wanted[LOADED_TOGETHER_MAX:]
            if self._leaving:
                await self._wait_for_leaving(run_ids)
            try:
                loaded = await self._reader.read(load_runs, self._reader.storage, run_ids)
            except Exception as error:
                for run_id in run_ids:
                    self._loading.pop(run_id).set_exception(error)
                continue
            for run_id, found in zip(run_ids, loaded, strict=True):
                live = self._runs.get(run_id)
                if live is None and isinstance(found, StorageCorrupt):
                    self._loading.pop(run_id).set_exception(found)
                    continue
                if live is None and isinstance(found, LoadedRun):
                    self._on_loaded(found.run)
                    live = LiveRun(found.run, found.version, found.close_event)
                    self.add(live, current=False)
                self._loading.pop(run_id).set_result(live)

    async def waiting(self, queue: str, activities: bool, after: Waiting | None, limit: int) -> list[tuple[Waiting, ReadyTask]]:
        """Tasks that wait on a queue, as the storage has them."""
        storage = self._reader.storage
        found = await self._reader.read(lambda: storage.waiting(queue, activities=activities, after=after, limit=limit))
        return [(task, ReadyTask(run_id_text(task.run_id), task.scheduled_event_id)) for task in found]

    async def waiting_queues(self) -> list[tuple[str, bool]]:
        """Each queue on which a task waits, as the storage has it, and whether it is activities."""
        return await self._reader.read(self._reader.storage.waiting_queues)

    async def close(self) -> None:
        """Reads nothing any more: who waits for it, or asks later, is told that the engine closes."""
        self._closed = True
        if self._loader is not None:
            self._loader.cancel()
            await asyncio.gather(self._loader, return_exceptions=True)
        for loading in self._loading.values():
            if not loading.done():
                loading.set_exception(_closing())
                loading.exception()  # whoever waits gets it; nobody may be waiting any more
        self._loading.clear()
        self._wanted.clear()


def _closing() -> RpcError:
    return unavailable("the engine is closing")


def _missing(namespace: str, workflow_id: str, run_id: str) -> RpcError:
    """Of what is not found, as its caller knows it: the mark on the namespace is ours."""
    kind, name = _KINDS.get(namespace[-1:], ("workflow", "workflow_id"))
    which = f"{name}: {workflow_id}" + (f", run_id: {run_id}" if run_id else "")
    return not_found(f"{kind} not found for {which}, namespace: {namespace.rstrip(STANDALONE_MARK + OPERATION_MARK)}")
