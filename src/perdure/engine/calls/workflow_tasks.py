"""What workers do with workflow tasks: RPCs on the engine."""

from __future__ import annotations

from collections.abc import Awaitable

from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
    TerminateWorkflowExecutionRequest,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import Outcome, TaskKind, WorkflowTaskStarted
from perdure.engine.core.sizes import TOO_LARGE, TransactionTooLarge
from perdure.engine.core.task_failures import ENGINE
from perdure.engine.core.tokens import WORKFLOW
from perdure.engine.core.versions import Version, version_of
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import QueueKey

_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY


class WorkflowTaskCalls(Calls):
    """What workers do with workflow tasks."""

    @rpc
    def poll_workflow_task_queue(self, request: PollWorkflowTaskQueueRequest) -> Awaitable[PollWorkflowTaskQueueResponse]:
        """Waits for a workflow task; an empty message when there was none for a minute."""
        queue = request.task_queue
        key = self._polled_queue(TaskKind.WORKFLOW, request.namespace, queue.name, request.identity)
        normal_name = queue.normal_name or queue.name if queue.kind == _STICKY else None
        if request.HasField("deployment_options") and (version := version_of(request.deployment_options)) is not None:
            return self._poll_workflow_queue_of(request, key, normal_name, version)
        worker = request.worker_instance_key
        return self.engine.matching.poll(key, request.identity, self._in_process, normal_name, PollWorkflowTaskQueueResponse, worker)

    async def _poll_workflow_queue_of(
        self, request: PollWorkflowTaskQueueRequest, key: QueueKey, normal_name: str | None, version: Version
    ) -> PollWorkflowTaskQueueResponse:
        actual = await self._versioned_queue(key._replace(name=normal_name or key.name), version)
        if normal_name is None:
            key = key._replace(name=actual)
        else:
            normal_name = actual
        nothing = PollWorkflowTaskQueueResponse
        response: PollWorkflowTaskQueueResponse
        response = await self.engine.matching.poll(
            key, request.identity, self._in_process, normal_name, nothing, request.worker_instance_key
        )
        return response

    @rpc
    async def respond_workflow_task_completed(self, request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        """Takes a worker's commands."""
        live = self._held(request) or await self._of_token(request, WORKFLOW)
        try:
            outcome = await self.engine.transactions.run(live, request)
        except TransactionTooLarge:
            await self._end_too_large(live)
            raise
        self.engine.queries.completed(live, request.query_results)
        response = outcome.reply
        if not isinstance(response, RespondWorkflowTaskCompletedResponse):
            response = RespondWorkflowTaskCompletedResponse()
        if request.return_new_workflow_task:
            await self._add_inline_task(outcome, response)
        return response

    async def _end_too_large(self, live: LiveRun) -> None:
        """Its workflow would ask for the same again and again: the run ends as it was before."""
        run = live.run
        fresh = await self.engine.runs.find(run.namespace, run.workflow_id, run.run_id)
        if not fresh.run.closed:
            await self.engine.transactions.run(fresh, TerminateWorkflowExecutionRequest(reason=TOO_LARGE, identity=ENGINE))

    async def _add_inline_task(self, outcome: Outcome, response: RespondWorkflowTaskCompletedResponse) -> None:
        for effect in outcome.effects:
            if isinstance(effect, WorkflowTaskStarted) and effect.reservation is None:
                response.workflow_task.CopyFrom(await self.engine.dispatch.inline_task(effect.task))

    @rpc
    async def respond_workflow_task_failed(self, request: RespondWorkflowTaskFailedRequest) -> RespondWorkflowTaskFailedResponse:
        """A worker could not process a workflow task."""
        live = self._held(request) or await self._of_token(request, WORKFLOW)
        await self.engine.transactions.run(live, request)
        return RespondWorkflowTaskFailedResponse()

    @rpc
    async def respond_query_task_completed(self, request: RespondQueryTaskCompletedRequest) -> RespondQueryTaskCompletedResponse:
        """A worker answers a query."""
        self.engine.queries.answer(request)
        return RespondQueryTaskCompletedResponse()

    @rpc
    async def reset_sticky_task_queue(self, request: ResetStickyTaskQueueRequest) -> ResetStickyTaskQueueResponse:
        """A worker has forgotten a run: its next workflow task goes to the normal queue."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        await self.engine.transactions.run(live, request)
        return ResetStickyTaskQueueResponse()
