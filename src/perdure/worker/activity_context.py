"""What an activity knows about itself: `ActivityContext`, and `activity_context()` for helpers that are not passed one.

The context is cheap: nothing of the task is decoded before somebody asks. The same class serves an activity in the event loop, in
a thread and in a process of its own; only where its heartbeats go (its `Line` to the worker) differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, overload

from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure.model.conversion import DataConverter
from perdure.model.errors import UsageError
from perdure.model.suggestions import missing_attribute

__all__ = ["ActivityContext", "ActivityInfo", "CancelReason", "activity_context", "current_activity"]

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CancelReason(Enum):
    """Why an activity was told to stop."""

    REQUESTED = "the workflow asked for it"
    GONE = "the engine no longer waits for it: it timed out, or its workflow has ended"
    TIMED_OUT = "its time is over"
    WORKER_SHUTDOWN = "the worker stops"
    PAUSED = "it was paused"
    RESET = "it was reset"


@dataclass(frozen=True, kw_only=True)
class ActivityInfo:
    """The facts of one attempt. Times are UTC; a time-out that does not apply is None."""

    activity_id: str
    activity_type: str
    workflow_id: str
    run_id: str
    workflow_type: str
    namespace: str
    task_queue: str
    attempt: int
    """1 for the first."""
    scheduled_time: datetime
    """When the activity was first scheduled."""
    current_attempt_scheduled_time: datetime
    started_time: datetime
    schedule_to_close_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    heartbeat_details: tuple[Any, ...]
    """What the last heartbeat of the attempts before said; see also `ActivityContext.last_heartbeat`."""
    task_token: bytes

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out: the sooner of start-to-close and schedule-to-close."""
        ends: list[datetime] = []
        if self.start_to_close_timeout is not None:
            ends.append(self.started_time + self.start_to_close_timeout)
        if self.schedule_to_close_timeout is not None:
            ends.append(self.scheduled_time + self.schedule_to_close_timeout)
        return min(ends, default=None)


# What users of Temporal's SDKs, and of our own workflows, type.
_FOREIGN: Mapping[str, str] = {
    "record_heartbeat": "ctx.heartbeat(details)",
    "heartbeat_details": "ctx.last_heartbeat(type)",
    "get_heartbeat_details": "ctx.last_heartbeat(type)",
    "workflow_run_id": "ctx.run_id",
    "task_token": "ctx.info.task_token",
    "is_cancel_requested": "ctx.is_cancelled",
    "cancelled": "ctx.is_cancelled",
    "is_worker_shutdown": "ctx.is_worker_stopping",
    "sleep": "await asyncio.sleep(seconds), or time.sleep(seconds) in a plain def",
    "now": "datetime.now(UTC): an activity may look at the clock",
    "execute_activity": "the activity's function itself: an activity that others follow belongs into a workflow",
}


class Line(Protocol):
    """An attempt's line to its worker."""

    @property
    def cancel_reason(self) -> CancelReason | None: ...
    @property
    def worker_stopping(self) -> bool: ...
    def heartbeat(self, details: Sequence[Any]) -> None: ...


class ActivityContext:
    """Handed to an activity that takes a `ctx`; valid during its attempt."""

    __slots__ = ("_converter", "_info", "_line", "_logger", "_task", "_task_queue")
    __perdure_context__: ClassVar[str] = "activity"

    def __init__(self, task: PollActivityTaskQueueResponse, line: Line, converter: DataConverter, task_queue: str) -> None:
        self._task = task
        self._line = line
        self._converter = converter
        self._task_queue = task_queue
        self._info: ActivityInfo | None = None
        self._logger: _ActivityLogger | None = None

    def __repr__(self) -> str:
        return f"<ActivityContext {self._task.activity_type.name} {self._task.activity_id} attempt {self._task.attempt}>"

    @property
    def info(self) -> ActivityInfo:
        """The facts of this attempt."""
        if self._info is None:
            self._info = _read_info(self._task, self._converter, self._task_queue)
        return self._info

    @property
    def workflow_id(self) -> str:
        return self._task.workflow_execution.workflow_id

    @property
    def run_id(self) -> str:
        return self._task.workflow_execution.run_id

    @property
    def activity_id(self) -> str:
        return self._task.activity_id

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return self._task.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of this activity, and for no other: hand it to a service that must not act twice."""
        return f"{self._task.workflow_execution.run_id}/{self._task.activity_id}"

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logs with workflow_id, run_id, activity_id, activity_type and attempt."""
        if self._logger is None:
            self._logger = _ActivityLogger(logging.getLogger("perdure.activity"), _log_fields(self._task))
        return self._logger

    # --- heartbeat and cancellation ----------------------------------------------------------------------------------

    def heartbeat(self, *details: Any) -> None:
        """Says that the activity is alive and how far it has come: the next attempt finds `details` in `last_heartbeat`.

        Call it as often as you like: between two that are sent lies 0.8 of the heartbeat time-out. What the activity said last is
        kept when it fails. In a plain `def` activity it raises `asyncio.CancelledError` once the activity is cancelled.
        Raises InvalidInput for details that cannot be converted.
        """
        self._line.heartbeat(details)

    @overload
    def last_heartbeat(self) -> Any: ...
    @overload
    def last_heartbeat(self, result_type: type[T]) -> T | None: ...
    def last_heartbeat(self, result_type: Any = None) -> Any:
        """The first detail of the last heartbeat of the attempts before, as `result_type`; None if there was none."""
        payloads = self._task.heartbeat_details.payloads
        return self._converter.from_payload(payloads[0], result_type) if payloads else None

    @property
    def is_cancelled(self) -> bool:
        """Whether this attempt has been told to stop."""
        return self._line.cancel_reason is not None

    @property
    def cancel_reason(self) -> CancelReason | None:
        """Why this attempt has been told to stop; None while it has not."""
        return self._line.cancel_reason

    @property
    def is_worker_stopping(self) -> bool:
        """Whether the worker is shutting down: the activity has the graceful shutdown time-out left before it is cancelled."""
        return self._line.worker_stopping

    def raise_if_cancelled(self) -> None:
        """Raises asyncio.CancelledError once the activity is cancelled: for loops in a plain `def` that send no heartbeats."""
        reason = self._line.cancel_reason
        if reason is not None:
            raise asyncio.CancelledError(f"The activity is to stop: {reason.value}.")

    if not TYPE_CHECKING:  # type checkers shall complain of a wrong name themselves

        def __getattr__(self, name: str) -> Any:
            known = [each for each in dir(type(self)) if not each.startswith("_")]
            raise missing_attribute("ActivityContext", name, known, _FOREIGN)


current_activity: ContextVar[ActivityContext | None] = ContextVar("perdure_activity", default=None)
"""The context of the activity that runs in this asyncio task or thread."""


def activity_context() -> ActivityContext:
    """The context of the activity that is running here. UsageError outside of one."""
    context = current_activity.get()
    if context is None:
        raise UsageError("No activity is running here: activity_context() works in activities and in what they call.")
    return context


class _ActivityLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the attempt's fields to each record, beside those that the caller gives."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        given: Mapping[str, Any] = kwargs.get("extra") or {}
        kwargs["extra"] = {**(self.extra or {}), **given}
        return msg, kwargs


def _log_fields(task: PollActivityTaskQueueResponse) -> dict[str, Any]:
    return {
        "workflow_id": task.workflow_execution.workflow_id,
        "run_id": task.workflow_execution.run_id,
        "activity_id": task.activity_id,
        "activity_type": task.activity_type.name,
        "attempt": task.attempt,
    }


def _read_info(task: PollActivityTaskQueueResponse, converter: DataConverter, task_queue: str) -> ActivityInfo:
    return ActivityInfo(
        activity_id=task.activity_id,
        activity_type=task.activity_type.name,
        workflow_id=task.workflow_execution.workflow_id,
        run_id=task.workflow_execution.run_id,
        workflow_type=task.workflow_type.name,
        namespace=task.workflow_namespace,
        task_queue=task_queue,
        attempt=task.attempt,
        scheduled_time=_time(task.scheduled_time),
        current_attempt_scheduled_time=_time(task.current_attempt_scheduled_time),
        started_time=_time(task.started_time),
        schedule_to_close_timeout=_timeout(task.schedule_to_close_timeout),
        start_to_close_timeout=_timeout(task.start_to_close_timeout),
        heartbeat_timeout=_timeout(task.heartbeat_timeout),
        heartbeat_details=tuple(converter.from_payload(payload, None) for payload in task.heartbeat_details.payloads),
        task_token=task.task_token,
    )


def _time(timestamp: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1000)


def _timeout(duration: DurationMessage) -> timedelta | None:
    if not duration.seconds and not duration.nanos:
        return None
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1000)
