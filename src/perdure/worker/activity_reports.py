"""How an attempt ended, told to the engine: completed, failed or cancelled.

An answer of NOT_FOUND means that the engine has judged already (the attempt timed out, or its workflow has ended): nothing to do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
)

from perdure.model import payload_codec
from perdure.model.clock import Clock
from perdure.model.conversion import DataConverter
from perdure.model.errors import ApplicationError, InvalidInput
from perdure.model.framing import framed, tag
from perdure.model.rpc import RpcError, StatusCode
from perdure.service.contract import WorkflowService
from perdure.worker.reporting import repeat

__all__ = ["ActivityReports"]

logger = logging.getLogger("perdure.worker")

_TASK_TOKEN = tag(RespondActivityTaskCompletedRequest, "task_token")
_RESULT = tag(RespondActivityTaskCompletedRequest, "result")
_WITHOUT_DEADLINE_SECONDS = 600.0
"""How long a report is repeated for an attempt that has no time-out of its own."""


class ActivityReports:
    """Reports for one worker."""

    def __init__(self, service: WorkflowService, *, namespace: str, identity: str, converter: DataConverter, clock: Clock) -> None:
        self._service = service
        self._namespace = namespace
        self._identity = identity
        self._converter = converter
        self._clock = clock
        self._completed = RespondActivityTaskCompletedRequest(namespace=namespace, identity=identity).SerializeToString()
        """What every report of a completion says, encoded."""

    def completion(self, task: PollActivityTaskQueueResponse, result: Any) -> RespondActivityTaskCompletedRequest:
        """The report that the activity returned `result`; InvalidInput when that cannot be converted."""
        try:
            encoded = self._converter.encode_result(result)
        except InvalidInput as error:
            refused = InvalidInput(f"The result of the activity {task.activity_type.name} cannot be stored: {error}")
            raise refused from error.__cause__
        return RespondActivityTaskCompletedRequest.FromString(
            self._completed + framed(_TASK_TOKEN, task.task_token) + framed(_RESULT, encoded)
        )

    async def completed_again(
        self, task: PollActivityTaskQueueResponse, completion: RespondActivityTaskCompletedRequest, error: RpcError
    ) -> InvalidInput | None:
        """Reports a completion whose first try ended with `error`; why the result is refused, if it is."""
        answer = await self._send_again(error, self._service.respond_activity_task_completed, completion, task)
        if answer is None or answer.code is not StatusCode.INVALID_ARGUMENT:
            return None
        return InvalidInput(f"The result of the activity {task.activity_type.name} was refused: {answer.message}")

    async def failed(
        self,
        task: PollActivityTaskQueueResponse,
        error: BaseException,
        heartbeat: Sequence[Payload] | None = None,
        stack_trace: str | None = None,
    ) -> None:
        """The attempt failed with `error`; `heartbeat` is what it said last, if that may not have arrived."""
        request = RespondActivityTaskFailedRequest(task_token=task.task_token, identity=self._identity, namespace=self._namespace)
        self._write_failure(error, request.failure)
        if stack_trace:
            request.failure.stack_trace = stack_trace
        if heartbeat is not None:
            request.last_heartbeat_details.payloads.extend(heartbeat)
        if self._converter.codec is not None:
            await payload_codec.encode(request, self._converter.codec)
        await self._send(self._service.respond_activity_task_failed, request, task)

    async def cancelled(self, task: PollActivityTaskQueueResponse, details: Sequence[Any]) -> None:
        """The activity ended because the workflow asked it to."""
        request = RespondActivityTaskCanceledRequest(task_token=task.task_token, identity=self._identity, namespace=self._namespace)
        if details:
            request.details.payloads.extend(self._converter.encode_values(details))
        if self._converter.codec is not None:
            await payload_codec.encode(request, self._converter.codec)
        await self._send(self._service.respond_activity_task_canceled, request, task)

    def _write_failure(self, error: BaseException, failure: Failure) -> None:
        """An activity's failure is an application failure by protocol; errors of other kinds become its cause."""
        try:
            failure.CopyFrom(self._converter.to_failure(error))
        except Exception as broken:
            logger.exception("A failure could not be converted; its text is reported instead.")
            failure.Clear()
            failure.message = f"{error} (its details could not be converted: {broken})"
            failure.application_failure_info.type = type(error).__name__
        if not failure.HasField("application_failure_info"):
            inner = Failure()
            inner.CopyFrom(failure)
            failure.Clear()
            failure.message = str(error) or type(error).__name__
            failure.source = inner.source
            failure.application_failure_info.type = getattr(error, "type", None) or type(error).__name__
            failure.application_failure_info.non_retryable = isinstance(error, ApplicationError) and error.non_retryable
            failure.cause.CopyFrom(inner)

    async def _send(self, call: Callable[[Any], Awaitable[Any]], request: Any, task: PollActivityTaskQueueResponse) -> RpcError | None:
        try:
            await call(request)
            return None
        except RpcError as error:
            return await self._send_again(error, call, request, task)

    async def _send_again(
        self, error: RpcError, call: Callable[[Any], Awaitable[Any]], request: Any, task: PollActivityTaskQueueResponse
    ) -> RpcError | None:
        """What to do after a first try that ended with `error`; the error that it comes to in the end, if any."""
        try:
            await repeat(error, call, request, self._clock, _seconds_left(task))
            return None
        except RpcError as last:
            error = last
        if error.code is StatusCode.NOT_FOUND:
            logger.debug("The engine no longer waits for %s %s: %s", task.activity_type.name, task.activity_id, error.message)
        else:
            logger.warning(
                "The end of the activity %s %s (attempt %d) could not be reported: %s",
                task.activity_type.name,
                task.activity_id,
                task.attempt,
                error,
            )
        return error


def _seconds_left(task: PollActivityTaskQueueResponse) -> float:
    timeout = task.start_to_close_timeout
    return timeout.seconds + timeout.nanos / 1e9 or _WITHOUT_DEADLINE_SECONDS
