"""What a caller asks first: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.enums.v1 import NamespaceState
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)

from perdure.engine.calls.base import Calls, rpc

SERVER_VERSION = "1.32.0"
"""Of Temporal's server, whose behaviour this engine follows."""


class SystemCalls(Calls):
    """What a caller asks first."""

    @rpc
    async def get_system_info(self, request: GetSystemInfoRequest) -> GetSystemInfoResponse:
        """What this engine can do: flags say only what is true."""
        response = GetSystemInfoResponse(server_version=SERVER_VERSION)
        able = response.capabilities
        able.signal_and_query_header = True
        able.internal_error_differentiation = True
        able.activity_failure_include_heartbeat = True
        able.encoded_failure_attributes = True
        able.upsert_memo = True
        able.sdk_metadata = True
        return response

    @rpc
    async def describe_namespace(self, request: DescribeNamespaceRequest) -> DescribeNamespaceResponse:
        """A namespace's settings."""
        self._namespace(request.namespace)
        response = DescribeNamespaceResponse()
        response.namespace_info.name = request.namespace
        response.namespace_info.state = NamespaceState.NAMESPACE_STATE_REGISTERED
        return response
