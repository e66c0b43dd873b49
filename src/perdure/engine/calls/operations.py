"""What operators do to workflows: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

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

    @rpc
    async def update_workflow_execution_options(
        self, request: UpdateWorkflowExecutionOptionsRequest
    ) -> UpdateWorkflowExecutionOptionsResponse:
        """Pins an open run to a version, or lets it go; the answer has the options that hold then."""
        execution = request.workflow_execution
        live = await self._find(request.namespace, execution.workflow_id, execution.run_id)
        reply = (await self.engine.transactions.run(live, request)).reply
        return reply if isinstance(reply, UpdateWorkflowExecutionOptionsResponse) else UpdateWorkflowExecutionOptionsResponse()
