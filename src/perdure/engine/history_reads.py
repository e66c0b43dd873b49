"""Reading histories: pages, the close event alone, and waiting for what comes next.

Only durable events are shown; and at the end, to SDKs whose workers may replay it, those of a workflow task that is handed over and
not recorded (transient or speculative). A page token pins the run and the event to go on from; it is ours, and opaque.

The rule a newcomer would get wrong: a wait that finds nothing ends after 20 seconds with an empty page *and a token*; the
caller asks again with it. The token is absent only when the run has closed and everything was returned (4.12).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from functools import partial
from struct import Struct
from typing import NamedTuple

from google.protobuf.message import DecodeError
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)

from perdure.engine.core import Outcome, transient_events
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.reader import Reader
from perdure.engine.transactions import Transactions
from perdure.model.callers import sees_unrecorded
from perdure.model.clock import Cancellable, Clock
from perdure.model.errors import StorageCorrupt
from perdure.model.ids import run_id_bytes, run_id_text
from perdure.model.patience import wait_seconds
from perdure.model.rpc import invalid_argument, not_found
from perdure.storage.contract import join_history

PAGE_EVENTS_MAX = 256
"""Events in a page; batches are cut."""
PAGE_BYTES_MAX = 2 * 1024 * 1024
"""Bytes read from the storage for a page."""
WAIT_SECONDS = 20
"""How long a read waits for news, to the second, if its caller does."""
_SECOND = 1_000_000_000
_TOKEN = Struct("<B16sqq")
_TOKEN_FORMAT = 1
_CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


class HistoryReads:
    """The events of runs, for clients and for workers that need them all."""

    def __init__(self, reader: Reader, runs: LiveRuns, transactions: Transactions, clock: Clock) -> None:
        self._reader = reader
        self._runs = runs
        self._transactions = transactions
        self._clock = clock
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._waiting_for_close: dict[str, list[asyncio.Future[None]]] = {}
        self._ending: dict[int, _Ending] = {}
        """The waits that end without news at a second since the epoch; one timer serves all of that second."""
        self._closed = False

    def on_durable(self, live: LiveRun, outcome: Outcome) -> None:
        """Wakes those who wait for news of this run."""
        run_id = outcome.run.run_id
        if live.close_event:
            waiting = self._waiting_for_close.pop(run_id, None)
            if waiting is not None:
                _wake(waiting)
        if self._waiting and outcome.events:
            waiting = self._waiting.pop(run_id, None)
            if waiting is not None:
                _wake(waiting)

    def look_again(self, run_id: str) -> None:
        """A run was read again after a failure: what had been written unnoticed is there now."""
        for table in (self._waiting, self._waiting_for_close):
            _wake(table.pop(run_id, ()))

    def close(self) -> None:
        """Ends every wait, and lets none begin."""
        self._closed = True
        for table in (self._waiting, self._waiting_for_close):
            for waiting in table.values():
                _wake(waiting)
            table.clear()
        for ending in self._ending.values():
            ending.timer.cancel()
        self._ending.clear()

    async def events(self, run_id: str, first_event_id: int, last_event_id: int) -> list[HistoryEvent]:
        """Durable events of a run, both ends included.

        Raises:
            RpcError: NOT_FOUND, if it has been deleted meanwhile.
        """
        found: list[HistoryEvent] = []
        while first_event_id <= last_event_id:
            page = await self._page(run_id, first_event_id, last_event_id)
            if not page:
                if await self._runs.load(run_id) is None:
                    raise not_found("the workflow execution has been deleted")
                raise StorageCorrupt(f"The history of run {run_id} has no event {first_event_id}, which it should have")
            found.extend(page)
            first_event_id = page[-1].event_id + 1
        return found

    async def _page(self, run_id: str, first_event_id: int, last_event_id: int) -> list[HistoryEvent]:
        batches = await self._reader.read(self._reader.storage.read_history, run_id_bytes(run_id), first_event_id, PAGE_BYTES_MAX)
        try:
            events = History.FromString(join_history(batch for _, batch in batches)).events
        except DecodeError as error:
            raise StorageCorrupt(f"The history of run {run_id} cannot be read: {error}") from error
        return [event for event in events if first_event_id <= event.event_id <= last_event_id]

    async def get(self, request: GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse:
        """The RPC."""
        execution = request.execution
        run_id, first, end, close_only = execution.run_id, 1, 0, request.history_event_filter_type == _CLOSE_EVENT
        if request.next_page_token:
            pinned, first, end = _read_token(request.next_page_token)
            if run_id and run_id != pinned:
                raise invalid_argument("RunId does not match the page token.")
            run_id = pinned
        live = self._known(request.namespace, execution.workflow_id, run_id)
        if live is None:
            live = await self._find(request.namespace, execution.workflow_id, run_id)
        if close_only:
            return await self._close_event(live, request.wait_new_event)
        return await self._events_page(live, request, first, end)

    async def get_reverse(self, request: GetWorkflowExecutionHistoryReverseRequest) -> GetWorkflowExecutionHistoryReverseResponse:
        """The RPC that reads the newest event first. Its token says the newest event that has not been shown."""
        execution = request.execution
        run_id, last = execution.run_id, 0
        if request.next_page_token:
            pinned, last, _ = _read_token(request.next_page_token)
            if run_id and run_id != pinned:
                raise invalid_argument("RunId does not match the page token.")
            run_id = pinned
        live = await self._find(request.namespace, execution.workflow_id, run_id)
        last = min(last or live.durable_next_event_id, live.durable_next_event_id - 1)
        first = max(1, last - _page_events(request.maximum_page_size) + 1)
        response = GetWorkflowExecutionHistoryReverseResponse()
        response.history.events.extend(reversed(await self.events(live.run.run_id, first, last)))
        if first > 1:
            response.next_page_token = _token(live.run.run_id, first - 1, 0)
        return response

    def _known(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun | None:
        live = self._runs.known(namespace, workflow_id, run_id)
        return live if live is not None and live.durable_version else None

    async def _find(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun:
        live = await self._runs.find(namespace, workflow_id, run_id)
        if not live.durable_version:
            await self._transactions.settled(live)
        return live

    async def _close_event(self, live: LiveRun, wait: bool) -> GetWorkflowExecutionHistoryResponse:
        run = live.run
        response = GetWorkflowExecutionHistoryResponse()
        if not live.close_event and wait:
            await self._wait(self._waiting_for_close, run.run_id)
            if live.evicted:  # while we waited: nobody changes this state any more
                live = await self._find(run.namespace, run.workflow_id, run.run_id)
        if live.close_event:
            response.history.MergeFromString(live.close_event)
        elif wait:
            response.next_page_token = _token(run.run_id, 1, 0)
        else:
            response.history.SetInParent()
        return response

    async def _events_page(
        self, live: LiveRun, request: GetWorkflowExecutionHistoryRequest, first: int, end: int
    ) -> GetWorkflowExecutionHistoryResponse:
        run = live.run
        if request.wait_new_event and first >= live.durable_next_event_id and not live.close_event:
            await self._wait(self._waiting, run.run_id)
            live = await self._find(run.namespace, run.workflow_id, run.run_id)
        more_will_come = request.wait_new_event and not live.close_event  # as of `last`: the run may end while events are read
        # Without waiting, the end is the one that the first page saw.
        last = end if end and not request.wait_new_event else live.durable_next_event_id - 1
        limit = _page_events(request.maximum_page_size)
        page = await self.events(run.run_id, first, min(last, first + limit - 1)) if first <= last else []
        response = GetWorkflowExecutionHistoryResponse()
        response.history.events.extend(page)
        next_event_id = first + len(page)
        if next_event_id <= last or more_will_come:
            response.next_page_token = _token(run.run_id, next_event_id, last)
        elif live.run.task is not None and sees_unrecorded.get():
            response.history.events.extend(await self._unrecorded(live, next_event_id))
        return response

    async def _unrecorded(self, live: LiveRun, next_event_id: int) -> Sequence[HistoryEvent]:
        """The events of a workflow task that follows on what has been read, and is not recorded itself. (What it follows on is durable.)"""
        await self._transactions.settled(live)
        run, task = live.run, live.run.task
        if live.pending or task is None or task.scheduled_event_id != next_event_id or not (task.speculative or task.attempt > 1):
            return ()
        return transient_events(run, task, self._transactions.environment.suggest_events)

    async def _wait(self, table: dict[str, list[asyncio.Future[None]]], run_id: str) -> None:
        if self._closed:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        table.setdefault(run_id, []).append(future)
        second = (self._clock.now() + int(wait_seconds(WAIT_SECONDS) * _SECOND)) // _SECOND
        ending = self._ending.get(second)
        if ending is None:
            timer = self._clock.call_at(second * _SECOND, partial(self._expire, second))
            ending = self._ending[second] = _Ending({}, timer)
        ending.waits[future] = None
        try:
            await future
        finally:
            ending.waits.pop(future, None)
            waiting = table.get(run_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)
                if not waiting:
                    del table[run_id]

    def _expire(self, second: int) -> None:
        _wake(list(self._ending.pop(second).waits))


class _Ending(NamedTuple):
    """Waits that end at the same second, in the order in which they began."""

    waits: dict[asyncio.Future[None], None]
    timer: Cancellable


def _page_events(wanted: int) -> int:
    """How many events a page has at most; what is no number of events asks for as many as there may be."""
    return wanted if 0 < wanted < PAGE_EVENTS_MAX else PAGE_EVENTS_MAX


def _wake(waiting: Sequence[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


def _token(run_id: str, next_event_id: int, end: int) -> bytes:
    return _TOKEN.pack(_TOKEN_FORMAT, run_id_bytes(run_id), next_event_id, end)


def _read_token(token: bytes) -> tuple[str, int, int]:
    try:
        version, run_id, next_event_id, end = _TOKEN.unpack(token)
    except struct.error:
        raise invalid_argument("Invalid NextPageToken.") from None
    if version != _TOKEN_FORMAT or next_event_id < 1:
        raise invalid_argument("Invalid NextPageToken.")
    return run_id_text(run_id), next_event_id, end
