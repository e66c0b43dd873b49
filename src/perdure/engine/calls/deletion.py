"""Deleting workflows: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse

from perdure.engine.calls.base import Calls, rpc


class DeletionCalls(Calls):
    """Deleting workflows."""

    @rpc
    async def delete_workflow_execution(self, request: DeleteWorkflowExecutionRequest) -> DeleteWorkflowExecutionResponse:
        """Deletes a run with all its rows, ending it first if it is open."""
        execution = request.workflow_execution
        await self.engine.deletions.delete(await self._find(request.namespace, execution.workflow_id, execution.run_id))
        return DeleteWorkflowExecutionResponse()
