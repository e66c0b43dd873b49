"""Workers as they say of themselves: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    CountWorkersResponse,
    DescribeWorkerRequest,
    DescribeWorkerResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RecordWorkerHeartbeatRequest,
    RecordWorkerHeartbeatResponse,
)


class WorkerRpcs(Protocol):
    """Workers as they say of themselves."""

    def record_worker_heartbeat(self, request: RecordWorkerHeartbeatRequest, /) -> Coroutine[Any, Any, RecordWorkerHeartbeatResponse]:
        """Workers of a process say how they are."""
        ...

    def list_workers(self, request: ListWorkersRequest, /) -> Coroutine[Any, Any, ListWorkersResponse]:
        """Those that a query means, in pages."""
        ...

    def count_workers(self, request: CountWorkersRequest, /) -> Coroutine[Any, Any, CountWorkersResponse]:
        """How many a query means."""
        ...

    def describe_worker(self, request: DescribeWorkerRequest, /) -> Coroutine[Any, Any, DescribeWorkerResponse]:
        """One worker's last heartbeat; NOT_FOUND when it has not sent one lately."""
        ...
