"""Task queues and those who poll them: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
    UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
)


class TaskQueueRpcs(Protocol):
    """Task queues and those who poll them."""

    def describe_task_queue(self, request: DescribeTaskQueueRequest, /) -> Coroutine[Any, Any, DescribeTaskQueueResponse]:
        """Who polls a queue."""
        ...

    def shutdown_worker(self, request: ShutdownWorkerRequest, /) -> Coroutine[Any, Any, ShutdownWorkerResponse]:
        """A worker goes: its sticky queue is given up at once, its polls end."""
        ...

    def list_task_queue_partitions(
        self, request: ListTaskQueuePartitionsRequest, /
    ) -> Coroutine[Any, Any, ListTaskQueuePartitionsResponse]:
        """The partitions of a queue: one."""
        ...

    def update_task_queue_config(self, request: UpdateTaskQueueConfigRequest, /) -> Coroutine[Any, Any, UpdateTaskQueueConfigResponse]:
        """Sets how fast a queue gives tasks away, and the weights of fairness keys."""
        ...
