"""How a `WorkflowService` refuses: `RpcError`, gRPC's status code with a typed detail, and one function per kind."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message
from temporalio.api.enums.v1 import NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import (
    NamespaceAlreadyExistsFailure,
    NamespaceInvalidStateFailure,
    NamespaceNotFoundFailure,
    NotFoundFailure,
    PermissionDeniedFailure,
    QueryFailedFailure,
    ResourceExhaustedFailure,
    WorkflowExecutionAlreadyStartedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.api.failure.v1 import Failure

from perdure.model.errors import PerdureError
from perdure.model.status import StatusCode

__all__ = [
    "RpcError",
    "StatusCode",
    "aborted",
    "already_exists",
    "already_started",
    "deadline_exceeded",
    "failed_precondition",
    "internal",
    "invalid_argument",
    "namespace_exists",
    "namespace_not_found",
    "namespace_state",
    "not_found",
    "permission_denied",
    "query_failed",
    "resource_exhausted",
    "unavailable",
    "unimplemented",
    "workflow_not_ready",
]


class RpcError(PerdureError):
    """A WorkflowService method refused a request.

    `code` is gRPC's status (not a string as on the other errors: this one speaks the protocol and never reaches users, the client
    translates it), `detail` at most one message of `temporal.api.errordetails.v1`.
    """

    code: StatusCode  # type: ignore[assignment, misc]
    status: StatusCode  # type: ignore[misc]

    def __init__(self, code: StatusCode, message: str, detail: Message | None = None) -> None:
        super().__init__(message)
        self.code = self.status = code  # pyright: ignore[reportIncompatibleVariableOverride]
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


def invalid_argument(message: str, detail: Message | None = None) -> RpcError:
    return RpcError(StatusCode.INVALID_ARGUMENT, message, detail)


def not_found(message: str, detail: Message | None = None) -> RpcError:
    return RpcError(StatusCode.NOT_FOUND, message, NotFoundFailure() if detail is None else detail)


def namespace_not_found(namespace: str) -> RpcError:
    return not_found(f"Namespace {namespace} is not found.", NamespaceNotFoundFailure(namespace=namespace))


def namespace_exists(namespace: str) -> RpcError:
    return already_exists(f"Namespace already exists: {namespace}.", NamespaceAlreadyExistsFailure())


def namespace_state(namespace: str, state: NamespaceState.ValueType, allowed: Sequence[NamespaceState.ValueType]) -> RpcError:
    found, *wanted = (NamespaceState.Name(each).removeprefix("NAMESPACE_STATE_").title() for each in (state, *allowed))
    detail = NamespaceInvalidStateFailure(namespace=namespace, state=state, allowed_states=allowed)
    return failed_precondition(f"Namespace has invalid state: {found}. Must be {' or '.join(wanted)}.", detail)


def permission_denied(message: str) -> RpcError:
    return RpcError(StatusCode.PERMISSION_DENIED, message, PermissionDeniedFailure())


def already_exists(message: str, detail: Message | None = None) -> RpcError:
    return RpcError(StatusCode.ALREADY_EXISTS, message, detail)


def already_started(message: str, *, start_request_id: str, run_id: str) -> RpcError:
    return already_exists(message, WorkflowExecutionAlreadyStartedFailure(start_request_id=start_request_id, run_id=run_id))


def failed_precondition(message: str, detail: Message | None = None) -> RpcError:
    return RpcError(StatusCode.FAILED_PRECONDITION, message, detail)


def workflow_not_ready(message: str) -> RpcError:
    return failed_precondition(message, WorkflowNotReadyFailure())


def resource_exhausted(
    message: str,
    cause: ResourceExhaustedCause.ValueType,
    scope: ResourceExhaustedScope.ValueType = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
) -> RpcError:
    return RpcError(StatusCode.RESOURCE_EXHAUSTED, message, ResourceExhaustedFailure(cause=cause, scope=scope))


def query_failed(message: str, failure: Failure | None = None) -> RpcError:
    return invalid_argument(message, QueryFailedFailure(failure=failure))


def aborted(message: str) -> RpcError:
    return RpcError(StatusCode.ABORTED, message)


def deadline_exceeded(message: str) -> RpcError:
    return RpcError(StatusCode.DEADLINE_EXCEEDED, message)


def unavailable(message: str) -> RpcError:
    return RpcError(StatusCode.UNAVAILABLE, message)


def unimplemented(message: str) -> RpcError:
    return RpcError(StatusCode.UNIMPLEMENTED, message)


def internal(message: str) -> RpcError:
    return RpcError(StatusCode.INTERNAL, message)
