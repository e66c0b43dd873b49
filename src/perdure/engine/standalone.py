"""What stands alone, without a workflow (activities, Nexus operations): how it is started, and how those wait who look at it.

A start is optimistic as that of a workflow is (`starts`): where memory knows nothing of that id, it is written as if there were
nothing. What a description waits for is the run's next transaction; what a result waits for, its close event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import Message
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest

from perdure.engine.core import Env, Outcome, Run
from perdure.engine.history_reads import WAIT_SECONDS, HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.transactions import StaleRun, Transactions, current_row
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, invalid_argument, unavailable

ATTEMPTS_MAX = 10
"""How often a start decides anew because what its id means changed under it."""
_SECOND = 1_000_000_000

Reply = TypeVar("Reply", bound=Message)


class Standalone:
    """The runs of what stands alone."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, history: HistoryReads, clock: Clock) -> None:
        self._runs = runs
        self._transactions = transactions
        self._history = history
        self._clock = clock
        self._changes: set[asyncio.Future[bool]] = set()
        self._closed = False

    async def begin(
        self, namespace: str, name: str, request: Message, answer: Callable[[Run], Reply | None], make: Callable[[Env], Outcome]
    ) -> Reply:
        """The reply to a start: durable when it returns.

        `answer`: what a start is told of the run that the id means now, None if another may begin; `make`: makes another.

        Raises:
            RpcError: it is refused.
        """
        for _ in range(ATTEMPTS_MAX):
            existing = self._runs.get_current(namespace, name)
            try:
                if existing is not None:
                    await self._transactions.settled(existing)
                    answered = answer(existing.run)
                    if answered is not None:
                        return answered
                reply: Reply = await self._begin(request, make, existing)
                return reply
            except StaleRun:
                if self._runs.get_current(namespace, name) is None:
                    await self._runs.load_current(namespace, name)
        raise unavailable(f"id {name} keeps changing hands; try again")

    async def _begin(self, request: Message, make: Callable[[Env], Outcome], existing: LiveRun | None) -> Any:
        environment = self._transactions.environment
        environment.begin()
        try:
            outcome = make(environment)
        except RpcError:
            environment.release_reserved()
            raise
        except Exception as error:
            environment.release_reserved()
            raise self._transactions.broken(request, None, error) from error
        live = LiveRun(outcome.run, 0)
        self._runs.add(live, current=True)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._transactions.submit(live, outcome, future, current_row(outcome.run, None if existing is None else existing.run))
        await future
        return outcome.reply

    async def seen(self, find: Callable[[str], Awaitable[LiveRun]], run_id: str, token: bytes) -> LiveRun:
        """A run as it is durable now; with a token, once it is no longer as it was then, or after a while. `find`: by its run id.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT for a token that is none.
        """
        live = await find(run_id)
        await self._transactions.settled(live)
        if token:
            seen_run_id, version = _read_token(token)
            if seen_run_id == live.run.run_id and live.version == version and not live.run.closed:
                await self.changed(live, self._clock.now() + WAIT_SECONDS * _SECOND)
                live = await find(seen_run_id)
                await self._transactions.settled(live)
        return live

    async def changed(self, live: LiveRun, deadline: int) -> bool:
        """Returns after the run's next transaction; False if `deadline` (ns), or the end of the engine, comes first."""
        if self._closed:
            return False
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        change: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        told.add_done_callback(partial(_pass_on, change))
        live.waiting.append((live.version + 1, told))
        self._changes.add(change)
        try:
            return await wait_until(self._clock, change, deadline, False)
        finally:
            self._changes.discard(change)
            live.waiting[:] = [each for each in live.waiting if each[1] is not told]

    def end_waits(self) -> None:
        """Ends every wait for news, and later ones at once."""
        self._closed = True
        for change in self._changes:
            if not change.done():
                change.set_result(False)

    async def events(self, live: LiveRun) -> list[HistoryEvent]:
        """All events of a run as it stands, durably; it does not change while they are read.

        Raises:
            RpcError: UNAVAILABLE, if it changes all the time.
        """
        for _ in range(ATTEMPTS_MAX):
            await self._transactions.settled(live)
            version = live.version
            events = await self._history.events(live.run.run_id, 1, live.durable_next_event_id - 1)
            if live.version == version:
                return events
        raise unavailable(f"{live.run.workflow_id} changes all the time; try again")

    async def close_event(self, run: Run) -> HistoryEvent | None:
        """The event that closed a run, once there is one; None when it is still open after a while."""
        wait = GetWorkflowExecutionHistoryRequest(namespace=run.namespace, wait_new_event=True)
        wait.execution.workflow_id, wait.execution.run_id = run.workflow_id, run.run_id
        wait.history_event_filter_type = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
        found = (await self._history.get(wait)).history.events
        return found[0] if found else None


def _pass_on(change: asyncio.Future[bool], told: asyncio.Future[None]) -> None:
    if change.done() or told.cancelled():
        return
    error = told.exception()
    if error is None:
        change.set_result(True)
    else:
        change.set_exception(error)


def token_of(live: LiveRun) -> bytes:
    """By which who has seen this state of a run waits for the next one."""
    return f"{live.run.run_id}:{live.durable_version}".encode()


def _read_token(token: bytes) -> tuple[str, int]:
    run_id, _, version = token.decode(errors="replace").partition(":")
    if not version.isdecimal():
        raise invalid_argument("Invalid LongPollToken.")
    return run_id, int(version)
