"""What clients do with workflows: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
)


class WorkflowRpcs(Protocol):
    """What clients do with workflows."""

    def start_workflow_execution(self, request: StartWorkflowExecutionRequest, /) -> Coroutine[Any, Any, StartWorkflowExecutionResponse]:
        """Starts a workflow, idempotently by request id; durable when it returns. ALREADY_EXISTS as the policies say."""
        ...

    def signal_with_start_workflow_execution(
        self, request: SignalWithStartWorkflowExecutionRequest, /
    ) -> Coroutine[Any, Any, SignalWithStartWorkflowExecutionResponse]:
        """Signals the running workflow of that id, or starts one and signals it, in one transaction."""
        ...

    def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest, /) -> Coroutine[Any, Any, SignalWorkflowExecutionResponse]:
        """Sends a signal, idempotently by request id; durable when it returns."""
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

    def pause_workflow_execution(self, request: PauseWorkflowExecutionRequest, /) -> Coroutine[Any, Any, PauseWorkflowExecutionResponse]:
        """Gives a workflow nothing to do until it is unpaused; what reaches it is kept. Idempotent by request id."""
        ...

    def unpause_workflow_execution(
        self, request: UnpauseWorkflowExecutionRequest, /
    ) -> Coroutine[Any, Any, UnpauseWorkflowExecutionResponse]:
        """Lets a paused workflow go on."""
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

    def get_workflow_execution_history_reverse(
        self, request: GetWorkflowExecutionHistoryReverseRequest, /
    ) -> Coroutine[Any, Any, GetWorkflowExecutionHistoryReverseResponse]:
        """The events of a run in pages, the newest first."""
        ...
