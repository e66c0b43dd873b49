"""What each event does to a run's code: one table by event type.

Events of one workflow task are applied together, and then the code runs: signals first, in order, then the rest in order. So it is
in Temporal's SDKs, and a history replays the same in both.
"""

from __future__ import annotations

from collections.abc import Callable

from temporalio.api.enums.v1.event_type_pb2 import EventType as E
from temporalio.api.failure.v1.message_pb2 import Failure
from temporalio.api.history.v1.message_pb2 import HistoryEvent

from perdure.model.errors import ActivityCancelled, InvalidInput
from perdure.runtime.handles import ActivityHandle
from perdure.runtime.run_state import RunState

SIGNALED = E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED


def apply_signal(run: RunState, event: HistoryEvent) -> None:
    attributes = event.workflow_execution_signaled_event_attributes
    run.signals.deliver(attributes.signal_name, list(attributes.input.payloads))


def _activity_completed(run: RunState, event: HistoryEvent) -> None:
    attributes = event.activity_task_completed_event_attributes
    handle = run.activities.pop(attributes.scheduled_event_id, None)
    if handle is None or handle.done():
        return
    payloads = attributes.result.payloads
    try:
        handle.set_result(run.converter.from_payload(payloads[0], handle.result_type) if payloads else None)
    except InvalidInput as error:  # the annotation is wrong, not the result: the task fails, until the code is mended
        raise InvalidInput(f"the result of activity {handle.activity_type!r}: {error.message}") from error


def _activity_failed(run: RunState, event: HistoryEvent) -> None:
    attributes = event.activity_task_failed_event_attributes
    handle = run.activities.pop(attributes.scheduled_event_id, None)
    if handle is not None and not handle.done():
        _fail_activity(run, handle, attributes.failure, attributes.retry_state, attributes.identity)


def _activity_timed_out(run: RunState, event: HistoryEvent) -> None:
    attributes = event.activity_task_timed_out_event_attributes
    handle = run.activities.pop(attributes.scheduled_event_id, None)
    if handle is not None and not handle.done():
        _fail_activity(run, handle, attributes.failure, attributes.retry_state, "")


def _fail_activity(run: RunState, handle: ActivityHandle[object], cause: Failure, retry_state: int, identity: str) -> None:
    failure = Failure(message="activity task failed", cause=cause)
    info = failure.activity_failure_info
    info.activity_id = handle.activity_id
    info.activity_type.name = handle.activity_type
    info.scheduled_event_id = handle.scheduled_event_id
    info.retry_state = retry_state  # type: ignore[assignment]
    info.identity = identity
    error = run.converter.from_failure(failure)
    handle.set_exception(error)


def _activity_canceled(run: RunState, event: HistoryEvent) -> None:
    attributes = event.activity_task_canceled_event_attributes
    handle = run.activities.pop(attributes.scheduled_event_id, None)
    if handle is None or handle.done():
        return
    if handle.cancel_sent:
        handle.cancelled_by_engine()
        return
    handle.set_exception(
        ActivityCancelled(
            f"activity {handle.activity_type!r} was cancelled", activity_type=handle.activity_type, activity_id=handle.activity_id
        )
    )


def _timer_fired(run: RunState, event: HistoryEvent) -> None:
    timer = run.timers.pop(event.timer_fired_event_attributes.timer_id, None)
    if timer is not None:
        timer.fire()


def _cancel_requested(run: RunState, event: HistoryEvent) -> None:
    run.cancel(event.workflow_execution_cancel_requested_event_attributes.cause)


Apply = Callable[[RunState, HistoryEvent], None]
APPLY: dict[int, Apply] = {
    E.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: _activity_completed,
    E.EVENT_TYPE_ACTIVITY_TASK_FAILED: _activity_failed,
    E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: _activity_timed_out,
    E.EVENT_TYPE_ACTIVITY_TASK_CANCELED: _activity_canceled,
    E.EVENT_TYPE_TIMER_FIRED: _timer_fired,
    E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: _cancel_requested,
}
