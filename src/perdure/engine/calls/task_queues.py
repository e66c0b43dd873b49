"""Task queues and those who poll them: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core import TaskKind


class TaskQueueCalls(Calls):
    """Task queues and those who poll them."""

    @rpc
    async def describe_task_queue(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        """Who polls a queue now."""
        kind = TaskKind.ACTIVITY if request.task_queue_type == TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY else TaskKind.WORKFLOW
        queue = self.engine.matching.find(self._polled_queue(kind, request.namespace, request.task_queue.name))
        response = DescribeTaskQueueResponse()
        if queue is not None:
            for identity in dict.fromkeys(poller.identity for poller in queue.pollers if not poller.future.done()):
                response.pollers.add(identity=identity)
        return response

    @rpc
    async def shutdown_worker(self, request: ShutdownWorkerRequest) -> ShutdownWorkerResponse:
        """A worker says good-bye: its polls end, and what waits on its sticky queue goes to the normal one."""
        self._namespace(request.namespace)
        if request.worker_instance_key:
            self.engine.matching.end_worker(request.namespace, request.task_queue, request.worker_instance_key)
        if request.sticky_task_queue:
            self.engine.drop_sticky_queue(request.namespace, request.sticky_task_queue)
        return ShutdownWorkerResponse()
