"""Nexus: RPCs on the engine."""

from __future__ import annotations

from collections.abc import Awaitable

from temporalio.api.operatorservice.v1 import (
    CreateNexusEndpointRequest,
    CreateNexusEndpointResponse,
    DeleteNexusEndpointRequest,
    DeleteNexusEndpointResponse,
    GetNexusEndpointRequest,
    GetNexusEndpointResponse,
    ListNexusEndpointsRequest,
    ListNexusEndpointsResponse,
    UpdateNexusEndpointRequest,
    UpdateNexusEndpointResponse,
)
from temporalio.api.workflowservice.v1 import (
    PollNexusTaskQueueRequest,
    PollNexusTaskQueueResponse,
    RespondNexusTaskCompletedRequest,
    RespondNexusTaskCompletedResponse,
    RespondNexusTaskFailedRequest,
    RespondNexusTaskFailedResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import TaskKind
from perdure.engine.core.versions import Version, version_of
from perdure.engine.matching import QueueKey

PAGE_MAX = 1000
"""Endpoints in a page."""


class NexusCalls(Calls):
    """Endpoints, and the tasks of the workers behind them."""

    @rpc
    async def create_nexus_endpoint(self, request: CreateNexusEndpointRequest) -> CreateNexusEndpointResponse:
        """Makes an endpoint; durable, and usable, when it returns."""
        return CreateNexusEndpointResponse(endpoint=await self.engine.endpoints.create(request.spec))

    @rpc
    async def get_nexus_endpoint(self, request: GetNexusEndpointRequest) -> GetNexusEndpointResponse:
        """An endpoint by its id."""
        return GetNexusEndpointResponse(endpoint=self.engine.endpoints.get(request.id))

    @rpc
    async def list_nexus_endpoints(self, request: ListNexusEndpointsRequest) -> ListNexusEndpointsResponse:
        """Endpoints in the order of their ids, or the one of a name."""
        known = self.engine.endpoints
        if request.name:
            named = known.by_name.get(request.name)
            return ListNexusEndpointsResponse(endpoints=[] if named is None else [named])
        after = request.next_page_token.decode(errors="replace")
        limit = min(request.page_size if request.page_size > 0 else PAGE_MAX, PAGE_MAX)
        ids = sorted(each for each in known.by_id if each > after)
        response = ListNexusEndpointsResponse(endpoints=[known.by_id[each] for each in ids[:limit]])
        if len(ids) > limit:
            response.next_page_token = ids[limit - 1].encode()
        return response

    @rpc
    async def update_nexus_endpoint(self, request: UpdateNexusEndpointRequest) -> UpdateNexusEndpointResponse:
        """Changes an endpoint; durable when it returns."""
        return UpdateNexusEndpointResponse(endpoint=await self.engine.endpoints.update(request.id, request.version, request.spec))

    @rpc
    async def delete_nexus_endpoint(self, request: DeleteNexusEndpointRequest) -> DeleteNexusEndpointResponse:
        """Deletes an endpoint; durable when it returns."""
        await self.engine.endpoints.delete(request.id, request.version)
        return DeleteNexusEndpointResponse()

    @rpc
    def poll_nexus_task_queue(self, request: PollNexusTaskQueueRequest) -> Awaitable[PollNexusTaskQueueResponse]:
        """Waits for a request to start or cancel an operation; an empty message when there was none for a minute."""
        key = self._polled_queue(TaskKind.NEXUS, request.namespace, request.task_queue.name, request.identity)
        if request.HasField("deployment_options") and (version := version_of(request.deployment_options)) is not None:
            return self._poll_nexus_queue_of(request, key, version)
        worker = request.worker_instance_key
        return self.engine.matching.poll(key, request.identity, self._in_process, None, PollNexusTaskQueueResponse, worker)

    async def _poll_nexus_queue_of(self, request: PollNexusTaskQueueRequest, key: QueueKey, version: Version) -> PollNexusTaskQueueResponse:
        key = key._replace(name=await self._versioned_queue(key, version))
        nothing, worker = PollNexusTaskQueueResponse, request.worker_instance_key
        response: PollNexusTaskQueueResponse = await self.engine.matching.poll(
            key, request.identity, self._in_process, None, nothing, worker
        )
        return response

    @rpc
    async def respond_nexus_task_completed(self, request: RespondNexusTaskCompletedRequest) -> RespondNexusTaskCompletedResponse:
        """A worker's answer to such a request."""
        self._namespace(request.namespace)
        self.engine.nexus_tasks.answer(request.task_token, request)
        return RespondNexusTaskCompletedResponse()

    @rpc
    async def respond_nexus_task_failed(self, request: RespondNexusTaskFailedRequest) -> RespondNexusTaskFailedResponse:
        """A worker could not answer such a request."""
        self._namespace(request.namespace)
        self.engine.nexus_tasks.answer(request.task_token, request)
        return RespondNexusTaskFailedResponse()
