"""What follows a transaction that did not become durable: its promises are taken back, and its runs are read again.

Pollers that were reserved wait on. A start of which nobody knows whether it was written is looked for in what is read: where it
was, no worker ever saw it, so a workflow task goes to the next poller with the same token, and an activity's start is taken back.

The rule a newcomer would get wrong: after such a transaction nothing in memory is true about its runs, and what was known of their
ready tasks may be lost. So a run that is read again has everything offered anew that it waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedResponse

from perdure.engine.background import Background
from perdure.engine.core import (
    ActivityStarted,
    Outcome,
    StartedActivity,
    StartedWorkflowTask,
    TaskKind,
    UnstartActivity,
    WorkflowTaskStarted,
)
from perdure.engine.core.tokens import ACTIVITY, decode_token
from perdure.engine.core.workflow_tasks import INLINE_REQUEST
from perdure.engine.history_reads import HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching, QueueKey
from perdure.engine.transactions import StaleRun, Transactions
from perdure.model.rpc import RpcError
from perdure.storage.contract import Committed


class Revival:
    """Runs whose transactions failed, on their way back."""

    def __init__(
        self,
        background: Background,
        runs: LiveRuns,
        transactions: Transactions,
        history: HistoryReads,
        matching: Matching,
        offer: Callable[[LiveRun], None],
    ) -> None:
        """`offer` offers everything that a run waits for."""
        self._background = background
        self._runs = runs
        self._transactions = transactions
        self._history = history
        self._matching = matching
        self._offer = offer

    def on_failed(self, live: LiveRun, outcome: Outcome | None, answer: Committed | None) -> None:
        """Takes back what a transaction that failed had promised, and reads the run again."""
        started: list[_Start] = []
        if outcome is not None:
            for effect in outcome.effects:
                if isinstance(effect, (ActivityStarted, WorkflowTaskStarted)):
                    request_id = INLINE_REQUEST if effect.reservation is None else effect.reservation.request_id
                    if answer is Committed.UNKNOWN:
                        started.append(_Start(effect.task, request_id))
                    if effect.reservation is not None:
                        effect.reservation.release()
            if answer is Committed.UNKNOWN and isinstance(outcome.reply, RespondWorkflowTaskCompletedResponse):
                started += _eager_starts(live, outcome.reply)
        never_was = not live.durable_version and answer is not Committed.UNKNOWN
        if not self._background.closed and not never_was:
            self._background.spawn(self._revive(live.run.run_id, started))

    async def _revive(self, run_id: str, started: list[_Start]) -> None:
        await self._background.pause()
        live = await self._background.persist(lambda: self._runs.load(run_id))
        if live is None:
            return
        self._history.look_again(run_id)
        for task, request_id in started:
            # It may have been written after all: then it is a start that no worker ever saw.
            if isinstance(task, StartedActivity):
                self._background.spawn(self.unstart(run_id, task.scheduled_event_id, task.attempt, request_id))
            elif _is_held(live, task, request_id):
                self._matching.adopt(task.full(), QueueKey(TaskKind.WORKFLOW, task.namespace, task.queue))
        self._offer(live)

    async def unstart(self, run_id: str, scheduled_event_id: int, attempt: int, request_id: str = "") -> None:
        """Takes the start of an attempt back that no worker has; again until it is durable, for nobody else would miss it in time."""
        while (live := await self._background.persist(lambda: self._runs.load(run_id))) is not None:
            activity = live.run.activities.get(scheduled_event_id)
            if activity is None or activity.attempt != attempt or activity.request_id != (request_id or activity.request_id):
                return
            request_id = activity.request_id
            try:
                await self._transactions.run(live, UnstartActivity(scheduled_event_id, attempt))
                return
            except (RpcError, StaleRun):
                await self._background.pause()


class _Start(NamedTuple):
    """A start that may have been written, and by what it is known: no other start has this request id."""

    task: StartedActivity | StartedWorkflowTask
    request_id: str


def _eager_starts(live: LiveRun, reply: RespondWorkflowTaskCompletedResponse) -> list[_Start]:
    """The activities that were started for a reply which nobody gets."""
    started: list[_Start] = []
    for task in reply.activity_tasks:
        scheduled_event_id = decode_token(task.task_token, ACTIVITY).scheduled_event_id
        activity = live.run.activities.get(scheduled_event_id)
        if activity is not None:
            started.append(_Start(StartedActivity(scheduled_event_id, task.attempt, task), activity.request_id))
    return started


def _is_held(live: LiveRun, started: StartedWorkflowTask, request_id: str) -> bool:
    """Whether a run's workflow task is the one that was started there."""
    task = live.run.task
    if task is None or task.started_time != started.started_time:
        return False
    return (task.request_id, task.started_event_id, task.attempt) == (request_id, started.started_event_id, started.attempt)
