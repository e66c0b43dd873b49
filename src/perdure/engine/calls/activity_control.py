"""What operators do to pending activities: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from perdure.engine.calls.base import Calls, rpc


class ActivityControlCalls(Calls):
    """What operators do to pending activities."""

    @rpc
    async def pause_activity(self, request: PauseActivityRequest) -> PauseActivityResponse:
        """No attempt begins until it is unpaused."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        await self.engine.transactions.run(live, request)
        return PauseActivityResponse()

    @rpc
    async def unpause_activity(self, request: UnpauseActivityRequest) -> UnpauseActivityResponse:
        """Attempts may begin again."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        await self.engine.transactions.run(live, request)
        return UnpauseActivityResponse()

    @rpc
    async def reset_activity(self, request: ResetActivityRequest) -> ResetActivityResponse:
        """Its attempts are counted from the first again."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        await self.engine.transactions.run(live, request)
        return ResetActivityResponse()

    @rpc
    async def update_activity_options(self, request: UpdateActivityOptionsRequest) -> UpdateActivityOptionsResponse:
        """Other timeouts, another queue or retry policy; the answer has all that hold then."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        reply = (await self.engine.transactions.run(live, request)).reply
        return reply if isinstance(reply, UpdateActivityOptionsResponse) else UpdateActivityOptionsResponse()
