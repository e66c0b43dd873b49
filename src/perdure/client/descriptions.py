"""What a run is like right now: status, times, sizes, and what is pending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.client.readable import optional_moment, plain_payload
from perdure.model.conversion import DataConverter

__all__ = ["PendingActivity", "WorkflowDescription", "WorkflowStatus", "describe"]


class WorkflowStatus(IntEnum):
    """Temporal's numbers."""

    UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7
    PAUSED = 8

    @property
    def closed(self) -> bool:
        """Whether the run has ended."""
        return self not in (WorkflowStatus.UNSPECIFIED, WorkflowStatus.RUNNING, WorkflowStatus.PAUSED)


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """An activity that has been scheduled and has not ended. Times are UTC; `state` is SCHEDULED, STARTED or CANCEL_REQUESTED."""

    activity_id: str
    activity_type: str
    state: str
    attempt: int
    maximum_attempts: int
    scheduled_time: datetime | None
    last_started_time: datetime | None
    last_heartbeat_time: datetime | None
    heartbeat_details: Sequence[Any]
    last_failure: str
    last_worker_identity: str


@dataclass(frozen=True, slots=True)
class WorkflowDescription:
    """A run. Times are UTC. `history_length` counts events; sizes are bytes."""

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowStatus
    start_time: datetime | None
    execution_time: datetime | None
    close_time: datetime | None
    history_length: int
    history_size_bytes: int
    memo: Mapping[str, Any] = field(default_factory=dict[str, Any])
    search_attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pending_activities: Sequence[PendingActivity] = ()


def describe(response: DescribeWorkflowExecutionResponse, converter: DataConverter) -> WorkflowDescription:
    info = response.workflow_execution_info
    return WorkflowDescription(
        workflow_id=info.execution.workflow_id,
        run_id=info.execution.run_id,
        workflow_type=info.type.name,
        task_queue=info.task_queue or response.execution_config.task_queue.name,
        status=WorkflowStatus(info.status),
        start_time=optional_moment(info, "start_time"),
        execution_time=optional_moment(info, "execution_time"),
        close_time=optional_moment(info, "close_time"),
        history_length=info.history_length,
        history_size_bytes=info.history_size_bytes,
        memo={key: plain_payload(info.memo.fields[key], converter) for key in info.memo.fields},
        search_attributes={
            key: plain_payload(info.search_attributes.indexed_fields[key], converter) for key in info.search_attributes.indexed_fields
        },
        pending_activities=[_pending(each, converter) for each in response.pending_activities],
    )


def _pending(info: PendingActivityInfo, converter: DataConverter) -> PendingActivity:
    return PendingActivity(
        activity_id=info.activity_id,
        activity_type=info.activity_type.name,
        state=PendingActivityState.Name(info.state).removeprefix("PENDING_ACTIVITY_STATE_"),
        attempt=info.attempt,
        maximum_attempts=info.maximum_attempts,
        scheduled_time=optional_moment(info, "scheduled_time"),
        last_started_time=optional_moment(info, "last_started_time"),
        last_heartbeat_time=optional_moment(info, "last_heartbeat_time"),
        heartbeat_details=[plain_payload(each, converter) for each in info.heartbeat_details.payloads],
        last_failure=str(converter.from_failure(info.last_failure)) if info.HasField("last_failure") else "",
        last_worker_identity=info.last_worker_identity,
    )
