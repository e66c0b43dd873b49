"""Workflow tasks: from the poll through the workflow's code to the completion, and on with the next task that the reply brings.

The workflow's code runs synchronously, with no asyncio task current: it has a loop of its own (from Python 3.14 the current task is
kept per thread). Workflows stay in the cache between tasks; what the cache has not, or not at the right place (`CacheMiss`), is
replayed from the whole history.

The rules that a newcomer would get wrong:
- A runner whose completion was not accepted is ahead of the history and has to go, unless another has taken its place already.
- Only the first failure of a task is reported. The engine hands the task out again at once after a report, so the others are left
  to time out: that is the back-off.
- A completion is lost only for good when the engine says so; while it is away it is repeated (`reporting`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
)

from perdure.model import payload_codec
from perdure.model.clock import Clock
from perdure.model.conversion import DataConverter
from perdure.model.definitions import WorkflowDefinition
from perdure.model.durations import set_duration
from perdure.model.errors import ApplicationError, PerdureError
from perdure.model.rpc import RpcError, StatusCode
from perdure.runtime.options import RunnerOptions
from perdure.runtime.runner import CacheMiss, Completion, WorkflowRunner
from perdure.service.contract import WorkflowService
from perdure.worker.config import WorkerConfig
from perdure.worker.eager_activities import EagerActivities
from perdure.worker.histories import HistoryReader
from perdure.worker.replay_check import ReplayCheck
from perdure.worker.reporting import repeat, report
from perdure.worker.runner_cache import RunnerCache

__all__ = ["WorkflowTaskHandler"]

logger = logging.getLogger("perdure.worker")

_REPORT_SECONDS = 10
"""The default workflow task time-out: a completion that comes later is not taken."""
_UNHANDLED_COMMAND = "UnhandledCommand"
_TASK_OF_THREAD: bool = sys.version_info[:2] >= (3, 14)
"""Whether asyncio keeps the current task for each thread, not each loop."""


class WorkflowTaskHandler:
    """Handles workflow tasks for one worker."""

    def __init__(
        self,
        definitions: Mapping[str, WorkflowDefinition[..., Any]],
        service: WorkflowService,
        *,
        namespace: str,
        identity: str,
        sticky_queue: str,
        converter: DataConverter,
        clock: Clock,
        config: WorkerConfig,
        options: RunnerOptions,
        eager: EagerActivities | None = None,
    ) -> None:
        self._definitions = definitions
        self._service = service
        self._respond = service.respond_workflow_task_completed
        self._namespace = namespace
        self._identity = identity
        self._converter = converter
        self._codec = converter.codec
        self._clock = clock
        self._config = config
        self._eager = eager
        completion = RespondWorkflowTaskCompletedRequest(namespace=namespace, identity=identity, return_new_workflow_task=True)
        last_completion = completion.SerializeToString()
        if config.max_cached_workflows:
            _write_sticky(completion.sticky_attributes, sticky_queue, config)
        self._options = replace(options, completion=completion.SerializeToString(), last_completion=last_completion)
        self._keeps = config.max_cached_workflows > 0
        self._histories = HistoryReader(service, namespace, converter.codec)
        self._check = ReplayCheck(self._histories, converter, replace(options, strict=True)) if config.replay_after_every_task else None
        self._in_progress_max = max(config.max_concurrent_workflow_tasks, 1)
        self._gate = asyncio.Semaphore(self._in_progress_max)
        self.in_progress = 0
        """Tasks that wait for their history or a codec. Not those whose completion is on its way: nothing is left to do for them here."""
        self.cache: RunnerCache[WorkflowRunner] = RunnerCache(config.max_cached_workflows)

    def __repr__(self) -> str:
        return f"<WorkflowTaskHandler {self._config.task_queue}: {len(self.cache)} cached>"

    @property
    def replay_errors(self) -> list[BaseException]:
        """What `replay_after_every_task` has found."""
        return self._check.errors if self._check is not None else []

    async def handle(self, task: PollWorkflowTaskQueueResponse) -> None:
        """Does a workflow task, and those that come with the replies. Never raises for what workflow code does."""
        while True:
            definition = self._definitions.get(task.workflow_type.name)
            if definition is None:
                return await self._send_failure(task, self._unknown(task))
            runner, completion = self._activate(task, definition) or await self._activate_in_turn(task, definition)
            if not isinstance(completion, RespondWorkflowTaskCompletedRequest):
                return await self._answer(task, runner, completion)
            if self._keeps and not runner.closed:
                self.cache.put(runner.run_id, runner)
            else:
                self.cache.drop(runner.run_id, runner)
            if self._codec is not None:
                await payload_codec.encode(completion, self._codec)
            eager = self._eager
            slots = eager.ask(completion) if eager is not None else []
            reply: RespondWorkflowTaskCompletedResponse | None = None
            try:
                reply = await self._respond(completion)
            except RpcError as error:
                reply = await self._respond_again(task, runner, completion, error)
            finally:
                if slots and eager is not None:
                    eager.begin(slots, reply)
            if reply is None:
                return
            if self._check is not None:
                await self._check.replay(runner.definition, task.workflow_execution)
            task = reply.workflow_task
            if not task.task_token:
                return

    def close(self) -> None:
        """Evicts all workflows."""
        self.cache.clear()

    # --- one task ----------------------------------------------------------------------------------------------------

    def _activate(
        self, task: PollWorkflowTaskQueueResponse, definition: WorkflowDefinition[..., Any]
    ) -> tuple[WorkflowRunner, Completion] | None:
        """Runs the workflow's code on a task at once; None when it has to wait: for its turn, the codec, or the history."""
        if self._codec is not None or self.in_progress >= self._in_progress_max or task.next_page_token:
            return None
        runner = self._runner(task, definition)
        try:
            return runner, _run_code(runner, task)
        except CacheMiss:
            return None

    async def _activate_in_turn(
        self, task: PollWorkflowTaskQueueResponse, definition: WorkflowDefinition[..., Any]
    ) -> tuple[WorkflowRunner, Completion]:
        """Runs the workflow's code on a task when it has all of it."""
        async with self._gate:
            self.in_progress += 1
            try:
                if self._codec is not None:
                    await payload_codec.decode(task, self._codec)
                if task.next_page_token:
                    await self._histories.complete(task)
                runner = self._runner(task, definition)
                try:
                    return runner, _run_code(runner, task)
                except CacheMiss:
                    runner.evict()
                    await self._histories.make_whole(task)
                    return runner, _run_code(runner, task)
            finally:
                self.in_progress -= 1

    def _runner(self, task: PollWorkflowTaskQueueResponse, definition: WorkflowDefinition[..., Any]) -> WorkflowRunner:
        execution = task.workflow_execution
        run_id = execution.run_id
        return self.cache.get(run_id) or WorkflowRunner(definition, execution.workflow_id, run_id, self._converter, self._options)

    async def _respond_again(
        self, task: PollWorkflowTaskQueueResponse, runner: WorkflowRunner, completion: RespondWorkflowTaskCompletedRequest, error: RpcError
    ) -> RespondWorkflowTaskCompletedResponse | None:
        """The reply to a completion whose first try ended with `error`; None when it is not taken."""
        try:
            return await repeat(error, self._respond, completion, self._clock, _REPORT_SECONDS)
        except RpcError as last:
            self.cache.drop(runner.run_id, runner)
            self._log_refusal(task, last)
            return None

    async def _answer(
        self,
        task: PollWorkflowTaskQueueResponse,
        runner: WorkflowRunner,
        answer: RespondWorkflowTaskFailedRequest | RespondQueryTaskCompletedRequest,
    ) -> None:
        """Sends what else a task can end with: a failure, or the answer to a query."""
        if isinstance(answer, RespondWorkflowTaskFailedRequest):
            self.cache.drop(runner.run_id, runner)
            self._log_failure(task, runner.error, answer)
            await self._send_failure(task, answer)
            return
        if self._keeps and runner.error is None and not runner.closed:
            self.cache.put(runner.run_id, runner)
        else:
            self.cache.drop(runner.run_id, runner)
        await self._answer_query(answer)

    async def _answer_query(self, request: RespondQueryTaskCompletedRequest) -> None:
        request.namespace = self._namespace
        if self._codec is not None:
            await payload_codec.encode(request, self._codec)
        try:
            await report(self._service.respond_query_task_completed, request, self._clock, _REPORT_SECONDS)
        except RpcError as error:
            logger.debug("The answer to a query was not taken; its caller has gone: %s", error)

    async def _send_failure(self, task: PollWorkflowTaskQueueResponse, request: RespondWorkflowTaskFailedRequest) -> None:
        if task.HasField("query"):
            answer = RespondQueryTaskCompletedRequest(task_token=task.task_token, error_message=request.failure.message)
            answer.completed_type = 2  # type: ignore[assignment]  # QUERY_RESULT_TYPE_FAILED
            await self._answer_query(answer)
            return
        if task.attempt > 1:
            return  # left to time out: see above
        request.identity = self._identity
        request.namespace = self._namespace
        if self._codec is not None:
            await payload_codec.encode(request, self._codec)
        try:
            await report(self._service.respond_workflow_task_failed, request, self._clock, _REPORT_SECONDS)
        except RpcError as error:
            if error.code is not StatusCode.NOT_FOUND:
                logger.warning("The failure of a workflow task of %s could not be reported: %s", task.workflow_execution.workflow_id, error)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def _unknown(self, task: PollWorkflowTaskQueueResponse) -> RespondWorkflowTaskFailedRequest:
        known = ", ".join(sorted(self._definitions)) or "none"
        name = task.workflow_type.name
        worker = f'the worker {self._identity} of task queue "{self._config.task_queue}"'
        text = f'The workflow "{name}" is not registered on {worker}, which has: {known}.'
        logger.warning("%s Pass it to the worker: workflows=[…]. Workflow %s waits for that.", text, task.workflow_execution.workflow_id)
        request = RespondWorkflowTaskFailedRequest(task_token=task.task_token)
        request.cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
        request.failure.CopyFrom(self._converter.to_failure(ApplicationError(text, type="NotFoundError")))
        return request

    def _log_failure(
        self, task: PollWorkflowTaskQueueResponse, error: BaseException | None, request: RespondWorkflowTaskFailedRequest
    ) -> None:
        text = str(error) if error is not None and str(error) else request.failure.message or type(error).__name__
        or_fail = "" if error is None or isinstance(error, PerdureError) else ", or raise ApplicationError where the workflow is to fail"
        logger.error(
            "The workflow %s (%s, run %s) cannot go on: %s. "
            "It stays where it is and is tried again (this was attempt %d); mend the code and start the worker anew%s.",
            task.workflow_execution.workflow_id,
            task.workflow_type.name,
            task.workflow_execution.run_id,
            text.rstrip("."),
            task.attempt,
            or_fail,
            exc_info=None if error is None else (type(error), error, error.__traceback__),
        )

    def _log_refusal(self, task: PollWorkflowTaskQueueResponse, error: RpcError) -> None:
        execution: WorkflowExecution = task.workflow_execution
        if error.code is StatusCode.NOT_FOUND:
            logger.debug("A workflow task of %s was done too late: %s", execution.workflow_id, error.message)
        elif error.code is StatusCode.INVALID_ARGUMENT and error.message == _UNHANDLED_COMMAND:
            logger.debug("The workflow %s wanted to close while something new had come in; it is asked again.", execution.workflow_id)
        else:
            logger.error("The engine refused what the workflow %s (run %s) wants to do: %s", execution.workflow_id, execution.run_id, error)


def _write_sticky(attributes: StickyExecutionAttributes, queue: str, config: WorkerConfig) -> None:
    attributes.worker_task_queue.name = queue
    attributes.worker_task_queue.kind = 2  # type: ignore[assignment]  # TASK_QUEUE_KIND_STICKY
    attributes.worker_task_queue.normal_name = config.task_queue
    set_duration(attributes.schedule_to_start_timeout, config.sticky_schedule_to_start_timeout)


def _outside_tasks(runner: WorkflowRunner, task: PollWorkflowTaskQueueResponse) -> Completion:
    """Activates the runner as from a plain callback: with no task of our loop current (documented for loop authors)."""
    current = asyncio.current_task()
    if current is None:
        return runner.activate(task)
    loop = current.get_loop()
    asyncio.tasks._leave_task(loop, current)
    try:
        return runner.activate(task)
    finally:
        asyncio.tasks._enter_task(loop, current)


_run_code = _outside_tasks if _TASK_OF_THREAD else WorkflowRunner.activate
