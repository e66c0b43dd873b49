"""Batch operations, which do one thing to many workflows: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

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


class BatchRpcs(Protocol):
    """Batch operations, which do one thing to many workflows."""

    def start_batch_operation(self, request: StartBatchOperationRequest, /) -> Coroutine[Any, Any, StartBatchOperationResponse]:
        """Makes a job, durably, which goes on by itself. ALREADY_EXISTS if there is one of its id."""
        ...

    def describe_batch_operation(self, request: DescribeBatchOperationRequest, /) -> Coroutine[Any, Any, DescribeBatchOperationResponse]:
        """How far a job is. NOT_FOUND if there is none of its id."""
        ...

    def list_batch_operations(self, request: ListBatchOperationsRequest, /) -> Coroutine[Any, Any, ListBatchOperationsResponse]:
        """The jobs of a namespace in the order of their ids."""
        ...

    def stop_batch_operation(self, request: StopBatchOperationRequest, /) -> Coroutine[Any, Any, StopBatchOperationResponse]:
        """Ends a job that runs; what it has done stays done."""
        ...
