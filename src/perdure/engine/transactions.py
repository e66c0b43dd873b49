"""One request, one run, one transaction: the core decides, the committer makes it durable, then the outside hears of it.

`run` applies a request to a run in memory and submits what came of it. Effects (a task to a worker, a wake-up, a timer) and
the answer follow when the storage has said yes; when it says anything else, the run is evicted, reserved pollers wait again,
and the caller is told to try again.

The rule a newcomer would get wrong: an outcome that changed nothing may still show what is not durable (a signal that was
received twice shows the first), and so may a refusal (the workflow has ended). So even those answers wait for the run's last
commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from perdure.engine.committer import Committer
from perdure.engine.core import Outcome, Run, WorkflowTaskStarted, handle
from perdure.engine.core.sizes import TransactionTooLarge
from perdure.engine.environment import Environment
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.rows import run_write
from perdure.model.rpc import RpcError, internal, unavailable
from perdure.storage.contract import Committed, CurrentRow, Transaction

logger = logging.getLogger("perdure.engine")


Members: TypeAlias = Sequence[tuple[LiveRun, Outcome, int | None]]
"""The runs of a transaction, with what was done to each and when it is due then."""


class StaleRun(Exception):
    """The storage holds something else than this process believed: load it again, and decide again."""


class Transactions:
    """Where state in memory and durable state meet."""

    def __init__(
        self,
        environment: Environment,
        committer: Committer,
        runs: LiveRuns,
        on_durable: Callable[[LiveRun, Outcome, int | None], None],
        on_unrecorded: Callable[[LiveRun, Outcome], None],
        on_failed: Callable[[LiveRun, Outcome | None, Committed | None], None],
    ) -> None:
        """`on_durable` carries out an outcome's effects and sets the run's timer to when it is due; `on_unrecorded` does so
        for one that has nothing to record; `on_failed` hears of a run whose transaction did not become durable (of None, when the
        core broke)."""
        self.environment = environment
        self._committer = committer
        self._runs = runs
        self._on_durable = on_durable
        self._on_unrecorded = on_unrecorded
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()

    async def run(self, live: LiveRun, request: Any) -> Outcome:
        """Applies a request to a run and waits until it is durable.

        Raises:
            RpcError: the request is refused, or could not be made durable (UNAVAILABLE).
            StaleRun: another process has changed the run, or it is no longer the one in memory.
        """
        if live.evicted:
            raise StaleRun
        try:
            outcome = self.decide(live, request)
        except RpcError:
            if live.pending and not live.evicted:
                await self.settled(live)
            raise
        if outcome.changed:
            future: asyncio.Future[None] = self._loop.create_future()
            self.submit(live, outcome, future)
            await future
        else:
            if outcome.effects or outcome.updates is not None:
                self._show(live, outcome)
            if live.pending:
                await self.settled(live)
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def run_in_background(self, live: LiveRun, request: Any) -> bool:
        """As `run`, for a request whose answer nobody waits for; False if it had no effect."""
        return self.follow(live, self.decide(live, request))

    def follow(self, live: LiveRun, outcome: Outcome) -> bool:
        """Sends what was decided on its way, and waits for nothing; False if there is nothing to do."""
        if outcome.changed:
            self.submit(live, outcome, None)
            return True
        if outcome.effects or outcome.updates is not None:
            self._show(live, outcome)
            return True
        return False

    def _show(self, live: LiveRun, outcome: Outcome) -> None:
        """Carries out what records nothing, once the state that it shows is durable."""
        if not live.pending:
            self._on_unrecorded(live, outcome)
            return
        future: asyncio.Future[None] = self._loop.create_future()
        future.add_done_callback(partial(self._shown, live, outcome))
        if live.in_flight:
            live.waiting.append((live.version, future))
        else:
            settle(future, StaleRun())

    def _shown(self, live: LiveRun, outcome: Outcome, settled: asyncio.Future[None]) -> None:
        if settled.exception() is None and not live.evicted:
            self._on_unrecorded(live, outcome)
            return
        for effect in outcome.effects:
            if isinstance(effect, WorkflowTaskStarted) and effect.reservation is not None:
                effect.reservation.release()

    def decide(self, live: LiveRun, request: Any, *, further: bool = False) -> Outcome:
        """Applies a request to a run in memory; `further`: in the same transaction as what was decided before.

        Raises:
            TransactionTooLarge: it is refused, and the run is evicted.
            RpcError: it is refused, and the run is as it was; INTERNAL when the core broke, and the run is evicted.
        """
        environment = self.environment
        if not further:
            environment.begin()
        try:
            return handle(live.run, request, environment)
        except TransactionTooLarge:
            environment.release_reserved()
            self.abandon(live)
            raise
        except RpcError:
            environment.release_reserved()
            raise
        except Exception as error:
            environment.release_reserved()
            raise self.broken(request, live, error) from error

    def broken(self, request: Any, live: LiveRun | None, error: Exception) -> RpcError:
        """What to answer when the core raised something else than a refusal: the run's state is worth nothing then."""
        reference = self.environment.new_uuid()
        logger.error("Handling %s for %r broke; reference %s", type(request).__name__, live, reference, exc_info=error)
        if live is not None:
            self.abandon(live)
        return internal(f"the engine could not handle {type(request).__name__}; its log says why under reference {reference}")

    def abandon(self, live: LiveRun) -> None:
        """Nothing comes of what was done to a run in memory: it is read again."""
        self._runs.evict(live)
        self._on_failed(live, None, None)

    def submit(self, live: LiveRun, outcome: Outcome, future: asyncio.Future[None] | None, current: CurrentRow | None = None) -> None:
        """Sends an outcome on its way to the storage; `future` is done when it is durable, or fails.

        Raises:
            RpcError: INTERNAL, if it cannot be put into rows; the run is evicted then.
        """
        if outcome.new_run is None and outcome.terminated is None:
            try:
                write = run_write(outcome, live.version, live.key)
            except Exception as error:
                raise self._unwritable(((live, outcome),), error) from error
            live.version += 1
            live.in_flight += 1
            self._committer.submit(Transaction((write,), current), partial(self._finish_one, live, outcome, write.row.due, future))
            return
        done = [(live, outcome)]
        if outcome.terminated is not None:
            done.append((self._member(outcome.terminated, added=False), outcome.terminated))
        if outcome.new_run is not None:
            done.append((self._member(outcome.new_run, added=True), outcome.new_run))
            current = current_row(outcome.new_run.run, replaces=live.run)
        self._submit_all(done, future, current)

    async def commit_together(self, done: Sequence[tuple[LiveRun, Outcome]], current: CurrentRow | None = None) -> None:
        """Makes what was done to several runs durable as one transaction.

        Raises:
            RpcError, StaleRun: as `run`.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        self._submit_all(done, future, current)
        await future

    def _submit_all(self, done: Sequence[tuple[LiveRun, Outcome]], future: asyncio.Future[None] | None, current: CurrentRow | None) -> None:
        try:
            writes = [run_write(outcome, live.version, live.key) for live, outcome in done]
        except Exception as error:
            raise self._unwritable(done, error) from error
        for live, _ in done:
            live.version += 1
            live.in_flight += 1
        members = [(live, outcome, write.row.due) for (live, outcome), write in zip(done, writes, strict=True)]
        self._committer.submit(Transaction(writes, current), partial(self._finish, members, future))

    def _unwritable(self, done: Sequence[tuple[LiveRun, Outcome]], error: Exception) -> RpcError:
        """What to answer when an outcome cannot be put into rows: its runs hold what no storage will ever say."""
        self.environment.release_reserved()
        refusals = [self.broken(outcome.reply or outcome, live, error) for live, outcome in done]
        return refusals[0]

    def _member(self, outcome: Outcome, added: bool) -> LiveRun:
        if added:
            live = LiveRun(outcome.run, 0)
            self._runs.add(live, current=True)
            return live
        found = self._runs.get(outcome.run.run_id)
        if found is None:
            raise RuntimeError(f"run {outcome.run.run_id} was dropped while a transaction was made of it")
        return found

    async def settled(self, live: LiveRun) -> None:
        """Waits until what has been submitted for a run by now is durable.

        Raises:
            RpcError: UNAVAILABLE if it did not become so.
            StaleRun: another process has changed the run, or it failed before and is no longer the one in memory.
        """
        if live.pending:
            if not live.in_flight:
                raise StaleRun
            future: asyncio.Future[None] = self._loop.create_future()
            live.waiting.append((live.version, future))
            await future

    def _finish_one(self, live: LiveRun, outcome: Outcome, due: int | None, future: asyncio.Future[None] | None, answer: Committed) -> None:
        """What follows the storage's answer: as `_finish`, for a transaction of one run, as nearly all are."""
        if answer is not Committed.YES or live.evicted:
            self._finish(((live, outcome, due),), future, answer)
            return
        live.in_flight -= 1
        self._durable(live, outcome, due)
        if live.waiting:
            _tell_waiting(live, None)
        if future is not None and not future.done():
            future.set_result(None)

    def _finish(self, members: Members, future: asyncio.Future[None] | None, answer: Committed) -> None:
        """What follows the storage's answer."""
        for live, _, _ in members:
            live.in_flight -= 1
        if answer is Committed.YES:
            error = None
            for live, outcome, due in members:
                self._durable(live, outcome, due)
        else:
            error = self._not_durable(members, answer)
        for live, _, _ in members:
            if live.waiting:
                _tell_waiting(live, error)
            if live.evicted and not live.in_flight:
                _tell_waiting(live, StaleRun())  # nothing more is heard of it
                self._runs.answered(live)
        if future is not None:
            settle(future, error)

    def _durable(self, live: LiveRun, outcome: Outcome, due: int | None) -> None:
        live.durable_version += 1
        live.durable_next_event_id = outcome.first_event_id + len(outcome.events.parts)
        self._on_durable(live, outcome, due)

    def _not_durable(self, members: Members, answer: Committed) -> Exception:
        for live, outcome, _ in members:
            self._runs.evict(live)
            self._on_failed(live, outcome, answer)
        if answer is Committed.CONFLICT:
            return StaleRun()
        run = members[0][0].run
        what = "may not be durable" if answer is Committed.UNKNOWN else "could not be made durable"
        return unavailable(f"a change to workflow {run.workflow_id} {what}: the storage failed (see the engine's log); try again")


def _tell_waiting(live: LiveRun, error: Exception | None) -> None:
    still: list[tuple[int, asyncio.Future[None]]] = []
    for version, future in live.waiting:
        if error is None and version > live.durable_version:
            still.append((version, future))
        else:
            settle(future, error)
    live.waiting = still


def settle(future: asyncio.Future[None], error: Exception | None) -> None:
    """Ends a future, if nobody has cancelled it."""
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # whoever waits gets it; nobody may be waiting any more


def current_row(run: Run, replaces: Run | None) -> CurrentRow:
    """That a workflow id means this run from now on."""
    return CurrentRow(
        run.namespace,
        run.workflow_id,
        run.run_id_bytes,
        run.start_request_id,
        None if replaces is None else replaces.run_id_bytes,
    )


def close_event_of(outcome: Outcome) -> bytes:
    """The event with which an outcome closed its run, as a serialised `History`; empty if it did not."""
    parts = outcome.events.parts
    return parts[-1] if parts and outcome.run.closed else b""
