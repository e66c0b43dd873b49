"""The one tree of errors.

Every error of perdure is a `PerdureError`. Its text is one sentence and a remedy; facts are attributes; the cause is chained
(`__cause__`). `code` is stable and machine-readable: the gRPC status, the HTTP status, the exit code and the page of the
documentation derive from it. Every error pickles with its facts and its causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from perdure.model.root_error import PerdureError
from perdure.model.status import RetryState, StatusCode, TimeoutType

__all__ = [
    "ActivityCancelled",
    "ActivityError",
    "ActivityTimedOut",
    "ApplicationError",
    "ChildWorkflowFailed",
    "ClientError",
    "ConfigError",
    "DefinitionError",
    "DeterminismViolation",
    "EngineUnavailable",
    "ExecutionFailed",
    "InvalidInput",
    "NondeterminismError",
    "PerdureError",
    "PollError",
    "ProcessError",
    "QueryFailed",
    "QueryRejected",
    "RequestRefused",
    "RetryState",
    "SchemaTooNew",
    "ServerFailure",
    "ServerStartFailed",
    "ShutdownFailed",
    "StartFailed",
    "StorageCorrupt",
    "StorageError",
    "StorageLocked",
    "TimeoutType",
    "UnknownEngine",
    "UnknownName",
    "UsageError",
    "WorkerError",
    "WorkflowAlreadyStarted",
    "WorkflowCancelled",
    "WorkflowClosed",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowNotFound",
    "WorkflowTerminated",
    "WorkflowTimedOut",
]


# --- wrong use of the library ----------------------------------------------------------------------------------------


class UsageError(PerdureError, TypeError, code="usage", status=StatusCode.INVALID_ARGUMENT):
    """A call to perdure has a wrong argument."""


class UnknownName(UsageError, AttributeError, code="unknown_name"):
    """A name that perdure does not have."""


class DefinitionError(UsageError, code="definition"):
    """A workflow, activity, signal or query is defined in a way that cannot work."""


# --- workflows -------------------------------------------------------------------------------------------------------


class WorkflowError(PerdureError, code="workflow", status=StatusCode.ABORTED):
    """A workflow did not end well."""

    def __init__(
        self, message: str = "", *, workflow_id: str = "", run_id: str = "", workflow_type: str = "", retry_state: RetryState | None = None
    ) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.retry_state = retry_state


class WorkflowFailed(WorkflowError, code="workflow_failed"):
    """A workflow failed; the cause says why."""


class ChildWorkflowFailed(WorkflowError, code="child_workflow_failed"):
    """A child workflow failed, was cancelled, terminated or timed out; the cause says which."""


class WorkflowTimedOut(WorkflowError, code="workflow_timed_out", status=StatusCode.DEADLINE_EXCEEDED):
    """A workflow ran longer than its execution or run time-out."""


class WorkflowCancelled(WorkflowError, code="workflow_cancelled", status=StatusCode.CANCELLED):
    """A workflow was cancelled and ended as cancelled."""

    def __init__(
        self, message: str = "", *, details: Sequence[Any] = (), workflow_id: str = "", run_id: str = "", workflow_type: str = ""
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type)
        self.details = tuple(details)


class WorkflowTerminated(WorkflowError, code="workflow_terminated"):
    """A workflow was terminated: it was stopped at once, without running its clean-up."""

    def __init__(
        self,
        message: str = "",
        *,
        reason: str = "",
        details: Sequence[Any] = (),
        workflow_id: str = "",
        run_id: str = "",
        workflow_type: str = "",
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type)
        self.reason = reason
        self.details = tuple(details)


class NondeterminismError(WorkflowError, code="nondeterminism", status=StatusCode.FAILED_PRECONDITION):
    """The workflow's code does not do what its history says it did."""

    def __init__(
        self,
        message: str = "",
        *,
        event_id: int = 0,
        expected: str = "",
        found: str = "",
        line: str = "",
        workflow_id: str = "",
        run_id: str = "",
        workflow_type: str = "",
    ) -> None:
        super().__init__(message, workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type)
        self.event_id = event_id
        self.expected = expected
        self.found = found
        self.line = line


class DeterminismViolation(WorkflowError, code="determinism_violation", status=StatusCode.FAILED_PRECONDITION):
    """Workflow code calls something that gives another answer when it is replayed."""

    def __init__(self, message: str = "", *, filename: str = "", line: int = 0, call: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.filename = filename
        self.line = line
        self.call = call
        self.remedy = remedy


# --- activities ------------------------------------------------------------------------------------------------------


class ActivityError(PerdureError, code="activity", status=StatusCode.ABORTED):
    """An activity did not end well."""

    def __init__(
        self,
        message: str = "",
        *,
        activity_type: str = "",
        activity_id: str = "",
        retry_state: RetryState | None = None,
        identity: str = "",
    ) -> None:
        super().__init__(message)
        self.activity_type = activity_type
        self.activity_id = activity_id
        self.retry_state = retry_state
        self.identity = identity


class ExecutionFailed(ActivityError, code="activity_failed"):
    """An activity failed and is not tried again; the cause says why."""


class ActivityTimedOut(ActivityError, code="activity_timed_out", status=StatusCode.DEADLINE_EXCEEDED):
    """An activity exceeded one of its time-outs and is not tried again."""

    def __init__(
        self,
        message: str = "",
        *,
        timeout_type: TimeoutType = TimeoutType.UNSPECIFIED,
        last_heartbeat_details: Sequence[Any] = (),
        activity_type: str = "",
        activity_id: str = "",
        retry_state: RetryState | None = None,
        identity: str = "",
    ) -> None:
        super().__init__(message, activity_type=activity_type, activity_id=activity_id, retry_state=retry_state, identity=identity)
        self.timeout_type = timeout_type
        self.last_heartbeat_details = tuple(last_heartbeat_details)


class ActivityCancelled(ActivityError, code="activity_cancelled", status=StatusCode.CANCELLED):
    """An activity was cancelled."""

    def __init__(
        self,
        message: str = "",
        *,
        details: Sequence[Any] = (),
        activity_type: str = "",
        activity_id: str = "",
        retry_state: RetryState | None = None,
        identity: str = "",
    ) -> None:
        super().__init__(message, activity_type=activity_type, activity_id=activity_id, retry_state=retry_state, identity=identity)
        self.details = tuple(details)


# --- what user code raises -------------------------------------------------------------------------------------------


class ApplicationError(PerdureError, code="application", status=StatusCode.ABORTED):
    """A failure of the application's own, raised by workflow or activity code.

    `type` is the name that `non_retryable_error_types` looks at (the class's own name unless given); `details` are values that
    the receiver can read; `non_retryable=True` ends the retries; `next_retry_delay` replaces the next back-off.
    """

    def __init__(
        self,
        message: str = "",
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | float | None = None,
    ) -> None:
        super().__init__(message)
        self.details = details
        self.type = self.__class__.__name__ if type is None and self.__class__ is not ApplicationError else type
        self.non_retryable = non_retryable
        self.next_retry_delay = (
            next_retry_delay if next_retry_delay is None or isinstance(next_retry_delay, timedelta) else timedelta(seconds=next_retry_delay)
        )


class InvalidInput(ApplicationError, code="invalid_input", status=StatusCode.INVALID_ARGUMENT):
    """An argument, a result or a signal cannot be converted; trying again would not help."""

    def __init__(self, message: str = "", *details: Any) -> None:
        super().__init__(message, *details, type="InvalidInput", non_retryable=True)


class ServerFailure(PerdureError, code="server_failure", status=StatusCode.INTERNAL):
    """The engine failed a workflow or an activity on its own account."""

    def __init__(self, message: str = "", *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self.non_retryable = non_retryable


# --- client ----------------------------------------------------------------------------------------------------------


class ClientError(PerdureError, code="client", status=StatusCode.UNKNOWN):
    """The engine did not do what the client asked for."""


class WorkflowNotFound(ClientError, code="workflow_not_found", status=StatusCode.NOT_FOUND):
    """No workflow has that id (or that run)."""

    def __init__(self, message: str = "", *, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id


class WorkflowClosed(WorkflowNotFound, code="workflow_closed"):
    """The workflow has ended, and the request needs a running one."""


class WorkflowAlreadyStarted(ClientError, code="workflow_already_started", status=StatusCode.ALREADY_EXISTS):
    """A workflow with that id exists, and the policies given do not allow another."""

    def __init__(self, message: str = "", *, workflow_id: str = "", run_id: str = "", workflow_type: str = "") -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type


class QueryFailed(ClientError, code="query_failed", status=StatusCode.INVALID_ARGUMENT, exit_code=1):
    """The workflow has no handler for the query, or the handler raised."""


class QueryRejected(ClientError, code="query_rejected", status=StatusCode.FAILED_PRECONDITION):
    """The workflow's status is one for which the caller did not want an answer."""

    def __init__(self, message: str = "", *, workflow_status: str = "") -> None:
        super().__init__(message)
        self.workflow_status = workflow_status


class EngineUnavailable(ClientError, code="engine_unavailable", status=StatusCode.UNAVAILABLE):
    """The engine cannot be reached, or is closed."""


class UnknownEngine(ClientError, code="unknown_engine", status=StatusCode.INVALID_ARGUMENT):
    """The URL names no engine."""


class RequestRefused(ClientError, code="request_refused", status=StatusCode.INVALID_ARGUMENT, exit_code=1):
    """The engine refused the request as it stands; `rpc_status` says on which ground."""

    def __init__(self, message: str = "", *, rpc_status: StatusCode = StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(message)
        self.rpc_status = rpc_status


# --- worker ----------------------------------------------------------------------------------------------------------


class WorkerError(PerdureError, code="worker", status=StatusCode.INTERNAL):
    """A worker cannot do its work."""


class StartFailed(WorkerError, code="worker_start_failed"):
    """A worker could not start."""


class ServerStartFailed(PerdureError, code="server_start_failed"):
    """A server could not start."""


class ShutdownFailed(WorkerError, code="worker_shutdown_failed"):
    """A worker could not stop as it should."""


class ConfigError(WorkerError, code="config", status=StatusCode.INVALID_ARGUMENT):
    """A setting has a value that cannot work; `field` names it."""

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PollError(PerdureError, code="poll", status=StatusCode.UNAVAILABLE):
    """Polling for tasks keeps failing."""


class ProcessError(PerdureError, code="process", status=StatusCode.INTERNAL):
    """A process that runs CPU-bound activities died or cannot be started."""


# --- storage ---------------------------------------------------------------------------------------------------------


class StorageError(PerdureError, code="storage", status=StatusCode.UNAVAILABLE):
    """The storage cannot be read or written."""


class StorageLocked(StorageError, code="storage_locked"):
    """Another process has this storage open."""


class SchemaTooNew(StorageError, code="schema_too_new", status=StatusCode.FAILED_PRECONDITION, exit_code=3):
    """The storage was written by a newer release of perdure."""


class StorageCorrupt(StorageError, code="storage_corrupt", status=StatusCode.DATA_LOSS, exit_code=3):
    """The storage holds something that perdure did not write, or no longer whole."""
