"""How the children of a run stand that is to be reset: which of them have ended, without a run of it having heard.

A child tells its end to its parent, or to what that was reset to. Where neither was open then (the parent had failed, and its close policy
ended the child; or another reset heard of it), the end is told to nobody, and the run that begins again would wait for it for ever.

The rule a newcomer would get wrong: what was seen holds only as long as nothing is awaited. `still_so` says whether it does.
"""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import History, HistoryEvent

from perdure.engine.core import codes
from perdure.engine.core.inbound import ChildClosed
from perdure.engine.core.others import CHILD_EVENTS, TELL_PARENT, next_run_of
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.transactions import Transactions
from perdure.model.rpc import RpcError, StatusCode


class Children:
    """The children that a run had started by some event and not heard the end of."""

    def __init__(self, runs: LiveRuns, transactions: Transactions, namespace: str) -> None:
        self._runs = runs
        self._transactions = transactions
        self._namespace = namespace
        self._seen: list[tuple[LiveRun, int]] = []
        """What was looked at, and its version then."""
        self.ends: list[ChildClosed] = []

    async def look(self, events: Iterable[HistoryEvent], point: int) -> None:
        """Finds the ends of those that the run had initiated before `point`; `events`: all of the run's."""
        for initiated, started in _unheard(events, point).items():
            await self._look_at(initiated, started)

    def still_so(self) -> bool:
        """Whether nothing has happened to them since."""
        return all(not live.evicted and live.version == version for live, version in self._seen)

    async def _look_at(self, initiated_event_id: int, started: WorkflowExecution) -> None:
        run_id = started.run_id
        while run_id:
            live = await self._find(started.workflow_id, run_id)
            if live is None:
                return
            await self._transactions.settled(live)
            self._seen.append((live, live.version))
            run = live.run
            if not live.close_event or TELL_PARENT in run.unsent:
                return  # it tells its end by itself
            event = History.FromString(live.close_event).events[0]
            run_id = next_run_of(event) or run.reset_run_id
            if not run_id:
                execution = WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)
                self.ends.append(ChildClosed(initiated_event_id, started.run_id, execution, event))

    async def _find(self, workflow_id: str, run_id: str) -> LiveRun | None:
        try:
            return await self._runs.find(self._namespace, workflow_id, run_id)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                raise
            return None


def _unheard(events: Iterable[HistoryEvent], point: int) -> dict[int, WorkflowExecution]:
    """The first runs of such children, by the events that initiated them."""
    found: dict[int, WorkflowExecution] = {}
    for event in events:
        where = CHILD_EVENTS.get(event.event_type)
        if where is None:
            continue
        told = getattr(event, where)
        if event.event_type != codes.CHILD_STARTED:
            found.pop(told.initiated_event_id, None)
        elif told.initiated_event_id < point:
            found[told.initiated_event_id] = told.workflow_execution
    return found
