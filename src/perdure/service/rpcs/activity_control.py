"""What operators do to pending activities: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    PauseActivityExecutionRequest,
    PauseActivityExecutionResponse,
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityExecutionRequest,
    ResetActivityExecutionResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityExecutionRequest,
    UnpauseActivityExecutionResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityExecutionOptionsRequest,
    UpdateActivityExecutionOptionsResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)


class ActivityControlRpcs(Protocol):
    """What operators do to pending activities: named by id or type, of one run; or one by its own id."""

    def pause_activity(self, request: PauseActivityRequest, /) -> Coroutine[Any, Any, PauseActivityResponse]:
        """No attempt begins until it is unpaused; FAILED_PRECONDITION when it is paused already, by another request."""
        ...

    def unpause_activity(self, request: UnpauseActivityRequest, /) -> Coroutine[Any, Any, UnpauseActivityResponse]:
        """Attempts may begin again, at once or within the jitter."""
        ...

    def reset_activity(self, request: ResetActivityRequest, /) -> Coroutine[Any, Any, ResetActivityResponse]:
        """Counts attempts from the first again; one that is under way goes on, and is told."""
        ...

    def update_activity_options(self, request: UpdateActivityOptionsRequest, /) -> Coroutine[Any, Any, UpdateActivityOptionsResponse]:
        """Changes the options that the mask names, or restores those it was scheduled with; the answer has all that hold then."""
        ...

    def pause_activity_execution(self, request: PauseActivityExecutionRequest, /) -> Coroutine[Any, Any, PauseActivityExecutionResponse]:
        """As `pause_activity`, of one activity; where no workflow is named, of one that has none. So are the next three."""
        ...

    def unpause_activity_execution(
        self, request: UnpauseActivityExecutionRequest, /
    ) -> Coroutine[Any, Any, UnpauseActivityExecutionResponse]:
        """As `unpause_activity`."""
        ...

    def reset_activity_execution(self, request: ResetActivityExecutionRequest, /) -> Coroutine[Any, Any, ResetActivityExecutionResponse]:
        """As `reset_activity`."""
        ...

    def update_activity_execution_options(
        self, request: UpdateActivityExecutionOptionsRequest, /
    ) -> Coroutine[Any, Any, UpdateActivityExecutionOptionsResponse]:
        """As `update_activity_options`."""
        ...
