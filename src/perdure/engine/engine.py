"""The embedded engine: everything between the contract and the storage, in the user's event loop.

`open_engine` puts the parts together; each part says at its head what it is. What flows through them: `Frontend` takes an RPC,
`LiveRuns` gives the run, the core (`engine.core`) decides, `Transactions` makes it durable through the `Committer`, and `Dispatch`
carries out what follows, with `Matching` for tasks and `TimerQueue` for time.

The rule a newcomer would get wrong: all of this runs in one event loop and holds no locks. Whatever awaits must look at the
run again afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest, PollNexusTaskQueueRequest, PollWorkflowTaskQueueRequest

from perdure.engine.background import Background
from perdure.engine.batches import Batches
from perdure.engine.committer import Committer
from perdure.engine.core import Outcome, Run, StickyUnavailable, TaskKind
from perdure.engine.deletions import Deletions
from perdure.engine.deliveries import Deliveries
from perdure.engine.deployments import Deployments
from perdure.engine.dispatch import Dispatch
from perdure.engine.drainage import Drainage
from perdure.engine.environment import Environment
from perdure.engine.frontend import Frontend
from perdure.engine.history_reads import HistoryReads
from perdure.engine.live_runs import LiveRun, LiveRuns
from perdure.engine.matching import Matching, QueueKey
from perdure.engine.namespaces import Namespaces
from perdure.engine.nexus.endpoints import Endpoints
from perdure.engine.nexus.operations import Operations
from perdure.engine.nexus.standalone import StandaloneOperations
from perdure.engine.nexus.tasks import NexusTasks
from perdure.engine.overflow import Overflow
from perdure.engine.placing import Placing
from perdure.engine.queries import Queries
from perdure.engine.reader import Reader
from perdure.engine.record_timers import RecordTimers
from perdure.engine.records import Records
from perdure.engine.recovery import recover
from perdure.engine.rerouting import Rerouting
from perdure.engine.resets import Resets
from perdure.engine.retention import Retention
from perdure.engine.revival import Revival
from perdure.engine.schedules import Schedules
from perdure.engine.schedules.actions import Actions
from perdure.engine.settings import EngineSettings
from perdure.engine.standalone import Standalone
from perdure.engine.standalone_activities import StandaloneActivities
from perdure.engine.starts import Starts
from perdure.engine.task_queue_configs import TaskQueueConfigs
from perdure.engine.timer_queue import TimerQueue
from perdure.engine.transactions import Transactions
from perdure.engine.update_with_start import UpdateWithStart
from perdure.engine.updates import Updates
from perdure.engine.workers import Workers
from perdure.model.clock import Clock, SystemClock
from perdure.storage.contract import Committed, WorkflowStorage

logger = logging.getLogger("perdure.engine")


class Engine:
    """An engine on one storage. Make one with `open_engine`; it belongs to the event loop that opened it."""

    def __init__(self, storage: WorkflowStorage, clock: Clock, incarnation: int) -> None:
        self.storage = storage
        self.clock = clock
        self.incarnation = incarnation
        """How often an engine has been opened on this storage."""
        self.closed = False
        self.settings = EngineSettings()
        self.reader = Reader(storage)
        self.runs = LiveRuns(self.reader, self._forget_lost_worker)
        self.committer = Committer(storage)
        self.records = Records(self.reader, self.committer)
        self.namespaces = Namespaces(self.records)
        self.deployments = Deployments(self.records, clock)
        self.drainage = Drainage(self.deployments, self.reader, clock)
        self.endpoints = Endpoints(self.records, self.namespaces, clock)
        self.background = Background(clock)
        self.dispatch = Dispatch(self.background, self.runs)
        self._environment = environment = Environment(clock, incarnation, self.namespaces, self.deployments, self.endpoints.id_of)
        self.transactions = Transactions(
            environment, self.committer, self.runs, self.dispatch.on_durable, self.dispatch.on_unrecorded, self._on_failed
        )
        overflow = Overflow(self.background, self.runs)
        self.matching = Matching(clock, self.dispatch.start, self.dispatch.hand_over, self.dispatch.take_back, overflow.read)
        environment.matching = self.matching
        self.placing = Placing(self.deployments, self.matching)
        overflow.connect(self.matching, self.placing)
        self.queue_configs = TaskQueueConfigs(self.records, self.matching)
        self.workers = Workers(clock)
        self.rerouting = Rerouting(self.placing, self.matching, self.runs, self.background)
        self.timers = TimerQueue(clock, self.dispatch.fire, lambda until, limit: self.reader.read(storage.due_runs, until, limit))
        self.history = HistoryReads(self.reader, self.runs, self.transactions, clock)
        self.queries = Queries(clock, self.runs, self.transactions, self.matching, self.placing)
        self.nexus_tasks = NexusTasks(clock, self.matching, self.deployments)
        self._standalone = standalone = Standalone(self.runs, self.transactions, self.history, clock)
        self.standalone_activities = StandaloneActivities(self.runs, self.transactions, standalone)
        self.resets = Resets(self.runs, self.transactions, self.history)
        self.starts = Starts(self.runs, self.transactions, self.matching, clock, self.namespaces)
        self.updates = Updates(clock, self.runs, self.transactions, self.history)
        self.update_with_start = UpdateWithStart(self.runs, self.transactions, self.starts, self.updates, self.namespaces)
        self.operations = Operations(clock, self.runs, self.transactions, self.endpoints, self.nexus_tasks, self.starts.start)
        self.standalone_operations = StandaloneOperations(self.runs, self.transactions, standalone, self.operations, clock)
        self.deliveries = Deliveries(clock, self.runs, self.transactions, self.matching, self.operations)
        self._revival = Revival(self.background, self.runs, self.transactions, self.history, self.matching, self.dispatch.offer)
        parts = (self.history, self.matching, self.timers, self.queries, self.deliveries, self.updates, self.placing)
        self.dispatch.connect(self.transactions, *parts, self._revival)
        self.record_timers = RecordTimers(clock, self.records)
        self.deletions = Deletions(self.runs, self.transactions, self.committer, self.records, self.record_timers, self.timers, clock)
        self.retention = Retention(clock, self.namespaces, self.reader, self.records, self.deletions)
        actions = Actions(self.starts, self.runs, self.transactions, clock)
        self.schedules = Schedules(self.records, self.record_timers, self.runs, actions, self.namespaces, clock)
        service = partial(self.frontend, in_process=True)
        self.batches = Batches(self.records, self.record_timers, self.runs, self.history, clock, service)
        self.dispatch.on_closed, self.dispatch.watched = self.schedules.on_closed, self.schedules.watched

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.runs)} runs in memory"
        return f"<Engine {self.storage.url}: {state}>"

    def frontend(self, *, in_process: bool) -> Frontend:
        """The engine's `WorkflowService`; `in_process` says whether its callers die with the engine."""
        return Frontend(self, in_process)

    def _on_failed(self, live: LiveRun, outcome: Outcome | None, answer: Committed | None) -> None:
        self.queries.forget(live.run.run_id)
        self.updates.forget(live.run.run_id)
        self._revival.on_failed(live, outcome, answer)

    def _forget_lost_worker(self, run: Run) -> None:
        """A run that was read may name a sticky queue whose worker is no more: its next workflow task goes to the normal queue at once."""
        if not run.sticky_queue or run.task is not None:
            return
        if self.matching.sticky_gone(QueueKey(TaskKind.WORKFLOW, run.namespace, run.sticky_queue)):
            run.sticky_queue = ""

    def drop_sticky_queue(self, namespace: str, name: str) -> None:
        """The worker of a sticky queue has gone: what waits there goes to the normal queue."""
        key = QueueKey(TaskKind.WORKFLOW, namespace, name)
        queue = self.matching.find(key)
        if queue is None or queue.normal_name is None:
            return
        normal = QueueKey(TaskKind.WORKFLOW, namespace, queue.normal_name)
        orphans, ready = self.matching.drop(key)
        for orphan in orphans:
            self.dispatch.adopt_elsewhere(orphan, normal)
        for task in ready:
            self.dispatch.request(task.run_id, StickyUnavailable())

    async def present(self) -> int:
        """The time, once all that was decided until then is durable."""
        now = self.clock.now()
        await self.committer.catch_up()
        return now

    def configure(self, settings: EngineSettings) -> None:
        """Puts an operator's settings in force; before that, Temporal's defaults are."""
        self.settings = settings
        self._environment.suggest_events = settings.suggest_events
        self._environment.payload_bytes_max = settings.payload_bytes_max

    def end_waits(self) -> None:
        """Answers every poll and every wait for news, and later ones at once; everything else goes on."""
        self.matching.close()
        self.history.close()
        self.updates.end_waits()
        self._standalone.end_waits()

    def return_task(
        self, request: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest | PollNexusTaskQueueRequest, response: Any
    ) -> None:
        """A poll's answer did not reach its worker: the task goes to another, or is ready again."""
        if isinstance(request, PollNexusTaskQueueRequest):
            name = self.deployments.polled(request.task_queue.name, request.deployment_options)
            nexus = QueueKey(TaskKind.NEXUS, request.namespace, name)
            self.dispatch.take_back(self.matching.queue(nexus), response)
            return
        name = self.deployments.polled(request.task_queue.normal_name or request.task_queue.name, request.deployment_options)
        if isinstance(request, PollActivityTaskQueueRequest):
            key = QueueKey(TaskKind.ACTIVITY, request.namespace, name)
        else:  # the poller of a sticky queue is gone: never there again
            key = QueueKey(TaskKind.WORKFLOW, request.namespace, name)
        self.dispatch.take_back(self.matching.queue(key), response)

    async def close(self) -> None:
        """Ends every poll and wait, writes what is under way, and gives the storage up. Closing twice is no error."""
        if self.closed:
            return
        self.closed = True
        self.end_waits()
        self.queries.close()
        self.updates.close()
        await self.timers.close()
        await self.record_timers.close()
        await self.retention.close()
        await self.schedules.close()
        await self.background.close()
        await self.deliveries.close()
        await self.operations.close()
        self.nexus_tasks.close()
        await self.committer.settle()
        await self.runs.close()
        self.committer.close()
        self.reader.close()
        if self.storage.blocking:
            await asyncio.get_running_loop().run_in_executor(None, self.storage.close)
        else:
            self.storage.close()


async def open_engine(storage: WorkflowStorage, *, clock: Clock | None = None, namespaces: Sequence[str] = ("default",)) -> Engine:
    """Opens a storage and takes up its work: tasks that lost their worker, timers, queues.

    Raises:
        StorageError: it cannot be opened (StorageLocked: another process has it; SchemaTooNew: a newer perdure wrote it).
    """
    loop = asyncio.get_running_loop()

    def take() -> int:
        storage.open()
        try:
            return storage.next_incarnation()
        except BaseException:
            storage.close()
            raise

    incarnation = await loop.run_in_executor(None, take) if storage.blocking else take()
    engine = Engine(storage, clock or SystemClock(), incarnation)
    try:
        await engine.namespaces.open(namespaces)
        await engine.deployments.load()
        await engine.queue_configs.load()
        await engine.endpoints.load()
        await recover(engine)
        engine.record_timers.open()
        engine.schedules.open()
        engine.retention.open()
    except BaseException:
        await engine.close()
        raise
    return engine
