"""What workers do with activities: RPCs of the contract."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)


class ActivityRpcs(Protocol):
    """What workers do with activities."""

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

    def respond_activity_task_completed_by_id(
        self, request: RespondActivityTaskCompletedByIdRequest, /
    ) -> Coroutine[Any, Any, RespondActivityTaskCompletedByIdResponse]:
        """An activity's result, named by its id; also of one that no worker has taken. NOT_FOUND when it is not pending."""
        ...

    def respond_activity_task_failed_by_id(
        self, request: RespondActivityTaskFailedByIdRequest, /
    ) -> Coroutine[Any, Any, RespondActivityTaskFailedByIdResponse]:
        """The failure of the attempt under way of an activity, named by its id."""
        ...

    def respond_activity_task_canceled_by_id(
        self, request: RespondActivityTaskCanceledByIdRequest, /
    ) -> Coroutine[Any, Any, RespondActivityTaskCanceledByIdResponse]:
        """The attempt under way of an activity, named by its id, ended because it was asked to."""
        ...

    def record_activity_task_heartbeat_by_id(
        self, request: RecordActivityTaskHeartbeatByIdRequest, /
    ) -> Coroutine[Any, Any, RecordActivityTaskHeartbeatByIdResponse]:
        """Progress of an activity, named by its id; the answer says whether it shall stop."""
        ...
