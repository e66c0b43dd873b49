"""Updates: callers that wait for what a workflow's code says to their requests (4.10).

The core holds what is asked of a run (`core.updates`); here are those who wait for it. An update is admitted to the run in memory,
travels on a workflow task, and what becomes of it is told when the transaction that says so is durable, or, for a rejection, when the
state that the worker saw is.

The rule a newcomer would get wrong: admission is memory alone. When a run's state in memory is lost, an update that no worker had
accepted is lost with it; so its caller, who still has the request, asks again by himself (the id makes that harmless), and who only
polls is told to try again. A run that somebody waits for here is not dropped for lack of room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.update.v1 import Outcome as UpdateOutcome
from temporalio.api.update.v1 import UpdateRef
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.engine.core import Abort, Outcome, UpdateNews, check_update, update_state
from perdure.engine.core.updates import CLOSED_ACCEPTED, link_of
from perdure.engine.history_reads import HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.transactions import StaleRun, Transactions
from perdure.engine.waiting import wait_until
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, invalid_argument, not_found, resource_exhausted, unavailable, workflow_not_ready

WAIT_SECONDS = 20
"""How long a caller waits; it is told then how far the update has come, and asks again. One whose own deadline comes before gets
that (an answer a little earlier would make clients ask again for ever)."""
_SECOND = 1_000_000_000
_ADMITTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
_COMPLETED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


class Progress(NamedTuple):
    """How far an update has come, as a caller may know it."""

    stage: Stage.ValueType
    outcome: UpdateOutcome | None = None


class Watch:
    """A caller that waits for one update to reach a stage. Made before anything is awaited, so that no news is missed."""

    __slots__ = ("asked", "closed", "future", "live", "reached", "stage", "update_id")

    def __init__(self, live: LiveRun, update_id: str, stage: Stage.ValueType, *, asked: bool) -> None:
        self.live = live
        self.update_id = update_id
        self.stage = stage
        self.asked = asked
        """The caller has the request, and asks again when the run's state is lost."""
        self.closed = False
        """The run ended before it accepted the update."""
        self.reached: Stage.ValueType = _ADMITTED
        self.future: asyncio.Future[Progress | None] = asyncio.get_running_loop().create_future()

    def tell(self, news: UpdateNews, *, continued: bool) -> None:
        """Something has happened to the update; `continued`: its run has closed, and another follows."""
        if self.future.done():
            return
        if news.abort is not None:
            self.closed = news.abort is Abort.CLOSED
            self.fail(StaleRun() if self.asked and news.abort is Abort.LOST else _aborted(news.abort, continued=continued))
            return
        self.reached = max(self.reached, news.stage)
        if news.stage >= self.stage:
            self.future.set_result(Progress(news.stage, news.outcome))

    def fail(self, error: Exception) -> None:
        """The update will not get there."""
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever waits gets it; nobody may have begun to


class Updates:
    """UpdateWorkflowExecution and PollWorkflowExecutionUpdate."""

    def __init__(self, clock: Clock, runs: LiveRuns, transactions: Transactions, history: HistoryReads) -> None:
        self._clock = clock
        self._runs = runs
        self._transactions = transactions
        self._history = history
        self._watches: dict[str, dict[str, list[Watch]]] = {}
        """By run id and update id."""
        self._closed = False

    async def update(self, request: UpdateWorkflowExecutionRequest) -> UpdateWorkflowExecutionResponse:
        """The RPC."""
        self.prepare(request)
        execution = request.workflow_execution
        live = await self._runs.find(request.namespace, execution.workflow_id, execution.run_id)
        watch = await self.ask(live, request)
        return self.reply(request, watch, await self.wait(watch))

    def prepare(self, request: UpdateWorkflowExecutionRequest) -> None:
        """Checks a request and fills in what it may leave out.

        Raises:
            RpcError: as `core.check_update`.
        """
        check_update(request, self._transactions.environment.payload_bytes_max)
        if not request.request.meta.update_id:
            request.request.meta.update_id = self._transactions.environment.new_uuid()

    async def ask(self, live: LiveRun, request: UpdateWorkflowExecutionRequest) -> Watch:
        """Admits an update to a run, or finds it there.

        Raises:
            RpcError: the run cannot take it.
            StaleRun: the run is no longer the one in memory.
        """
        if live.evicted:
            raise StaleRun
        try:
            outcome = self._transactions.decide(live, request)
        except RpcError:
            if live.pending and not live.evicted:
                await self._transactions.settled(live)
            raise
        watch = self.watch(live, request.request.meta.update_id, request.wait_policy.lifecycle_stage or _COMPLETED, asked=True)
        self._transactions.follow(live, outcome)
        return watch

    async def poll(self, request: PollWorkflowExecutionUpdateRequest) -> PollWorkflowExecutionUpdateResponse:
        """The RPC."""
        ref = request.update_ref
        if not request.HasField("update_ref") or not ref.update_id:
            raise invalid_argument("UpdateId is not set on request.")
        if not ref.workflow_execution.workflow_id:
            raise invalid_argument("WorkflowId is not set on request.")
        live = await self._runs.find(request.namespace, ref.workflow_execution.workflow_id, ref.workflow_execution.run_id)
        if live.evicted:
            raise StaleRun
        watch = self.watch(live, ref.update_id, request.wait_policy.lifecycle_stage, asked=False)
        progress = await self.wait(watch)
        return PollWorkflowExecutionUpdateResponse(outcome=progress.outcome, stage=progress.stage, update_ref=_ref(watch))

    def reply(self, request: UpdateWorkflowExecutionRequest, watch: Watch, progress: Progress) -> UpdateWorkflowExecutionResponse:
        """What a caller of UpdateWorkflowExecution is told; one that says from where it comes, also where that is recorded."""
        response = UpdateWorkflowExecutionResponse(update_ref=_ref(watch), outcome=progress.outcome, stage=progress.stage)
        link = link_of(watch.live.run, request.request) if request.request.links else None
        if link is not None:
            response.link.CopyFrom(link)
        return response

    # Waiting.

    def watch(self, live: LiveRun, update_id: str, stage: Stage.ValueType, *, asked: bool) -> Watch:
        """Begins to wait; to be ended by `wait` or `unwatch`."""
        watch = Watch(live, update_id, stage, asked=asked)
        self._watches.setdefault(live.run.run_id, {}).setdefault(update_id, []).append(watch)
        live.watchers += 1
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Ends a wait."""
        watch.live.watchers -= 1
        of_run = self._watches[watch.live.run.run_id]
        of_update = of_run[watch.update_id]
        of_update.remove(watch)
        if not of_update:
            del of_run[watch.update_id]
            if not of_run:
                del self._watches[watch.live.run.run_id]

    async def wait(self, watch: Watch) -> Progress:
        """How far the update has come, when that is as far as the caller wants, or when its time is over.

        Raises:
            RpcError: NOT_FOUND, and what the update was aborted with.
            StaleRun: the update was lost; it is to be asked again.
        """
        try:
            progress = await self._wait(watch)
        finally:
            self.unwatch(watch)
        return progress

    async def _wait(self, watch: Watch) -> Progress:
        live = watch.live
        if not watch.future.done():
            state = update_state(live.run, watch.update_id)
            if state is None:
                await self._transactions.settled(live)
                raise not_found(f"update {watch.update_id} not found")
            if state.stage >= watch.stage or self._closed:
                await self._transactions.settled(live)
                return await self._progress(live, state.stage, state.completed_event_id)
        deadline = self._clock.now() + WAIT_SECONDS * _SECOND
        progress = await wait_until(self._clock, watch.future, deadline, None)
        if progress is not None:
            return progress
        state = update_state(live.run, watch.update_id)
        await self._transactions.settled(live)
        return Progress(watch.reached) if state is None else await self._progress(live, state.stage, state.completed_event_id)

    async def _progress(self, live: LiveRun, stage: Stage.ValueType, completed_event_id: int) -> Progress:
        if stage != _COMPLETED:
            return Progress(stage)
        if not completed_event_id:
            return Progress(stage, CLOSED_ACCEPTED)
        event = (await self._history.events(live.run.run_id, completed_event_id, completed_event_id))[0]
        return Progress(stage, event.workflow_execution_update_completed_event_attributes.outcome)

    # News.

    def on_news(self, live: LiveRun, outcome: Outcome) -> None:
        """A transaction that says something of updates may be shown."""
        of_run = self._watches.get(live.run.run_id)
        if of_run is None:
            return
        for news in outcome.updates or ():
            for watch in of_run.get(news.update_id, ()):
                watch.tell(news, continued=outcome.new_run is not None)

    def forget(self, run_id: str) -> None:
        """A run's state in memory was lost: who has a request asks again."""
        self._fail(run_id, StaleRun, unavailable("the workflow was reloaded while the update waited; try again"))

    def end_waits(self) -> None:
        """Answers every caller with how far its update has come, and later ones at once."""
        self._closed = True
        for of_run in self._watches.values():
            for watch in [each for of_update in of_run.values() for each in of_update]:
                if not watch.future.done():
                    watch.future.set_result(None)

    def close(self) -> None:
        """Every caller is told that the engine closes."""
        closing = unavailable("the engine is closing")
        for run_id in list(self._watches):
            self._fail(run_id, lambda: closing, closing)

    def _fail(self, run_id: str, of_asked: Callable[[], Exception], of_others: Exception) -> None:
        for of_update in self._watches.get(run_id, {}).values():
            for watch in of_update:
                watch.fail(of_asked() if watch.asked else of_others)


def _aborted(abort: Abort, *, continued: bool) -> RpcError:
    if abort is Abort.NOT_READY:
        return workflow_not_ready("Unable to perform workflow execution update due to unexpected workflow task failure.")
    if abort is Abort.LOST:
        return unavailable("the update had not reached a worker when the workflow task failed; try again")
    if continued:
        return resource_exhausted(
            "workflow operation can not be applied because workflow is closing",
            ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
        )
    return not_found("workflow update was aborted by closing workflow")


def _ref(watch: Watch) -> UpdateRef:
    ref = UpdateRef(update_id=watch.update_id)
    ref.workflow_execution.workflow_id = watch.live.run.workflow_id
    ref.workflow_execution.run_id = watch.live.run.run_id
    return ref
