"""What operators do to workflows: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)


class OperationRpcs(Protocol):
    """What operators do to workflows."""

    def reset_workflow_execution(self, request: ResetWorkflowExecutionRequest, /) -> Coroutine[Any, Any, ResetWorkflowExecutionResponse]:
        """Begins a run again at one of its workflow tasks, as a new run; the current one is terminated if it is open."""
        ...

    def update_workflow_execution_options(
        self, request: UpdateWorkflowExecutionOptionsRequest, /
    ) -> Coroutine[Any, Any, UpdateWorkflowExecutionOptionsResponse]:
        """Pins an open run to a version, or lets it go; the answer has the options that hold then."""
        ...
