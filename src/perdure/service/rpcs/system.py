"""What a caller asks first: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)


class SystemRpcs(Protocol):
    """What a caller asks first."""

    def get_system_info(self, request: GetSystemInfoRequest, /) -> Coroutine[Any, Any, GetSystemInfoResponse]:
        """What this service can do."""
        ...

    def describe_namespace(self, request: DescribeNamespaceRequest, /) -> Coroutine[Any, Any, DescribeNamespaceResponse]:
        """A namespace's settings; NOT_FOUND when there is none of that name."""
        ...
