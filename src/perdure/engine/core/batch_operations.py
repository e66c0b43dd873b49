"""Batch operations, without I/O: what may be asked for, what is kept of a job, and the request that it makes of each execution.

A job is one record: the request that started it, what is told of it, and how far it has come. It goes on page by page, and a page
that was cut off is done again: so each request carries an id made of the job's and the execution's, by which a repeated one
is recognised.

Easily got wrong: an execution that cannot be changed (it has closed) counts as failed and stops nothing; a job has only failed when
somebody stopped it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from google.protobuf.message import Message
from temporalio.api.common.v1 import Execution, ResetOptions, WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState, BatchOperationType, ExecutionType, ResetType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import ResetPointInfo
from temporalio.api.workflowservice.v1 import (
    DeleteActivityExecutionRequest,
    DeleteWorkflowExecutionRequest,
    DescribeBatchOperationResponse,
    RequestCancelActivityExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetActivityRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartBatchOperationRequest,
    TerminateActivityExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.engine.core import limits
from perdure.engine.core.times import set_ns
from perdure.model.rpc import invalid_argument

FORMAT: Final = 1
EXECUTIONS_MAX: Final = 1000
"""Named one by one in a request."""
RUNNING: Final = BatchOperationState.BATCH_OPERATION_STATE_RUNNING
_HEAD: Final = Struct("<BIII")


class Call(NamedTuple):
    """A request to the engine's own service."""

    rpc: str
    request: Message


class Operation(NamedTuple):
    """A kind of batch operation."""

    kind: BatchOperationType.ValueType
    rpc: str
    """What it does to each execution."""

    @property
    def of_activities(self) -> bool:
        """It is done to activities without a workflow."""
        return self.rpc.endswith("activity_execution")


OPERATIONS: Final = {
    "termination_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE, "terminate_workflow_execution"),
    "cancellation_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_CANCEL, "request_cancel_workflow_execution"),
    "signal_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_SIGNAL, "signal_workflow_execution"),
    "deletion_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_DELETE, "delete_workflow_execution"),
    "reset_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_RESET, "reset_workflow_execution"),
    "update_workflow_options_operation": Operation(
        BatchOperationType.BATCH_OPERATION_TYPE_UPDATE_EXECUTION_OPTIONS, "update_workflow_execution_options"
    ),
    "unpause_activities_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_UNPAUSE_ACTIVITY, "unpause_activity"),
    "reset_activities_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_RESET_ACTIVITY, "reset_activity"),
    "update_activity_options_operation": Operation(
        BatchOperationType.BATCH_OPERATION_TYPE_UPDATE_ACTIVITY_OPTIONS, "update_activity_options"
    ),
    "cancel_activities_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_CANCEL_ACTIVITY, "request_cancel_activity_execution"),
    "terminate_activities_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_ACTIVITY, "terminate_activity_execution"),
    "delete_activities_operation": Operation(BatchOperationType.BATCH_OPERATION_TYPE_DELETE_ACTIVITY, "delete_activity_execution"),
}


# A job.


@dataclass(slots=True)
class BatchJob:
    """What is kept of a batch operation."""

    start: StartBatchOperationRequest
    shown: DescribeBatchOperationResponse = field(default_factory=DescribeBatchOperationResponse)
    done: int = 0
    """Of the executions that were named."""
    page_token: bytes = b""
    """Of the list of those that were asked for by query: where the next page begins."""

    @property
    def running(self) -> bool:
        return self.shown.state == RUNNING

    def close(self, state: BatchOperationState.ValueType, now: int) -> None:
        """It goes on no more."""
        self.shown.state = state
        set_ns(self.shown.close_time, now)

    def encode(self) -> bytes:
        """Its record."""
        start, shown = self.start.SerializeToString(), self.shown.SerializeToString()
        own = json.dumps({"done": self.done, "page_token": self.page_token.hex()}).encode()
        return b"".join((_HEAD.pack(FORMAT, len(start), len(shown), len(own)), start, shown, own))


def decode(data: bytes) -> BatchJob:
    """The job of a record.

    Raises:
        ValueError: the bytes have another format.
    """
    version, start, shown, own = _HEAD.unpack_from(data)
    if version != FORMAT:
        raise ValueError(f"the record of a batch operation has format {version}; this perdure reads {FORMAT}")
    at = _HEAD.size
    progress: dict[str, Any] = json.loads(data[at + start + shown : at + start + shown + own])
    return BatchJob(
        StartBatchOperationRequest.FromString(data[at : at + start]),
        DescribeBatchOperationResponse.FromString(data[at + start : at + start + shown]),
        progress["done"],
        bytes.fromhex(progress["page_token"]),
    )


def new_job(request: StartBatchOperationRequest, total: int, now: int) -> BatchJob:
    """A job that has not begun."""
    job = BatchJob(request)
    shown = job.shown
    shown.job_id, shown.reason, shown.query = request.job_id, request.reason, request.visibility_query
    shown.operation_type = operation_of(request).kind
    shown.identity = getattr(_options(request), "identity", "")
    shown.state = RUNNING
    shown.total_operation_count = total
    kind = _kind(operation_of(request))
    for execution in named(request):
        shown.executions.append(Execution(type=kind, business_id=execution.workflow_id, run_id=execution.run_id))
    set_ns(shown.start_time, now)
    return job


def check(request: StartBatchOperationRequest) -> None:
    """Refuses what cannot be meant.

    Raises:
        RpcError: InvalidArgument.
    """
    if not request.job_id:
        raise invalid_argument("JobId is not set on request.")
    if limits.too_long(request.job_id):
        raise invalid_argument("JobId length exceeds limit.")
    if not request.reason:
        raise invalid_argument("Reason is not set on request.")
    executions = named(request)
    if not request.visibility_query and not executions:
        raise invalid_argument("VisibilityQuery or Executions must be set on request.")
    if request.visibility_query and executions:
        raise invalid_argument("batch query and executions are mutually exclusive")
    if len(executions) > EXECUTIONS_MAX:
        raise invalid_argument(f"more than {EXECUTIONS_MAX} executions; use a VisibilityQuery")
    if not all(execution.workflow_id for execution in executions):
        raise invalid_argument("WorkflowId is not set on request.")
    operation = operation_of(request)
    kind = _kind(operation)
    if any((target.type or kind) != kind for target in request.target_executions) or (operation.of_activities and request.executions):
        raise invalid_argument("the operation does not fit the type of the executions")
    if operation.rpc == "signal_workflow_execution" and not request.signal_operation.signal:
        raise invalid_argument("SignalName is not set on request.")


def operation_of(request: StartBatchOperationRequest) -> Operation:
    """What is to be done.

    Raises:
        RpcError: InvalidArgument, if nothing is, or nothing that is done to workflows.
    """
    operation = OPERATIONS.get(request.WhichOneof("operation") or "")
    if operation is None:
        raise invalid_argument(f"The operation type {request.WhichOneof('operation')} is not supported")
    return operation


def _kind(operation: Operation) -> ExecutionType.ValueType:
    return ExecutionType.EXECUTION_TYPE_ACTIVITY if operation.of_activities else ExecutionType.EXECUTION_TYPE_WORKFLOW


def named(request: StartBatchOperationRequest) -> list[WorkflowExecution]:
    """The executions that a request names one by one; of an activity its id stands for the workflow's."""
    targets = [WorkflowExecution(workflow_id=target.business_id, run_id=target.run_id) for target in request.target_executions]
    return [*request.executions, *targets]


def _options(request: StartBatchOperationRequest) -> Any:
    return getattr(request, request.WhichOneof("operation") or "")


# What it does.


def call_for(start: StartBatchOperationRequest, execution: WorkflowExecution) -> Call:
    """What a job asks of the engine for one execution. (Of a reset, all but the point, which only its history says.)"""
    rpc = operation_of(start).rpc
    return Call(rpc, _BUILDERS[rpc](start, execution, _options(start)))


def _request_id(start: StartBatchOperationRequest, execution: WorkflowExecution) -> str:
    return f"{start.job_id}-{execution.run_id or execution.workflow_id}"


def _given(options: Any, *names: str) -> dict[str, Any]:
    """The fields of messages that are set."""
    return {name: getattr(options, name) for name in names if options.HasField(name)}


def _which(options: Any, every: str) -> dict[str, Any]:
    """Which pending activities: those of a type, or all, which `every` says."""
    return {every: True} if options.match_all else {"type": options.type}


def _terminate(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return TerminateWorkflowExecutionRequest(
        namespace=start.namespace, workflow_execution=execution, reason=start.reason, identity=own.identity, **_given(own, "details")
    )


def _cancel(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return RequestCancelWorkflowExecutionRequest(
        namespace=start.namespace,
        workflow_execution=execution,
        reason=start.reason,
        identity=own.identity,
        request_id=_request_id(start, execution),
    )


def _signal(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return SignalWorkflowExecutionRequest(
        namespace=start.namespace,
        workflow_execution=execution,
        signal_name=own.signal,
        identity=own.identity,
        request_id=_request_id(start, execution),
        **_given(own, "input", "header"),
    )


def _delete(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return DeleteWorkflowExecutionRequest(namespace=start.namespace, workflow_execution=execution)


def _reset(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return ResetWorkflowExecutionRequest(
        namespace=start.namespace,
        workflow_execution=execution,
        reason=start.reason,
        identity=own.identity,
        request_id=_request_id(start, execution),
        reset_reapply_type=own.options.reset_reapply_type if own.HasField("options") else own.reset_reapply_type,
        reset_reapply_exclude_types=own.options.reset_reapply_exclude_types,
        post_reset_operations=own.post_reset_operations,
    )


def _update_options(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return UpdateWorkflowExecutionOptionsRequest(
        namespace=start.namespace,
        workflow_execution=execution,
        identity=own.identity,
        **_given(own, "workflow_execution_options", "update_mask"),
    )


def _unpause_activities(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return UnpauseActivityRequest(
        namespace=start.namespace,
        execution=execution,
        identity=own.identity,
        reset_attempts=own.reset_attempts,
        reset_heartbeat=own.reset_heartbeat,
        **_given(own, "jitter"),
        **_which(own, "unpause_all"),
    )


def _reset_activities(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return ResetActivityRequest(
        namespace=start.namespace,
        execution=execution,
        identity=own.identity,
        reset_heartbeat=own.reset_heartbeat,
        keep_paused=own.keep_paused,
        restore_original_options=own.restore_original_options,
        **_given(own, "jitter"),
        **_which(own, "match_all"),
    )


def _update_activity_options(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return UpdateActivityOptionsRequest(
        namespace=start.namespace,
        execution=execution,
        identity=own.identity,
        restore_original=own.restore_original,
        **_given(own, "activity_options", "update_mask"),
        **_which(own, "match_all"),
    )


def _cancel_activity(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return RequestCancelActivityExecutionRequest(
        namespace=start.namespace,
        activity_id=execution.workflow_id,
        run_id=execution.run_id,
        identity=own.identity,
        request_id=_request_id(start, execution),
        reason=own.reason or start.reason,
    )


def _terminate_activity(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return TerminateActivityExecutionRequest(
        namespace=start.namespace,
        activity_id=execution.workflow_id,
        run_id=execution.run_id,
        identity=own.identity,
        request_id=_request_id(start, execution),
        reason=own.reason or start.reason,
    )


def _delete_activity(start: StartBatchOperationRequest, execution: WorkflowExecution, own: Any) -> Message:
    return DeleteActivityExecutionRequest(namespace=start.namespace, activity_id=execution.workflow_id, run_id=execution.run_id)


_Builder: TypeAlias = Callable[[StartBatchOperationRequest, WorkflowExecution, Any], Message]
_BUILDERS: Final[Mapping[str, _Builder]] = {
    "terminate_workflow_execution": _terminate,
    "request_cancel_workflow_execution": _cancel,
    "signal_workflow_execution": _signal,
    "delete_workflow_execution": _delete,
    "reset_workflow_execution": _reset,
    "update_workflow_execution_options": _update_options,
    "unpause_activity": _unpause_activities,
    "reset_activity": _reset_activities,
    "update_activity_options": _update_activity_options,
    "request_cancel_activity_execution": _cancel_activity,
    "terminate_activity_execution": _terminate_activity,
    "delete_activity_execution": _delete_activity,
}


def reset_point(
    start: StartBatchOperationRequest, run_id: str, points: Sequence[ResetPointInfo], events: Sequence[HistoryEvent]
) -> tuple[str, int]:
    """The run that is reset, and the event at which: the end of its first or last workflow task, the one that the request names, or the
    first that a build completed, in this run or, unless that is excluded, earlier in its chain.

    Raises:
        RpcError: InvalidArgument, if there is none.
    """
    own = start.reset_operation
    target = own.options.WhichOneof("target") if own.HasField("options") else None
    if target == "workflow_task_id":
        return run_id, own.options.workflow_task_id
    if target == "build_id":
        return _of_build(own.options, run_id, points)
    ends = [event.event_id for event in events if event.HasField("workflow_task_completed_event_attributes")]
    if not ends:
        raise invalid_argument("the workflow has no completed workflow task to reset to")
    first = target == "first_workflow_task" or (target is None and own.reset_type == ResetType.RESET_TYPE_FIRST_WORKFLOW_TASK)
    return run_id, ends[0] if first else ends[-1]


def _of_build(options: ResetOptions, run_id: str, points: Sequence[ResetPointInfo]) -> tuple[str, int]:
    for point in points:
        if point.build_id == options.build_id and (point.run_id == run_id or not options.current_run_only):
            if not point.resettable:
                raise invalid_argument(f"the workflow cannot be reset to what build {options.build_id} did first")
            return point.run_id, point.first_workflow_task_completed_id
    raise invalid_argument(f"build {options.build_id} has completed no workflow task of the workflow")
