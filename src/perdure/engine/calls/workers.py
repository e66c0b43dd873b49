"""Workers as they say of themselves: RPCs on the engine."""

from __future__ import annotations

from typing import Final

from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerInfo, WorkerListInfo
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

from perdure.engine.calls.base import Calls, rpc
from perdure.model.rpc import invalid_argument, not_found

PAGE_MAX: Final = 1000
"""Workers in a page."""
_SAME: Final = (
    "worker_instance_key",
    "worker_identity",
    "task_queue",
    "sdk_name",
    "sdk_version",
    "status",
)


class WorkerCalls(Calls):
    """Workers as they say of themselves."""

    @rpc
    async def record_worker_heartbeat(self, request: RecordWorkerHeartbeatRequest) -> RecordWorkerHeartbeatResponse:
        """Workers of a process say how they are."""
        self._namespace(request.namespace)
        for heartbeat in request.worker_heartbeat:
            if not heartbeat.worker_instance_key:
                raise invalid_argument("WorkerInstanceKey is not set on a heartbeat.")
        for heartbeat in request.worker_heartbeat:
            self.engine.workers.record(request.namespace, heartbeat)
        return RecordWorkerHeartbeatResponse()

    @rpc
    async def list_workers(self, request: ListWorkersRequest) -> ListWorkersResponse:
        """Those that a query means, in pages."""
        self._namespace(request.namespace)
        after = request.next_page_token.decode(errors="replace")
        found = [w for w in self.engine.workers.list(request.namespace, request.query) if w.worker_instance_key > after]
        limit = min(request.page_size if request.page_size > 0 else PAGE_MAX, PAGE_MAX)
        response = ListWorkersResponse()
        for worker in found[:limit]:
            response.workers_info.append(WorkerInfo(worker_heartbeat=worker))
            response.workers.append(_list_info(worker))
        if len(found) > limit:
            response.next_page_token = found[limit - 1].worker_instance_key.encode()
        return response

    @rpc
    async def count_workers(self, request: CountWorkersRequest) -> CountWorkersResponse:
        """How many a query means."""
        self._namespace(request.namespace)
        return CountWorkersResponse(count=len(self.engine.workers.list(request.namespace, request.query)))

    @rpc
    async def describe_worker(self, request: DescribeWorkerRequest) -> DescribeWorkerResponse:
        """One worker's last heartbeat."""
        self._namespace(request.namespace)
        worker = self.engine.workers.get(request.namespace, request.worker_instance_key)
        if worker is None:
            raise not_found(f"no worker with the key {request.worker_instance_key} has sent a heartbeat lately")
        return DescribeWorkerResponse(worker_info=WorkerInfo(worker_heartbeat=worker))


def _list_info(worker: WorkerHeartbeat) -> WorkerListInfo:
    info = WorkerListInfo()
    for name in _SAME:
        setattr(info, name, getattr(worker, name))
    info.start_time.CopyFrom(worker.start_time)
    info.deployment_version.CopyFrom(worker.deployment_version)
    info.host_name, info.process_id = worker.host_info.host_name, worker.host_info.process_id
    info.plugins.extend(worker.plugins)
    return info
