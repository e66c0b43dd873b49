"""What operators do to workflows: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse

from perdure.engine.calls.base import Calls, rpc
from perdure.model.rpc import invalid_argument


class OperationCalls(Calls):
    """What operators do to workflows."""

    @rpc
    async def reset_workflow_execution(self, request: ResetWorkflowExecutionRequest) -> ResetWorkflowExecutionResponse:
        """Begins a run again at one of its workflow tasks, as a new run."""
        self._namespace(request.namespace)
        if not request.workflow_execution.workflow_id:
            raise invalid_argument("WorkflowId is not set on request.")
        return await self.engine.resets.reset(request)
