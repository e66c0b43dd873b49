"""Finding workflows: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListClosedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsResponse,
    ListOpenWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    ScanWorkflowExecutionsRequest,
    ScanWorkflowExecutionsResponse,
)


class VisibilityRpcs(Protocol):
    """Finding workflows."""

    def list_workflow_executions(self, request: ListWorkflowExecutionsRequest, /) -> Coroutine[Any, Any, ListWorkflowExecutionsResponse]:
        """Those that a query finds, in pages; it sees what is durable. INVALID_ARGUMENT when the query is none."""
        ...

    def scan_workflow_executions(self, request: ScanWorkflowExecutionsRequest, /) -> Coroutine[Any, Any, ScanWorkflowExecutionsResponse]:
        """The same."""
        ...

    def count_workflow_executions(self, request: CountWorkflowExecutionsRequest, /) -> Coroutine[Any, Any, CountWorkflowExecutionsResponse]:
        """How many a query finds, by the values of one attribute if it asks for that."""
        ...

    def list_open_workflow_executions(
        self, request: ListOpenWorkflowExecutionsRequest, /
    ) -> Coroutine[Any, Any, ListOpenWorkflowExecutionsResponse]:
        """Open ones that started within a time, of one id or type if asked."""
        ...

    def list_closed_workflow_executions(
        self, request: ListClosedWorkflowExecutionsRequest, /
    ) -> Coroutine[Any, Any, ListClosedWorkflowExecutionsResponse]:
        """Closed ones that started within a time, of one id, type or status if asked."""
        ...
