"""What clients do with activities that have no workflow: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
    TerminateActivityExecutionRequest,
    TerminateActivityExecutionResponse,
)

from perdure.engine.calls.base import Calls, rpc


class StandaloneActivityCalls(Calls):
    """What clients do with activities that have no workflow."""

    @rpc
    async def start_activity_execution(self, request: StartActivityExecutionRequest) -> StartActivityExecutionResponse:
        """Starts an activity; durable when it returns."""
        self._namespace_for_starts(request.namespace)
        return await self.engine.standalone.start(request)

    @rpc
    async def describe_activity_execution(self, request: DescribeActivityExecutionRequest) -> DescribeActivityExecutionResponse:
        """An activity's state."""
        self._namespace(request.namespace)
        return await self.engine.standalone.describe(request)

    @rpc
    async def poll_activity_execution(self, request: PollActivityExecutionRequest) -> PollActivityExecutionResponse:
        """Waits for what comes of an activity."""
        self._namespace(request.namespace)
        return await self.engine.standalone.poll(request)

    @rpc
    async def request_cancel_activity_execution(
        self, request: RequestCancelActivityExecutionRequest
    ) -> RequestCancelActivityExecutionResponse:
        """Asks an activity to stop."""
        self._namespace(request.namespace)
        live = await self.engine.standalone.find(request.namespace, request.activity_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return RequestCancelActivityExecutionResponse()

    @rpc
    async def terminate_activity_execution(self, request: TerminateActivityExecutionRequest) -> TerminateActivityExecutionResponse:
        """Ends an activity at once."""
        self._namespace(request.namespace)
        live = await self.engine.standalone.find(request.namespace, request.activity_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return TerminateActivityExecutionResponse()
