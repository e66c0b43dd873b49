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
        """Jobs in the order of their ids."""
        self._namespace(request.namespace)
        size = min(request.page_size, PAGE_MAX) if request.page_size > 0 else PAGE_MAX
        jobs = await self.engine.batches.page(request.namespace, request.next_page_token.decode(errors="replace"), size + 1)
        response = ListBatchOperationsResponse(operation_info=[_info(job) for job in jobs[:size]])
        if len(jobs) > size:
            response.next_page_token = jobs[size - 1].start.job_id.encode()
        return response

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


def _info(job: BatchJob) -> BatchOperationInfo:
    shown = job.shown
    info = BatchOperationInfo(job_id=shown.job_id, state=shown.state, operation_type=shown.operation_type, start_time=shown.start_time)
    if shown.HasField("close_time"):
        info.close_time.CopyFrom(shown.close_time)
    return info
