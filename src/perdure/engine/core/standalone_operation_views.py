"""What a Nexus operation without a workflow looks like from outside: its description and its outcome.

Decides nothing. Its run's few events say most of it, also when it has closed. Easily got wrong: how often a request was tried is known
to who sends it, and only while it is under way; of an operation that has been answered, no more than that it was asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import NexusOperationExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, NexusOperationScheduledEventAttributes
from temporalio.api.nexus.v1 import NexusOperationExecutionInfo
from temporalio.api.workflow.v1 import PendingNexusOperationInfo

from perdure.engine.core import codes
from perdure.engine.core.nexus import ENDS
from perdure.engine.core.standalone_operations import SERVICE
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns, to_ns

_S = NexusOperationExecutionStatus
STATUS: Final[dict[int, NexusOperationExecutionStatus.ValueType]] = {
    codes.RUNNING: _S.NEXUS_OPERATION_EXECUTION_STATUS_RUNNING,
    codes.COMPLETED: _S.NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED,
    codes.FAILED: _S.NEXUS_OPERATION_EXECUTION_STATUS_FAILED,
    codes.CANCELED: _S.NEXUS_OPERATION_EXECUTION_STATUS_CANCELED,
    codes.TERMINATED: _S.NEXUS_OPERATION_EXECUTION_STATUS_TERMINATED,
    codes.TIMED_OUT: _S.NEXUS_OPERATION_EXECUTION_STATUS_TIMED_OUT,
}
"""By the status of its run."""
_SPANS: Final = ("schedule_to_close_timeout", "schedule_to_start_timeout", "start_to_close_timeout")
_OF_ATTEMPT: Final = ("last_attempt_complete_time", "last_attempt_failure", "next_attempt_schedule_time")
_WITH_LINKS: Final = frozenset((codes.OPERATION_STARTED, codes.WORKFLOW_OPTIONS_UPDATED, *ENDS))


def scheduled_attributes(events: Sequence[HistoryEvent]) -> NexusOperationScheduledEventAttributes:
    """How it was scheduled."""
    return events[1].nexus_operation_scheduled_event_attributes


def operation_execution_info(
    run: Run, events: Sequence[HistoryEvent], pending: PendingNexusOperationInfo | None, transitions: int
) -> NexusOperationExecutionInfo:
    """All that is known of it.

    `events`: its run's, all of them; `pending`: what is shown of the operation while it is; `transitions`: how often its state changed.
    """
    a = scheduled_attributes(events)
    info = NexusOperationExecutionInfo(
        operation_id=run.workflow_id,
        run_id=run.run_id,
        endpoint=a.endpoint,
        service=a.service,
        operation=a.operation,
        status=STATUS[run.status],
        attempt=1,
        request_id=a.request_id,
        state_transition_count=transitions,
        state_size_bytes=run.history_bytes,
        identity=run.start.identity,
        nexus_header=a.nexus_header,
    )
    for name in _SPANS:
        getattr(info, name).CopyFrom(getattr(a, name))
    info.schedule_time.CopyFrom(events[0].event_time)
    close = to_ns(a.schedule_to_close_timeout)
    if close:
        set_ns(info.expiration_time, run.start_time + close)
    info.search_attributes.SetInParent()
    for key, value in run.search_attributes.items():
        if key != SERVICE:
            info.search_attributes.indexed_fields[key].CopyFrom(value)
    if run.start_event.HasField("user_metadata"):
        info.user_metadata.CopyFrom(run.start_event.user_metadata)
    info.links.extend(run.start_event.links)
    for event in events:
        _add_event(info, event)
    if pending is not None:
        _add_pending(info, pending)
    if run.closed:
        set_ns(info.close_time, run.close_time)
        set_ns(info.execution_duration, max(0, run.close_time - run.start_time))
    return info


def _add_event(info: NexusOperationExecutionInfo, event: HistoryEvent) -> None:
    kind = event.event_type
    if kind in _WITH_LINKS:
        info.links.extend(event.links)
    if kind == codes.OPERATION_STARTED:
        info.operation_token = event.nexus_operation_started_event_attributes.operation_token
    elif kind == codes.WORKFLOW_CANCEL_REQUESTED:
        info.cancellation_info.reason = event.workflow_execution_cancel_requested_event_attributes.cause
        info.cancellation_info.requested_time.CopyFrom(event.event_time)


def _add_pending(info: NexusOperationExecutionInfo, pending: PendingNexusOperationInfo) -> None:
    info.state = pending.state
    info.attempt = max(1, pending.attempt)
    for name in _OF_ATTEMPT:
        if pending.HasField(name):
            getattr(info, name).CopyFrom(getattr(pending, name))
    if pending.HasField("cancellation_info"):
        shown, known = info.cancellation_info, pending.cancellation_info
        shown.state, shown.attempt = known.state, known.attempt
        if known.HasField("last_attempt_complete_time"):
            shown.last_attempt_complete_time.CopyFrom(known.last_attempt_complete_time)
        if known.HasField("last_attempt_failure"):
            shown.last_attempt_failure.CopyFrom(known.last_attempt_failure)
        if known.HasField("next_attempt_schedule_time"):
            shown.next_attempt_schedule_time.CopyFrom(known.next_attempt_schedule_time)


def outcome_of(event: HistoryEvent) -> Payload | Failure:
    """What came of it, by the event that closed it."""
    if event.event_type == codes.OPERATION_COMPLETED:
        return event.nexus_operation_completed_event_attributes.result
    where = ENDS.get(event.event_type)
    if where is not None:
        told: Failure = getattr(event, where).failure
        return told.cause  # which was wrapped for a workflow
    terminated = event.workflow_execution_terminated_event_attributes
    failure = Failure(message=terminated.reason or "operation terminated", source="Server")
    failure.terminated_failure_info.identity = terminated.identity
    return failure


def service_of(attribute: Payload) -> str:
    """The service that stands in the search attribute `SERVICE`."""
    return str(json.loads(attribute.data))
