"""`WorkflowWorker`: runs workflows and activities of one task queue, in this process and event loop.

    async with WorkflowClient.connect("sqlite:///orders.db") as client, WorkflowWorker(client, workflows=[fulfil], activities=[charge]):
        ...                                   # works until the block is left

    await WorkflowWorker(client, …).run()     # works until Ctrl-C or SIGTERM

Life cycle: new → running → stopping → stopped; a worker does not start twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType
from typing import Any, Protocol, Self, Unpack

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, ShutdownWorkerRequest

from perdure.model.clock import Clock
from perdure.model.conversion import DataConverter
from perdure.model.durations import to_seconds
from perdure.model.errors import ConfigError, ShutdownFailed, StartFailed, UsageError
from perdure.model.ids import uuid4_text
from perdure.model.rpc import RpcError, StatusCode
from perdure.runtime.options import RunnerOptions
from perdure.service.contract import WorkflowService
from perdure.worker.activity_executor import ActivityExecutor
from perdure.worker.config import WorkerConfig, WorkerSettings
from perdure.worker.eager_activities import EagerActivities
from perdure.worker.health import POLL_ERRORS_UNHEALTHY, HealthStatus
from perdure.worker.poller import TaskPoller
from perdure.worker.registration import Activity, Registration, Workflow
from perdure.worker.stop_signals import stop_signals
from perdure.worker.watchdog import Watchdog
from perdure.worker.workflow_tasks import WorkflowTaskHandler

__all__ = ["WorkflowWorker"]

logger = logging.getLogger("perdure.worker")

CANCEL_SECONDS = 6.0
"""From cancelling what still runs at the end of the graceful time-out until the worker stops waiting for it. Longer than a
process is given to heed its cancellation."""
ABORT_SECONDS = 1.0


class _State(Enum):
    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class _Client(Protocol):
    """What a worker needs of a client: `WorkflowClient` has it."""

    @property
    def service(self) -> WorkflowService: ...
    @property
    def namespace(self) -> str: ...
    @property
    def converter(self) -> DataConverter: ...
    @property
    def identity(self) -> str: ...
    @property
    def clock(self) -> Clock: ...


class WorkflowWorker:
    """Polls one task queue. Settings come from `config`, or as keyword arguments (which win); see `WorkerConfig`.

    Several workers may run in one process. Raises ConfigError and DefinitionError at once for what cannot work.
    """

    def __init__(
        self,
        client: _Client,
        task_queue: str | None = None,
        *,
        workflows: Iterable[Workflow] = (),
        activities: Iterable[Activity] = (),
        config: WorkerConfig | None = None,
        failure_exception_types: tuple[type[BaseException], ...] = (),
        **settings: Unpack[WorkerSettings],
    ) -> None:
        """`failure_exception_types`: errors that fail a workflow, besides perdure's own; others fail the task, which is tried again."""
        if not hasattr(client, "service"):
            raise UsageError(
                f"a worker needs a connected client, not {client!r}; write `async with WorkflowClient.connect(url) as client:`"
            )
        self.config = _configure(config, task_queue, settings)
        self._client = client
        self._registration = Registration(workflows, activities)
        self._failure_exception_types = failure_exception_types
        self._state = _State.NEW
        self._sticky_queue = f"{client.identity}-{uuid4_text()}"
        self._poller: TaskPoller | None = None
        self._executor: ActivityExecutor | None = None
        self._workflow_tasks: WorkflowTaskHandler | None = None
        self._watchdog: Watchdog | None = None
        self._stop_asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        workflow_tasks = 0 if self._workflow_tasks is None else self._workflow_tasks.in_progress
        running = workflow_tasks + (0 if self._poller is None else self._poller.activity_tasks_in_progress)
        return f"<WorkflowWorker {self.task_queue}: {f'{running} running' if self._state is _State.RUNNING else self._state.value}>"

    @property
    def task_queue(self) -> str:
        return self.config.task_queue

    @property
    def is_running(self) -> bool:
        return self._state is _State.RUNNING

    # --- registration ------------------------------------------------------------------------------------------------

    def register_workflow(self, workflow: Workflow) -> None:
        """Adds a workflow, before the worker starts. DefinitionError if its name is taken."""
        self._check_new("register_workflow")
        self._registration.add_workflow(workflow)

    def register_activity(self, activity: Activity) -> None:
        """Adds an activity, or all activities of an object, before the worker starts. DefinitionError if a name is taken."""
        self._check_new("register_activity")
        self._registration.add_activity(activity)

    def _check_new(self, what: str) -> None:
        if self._state is not _State.NEW:
            raise UsageError(f"{what} comes before start(): this worker is {self._state.value}.")

    # --- starting ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begins to poll; returns at once. StartFailed when the engine or the namespace is not there."""
        if self._state is not _State.NEW:
            raise StartFailed(f"The worker of {self.task_queue} is {self._state.value}; a worker starts once: make another one.")
        self._check_work()
        try:
            await self._client.service.describe_namespace(DescribeNamespaceRequest(namespace=self._client.namespace))
        except RpcError as error:
            if error.code is not StatusCode.UNIMPLEMENTED:
                raise StartFailed(f'The worker of "{self.task_queue}" cannot start: {error.message}') from error
        self._state = _State.RUNNING
        if self.config.stall_threshold:
            self._watchdog = Watchdog.acquire(to_seconds(self.config.stall_threshold))
        self._begin_polling()
        logger.info("Worker %s polls %s", self._client.identity, self.task_queue)

    def _check_work(self) -> None:
        config, registered = self.config, self._registration
        if not registered.workflows and not registered.activities:
            raise StartFailed("The worker has nothing to run: WorkflowWorker(client, workflows=[…], activities=[…]).")
        runs_workflows = registered.workflows and config.max_concurrent_workflow_tasks
        runs_activities = registered.activities and config.max_concurrent_activity_tasks
        if not runs_workflows and not runs_activities:
            raise StartFailed(
                "The worker has no slots for what is registered: raise max_concurrent_workflow_tasks or max_concurrent_activity_tasks."
            )

    def _begin_polling(self) -> None:
        client, config, registered = self._client, self.config, self._registration
        about: dict[str, Any] = {"namespace": client.namespace, "identity": client.identity, "clock": client.clock, "config": config}
        in_process = bool(getattr(client.service, "in_process", True))
        self._poller = TaskPoller(client.service, sticky_queue=self._sticky_queue, in_process=in_process, **about)
        runs_workflows = bool(registered.workflows and config.max_concurrent_workflow_tasks)
        eager: EagerActivities | None = None
        if registered.activities and config.max_concurrent_activity_tasks:
            self._executor = ActivityExecutor(registered.activities, client.service, converter=client.converter, **about)
            # An engine in this process gives an activity to a poll that waits in the transaction that schedules it: nothing to gain.
            asks = runs_workflows and not in_process
            lane = self._poller.poll_activity_tasks(self._executor.execute, spares=asks)
            eager = EagerActivities(lane, registered.activities, config.task_queue) if asks else None
        if runs_workflows:
            options = RunnerOptions(
                namespace=client.namespace,
                default_start_to_close_timeout=config.default_start_to_close_timeout,
                failure_exception_types=self._failure_exception_types,
            )
            about |= {"sticky_queue": self._sticky_queue, "converter": client.converter, "options": options, "eager": eager}
            self._workflow_tasks = WorkflowTaskHandler(registered.workflows, client.service, **about)
            self._poller.poll_workflow_tasks(self._workflow_tasks.handle)

    async def run(self) -> None:
        """Works until `stop()`, SIGINT (Ctrl-C) or SIGTERM; then shuts down gracefully. A second signal does not wait."""
        if self._state is _State.NEW:
            await self.start()
        with stop_signals(self._on_signal):
            try:
                await self._stop_asked.wait()
            finally:
                await self.stop()

    def _on_signal(self) -> None:
        if self._stop_asked.is_set():
            self._hurry.set()
        else:
            logger.info("The worker of %s stops; a second signal does not wait for running activities.", self.task_queue)
            self._stop_asked.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            await self.stop()
        except Exception as failed:
            if error is None:
                raise
            logger.error("%s", failed)  # the error that the block raised is the one to see

    # --- stopping ----------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Stops polling, gives running tasks `graceful_shutdown_timeout`, then cancels them; returns when they have ended.

        What was cancelled is reported, so that another worker takes it over. ShutdownFailed names activities that did not end
        (a plain `def` that neither returns nor sends a heartbeat). It may be called more than once.
        """
        if self._state is _State.NEW:
            self._state = _State.STOPPED
        if self._state is _State.STOPPED and self._stopping is None:
            return
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._stop(), name="perdure worker stop")
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        self._state = _State.STOPPING
        self._stop_asked.set()
        assert self._poller is not None
        await self._poller.close(self._say_goodbye)
        if self._executor is not None:
            self._executor.announce_stop()
        left = await self._wind_down(self._poller)
        if self._executor is not None:
            self._executor.close()
        if self._workflow_tasks is not None:
            self._workflow_tasks.close()
        if self._watchdog is not None:
            self._watchdog.release()
        self._state = _State.STOPPED
        if left:
            raise ShutdownFailed(f"The worker of {self.task_queue} has stopped, but these activities did not end: {', '.join(left)}.")
        if self._workflow_tasks is not None and self._workflow_tasks.replay_errors:
            raise self._workflow_tasks.replay_errors[0]

    async def _wind_down(self, poller: TaskPoller) -> list[str]:
        """Waits, cancels, waits again; the activities that did not end for all that."""
        if await self._drain_unless_hurried(poller, to_seconds(self.config.graceful_shutdown_timeout)):
            return []
        executor = self._executor
        if executor is not None:
            executor.cancel_all()
            if await poller.drain(CANCEL_SECONDS):
                return []
        left = executor.running() if executor is not None else []
        poller.abort()
        await poller.drain(ABORT_SECONDS)
        return left

    async def _drain_unless_hurried(self, poller: TaskPoller, seconds: float) -> bool:
        drained = asyncio.ensure_future(poller.drain(seconds))
        hurried = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
            return drained.done() and drained.result()
        finally:
            drained.cancel()
            hurried.cancel()

    async def _say_goodbye(self) -> None:
        """Lets the engine hand this worker's cached workflows to others at once; it would find out by itself in 10 s."""
        request = ShutdownWorkerRequest(
            namespace=self._client.namespace,
            identity=self._client.identity,
            sticky_task_queue=self._sticky_queue,
            worker_instance_key=self._sticky_queue,
            reason="the worker stops",
        )
        request.task_queue = self.task_queue
        try:
            await self._client.service.shutdown_worker(request)
        except RpcError as error:
            logger.debug("The engine was not told that this worker goes: %s", error)

    # --- health ------------------------------------------------------------------------------------------------------

    def health_check(self) -> HealthStatus:
        """How the worker is, now."""
        poller, handler, watchdog = self._poller, self._workflow_tasks, self._watchdog
        errors = poller.consecutive_errors if poller is not None else 0
        last_poll = poller.last_poll_ns if poller is not None else 0
        reason = "" if self.is_running else f"the worker is {self._state.value}"
        if errors >= POLL_ERRORS_UNHEALTHY and poller is not None:
            reason = f"{errors} polls in a row have failed: {poller.last_error}"
        return HealthStatus(
            is_healthy=not reason,
            workflow_tasks_in_progress=handler.in_progress if handler is not None else 0,
            activity_tasks_in_progress=poller.activity_tasks_in_progress if poller is not None else 0,
            last_poll_time=datetime.fromtimestamp(last_poll / 1e9, UTC) if last_poll else None,
            state=self._state.value,
            consecutive_poll_errors=errors,
            cached_workflows=len(handler.cache) if handler is not None else 0,
            loop_stalls=watchdog.stalls if watchdog is not None else 0,
            last_stall=watchdog.last_stall if watchdog is not None else None,
            reason=reason,
        )


def _configure(config: WorkerConfig | None, task_queue: str | None, settings: WorkerSettings) -> WorkerConfig:
    if config is not None and not isinstance(config, WorkerConfig):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"config must be a WorkerConfig, not {config!r}; WorkerConfig.from_file(path) reads one.", field="config")
    fields: dict[str, Any] = dict(settings)
    if task_queue is not None:
        fields["task_queue"] = task_queue
    return (config or WorkerConfig()).replace(**fields)
