"""What workers do with workflow tasks: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
)


class WorkflowTaskRpcs(Protocol):
    """What workers do with workflow tasks."""

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

    def reset_sticky_task_queue(self, request: ResetStickyTaskQueueRequest, /) -> Coroutine[Any, Any, ResetStickyTaskQueueResponse]:
        """Forgets which worker has the run in its cache."""
        ...
