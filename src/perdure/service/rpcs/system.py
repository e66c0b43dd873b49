"""What a caller asks first: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.operatorservice.v1 import ListClustersRequest, ListClustersResponse
from temporalio.api.workflowservice.v1 import (
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)


class SystemRpcs(Protocol):
    """What a caller asks first."""

    def get_system_info(self, request: GetSystemInfoRequest, /) -> Coroutine[Any, Any, GetSystemInfoResponse]:
        """What this service can do."""
        ...

    def get_cluster_info(self, request: GetClusterInfoRequest, /) -> Coroutine[Any, Any, GetClusterInfoResponse]:
        """Which server this is, and what it keeps things in."""
        ...

    def list_clusters(self, request: ListClustersRequest, /) -> Coroutine[Any, Any, ListClustersResponse]:
        """The clusters that replicate each other."""
        ...
