"""Runs activities: `async def` in the event loop, plain `def` in threads, `cpu_bound` ones in processes.

From the task to the report everything happens in the slot that polled the task. The engine judges time-outs; here an attempt is
stopped only some seconds after its time is over, to give its slot back (`DEADLINE_SLACK_SECONDS`), so that a loop that stood still
never kills what has just finished.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse, RecordActivityTaskHeartbeatRequest

from perdure.model import payload_codec
from perdure.model.clock import Clock
from perdure.model.conversion import DataConverter
from perdure.model.definitions import ActivityDefinition
from perdure.model.durations import to_seconds
from perdure.model.errors import ActivityCancelled, ApplicationError, InvalidInput, UsageError
from perdure.model.rpc import RpcError, StatusCode
from perdure.service.contract import WorkflowService
from perdure.worker.activity_context import ActivityContext, CancelReason, current_activity
from perdure.worker.activity_reports import ActivityReports
from perdure.worker.attempt import Attempt, absorb_cancellation, run_in_context
from perdure.worker.config import WorkerConfig
from perdure.worker.deadlines import Deadlines
from perdure.worker.heartbeats import Heartbeats, interval_seconds
from perdure.worker.process_pool import ProcessPool

__all__ = ["ActivityExecutor"]

logger = logging.getLogger("perdure.worker")

DEADLINE_SLACK_SECONDS = 5


class ActivityExecutor:
    """Executes activity tasks for one worker. Make it inside the worker's event loop."""

    def __init__(
        self,
        definitions: Mapping[str, ActivityDefinition[..., Any]],
        service: WorkflowService,
        *,
        namespace: str,
        identity: str,
        converter: DataConverter,
        clock: Clock,
        config: WorkerConfig,
    ) -> None:
        self._definitions = definitions
        self._service = service
        self._report_completion = service.respond_activity_task_completed
        self._namespace = namespace
        self._identity = identity
        self._converter = converter
        self._clock = clock
        self._config = config
        self._reports = ActivityReports(service, namespace=namespace, identity=identity, converter=converter, clock=clock)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._running: set[Attempt] = set()
        self._deadlines = Deadlines(self._running, lambda attempt: _timeout_ns(attempt.task), clock)
        self._threads: ThreadPoolExecutor | None = None
        self._processes = ProcessPool(config.max_cpu_bound_processes, config.task_queue)
        self._stopping = False

    def __repr__(self) -> str:
        return f"<ActivityExecutor {self._config.task_queue}: {len(self._running)} running>"

    # --- one task ----------------------------------------------------------------------------------------------------

    async def execute(self, task: PollActivityTaskQueueResponse) -> None:
        """Runs one attempt and reports how it ended. Never raises for what the activity does."""
        definition = self._definitions.get(task.activity_type.name)
        if definition is None:
            await self._reports.failed(task, self._unknown(task.activity_type.name))
            return
        converter = self._converter
        try:
            if converter.codec is not None:
                await payload_codec.decode(task, converter.codec)
            shape, payloads = definition.shape, task.input.payloads
            shape.check_count(len(payloads))
            arguments = converter.decode_args(payloads, shape.arg_types, shape.arg_names, shape.where)
        except Exception as error:
            _log_failure(task, error)
            await self._reports.failed(task, _invalid_input(error))
            return
        slot = asyncio.current_task(self._loop)
        attempt = Attempt(task, slot, converter, self._make_heartbeats)
        if self._stopping:
            attempt.worker_stopping = True
        self._running.add(attempt)
        if not self._deadlines.looks_soon:
            self._deadlines.look_soon()
        try:
            result = await self._call(definition, attempt, arguments)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            await self._ended_badly(attempt, error)
            return
        attempt.finish()
        self._running.discard(attempt)
        if slot is not None and slot.cancelling():
            await absorb_cancellation(slot)
        try:
            completion = self._reports.completion(task, result)
        except InvalidInput as error:
            return await self._refused(task, error)
        if converter.codec is not None:
            await payload_codec.encode(completion, converter.codec)
        try:
            await self._report_completion(completion)
        except RpcError as error:
            refused = await self._reports.completed_again(task, completion, error)
            if refused is not None:
                await self._refused(task, refused)

    async def _refused(self, task: PollActivityTaskQueueResponse, error: InvalidInput) -> None:
        """The activity's result is no good."""
        await self._reports.failed(task, error)
        _log_failure(task, error)

    def _call(self, definition: ActivityDefinition[..., Any], attempt: Attempt, arguments: list[Any]) -> Awaitable[Any]:
        """The activity, on its way where it is to run."""
        if definition.cpu_bound:
            return self._processes.run(definition, arguments, attempt, self._loop)
        context = contextvars.copy_context()
        activity = ActivityContext(attempt.task, attempt, self._converter, self._config.task_queue)
        context.run(current_activity.set, activity)
        if definition.shape.takes_ctx:
            arguments.insert(0, activity)
        if definition.is_async:
            return run_in_context(definition.fn(*arguments), context)
        return self._call_in_thread(definition.fn, arguments, attempt, context)

    async def _call_in_thread(self, fn: Callable[..., Any], arguments: list[Any], attempt: Attempt, context: contextvars.Context) -> Any:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max(self._config.max_concurrent_activity_tasks, 1), thread_name_prefix="perdure activity")
        attempt.raises_on_heartbeat = True

        def call() -> tuple[Any, BaseException | None]:
            return context.run(_outcome, fn, arguments)

        ended = await self._loop.run_in_executor(self._threads, call)
        if ended[1] is not None:
            raise ended[1]
        return ended[0]

    async def _ended_badly(self, attempt: Attempt, error: BaseException) -> None:
        heartbeat = attempt.finish()
        self._running.discard(attempt)
        task, reason, slot = attempt.task, attempt.cancel_reason, attempt.slot
        if slot is not None and slot.cancelling():
            if isinstance(error, asyncio.CancelledError) and reason is None:
                raise error  # not ours: the event loop is torn down, and the engine with it
            await absorb_cancellation(slot)
        if isinstance(error, SystemExit):
            error = ApplicationError(f"The activity called sys.exit({error.code}); raise an error to fail it.", type="SystemExit")
        if not isinstance(error, asyncio.CancelledError | ActivityCancelled):
            _log_failure(task, error)
            await self._reports.failed(task, error, heartbeat, attempt.stack_trace)
        elif reason is CancelReason.REQUESTED:
            await self._reports.cancelled(task, error.details if isinstance(error, ActivityCancelled) else ())
        elif reason in (CancelReason.GONE, CancelReason.TIMED_OUT):
            logger.info("The activity %s %s was stopped: %s.", task.activity_type.name, task.activity_id, reason.value)
        elif reason is not None:
            await self._reports.failed(
                task, ApplicationError(f"The activity was stopped: {reason.value}.", type="ActivityStopped"), heartbeat
            )
        else:
            text = "The activity raised a cancellation although nobody had cancelled it: something that it awaited was cancelled."
            unasked = ApplicationError(text, type="CancelledError")
            unasked.__cause__ = error
            _log_failure(task, unasked)
            await self._reports.failed(task, unasked, heartbeat)

    def _unknown(self, name: str) -> ApplicationError:
        known = ", ".join(sorted(self._definitions)) or "none"
        worker = f'the worker {self._identity} of task queue "{self._config.task_queue}"'
        text = f'The activity "{name}" is not registered on {worker}, which has: {known}.'
        logger.warning("%s Pass it to the worker: activities=[…].", text)
        return ApplicationError(text, type="NotFoundError")

    # --- heartbeats --------------------------------------------------------------------------------------------------

    def _make_heartbeats(self, attempt: Attempt) -> Heartbeats:
        timeout = attempt.task.heartbeat_timeout
        seconds = interval_seconds(
            timeout.seconds + timeout.nanos / 1e9,
            default=to_seconds(self._config.default_heartbeat_throttle_interval),
            maximum=to_seconds(self._config.max_heartbeat_throttle_interval),
        )
        return Heartbeats(partial(self._send_heartbeat, attempt), seconds, self._clock, self._loop, self._thread)

    async def _send_heartbeat(self, attempt: Attempt, details: Sequence[Payload]) -> bool:
        request = RecordActivityTaskHeartbeatRequest(task_token=attempt.task.task_token, identity=self._identity, namespace=self._namespace)
        request.details.payloads.extend(details)
        try:
            if self._converter.codec is not None:
                await payload_codec.encode(request, self._converter.codec)
            reply = await self._service.record_activity_task_heartbeat(request)
        except RpcError as error:
            if error.code is StatusCode.NOT_FOUND:
                attempt.cancel(CancelReason.GONE)
                return True
            logger.warning("A heartbeat of the activity %s could not be sent: %s", attempt.task.activity_id, error)
            return False
        except Exception:
            logger.exception("A heartbeat of the activity %s could not be sent.", attempt.task.activity_id)
            return False
        if reply.cancel_requested:
            attempt.cancel(CancelReason.REQUESTED)
        elif reply.activity_paused:
            attempt.cancel(CancelReason.PAUSED)
        elif reply.activity_reset:
            attempt.cancel(CancelReason.RESET)
        return True

    # --- stopping ----------------------------------------------------------------------------------------------------

    def announce_stop(self) -> None:
        """Lets running activities know (`ctx.is_worker_stopping`) that they have the graceful time-out left."""
        self._stopping = True
        for attempt in self._running:
            attempt.worker_stopping = True
        self._processes.announce_stop()

    def cancel_all(self) -> None:
        """Cancels what is still running: the worker stops."""
        for attempt in list(self._running):
            attempt.cancel(CancelReason.WORKER_SHUTDOWN)

    def running(self) -> list[str]:
        """The running activities by name and id."""
        return sorted(f"{attempt.task.activity_type.name} {attempt.task.activity_id}" for attempt in self._running)

    def close(self) -> None:
        """Gives threads and processes back; a thread that still runs ends by itself."""
        self._deadlines.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._processes.close()


def _outcome(fn: Callable[..., Any], arguments: list[Any]) -> tuple[Any, BaseException | None]:
    """Result and error of a call in a thread; not every exception can pass through a future (StopIteration, CancelledError)."""
    try:
        return fn(*arguments), None
    except BaseException as error:
        return None, error


def _invalid_input(error: Exception) -> InvalidInput:
    """Why an activity cannot be called with what it was sent."""
    if isinstance(error, InvalidInput):
        return error
    return InvalidInput(str(error) if isinstance(error, UsageError) else f"The input cannot be decoded: {error}")


def _timeout_ns(task: PollActivityTaskQueueResponse) -> int:
    """How long the engine will wait for this attempt at most; 0: for ever."""
    timeout = task.start_to_close_timeout
    ns = timeout.seconds * 1_000_000_000 + timeout.nanos
    return ns + DEADLINE_SLACK_SECONDS * 1_000_000_000 if ns else 0


def _log_failure(task: PollActivityTaskQueueResponse, error: BaseException) -> None:
    name, workflow_id = task.activity_type.name, task.workflow_execution.workflow_id
    logger.warning(
        "The activity %s %s of workflow %s failed on attempt %d: %s",
        name,
        task.activity_id,
        workflow_id,
        task.attempt,
        str(error) or type(error).__name__,
        exc_info=(type(error), error, error.__traceback__),
    )
