"""Nexus: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

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


class NexusRpcs(Protocol):
    """Endpoints, and the tasks of the workers behind them."""

    def create_nexus_endpoint(self, request: CreateNexusEndpointRequest, /) -> Coroutine[Any, Any, CreateNexusEndpointResponse]:
        """Makes an endpoint, usable at once."""
        ...

    def get_nexus_endpoint(self, request: GetNexusEndpointRequest, /) -> Coroutine[Any, Any, GetNexusEndpointResponse]:
        """An endpoint by its id."""
        ...

    def list_nexus_endpoints(self, request: ListNexusEndpointsRequest, /) -> Coroutine[Any, Any, ListNexusEndpointsResponse]:
        """Endpoints, in pages."""
        ...

    def update_nexus_endpoint(self, request: UpdateNexusEndpointRequest, /) -> Coroutine[Any, Any, UpdateNexusEndpointResponse]:
        """Changes an endpoint whose version the caller has read."""
        ...

    def delete_nexus_endpoint(self, request: DeleteNexusEndpointRequest, /) -> Coroutine[Any, Any, DeleteNexusEndpointResponse]:
        """Deletes an endpoint."""
        ...

    def poll_nexus_task_queue(self, request: PollNexusTaskQueueRequest, /) -> Coroutine[Any, Any, PollNexusTaskQueueResponse]:
        """Waits for a request to start or cancel an operation; an empty message when there was none for a minute."""
        ...

    def respond_nexus_task_completed(
        self, request: RespondNexusTaskCompletedRequest, /
    ) -> Coroutine[Any, Any, RespondNexusTaskCompletedResponse]:
        """A worker's answer to such a request."""
        ...

    def respond_nexus_task_failed(self, request: RespondNexusTaskFailedRequest, /) -> Coroutine[Any, Any, RespondNexusTaskFailedResponse]:
        """A worker could not answer such a request."""
        ...
