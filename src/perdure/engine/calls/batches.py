"""Batch operations: RPCs on the engine."""

from __future__ import annotations

from temporalio.api.batch.v1 import BatchOperationInfo
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    ListBatchOperationsResponse,
    StartBatchOperationRequest,
    StartBatchOperationResponse,
    StopBatchOperationRequest,
    StopBatchOperationResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core.batch_operations import BatchJob
from perdure.engine.core.times import to_ns
from perdure.engine.newest_first import Place, newest_first
from perdure.model.rpc import invalid_argument

PAGE_MAX = 1000


class BatchCalls(Calls):
    """Batch operations, which do one thing to many workflows."""

    @rpc
    async def start_batch_operation(self, request: StartBatchOperationRequest) -> StartBatchOperationResponse:
        """Makes a job, durably, which goes on by itself."""
        self._namespace(request.namespace)
        await self.engine.batches.start(request)
        return StartBatchOperationResponse()

    @rpc
    async def describe_batch_operation(self, request: DescribeBatchOperationRequest) -> DescribeBatchOperationResponse:
        """How far a job is."""
        self._check_job(request.namespace, request.job_id)
        return (await self.engine.batches.find(request.namespace, request.job_id)).shown

    @rpc
    async def list_batch_operations(self, request: ListBatchOperationsRequest) -> ListBatchOperationsResponse:
        """Jobs, the newest first."""
        self._namespace(request.namespace)
        size = min(request.page_size, PAGE_MAX) if request.page_size > 0 else PAGE_MAX
        jobs, token = await newest_first(self.engine.batches.all(request.namespace), _place, size, request.next_page_token)
        return ListBatchOperationsResponse(operation_info=[_info(job) for job in jobs], next_page_token=token)

    @rpc
    async def stop_batch_operation(self, request: StopBatchOperationRequest) -> StopBatchOperationResponse:
        """Ends a job that runs."""
        self._check_job(request.namespace, request.job_id)
        if not request.reason:
            raise invalid_argument("Reason is not set on request.")
        await self.engine.batches.stop(request.namespace, request.job_id)
        return StopBatchOperationResponse()

    def _check_job(self, namespace: str, job_id: str) -> None:
        self._namespace(namespace)
        if not job_id:
            raise invalid_argument("JobId is not set on request.")


def _place(job: BatchJob) -> Place:
    return Place.of(to_ns(job.shown.start_time), job.start.job_id)


def _info(job: BatchJob) -> BatchOperationInfo:
    shown = job.shown
    info = BatchOperationInfo(job_id=shown.job_id, state=shown.state, operation_type=shown.operation_type, start_time=shown.start_time)
    if shown.HasField("close_time"):
        info.close_time.CopyFrom(shown.close_time)
    return info
