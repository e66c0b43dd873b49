"""What clients do with workflows: RPCs on the engine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
)

from perdure.engine.back_pressure import is_crowded, make_room
from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import describe
from perdure.engine.live_runs import LiveRun


class WorkflowCalls(Calls):
    """What clients do with workflows."""

    @rpc
    def start_workflow_execution(self, request: StartWorkflowExecutionRequest) -> Awaitable[StartWorkflowExecutionResponse]:
        """Starts a workflow; durable when it returns."""
        self._namespace_for_starts(request.namespace)
        return cast(Awaitable[StartWorkflowExecutionResponse], self.engine.starts.start(request))

    @rpc
    def signal_with_start_workflow_execution(
        self, request: SignalWithStartWorkflowExecutionRequest
    ) -> Awaitable[SignalWithStartWorkflowExecutionResponse]:
        """Signals the running workflow of this id, or starts one that begins with the signal."""
        self._namespace_for_starts(request.namespace)
        return cast(Awaitable[SignalWithStartWorkflowExecutionResponse], self.engine.starts.start(request))

    @rpc
    async def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse:
        """Sends a signal; durable when it returns."""
        execution = request.workflow_execution
        self._namespace(request.namespace)
        live = self.engine.runs.known(request.namespace, execution.workflow_id, execution.run_id)
        if live is None:
            live = await self._find(request.namespace, execution.workflow_id, execution.run_id)
        if is_crowded(live):
            await make_room(live, self.engine.clock)
            live = await self._find(request.namespace, execution.workflow_id, execution.run_id)  # another run, perhaps
        outcome = await self.engine.transactions.run(live, request)
        return cast(SignalWorkflowExecutionResponse, outcome.reply)

    @rpc
    def query_workflow(self, request: QueryWorkflowRequest) -> Awaitable[QueryWorkflowResponse]:
        """Asks a workflow's code; records nothing."""
        self._namespace(request.namespace)
        return self.engine.queries.ask(request)

    @rpc
    async def request_cancel_workflow_execution(
        self, request: RequestCancelWorkflowExecutionRequest
    ) -> RequestCancelWorkflowExecutionResponse:
        """Asks a workflow to cancel itself."""
        await self.engine.transactions.run(await self._of_chain(request), request)
        return RequestCancelWorkflowExecutionResponse()

    @rpc
    async def terminate_workflow_execution(self, request: TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse:
        """Ends a workflow at once."""
        await self.engine.transactions.run(await self._of_chain(request), request)
        return TerminateWorkflowExecutionResponse()

    async def _of_chain(self, request: RequestCancelWorkflowExecutionRequest | TerminateWorkflowExecutionRequest) -> LiveRun:
        """The run that is to end. Who names its chain means the current run of it, whatever run is named beside."""
        execution = request.workflow_execution
        run_id = "" if request.first_execution_run_id else execution.run_id
        return await self._find(request.namespace, execution.workflow_id, run_id)

    @rpc
    async def pause_workflow_execution(self, request: PauseWorkflowExecutionRequest) -> PauseWorkflowExecutionResponse:
        """Gives a workflow nothing to do until it is unpaused."""
        live = await self._find(request.namespace, request.workflow_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return PauseWorkflowExecutionResponse()

    @rpc
    async def unpause_workflow_execution(self, request: UnpauseWorkflowExecutionRequest) -> UnpauseWorkflowExecutionResponse:
        """Lets a paused workflow go on."""
        live = await self._find(request.namespace, request.workflow_id, request.run_id)
        await self.engine.transactions.run(live, request)
        return UnpauseWorkflowExecutionResponse()

    @rpc
    async def describe_workflow_execution(self, request: DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse:
        """A run's state, as it is durable now."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        response = describe(live.run)
        if live.run.operations:
            self.engine.operations.describe(live.run, response.pending_nexus_operations)
        await self.engine.transactions.settled(live)  # of what the response shows; what comes meanwhile is not in it
        return response

    @rpc
    def get_workflow_execution_history(self, request: GetWorkflowExecutionHistoryRequest) -> Awaitable[GetWorkflowExecutionHistoryResponse]:
        """Events, or the close event, or a wait for what comes next."""
        self._namespace(request.namespace)
        return self.engine.history.get(request)

    @rpc
    async def get_workflow_execution_history_reverse(
        self, request: GetWorkflowExecutionHistoryReverseRequest
    ) -> GetWorkflowExecutionHistoryReverseResponse:
        """Events, the newest first."""
        self._namespace(request.namespace)
        return await self.engine.history.get_reverse(request)
