"""Updates of workflows: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)


class UpdateRpcs(Protocol):
    """Updates of workflows."""

    def update_workflow_execution(self, request: UpdateWorkflowExecutionRequest, /) -> Coroutine[Any, Any, UpdateWorkflowExecutionResponse]:
        """Asks a workflow's code for a change, idempotently by update id, and waits for its word: 20 s at most, then says how far it is."""
        ...

    def poll_workflow_execution_update(
        self, request: PollWorkflowExecutionUpdateRequest, /
    ) -> Coroutine[Any, Any, PollWorkflowExecutionUpdateResponse]:
        """Waits, as long, for an update that somebody asked for. NOT_FOUND if the run does not know it."""
        ...

    def execute_multi_operation(self, request: ExecuteMultiOperationRequest, /) -> Coroutine[Any, Any, ExecuteMultiOperationResponse]:
        """Starts a workflow, or finds it, and updates it, as one."""
        ...
