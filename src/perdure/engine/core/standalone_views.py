"""What a standalone activity looks like from outside: its description and its outcome.

Decides nothing. Most of it is in the few events of its run, also when that has closed and the attempt's own record is gone.
Easily got wrong: what the worker reported last (heartbeat details) is not in the history; after the end it is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from temporalio.api.activity.v1 import ActivityExecutionInfo, ActivityExecutionOutcome
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import ActivityExecutionStatus, PendingActivityState
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes, HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo

from perdure.engine.core import codes
from perdure.engine.core.describe import activity_info
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns, to_ns

_S = ActivityExecutionStatus
STATUS: Final[dict[int, ActivityExecutionStatus.ValueType]] = {
    codes.RUNNING: _S.ACTIVITY_EXECUTION_STATUS_RUNNING,
    codes.COMPLETED: _S.ACTIVITY_EXECUTION_STATUS_COMPLETED,
    codes.FAILED: _S.ACTIVITY_EXECUTION_STATUS_FAILED,
    codes.CANCELED: _S.ACTIVITY_EXECUTION_STATUS_CANCELED,
    codes.TERMINATED: _S.ACTIVITY_EXECUTION_STATUS_TERMINATED,
    codes.TIMED_OUT: _S.ACTIVITY_EXECUTION_STATUS_TIMED_OUT,
}
"""By the status of its run."""
_SAME: Final = (
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "retry_policy",
    "priority",
    "header",
)
_OF_ATTEMPT: Final = (
    "heartbeat_details",
    "last_heartbeat_time",
    "last_started_time",
    "last_failure",
    "current_retry_interval",
    "last_attempt_complete_time",
    "next_attempt_schedule_time",
)


def activity_execution_info(run: Run, events: Sequence[HistoryEvent], transitions: int) -> ActivityExecutionInfo:
    """All that is known of it; `events`: its run's, all of them; `transitions`: how often its state has changed."""
    info = ActivityExecutionInfo(activity_id=run.workflow_id, run_id=run.run_id, status=STATUS[run.status])
    info.activity_type.name = run.workflow_type
    info.state_transition_count = transitions
    info.state_size_bytes = run.history_bytes
    info.schedule_time.CopyFrom(events[0].event_time)
    set_ns(info.execution_time, run.execution_time)
    info.start_delay.CopyFrom(run.start.first_workflow_task_backoff)
    info.search_attributes.SetInParent()
    for key, value in run.search_attributes.items():
        info.search_attributes.indexed_fields[key].CopyFrom(value)
    if run.start_event.HasField("user_metadata"):
        info.user_metadata.CopyFrom(run.start_event.user_metadata)
    info.links.extend(run.start_event.links)
    _fill_options(info, run, events)
    _fill_attempt(info, run, events)
    if run.closed:
        set_ns(info.close_time, run.close_time)
        set_ns(info.execution_duration, max(0, run.close_time - run.execution_time))
    return info


def _fill_options(info: ActivityExecutionInfo, run: Run, events: Sequence[HistoryEvent]) -> None:
    scheduled = scheduled_attributes(events)
    for activity in run.activities.values():
        scheduled = activity.attributes  # an operator may have changed them
    info.task_queue = scheduled.task_queue.name
    for name in _SAME:
        if scheduled.HasField(name):
            getattr(info, name).CopyFrom(getattr(scheduled, name))
    close = to_ns(scheduled.schedule_to_close_timeout)
    if close:
        set_ns(info.expiration_time, run.execution_time + close)


def scheduled_attributes(events: Sequence[HistoryEvent]) -> ActivityTaskScheduledEventAttributes:
    """How it was scheduled."""
    return events[1].activity_task_scheduled_event_attributes


def _fill_attempt(info: ActivityExecutionInfo, run: Run, events: Sequence[HistoryEvent]) -> None:
    for activity in run.activities.values():
        shown: PendingActivityInfo = activity_info(activity)
        info.run_state = shown.state
        info.attempt = shown.attempt
        info.last_worker_identity = shown.last_worker_identity
        for name in _OF_ATTEMPT:
            if shown.HasField(name):
                getattr(info, name).CopyFrom(getattr(shown, name))
    for event in events:
        if event.event_type == codes.ACTIVITY_STARTED:
            started = event.activity_task_started_event_attributes
            info.attempt = started.attempt
            info.last_worker_identity = started.identity
            info.last_started_time.CopyFrom(event.event_time)
            if started.HasField("last_failure"):
                info.last_failure.CopyFrom(started.last_failure)
        elif event.event_type == codes.WORKFLOW_OPTIONS_UPDATED:
            info.links.extend(event.links)
        elif event.event_type == codes.WORKFLOW_CANCEL_REQUESTED:
            info.canceled_reason = event.workflow_execution_cancel_requested_event_attributes.cause
    if info.run_state == PendingActivityState.PENDING_ACTIVITY_STATE_UNSPECIFIED and not info.attempt:
        info.attempt = 1


def outcome_of(event: HistoryEvent) -> ActivityExecutionOutcome:
    """What came of it, by the event that closed it."""
    outcome = ActivityExecutionOutcome()
    kind = event.event_type
    if kind == codes.ACTIVITY_COMPLETED:
        outcome.result.CopyFrom(event.activity_task_completed_event_attributes.result)
    elif kind == codes.ACTIVITY_FAILED:
        outcome.failure.CopyFrom(event.activity_task_failed_event_attributes.failure)
        outcome.retry_state = event.activity_task_failed_event_attributes.retry_state
    elif kind == codes.ACTIVITY_TIMED_OUT:
        outcome.failure.CopyFrom(event.activity_task_timed_out_event_attributes.failure)
        outcome.retry_state = event.activity_task_timed_out_event_attributes.retry_state
    elif kind == codes.ACTIVITY_CANCELED:
        outcome.failure.CopyFrom(_canceled(event.activity_task_canceled_event_attributes.details))
    else:
        outcome.failure.CopyFrom(_terminated(event.workflow_execution_terminated_event_attributes.reason))
    return outcome


def _canceled(details: Payloads) -> Failure:
    failure = Failure(message="Activity canceled", source="Server")
    failure.canceled_failure_info.details.CopyFrom(details)
    return failure


def _terminated(reason: str) -> Failure:
    failure = Failure(message=reason or "Activity terminated", source="Server")
    failure.terminated_failure_info.SetInParent()
    return failure
