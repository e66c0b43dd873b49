"""What operators do to pending activities: RPCs on the engine."""

from __future__ import annotations

from typing import TypeAlias

from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    PauseActivityExecutionResponse,
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityExecutionRequest,
    ResetActivityExecutionResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityExecutionRequest,
    UnpauseActivityExecutionResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityExecutionOptionsRequest,
    UpdateActivityExecutionOptionsResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.live_runs import LiveRun
from perdure.model.rpc import invalid_argument

_OneActivity: TypeAlias = (
    PauseActivityExecutionRequest | UnpauseActivityExecutionRequest | ResetActivityExecutionRequest | UpdateActivityExecutionOptionsRequest
)


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

    # One activity by its own name.

    @rpc
    async def pause_activity_execution(self, request: PauseActivityExecutionRequest) -> PauseActivityExecutionResponse:
        """As `pause_activity`."""
        of_one = PauseActivityRequest(
            id=request.activity_id, identity=request.identity, reason=request.reason, request_id=request.request_id
        )
        await self.engine.transactions.run(await self._run_of(request), of_one)
        return PauseActivityExecutionResponse()

    @rpc
    async def unpause_activity_execution(self, request: UnpauseActivityExecutionRequest) -> UnpauseActivityExecutionResponse:
        """As `unpause_activity`."""
        of_one = UnpauseActivityRequest(id=request.activity_id, identity=request.identity, jitter=request.jitter)
        await self.engine.transactions.run(await self._run_of(request), of_one)
        return UnpauseActivityExecutionResponse()

    @rpc
    async def reset_activity_execution(self, request: ResetActivityExecutionRequest) -> ResetActivityExecutionResponse:
        """As `reset_activity`."""
        of_one = ResetActivityRequest(id=request.activity_id, identity=request.identity, jitter=request.jitter)
        of_one.keep_paused, of_one.reset_heartbeat = request.keep_paused, request.reset_heartbeat
        of_one.restore_original_options = request.restore_original_options
        await self.engine.transactions.run(await self._run_of(request), of_one)
        return ResetActivityExecutionResponse()

    @rpc
    async def update_activity_execution_options(
        self, request: UpdateActivityExecutionOptionsRequest
    ) -> UpdateActivityExecutionOptionsResponse:
        """As `update_activity_options`."""
        of_one = UpdateActivityOptionsRequest(id=request.activity_id, identity=request.identity, update_mask=request.update_mask)
        of_one.restore_original = request.restore_original
        if request.HasField("activity_options"):
            of_one.activity_options.CopyFrom(request.activity_options)
        reply = (await self.engine.transactions.run(await self._run_of(request), of_one)).reply
        response = UpdateActivityExecutionOptionsResponse()
        if isinstance(reply, UpdateActivityOptionsResponse):
            response.activity_options.CopyFrom(reply.activity_options)
        return response

    async def _run_of(self, request: _OneActivity) -> LiveRun:
        """The run of a workflow's activity, or the one that an activity without a workflow is."""
        if not request.activity_id:
            raise invalid_argument("ActivityId is not set on request.")
        if request.workflow_id:
            return await self._find(request.namespace, request.workflow_id, request.run_id)
        self._namespace(request.namespace)
        return await self.engine.standalone_activities.find(request.namespace, request.activity_id, request.run_id)
