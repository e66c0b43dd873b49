"""What follows a durable transaction: tasks reach workers, waiters wake, timers are set. (What follows a failed one: `revival`.)

Tasks go to pollers through `Matching`; this module knows what a task is. A started task whose poller has gone is kept
alive as law 3 says: a workflow task goes to the next poller with the same token, an activity's start is taken back.

The rule a newcomer would get wrong: a ready task is a name and no more. Whether it still waits, and for whom, its run says when
a poller takes it; so offering one twice is harmless, and losing one is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeAlias

from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollNexusTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedResponse,
)

from perdure.engine.background import Background
from perdure.engine.core import (
    ActivityReady,
    ActivityStarted,
    Effect,
    FireTimers,
    Outcome,
    Run,
    StartActivityTask,
    StartedWorkflowTask,
    StartWorkflowTask,
    StickyUnavailable,
    TaskKind,
    WorkflowTaskReady,
    WorkflowTaskStarted,
    poll_response,
)
from perdure.engine.core.codes import READY
from perdure.engine.core.tokens import ACTIVITY, decode_token
from perdure.engine.deliveries import Deliveries
from perdure.engine.history_reads import HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching, QueueKey, ReadyTask, TaskQueue
from perdure.engine.nexus.tasks import NexusTask
from perdure.engine.placing import Placing
from perdure.engine.poller import Poller
from perdure.engine.queries import Queries, QueryTask
from perdure.engine.revival import Revival
from perdure.engine.timer_queue import TimerQueue
from perdure.engine.transactions import Transactions, close_event_of
from perdure.engine.updates import Updates
from perdure.engine.versioned_queues import MARK
from perdure.model.rpc import RpcError, not_found

_HandedOver: TypeAlias = StartedWorkflowTask | QueryTask | NexusTask | PollWorkflowTaskQueueResponse | PollNexusTaskQueueResponse


class Dispatch:
    """The effects of transactions."""

    def __init__(self, background: Background, runs: LiveRuns) -> None:
        self._background = background
        self._runs = runs
        self.on_closed: Callable[[Run], None] = lambda run: None
        """Hears of each run with search attributes that has closed, durably,"""
        self.watched: Collection[str] = ()
        """and of each run, while this is not empty."""

    def connect(
        self,
        transactions: Transactions,
        history: HistoryReads,
        matching: Matching,
        timers: TimerQueue,
        queries: Queries,
        deliveries: Deliveries,
        updates: Updates,
        placing: Placing,
        revival: Revival,
    ) -> None:
        """The parts that this one works with; they know it too, so it is made before them."""
        self.transactions = transactions
        self.history = history
        self.matching = matching
        self.timers = timers
        self.queries = queries
        self.deliveries = deliveries
        self.updates = updates
        self.placing = placing
        self._revival = revival

    # What became durable.

    def on_durable(self, live: LiveRun, outcome: Outcome, due: int | None) -> None:
        """Carries out the effects of a transaction."""
        for effect in outcome.effects:
            self._carry_out(live, effect)
        close_event = close_event_of(outcome)
        if close_event:
            live.close_event = close_event
            if live.run.search_attributes or self.watched:
                self.on_closed(live.run)
        if live.drained and (outcome.buffer_cleared or close_event):
            for waiter in live.drained:
                if not waiter.done():
                    waiter.set_result(True)
            live.drained.clear()
        if live.run.task is None and not isinstance(outcome.reply, RespondWorkflowTaskCompletedResponse):
            self.queries.task_gone(live)
        self.history.on_durable(live, outcome)
        if outcome.updates is not None:
            self.updates.on_news(live, outcome)
            due = live.run.next_due()
        if live.run.unsent:
            self.deliveries.take_up(live)
            due = live.run.next_due()  # "at once" is for the storage: who opens it next takes this up
        self.timers.set(live.run.run_id, due)

    def on_unrecorded(self, live: LiveRun, outcome: Outcome) -> None:
        """Carries out the effects of a transaction that records nothing: what it shows is durable."""
        for effect in outcome.effects:
            self._carry_out(live, effect)
        self.updates.on_news(live, outcome)
        self.timers.set(live.run.run_id, live.run.next_due())

    def _carry_out(self, live: LiveRun, effect: Effect) -> None:
        if isinstance(effect, WorkflowTaskStarted):
            if effect.reservation is not None and not self._hand_over_task(effect.task, effect.reservation):  # type: ignore[arg-type]
                self._adopt(effect.task, effect.reservation)  # type: ignore[arg-type]
        elif isinstance(effect, ActivityStarted):
            self._hand_over_activity(live.run.run_id, effect)
        elif isinstance(effect, WorkflowTaskReady):
            self._offer_workflow_task(live, effect.queue, effect.sticky)
        elif isinstance(effect, ActivityReady):
            self.placing.place(live.run, TaskKind.ACTIVITY, ReadyTask(live.run.run_id, effect.scheduled_event_id))

    def _offer_workflow_task(self, live: LiveRun, queue: str, sticky: bool) -> None:
        if not sticky:
            self.placing.place(live.run, TaskKind.WORKFLOW, ReadyTask(live.run.run_id, 0))
            return
        key = QueueKey(TaskKind.WORKFLOW, live.run.namespace, queue)
        if self.matching.sticky_gone(key):
            self.request(live.run.run_id, StickyUnavailable())
        else:
            self.matching.queue(key).add_ready(ReadyTask(live.run.run_id, 0))

    # Tasks to pollers.

    def _hand_over_activity(self, run_id: str, effect: ActivityStarted) -> None:
        if not effect.reservation.deliver(effect.task.response):  # type: ignore[attr-defined]
            self._background.spawn(self._revival.unstart(run_id, effect.task.scheduled_event_id, effect.task.attempt))

    def _adopt(self, task: StartedWorkflowTask, poller: Poller) -> None:
        queue = poller.queue
        if queue.normal_name is not None and not queue.has_poller():
            task = task.full()
            self.matching.adopt(task, QueueKey(TaskKind.WORKFLOW, task.namespace, queue.normal_name))
        else:
            self.matching.adopt(task, queue.key)

    def adopt_elsewhere(self, orphan: StartedWorkflowTask | QueryTask | PollWorkflowTaskQueueResponse, normal: QueueKey) -> None:
        """Brings a task from a sticky queue that is gone to the normal one."""
        self.matching.adopt(orphan.full() if isinstance(orphan, StartedWorkflowTask) else orphan, normal)

    def take_back(self, queue: TaskQueue, response: Any) -> None:
        """A poll was cancelled when its answer had come: the task goes to another, or is ready again."""
        if isinstance(response, PollActivityTaskQueueResponse):
            token = decode_token(response.task_token, ACTIVITY)
            self._background.spawn(self._revival.unstart(token.run_id, token.scheduled_event_id, token.attempt))
        elif response is not None:
            normal = queue.key if queue.normal_name is None or queue.has_poller() else queue.key._replace(name=queue.normal_name)
            self.matching.adopt(response, normal)

    def hand_over(self, task: _HandedOver, poller: Poller) -> bool:
        """Gives what has waited for a poll to one; False if that has ended. What is void meanwhile is dropped: a query that nobody
        waits for, a workflow task that has timed out."""
        if isinstance(task, (PollWorkflowTaskQueueResponse, PollNexusTaskQueueResponse)):
            return poller.deliver(task)
        if isinstance(task, NexusTask):
            return poller.deliver(task.response)
        if isinstance(task, QueryTask):
            return self._hand_over_query(task, poller)
        if self._is_void(task):
            poller.release()
            return True
        return self._hand_over_task(task, poller)

    def _is_void(self, started: StartedWorkflowTask) -> bool:
        """Whether a run has another workflow task now, or none. (Of one that is not in memory its worker finds out.)"""
        live = self._runs.get(started.run_id)
        if live is None:
            return False
        task = live.run.task
        return task is None or (task.started_time, task.attempt) != (started.started_time, started.attempt)

    def _hand_over_task(self, task: StartedWorkflowTask, poller: Poller) -> bool:
        if poller.future.done():
            return False
        if task.events is None:
            self._background.spawn(self._hand_over_read(task, poller))
        else:
            self._deliver(task, task.events, poller)
        return True

    def _hand_over_query(self, task: QueryTask, poller: Poller) -> bool:
        if poller.future.done():
            return False
        if task.answer.done():
            poller.release()
            return True
        if poller.queue.normal_name is not None:
            poller.deliver(task.response)
        else:
            self._background.spawn(self._hand_over_query_read(task, poller))
        return True

    async def _hand_over_query_read(self, task: QueryTask, poller: Poller) -> None:
        events = await self._background.persist(lambda: self.history.events(task.run_id, 1, task.last_event_id))
        if events is None and not task.answer.done() and not self._background.closed:
            task.answer.set_exception(not_found("the workflow execution has been deleted"))
        if events is None or task.answer.done():
            poller.release()
            return
        task.response.history.events.extend(events)
        if not poller.deliver(task.response):
            del task.response.history.events[:]
            self.matching.adopt(task, poller.queue.key)

    async def _hand_over_read(self, task: StartedWorkflowTask, poller: Poller) -> None:
        events = await self._background.persist(lambda: self.history.events(task.run_id, task.first_event_id, task.last_event_id))
        if events is None:
            poller.release()  # the run has been deleted, and its task with it; or nothing can be read, and the task times out
            return
        if poller.future.done():
            self._adopt(task, poller)
        else:
            self._deliver(task, events, poller)

    def _deliver(self, task: StartedWorkflowTask, events: Any, poller: Poller) -> None:
        response = poll_response(task, events)
        self.queries.attach(task.run_id, response)
        poller.deliver(response)

    async def inline_task(self, task: StartedWorkflowTask) -> PollWorkflowTaskQueueResponse:
        """A started workflow task for the reply of the completion that made it."""
        events = task.events
        if events is None:
            events = await self.history.events(task.run_id, task.first_event_id, task.last_event_id)
        response = poll_response(task, events)
        self.queries.attach(task.run_id, response)
        return response

    # Ready tasks to pollers that came later.

    def start(self, queue: TaskQueue, task: ReadyTask, poller: Poller) -> None:
        """A poller and a ready task have met."""
        live = self._runs.get(task.run_id)
        if live is None:
            self._background.spawn(self._load_and_start(queue, task, poller))
        else:
            self._start(live, queue, task, poller)

    async def _load_and_start(self, queue: TaskQueue, task: ReadyTask, poller: Poller) -> None:
        live = await self._background.persist(lambda: self._runs.load(task.run_id))
        if live is None:
            poller.release()
        else:
            self._start(live, queue, task, poller)

    def _start(self, live: LiveRun, queue: TaskQueue, task: ReadyTask, poller: Poller) -> None:
        if poller.future.done():
            poller.release()  # of what it was charged
            queue.ready.appendleft(task)
            self.matching.pump(queue)
            return
        if self.placing.has_moved(live.run, queue, task):
            self.placing.place(live.run, queue.key.kind, task)
            poller.release()
            return
        request = (
            StartActivityTask(task.scheduled_event_id, poller, queue.key.name.partition(MARK)[0])
            if queue.key.kind is TaskKind.ACTIVITY
            else StartWorkflowTask(poller, queue.normal_name is not None, queue.key.name)
        )
        try:
            started = self.transactions.run_in_background(live, request)
        except RpcError:
            started = False  # taken, closed or timed out meanwhile: the task is void
        if not started:
            poller.release()

    # Timers and other requests that nobody waits for.

    def fire(self, run_id: str) -> None:
        """A run is due."""
        self.request(run_id, FireTimers())

    def request(self, run_id: str, request: Any) -> None:
        """Applies a request of the engine's own to a run, loading it if need be; what no longer fits is dropped."""
        live = self._runs.get(run_id)
        if live is None:
            self._background.spawn(self._load_and_request(run_id, request))
        else:
            self.request_live(live, request)

    async def _load_and_request(self, run_id: str, request: Any) -> None:
        live = await self._background.persist(lambda: self._runs.load(run_id))
        if live is not None:
            self.request_live(live, request)

    def request_live(self, live: LiveRun, request: Any) -> None:
        """As `request`, for a run that is in memory, or was when its caller last looked."""
        if live.evicted:
            self.request(live.run.run_id, request)
            return
        try:
            changed = self.transactions.run_in_background(live, request)
        except RpcError:
            changed = False
        if not changed and not live.pending:
            if live.run.unsent:
                self.deliveries.take_up(live)
            self.timers.set(live.run.run_id, live.run.next_due())

    def offer(self, live: LiveRun) -> None:
        """Offers everything that a run waits for."""
        run = live.run
        if run.unsent:
            self.deliveries.take_up(live)
        if run.closed:
            return
        if run.task is not None and not run.task.started_event_id:
            self._offer_workflow_task(live, run.task.queue, run.task.sticky)
        for activity in list(run.activities.values()):
            if activity.state == READY:
                self.placing.place(run, TaskKind.ACTIVITY, ReadyTask(run.run_id, activity.scheduled_event_id))
        self.timers.set(run.run_id, run.next_due())
