"""Deleting runs: when somebody asks for it, when their time is over, and when their namespace goes.

A deletion is a transaction like any other: it names the version that it deletes, and is durable before anything is answered. The
run leaves memory when it is submitted, and is read again only when it has been answered.

The rule a newcomer would get wrong: a run that has ended may still have something to tell others (its parent, its children). It
goes when that is delivered: until then a record of its own stands for the wish, and comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest

from perdure.engine.committer import Committer
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.record_timers import RecordTimers
from perdure.engine.records import Conflict, Records
from perdure.engine.timer_queue import TimerQueue
from perdure.engine.transactions import StaleRun, Transactions
from perdure.model.clock import Clock
from perdure.model.ids import run_id_text
from perdure.model.rpc import RpcError, StatusCode, unavailable
from perdure.storage.contract import ClosedRun, Committed, Record, RunDelete, Transaction

KIND: Final = "deletion"
AGAIN_SECONDS: Final = 1
"""Before a run that still had something to tell is looked at again."""
REASON: Final = "Delete workflow execution"


class Deletions:
    """Deletes runs, one by one or many together."""

    def __init__(
        self,
        runs: LiveRuns,
        transactions: Transactions,
        committer: Committer,
        records: Records,
        record_timers: RecordTimers,
        timers: TimerQueue,
        clock: Clock,
    ) -> None:
        self._runs = runs
        self._transactions = transactions
        self._committer = committer
        self._records = records
        self._record_timers = record_timers
        self._timers = timers
        self._clock = clock
        record_timers.handle(KIND, self._take_up)

    async def delete(self, live: LiveRun) -> None:
        """Deletes a run, ending it first if it is open. When it returns, the run is gone, or the wish for it is durable.

        Raises:
            RpcError: it could not be made durable.
            StaleRun: the run is no longer the one in memory.
        """
        if not live.run.closed:
            await self._transactions.run(live, TerminateWorkflowExecutionRequest(reason=REASON, identity="history-service"))
        await self._transactions.settled(live)
        if live.evicted:
            raise StaleRun
        if live.run.unsent:
            await self._wish(live)
            return
        answer = await self._remove(live)
        if answer is Committed.CONFLICT:
            raise StaleRun
        if answer is not Committed.YES:
            raise unavailable(f"workflow {live.run.workflow_id} could not be deleted: the storage failed (see the engine's log); try again")

    async def delete_many(self, namespace: str, found: Sequence[ClosedRun]) -> int:
        """Deletes runs as they were found, open or closed; returns how many went. The others have changed since."""
        answers = await asyncio.gather(*(self._delete_found(namespace, run) for run in found))
        return answers.count(Committed.YES)

    async def _delete_found(self, namespace: str, found: ClosedRun) -> Committed:
        live = self._runs.get(run_id_text(found.run_id))
        if live is None:
            answer = await self._submit(RunDelete(found.run_id, found.version, namespace, found.workflow_id), None)
            loaded = self._runs.get(run_id_text(found.run_id))
            if answer is Committed.YES and loaded is not None:
                self._runs.evict(loaded)  # it was read while it went
            return answer
        try:
            await self._transactions.settled(live)
        except (RpcError, StaleRun):
            return Committed.CONFLICT
        return Committed.CONFLICT if live.evicted else await self._remove(live)

    async def _remove(self, live: LiveRun) -> Committed:
        """Takes a run out of memory and storage; nothing of it is under way."""
        live.in_flight += 1
        self._runs.evict(live)
        run = live.run
        return await self._submit(RunDelete(live.key, live.version, run.namespace, run.workflow_id), live)

    async def _submit(self, gone: RunDelete, live: LiveRun | None) -> Committed:
        future: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()

        def done(answer: Committed) -> None:
            if live is not None:
                live.in_flight -= 1
                self._runs.answered(live)
            if answer is Committed.YES:
                self._timers.set(run_id_text(gone.run_id), None)
            if not future.done():
                future.set_result(answer)

        self._committer.submit(Transaction((), None, (), (gone,)), done)
        return await future

    # --- what has to wait

    async def _wish(self, live: LiveRun) -> None:
        run, due = live.run, self._clock.now() + AGAIN_SECONDS * 1_000_000_000
        try:
            await self._records.put(KIND, run.namespace, run.run_id, run.workflow_id.encode(), expected_version=0, due=due)
        except Conflict:
            return  # somebody else has asked for it
        self._record_timers.set(due)

    async def _take_up(self, record: Record) -> None:
        try:
            live = await self._runs.find(record.namespace, record.data.decode(), record.key)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
        else:
            if live.run.unsent:
                due = self._clock.now() + AGAIN_SECONDS * 1_000_000_000
                await self._records.put(KIND, record.namespace, record.key, record.data, expected_version=record.version, due=due)
                return
            await self.delete(live)
        await self._records.delete(KIND, record.namespace, record.key, expected_version=record.version)
