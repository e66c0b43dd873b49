"""What clients do with Nexus operations that have no workflow: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    CountNexusOperationExecutionsRequest,
    CountNexusOperationExecutionsResponse,
    DeleteNexusOperationExecutionRequest,
    DeleteNexusOperationExecutionResponse,
    DescribeNexusOperationExecutionRequest,
    DescribeNexusOperationExecutionResponse,
    ListNexusOperationExecutionsRequest,
    ListNexusOperationExecutionsResponse,
    PollNexusOperationExecutionRequest,
    PollNexusOperationExecutionResponse,
    RequestCancelNexusOperationExecutionRequest,
    RequestCancelNexusOperationExecutionResponse,
    StartNexusOperationExecutionRequest,
    StartNexusOperationExecutionResponse,
    TerminateNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionResponse,
)


class StandaloneOperationRpcs(Protocol):
    """What clients do with Nexus operations that have no workflow; one is named by its id, or by that and its run id."""

    def start_nexus_operation_execution(
        self, request: StartNexusOperationExecutionRequest, /
    ) -> Coroutine[Any, Any, StartNexusOperationExecutionResponse]:
        """Starts an operation; durable when it returns. ALREADY_EXISTS where the policies forbid another of that id."""
        ...

    def describe_nexus_operation_execution(
        self, request: DescribeNexusOperationExecutionRequest, /
    ) -> Coroutine[Any, Any, DescribeNexusOperationExecutionResponse]:
        """An operation as it is now; with a long-poll token, once it is no longer as it was then."""
        ...

    def poll_nexus_operation_execution(
        self, request: PollNexusOperationExecutionRequest, /
    ) -> Coroutine[Any, Any, PollNexusOperationExecutionResponse]:
        """Waits until an operation has started, or, by default, ended; without an outcome when it is still open after a while."""
        ...

    def request_cancel_nexus_operation_execution(
        self, request: RequestCancelNexusOperationExecutionRequest, /
    ) -> Coroutine[Any, Any, RequestCancelNexusOperationExecutionResponse]:
        """Asks an operation's handler to stop it, once it has started."""
        ...

    def terminate_nexus_operation_execution(
        self, request: TerminateNexusOperationExecutionRequest, /
    ) -> Coroutine[Any, Any, TerminateNexusOperationExecutionResponse]:
        """Ends an operation at once; its handler is not asked."""
        ...

    def delete_nexus_operation_execution(
        self, request: DeleteNexusOperationExecutionRequest, /
    ) -> Coroutine[Any, Any, DeleteNexusOperationExecutionResponse]:
        """Deletes an operation, ending it first if it is open."""
        ...

    def list_nexus_operation_executions(
        self, request: ListNexusOperationExecutionsRequest, /
    ) -> Coroutine[Any, Any, ListNexusOperationExecutionsResponse]:
        """Those that a query finds, in pages."""
        ...

    def count_nexus_operation_executions(
        self, request: CountNexusOperationExecutionsRequest, /
    ) -> Coroutine[Any, Any, CountNexusOperationExecutionsResponse]:
        """How many a query finds."""
        ...
