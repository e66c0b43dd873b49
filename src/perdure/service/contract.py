"""The contract in the middle: Temporal's RPCs as async methods, Temporal's messages as arguments and results.

Client and worker know nothing else of the engine; whatever stands behind it (the embedded engine, a socket, Temporal Server) refuses
with `RpcError` only. A request and a reply belong to whoever receives them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

__all__ = ["WorkflowService"]


@runtime_checkable
class WorkflowService(Protocol):
    """One method per RPC. Raises `RpcError` and nothing else."""

    async def get_system_info(self, request: GetSystemInfoRequest) -> GetSystemInfoResponse:
        """What this service can do."""
        ...

    async def describe_namespace(self, request: DescribeNamespaceRequest) -> DescribeNamespaceResponse:
        """A namespace's settings; NOT_FOUND when there is none of that name."""
        ...

    async def start_workflow_execution(self, request: StartWorkflowExecutionRequest) -> StartWorkflowExecutionResponse:
        """Starts a workflow, idempotently by request id; durable when it returns. ALREADY_EXISTS as the policies say."""
        ...

    async def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse:
        """Sends a signal, idempotently by request id; durable when it returns."""
        ...

    async def signal_with_start_workflow_execution(self, request: SignalWithStartWorkflowExecutionRequest) -> SignalWithStartWorkflowExecutionResponse:
        """Signals the running workflow of that id, or starts one and signals it, in one transaction."""
        ...

    async def query_workflow(self, request: QueryWorkflowRequest) -> QueryWorkflowResponse:
        """Asks a workflow's code; records nothing. A worker must be polling."""
        ...

    async def request_cancel_workflow_execution(self, request: RequestCancelWorkflowExecutionRequest) -> RequestCancelWorkflowExecutionResponse:
        """Asks a workflow to end; its code decides how."""
        ...

    async def terminate_workflow_execution(self, request: TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse:
        """Ends a workflow at once, without its code."""
        ...

    async def describe_workflow_execution(self, request: DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse:
        """A run's state: status, times, what is pending."""
        ...

    async def get_workflow_execution_history(self, request: GetWorkflowExecutionHistoryRequest) -> GetWorkflowExecutionHistoryResponse:
        """Events, in pages; waits for new ones (or for the close event) when asked to, at most a minute, then answers with none."""
        ...

    async def poll_workflow_task_queue(self, request: PollWorkflowTaskQueueRequest) -> PollWorkflowTaskQueueResponse:
        """Waits for a workflow task; an empty message when none came within a minute."""
        ...

    async def respond_workflow_task_completed(self, request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        """A workflow task's commands; durable when it returns."""
        ...

    async def respond_workflow_task_failed(self, request: RespondWorkflowTaskFailedRequest) -> RespondWorkflowTaskFailedResponse:
        """A workflow task that the worker could not do."""
        ...

    async def respond_query_task_completed(self, request: RespondQueryTaskCompletedRequest) -> RespondQueryTaskCompletedResponse:
        """The answer to a query that came as a task of its own."""
        ...

    async def poll_activity_task_queue(self, request: PollActivityTaskQueueRequest) -> PollActivityTaskQueueResponse:
        """Waits for an activity task; an empty message when none came within a minute."""
        ...

    async def respond_activity_task_completed(self, request: RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse:
        """An activity's result; durable when it returns. NOT_FOUND when the attempt is no longer the current one."""
        ...

    async def respond_activity_task_failed(self, request: RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse:
        """An activity attempt's failure; the engine decides about another attempt."""
        ...

    async def respond_activity_task_canceled(self, request: RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse:
        """An activity that ended because it was asked to."""
        ...

    async def record_activity_task_heartbeat(self, request: RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse:
        """Progress of an activity; the answer says whether it shall stop."""
        ...

    async def describe_task_queue(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        """Who polls a queue."""
        ...

    async def reset_sticky_task_queue(self, request: ResetStickyTaskQueueRequest) -> ResetStickyTaskQueueResponse:
        """Forgets which worker has the run in its cache."""
        ...

    async def shutdown_worker(self, request: ShutdownWorkerRequest) -> ShutdownWorkerResponse:
        """A worker goes: its sticky queue is given up at once, its polls end."""
        ...
