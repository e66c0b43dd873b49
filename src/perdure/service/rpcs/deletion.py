"""Deleting workflows: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse


class DeletionRpcs(Protocol):
    """Deleting workflows."""

    def delete_workflow_execution(self, request: DeleteWorkflowExecutionRequest, /) -> Coroutine[Any, Any, DeleteWorkflowExecutionResponse]:
        """Deletes a run and its history; one that is open is terminated first. Durable when it returns."""
        ...
