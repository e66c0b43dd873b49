"""Updates of workflows: RPCs on the engine."""

from __future__ import annotations

from collections.abc import Awaitable

from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.model.rpc import invalid_argument


class UpdateCalls(Calls):
    """Updates of workflows."""

    @rpc
    def update_workflow_execution(self, request: UpdateWorkflowExecutionRequest) -> Awaitable[UpdateWorkflowExecutionResponse]:
        """Asks a workflow's code for a change; what it answers is durable."""
        self._namespace(request.namespace)
        if not request.workflow_execution.workflow_id:
            raise invalid_argument("WorkflowId is not set on request.")
        return self.engine.updates.update(request)

    @rpc
    def poll_workflow_execution_update(self, request: PollWorkflowExecutionUpdateRequest) -> Awaitable[PollWorkflowExecutionUpdateResponse]:
        """Waits for what becomes of an update."""
        self._namespace(request.namespace)
        return self.engine.updates.poll(request)

    @rpc
    def execute_multi_operation(self, request: ExecuteMultiOperationRequest) -> Awaitable[ExecuteMultiOperationResponse]:
        """Update-with-start."""
        self._namespace_for_starts(request.namespace)
        return self.engine.update_with_start.execute(request)
