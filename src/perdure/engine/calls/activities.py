"""What workers do with activities: RPCs on the engine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeAlias

from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)

from perdure.engine.back_pressure import is_crowded
from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import TaskKind
from perdure.engine.core.tokens import ACTIVITY
from perdure.engine.core.versions import Version, version_of
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import QueueKey
from perdure.engine.rate_limits import RateLimit

_ById: TypeAlias = (
    RespondActivityTaskCompletedByIdRequest
    | RespondActivityTaskFailedByIdRequest
    | RespondActivityTaskCanceledByIdRequest
    | RecordActivityTaskHeartbeatByIdRequest
)


class ActivityCalls(Calls):
    """What workers do with activities."""

    @rpc
    def poll_activity_task_queue(self, request: PollActivityTaskQueueRequest) -> Awaitable[PollActivityTaskQueueResponse]:
        """Waits for an activity; an empty message when there was none for a minute."""
        key = self._polled_queue(TaskKind.ACTIVITY, request.namespace, request.task_queue.name, request.identity)
        if request.HasField("task_queue_metadata"):
            self._note_rate(key, request)
        if request.HasField("deployment_options") and (version := version_of(request.deployment_options)) is not None:
            return self._poll_activity_queue_of(request, key, version)
        worker = request.worker_instance_key
        return self.engine.matching.poll(key, request.identity, self._in_process, None, PollActivityTaskQueueResponse, worker)

    def _note_rate(self, key: QueueKey, request: PollActivityTaskQueueRequest) -> None:
        """What a worker says its queue may give away in a second; the last one is right, unless an operator has said something."""
        matching = self.engine.matching
        if not request.task_queue_metadata.HasField("max_tasks_per_second") or key in matching.limits:
            return
        rate, queue = request.task_queue_metadata.max_tasks_per_second.value, matching.queue(key)
        if queue.limit is None or queue.limit.rate != rate:
            queue.limit = RateLimit(rate, self.engine.clock.now())

    async def _poll_activity_queue_of(
        self, request: PollActivityTaskQueueRequest, key: QueueKey, version: Version
    ) -> PollActivityTaskQueueResponse:
        key = key._replace(name=await self._versioned_queue(key, version))
        nothing = PollActivityTaskQueueResponse
        response: PollActivityTaskQueueResponse = await self.engine.matching.poll(
            key, request.identity, self._in_process, None, nothing, request.worker_instance_key
        )
        return response

    @rpc
    async def respond_activity_task_completed(self, request: RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse:
        """An activity's result."""
        live = self._held(request)
        if live is None or is_crowded(live):
            live = await self._of_ended_activity(request)
        await self.engine.transactions.run(live, request)
        return RespondActivityTaskCompletedResponse()

    @rpc
    async def respond_activity_task_failed(self, request: RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse:
        """An activity's failure; the engine decides whether it is tried again."""
        outcome = await self.engine.transactions.run(await self._of_ended_activity(request), request)
        reply = outcome.reply
        return reply if isinstance(reply, RespondActivityTaskFailedResponse) else RespondActivityTaskFailedResponse()

    @rpc
    async def respond_activity_task_canceled(self, request: RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse:
        """An activity ended because its cancellation was requested."""
        await self.engine.transactions.run(await self._of_ended_activity(request), request)
        return RespondActivityTaskCanceledResponse()

    @rpc
    async def record_activity_task_heartbeat(self, request: RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse:
        """An activity is alive; its details are durable when this returns."""
        live = self._held(request) or await self._of_token(request, ACTIVITY)
        outcome = await self.engine.transactions.run(live, request)
        reply = outcome.reply
        return reply if isinstance(reply, RecordActivityTaskHeartbeatResponse) else RecordActivityTaskHeartbeatResponse()

    # By the activity's id, from whoever knows it; without a run id the current run is meant.

    @rpc
    async def respond_activity_task_completed_by_id(
        self, request: RespondActivityTaskCompletedByIdRequest
    ) -> RespondActivityTaskCompletedByIdResponse:
        """An activity's result, from outside its worker."""
        live = await self._of_named_activity(request)
        await self.engine.transactions.run(live, request)
        return RespondActivityTaskCompletedByIdResponse()

    @rpc
    async def respond_activity_task_failed_by_id(
        self, request: RespondActivityTaskFailedByIdRequest
    ) -> RespondActivityTaskFailedByIdResponse:
        """An activity's failure, from outside its worker."""
        live = await self._of_named_activity(request)
        reply = (await self.engine.transactions.run(live, request)).reply
        return reply if isinstance(reply, RespondActivityTaskFailedByIdResponse) else RespondActivityTaskFailedByIdResponse()

    @rpc
    async def respond_activity_task_canceled_by_id(
        self, request: RespondActivityTaskCanceledByIdRequest
    ) -> RespondActivityTaskCanceledByIdResponse:
        """An activity's cancellation, accepted from outside its worker."""
        live = await self._of_named_activity(request)
        await self.engine.transactions.run(live, request)
        return RespondActivityTaskCanceledByIdResponse()

    @rpc
    async def record_activity_task_heartbeat_by_id(
        self, request: RecordActivityTaskHeartbeatByIdRequest
    ) -> RecordActivityTaskHeartbeatByIdResponse:
        """An activity is alive, says somebody outside its worker."""
        live = await self._of_named_activity(request)
        reply = (await self.engine.transactions.run(live, request)).reply
        return reply if isinstance(reply, RecordActivityTaskHeartbeatByIdResponse) else RecordActivityTaskHeartbeatByIdResponse()

    async def _of_named_activity(self, request: _ById) -> LiveRun:
        """The run that has the activity; without a workflow id the activity has none, and the run id is its own."""
        if request.workflow_id:
            live = await self._find(request.namespace, request.workflow_id, request.run_id)
        else:
            self._namespace(request.namespace)
            live = await self.engine.standalone_activities.find(request.namespace, request.activity_id, request.run_id)
        return await self._with_room(live) if is_crowded(live) else live
