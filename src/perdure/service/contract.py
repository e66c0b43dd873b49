"""The contract in the middle: Temporal's RPCs as async methods, Temporal's messages as arguments and results.

Client and worker know nothing else of the engine; whatever stands behind it (the embedded engine, a socket, Temporal Server) refuses
with `RpcError` only. A request and a reply belong to whoever receives them.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol, runtime_checkable

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
    """One async method per RPC. Raises `RpcError` and nothing else."""

    def get_system_info(self, request: GetSystemInfoRequest, /) -> Coroutine[Any, Any, GetSystemInfoResponse]:
        """What this service can do."""
        ...

    def describe_namespace(self, request: DescribeNamespaceRequest, /) -> Coroutine[Any, Any, DescribeNamespaceResponse]:
        """A namespace's settings; NOT_FOUND when there is none of that name."""
        ...

    def start_workflow_execution(self, request: StartWorkflowExecutionRequest, /) -> Coroutine[Any, Any, StartWorkflowExecutionResponse]:
        """Starts a workflow, idempotently by request id; durable when it returns. ALREADY_EXISTS as the policies say."""
        ...

    def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest, /) -> Coroutine[Any, Any, SignalWorkflowExecutionResponse]:
        """Sends a signal, idempotently by request id; durable when it returns."""
        ...

    def signal_with_start_workflow_execution(
        self, request: SignalWithStartWorkflowExecutionRequest, /
    ) -> Coroutine[Any, Any, SignalWithStartWorkflowExecutionResponse]:
        """Signals the running workflow of that id, or starts one and signals it, in one transaction."""
        ...

    def query_workflow(self, request: QueryWorkflowRequest, /) -> Coroutine[Any, Any, QueryWorkflowResponse]:
        """Asks a workflow's code; records nothing. A worker must be polling."""
        ...

    def request_cancel_workflow_execution(
        self, request: RequestCancelWorkflowExecutionRequest, /
    ) -> Coroutine[Any, Any, RequestCancelWorkflowExecutionResponse]:
        """Asks a workflow to end; its code decides how."""
        ...

    def terminate_workflow_execution(
        self, request: TerminateWorkflowExecutionRequest, /
    ) -> Coroutine[Any, Any, TerminateWorkflowExecutionResponse]:
        """Ends a workflow at once, without its code."""
        ...

    def describe_workflow_execution(
        self, request: DescribeWorkflowExecutionRequest, /
    ) -> Coroutine[Any, Any, DescribeWorkflowExecutionResponse]:
        """A run's state: status, times, what is pending."""
        ...

    def get_workflow_execution_history(
        self, request: GetWorkflowExecutionHistoryRequest, /
    ) -> Coroutine[Any, Any, GetWorkflowExecutionHistoryResponse]:
        """Events, in pages; waits for new ones (or for the close event) when asked to, at most a minute, then answers with none."""
        ...

    def poll_workflow_task_queue(self, request: PollWorkflowTaskQueueRequest, /) -> Coroutine[Any, Any, PollWorkflowTaskQueueResponse]:
        """Waits for a workflow task; an empty message when none came within a minute."""
        ...

    def respond_workflow_task_completed(
        self, request: RespondWorkflowTaskCompletedRequest, /
    ) -> Coroutine[Any, Any, RespondWorkflowTaskCompletedResponse]:
        """A workflow task's commands; durable when it returns."""
        ...

    def respond_workflow_task_failed(
        self, request: RespondWorkflowTaskFailedRequest, /
    ) -> Coroutine[Any, Any, RespondWorkflowTaskFailedResponse]:
        """A workflow task that the worker could not do."""
        ...

    def respond_query_task_completed(
        self, request: RespondQueryTaskCompletedRequest, /
    ) -> Coroutine[Any, Any, RespondQueryTaskCompletedResponse]:
        """The answer to a query that came as a task of its own."""
        ...

    def poll_activity_task_queue(self, request: PollActivityTaskQueueRequest, /) -> Coroutine[Any, Any, PollActivityTaskQueueResponse]:
        """Waits for an activity task; an empty message when none came within a minute."""
        ...

    def respond_activity_task_completed(
        self, request: RespondActivityTaskCompletedRequest, /
    ) -> Coroutine[Any, Any, RespondActivityTaskCompletedResponse]:
        """An activity's result; durable when it returns. NOT_FOUND when the attempt is no longer the current one."""
        ...

    def respond_activity_task_failed(
        self, request: RespondActivityTaskFailedRequest, /
    ) -> Coroutine[Any, Any, RespondActivityTaskFailedResponse]:
        """An activity attempt's failure; the engine decides about another attempt."""
        ...

    def respond_activity_task_canceled(
        self, request: RespondActivityTaskCanceledRequest, /
    ) -> Coroutine[Any, Any, RespondActivityTaskCanceledResponse]:
        """An activity that ended because it was asked to."""
        ...

    def record_activity_task_heartbeat(
        self, request: RecordActivityTaskHeartbeatRequest, /
    ) -> Coroutine[Any, Any, RecordActivityTaskHeartbeatResponse]:
        """Progress of an activity; the answer says whether it shall stop."""
        ...

    def describe_task_queue(self, request: DescribeTaskQueueRequest, /) -> Coroutine[Any, Any, DescribeTaskQueueResponse]:
        """Who polls a queue."""
        ...

    def reset_sticky_task_queue(self, request: ResetStickyTaskQueueRequest, /) -> Coroutine[Any, Any, ResetStickyTaskQueueResponse]:
        """Forgets which worker has the run in its cache."""
        ...

    def shutdown_worker(self, request: ShutdownWorkerRequest, /) -> Coroutine[Any, Any, ShutdownWorkerResponse]:
        """A worker goes: its sticky queue is given up at once, its polls end."""
        ...
