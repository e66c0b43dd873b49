"""What clients do with activities that have no workflow: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    CountActivityExecutionsRequest,
    CountActivityExecutionsResponse,
    DeleteActivityExecutionRequest,
    DeleteActivityExecutionResponse,
    DescribeActivityExecutionRequest,
    DescribeActivityExecutionResponse,
    ListActivityExecutionsRequest,
    ListActivityExecutionsResponse,
    PollActivityExecutionRequest,
    PollActivityExecutionResponse,
    RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
    TerminateActivityExecutionRequest,
    TerminateActivityExecutionResponse,
)


class StandaloneActivityRpcs(Protocol):
    """What clients do with activities that have no workflow; an activity is named by its id, or by it and its run id."""

    def start_activity_execution(self, request: StartActivityExecutionRequest, /) -> Coroutine[Any, Any, StartActivityExecutionResponse]:
        """Starts an activity; durable when it returns. ALREADY_EXISTS where the policies forbid another of that id."""
        ...

    def describe_activity_execution(
        self, request: DescribeActivityExecutionRequest, /
    ) -> Coroutine[Any, Any, DescribeActivityExecutionResponse]:
        """An activity as it is now; with a long-poll token, once it is no longer as it was then."""
        ...

    def poll_activity_execution(self, request: PollActivityExecutionRequest, /) -> Coroutine[Any, Any, PollActivityExecutionResponse]:
        """Waits for what comes of an activity; without an outcome when it is still open after a while."""
        ...

    def request_cancel_activity_execution(
        self, request: RequestCancelActivityExecutionRequest, /
    ) -> Coroutine[Any, Any, RequestCancelActivityExecutionResponse]:
        """Asks an activity to stop; one that no worker has is cancelled at once."""
        ...

    def terminate_activity_execution(
        self, request: TerminateActivityExecutionRequest, /
    ) -> Coroutine[Any, Any, TerminateActivityExecutionResponse]:
        """Ends an activity at once."""
        ...

    def delete_activity_execution(self, request: DeleteActivityExecutionRequest, /) -> Coroutine[Any, Any, DeleteActivityExecutionResponse]:
        """Deletes an activity, ending it first if it is open."""
        ...

    def list_activity_executions(self, request: ListActivityExecutionsRequest, /) -> Coroutine[Any, Any, ListActivityExecutionsResponse]:
        """Those that a query finds, in pages."""
        ...

    def count_activity_executions(self, request: CountActivityExecutionsRequest, /) -> Coroutine[Any, Any, CountActivityExecutionsResponse]:
        """How many a query finds."""
        ...
