"""Task queues and those who poll them: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
)


class TaskQueueRpcs(Protocol):
    """Task queues and those who poll them."""

    def describe_task_queue(self, request: DescribeTaskQueueRequest, /) -> Coroutine[Any, Any, DescribeTaskQueueResponse]:
        """Who polls a queue."""
        ...

    def shutdown_worker(self, request: ShutdownWorkerRequest, /) -> Coroutine[Any, Any, ShutdownWorkerResponse]:
        """A worker goes: its sticky queue is given up at once, its polls end."""
        ...
