"""Resetting a workflow: the events of its runs are read, and the core makes a new run of them.

The rule a newcomer would get wrong: what is read from the storage is only what is durable. So the base run and the current run
are let settle first, and if either has gone on while the others were read, they are read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeAlias

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse

from perdure.engine.children import Children
from perdure.engine.core import codes
from perdure.engine.core.inbound import ChildClosed
from perdure.engine.core.reset import WasReset, check_reset, reset
from perdure.engine.history_reads import HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.transactions import StaleRun, Transactions, current_row
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError, StatusCode, invalid_argument, unavailable

_Events: TypeAlias = list[HistoryEvent]

ATTEMPTS_MAX = 20
"""How often the events are read again because a run went on meanwhile."""


class Resets:
    """ResetWorkflowExecution."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, history: HistoryReads) -> None:
        self._runs = runs
        self._transactions = transactions
        self._history = history

    async def reset(self, request: ResetWorkflowExecutionRequest) -> ResetWorkflowExecutionResponse:
        """Makes the new run; durable when it returns. The same request id again gives the same run.

        Raises:
            RpcError: NOT_FOUND; INVALID_ARGUMENT for a point where no workflow task is; UNAVAILABLE if the workflow never rests.
            StaleRun: another process changed one of the runs.
        """
        check_reset(request)
        namespace, execution = request.namespace, request.workflow_execution
        point = request.workflow_task_finish_event_id
        for _ in range(ATTEMPTS_MAX):
            base = await self._runs.find(namespace, execution.workflow_id, execution.run_id)
            current = await self._find(namespace, execution.workflow_id, "")
            replaced, current = current, current or base  # without a current run, none is ended and none replaced
            await self._transactions.settled(base)
            await self._transactions.settled(current)
            if request.request_id and current.run.start_request_id == request.request_id:
                return ResetWorkflowExecutionResponse(run_id=current.run.run_id)
            versions = base.version, current.version
            if point >= base.durable_next_event_id:
                raise invalid_argument(f"WorkflowTaskFinishEventId {point} is beyond the last event of the run.")
            events = await self._history.events(base.run.run_id, 1, base.durable_next_event_id - 1)
            last, later = await self._later_runs(namespace, execution.workflow_id, base.run.run_id, events)
            children = Children(self._runs, self._transactions, namespace)
            await children.look(events, point)
            unchanged = versions == (base.version, current.version) and not (base.evicted or current.evicted)
            if unchanged and children.still_so() and self._runs.get_current(namespace, execution.workflow_id) is replaced:
                request.workflow_execution.run_id = base.run.run_id
                dropped = events[point - 1 :] + later
                continues = last == current.run.run_id
                return await self._reset(current, replaced, events[: point - 1], dropped, children.ends, continues, request)
        raise unavailable("the workflow goes on all the time; try again")

    async def _find(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun | None:
        """A run that may have been deleted."""
        try:
            return await self._runs.find(namespace, workflow_id, run_id)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            return None

    async def _later_runs(
        self, namespace: str, workflow_id: str, run_id: str, events: list[HistoryEvent]
    ) -> tuple[str, list[HistoryEvent]]:
        """The last of the runs that continue this one, and the events of all of them, as far as they have not been deleted."""
        later: _Events = []
        while events[-1].event_type == codes.WORKFLOW_CONTINUED:
            next_run_id = events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
            live = await self._find(namespace, workflow_id, next_run_id)
            if live is None:
                break
            run_id = next_run_id
            await self._transactions.settled(live)
            events = await self._history.events(run_id, 1, live.durable_next_event_id - 1)
            later.extend(events)
        return run_id, later

    async def _reset(
        self,
        current: LiveRun,
        replaced: LiveRun | None,
        kept: list[HistoryEvent],
        dropped: list[HistoryEvent],
        ends: list[ChildClosed],
        continues: bool,
        request: ResetWorkflowExecutionRequest,
    ) -> ResetWorkflowExecutionResponse:
        environment, base_run_id = self._transactions.environment, request.workflow_execution.run_id
        environment.begin()
        try:
            outcome = reset(current.run, kept, dropped, continues=continues, request=request, env=environment, ends=ends)
        except RpcError:
            environment.release_reserved()
            raise
        except Exception as error:
            environment.release_reserved()
            raise self._transactions.broken(request, current, error) from error
        live = LiveRun(outcome.run, 0)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transactions.submit(live, outcome, future, current_row(outcome.run, None if replaced is None else replaced.run))
        self._runs.add(live, current=True)  # after that: what cannot be written is not there
        await future
        if outcome.terminated is None or base_run_id != current.run.run_id:
            await self._note(base_run_id, outcome.run.run_id)
        return ResetWorkflowExecutionResponse(run_id=outcome.run.run_id)

    async def _note(self, base_run_id: str, run_id: str) -> None:
        """What a closed base run shows; the reset is done, whatever becomes of this."""
        with contextlib.suppress(RpcError, StaleRun, StorageError):
            base = await self._runs.load(base_run_id)
            if base is not None:
                await self._transactions.run(base, WasReset(run_id))
