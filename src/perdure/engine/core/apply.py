"""The fold: how each event changes the state of a run (law 1). The only place that changes what the history says.

Writes no event, refuses none: an event in a history has happened. Events of kinds that change nothing here (markers,
activity starts) pass. Knows nothing of what the history does not say (`facts`, `rows`).

The commonest events have a fold that takes what it needs of them: who writes one has encoded its attributes and need not
make a message of it. `apply` of the same event does the same.

Easily got wrong: an event that ends something may come when that thing is already gone, or belongs to an older holder of
the same id. A buffered event changes the state when it arrives and gets its place in the history later, after the
commands of the completion under way; both orders must give the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes

from perdure.engine.core import codes, due, nexus, others, reset_points, updates
from perdure.engine.core.callbacks import attach
from perdure.engine.core.interventions import Pause
from perdure.engine.core.others import End
from perdure.engine.core.pending import Activity, Shared, Timer, WorkflowTask
from perdure.engine.core.state import Run
from perdure.engine.core.times import earliest, to_ns
from perdure.engine.core.versions import Versioning, after_task, at_start


def apply(run: Run, event: HistoryEvent) -> None:
    """Folds the next event of the history into the state."""
    run.next_event_id = event.event_id + 1
    fold = _FOLDS.get(event.event_type)
    if fold is not None:
        fold(run, event)


def apply_buffered(run: Run, event: HistoryEvent) -> None:
    """Folds an event that waits in the buffer, without an id."""
    fold = _FOLDS.get(event.event_type)
    if fold is not None:
        fold(run, event)


def is_null(payload: Payload) -> bool:
    """Whether a payload says that its key is to be removed: null, or an empty list."""
    return payload.metadata.get("encoding") == b"binary/null" or (not payload.data and not payload.metadata) or payload.data == b"[]"


def _started(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_execution_started_event_attributes
    spans = Spans(
        to_ns(a.workflow_execution_expiration_time),
        to_ns(a.workflow_run_timeout),
        to_ns(a.workflow_task_timeout),
        to_ns(a.first_workflow_task_backoff),
    )
    run_started(run, event, to_ns(event.event_time), a.workflow_id, a.workflow_type.name, a.task_queue.name, spans)
    run.versioning = at_start(a)


class Spans(NamedTuple):
    """How long a run may take, in nanoseconds; 0: no limit, or no delay."""

    execution_expiration: int
    """An instant: when its chain of runs is to end."""
    run: int
    task: int
    backoff: int
    """Before its first workflow task."""


def run_started(run: Run, event: HistoryEvent, time: int, workflow_id: str, workflow_type: str, queue: str, spans: Spans) -> None:
    """Folds WorkflowExecutionStarted."""
    a = event.workflow_execution_started_event_attributes
    run.start_event, run.start = event, a
    run.workflow_id, run.workflow_type, run.task_queue = workflow_id, workflow_type, queue
    run.start_time = time
    run.execution_expiration, run.run_timeout, run.task_timeout, backoff = spans
    by_run = time + backoff + run.run_timeout if run.run_timeout else 0
    run.run_expiration = earliest(by_run, run.execution_expiration)
    run.first_task_due = time + backoff if backoff and not run.standalone else 0
    has = a.HasField
    run.linked = has("parent_workflow_execution")
    if a.completion_callbacks:
        attach(run, a.completion_callbacks, event, run.start_request_id)
    if has("prev_auto_reset_points"):
        run.reset_points = tuple(a.prev_auto_reset_points.points)
    if has("memo"):
        run.memo = {key: value for key, value in a.memo.fields.items() if not is_null(value)}
    if has("search_attributes"):
        run.search_attributes = {key: value for key, value in a.search_attributes.indexed_fields.items() if not is_null(value)}


def _task_scheduled(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_task_scheduled_event_attributes
    sticky = a.task_queue.kind == codes.STICKY_QUEUE
    task_scheduled(run, event.event_id, a.task_queue.name, sticky, to_ns(event.event_time), to_ns(a.start_to_close_timeout), a.attempt)


def task_scheduled(run: Run, event_id: int, queue: str, sticky: bool, time: int, timeout: int, attempt: int) -> None:
    """Folds WorkflowTaskScheduled."""
    run.first_task_due = 0
    run.task = WorkflowTask(event_id, queue, sticky, time, timeout, attempt)


def _task_started(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_task_started_event_attributes
    task_started(run, event.event_id, to_ns(event.event_time), a.request_id, a.identity)


def task_started(run: Run, event_id: int, time: int, request_id: str, identity: str) -> None:
    """Folds WorkflowTaskStarted."""
    task = run.task
    if task is not None:
        task.started_event_id = event_id
        task.started_time = time
        task.request_id = request_id
        task.identity = identity


def _task_completed(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_task_completed_event_attributes
    task_completed(run, a.started_event_id)
    reset_points.note(run, event.event_id, to_ns(event.event_time), a)
    if a.versioning_behavior or run.versioning is not None:
        run.versioning = after_task(run.versioning, a.versioning_behavior, a.deployment_version)


def task_completed(run: Run, started_event_id: int) -> None:
    """Folds WorkflowTaskCompleted."""
    run.previous_started_event_id = started_event_id
    run.completed_tasks += 1
    run.task = None


def _task_ended(run: Run, event: HistoryEvent) -> None:
    run.task = None


def _task_failed(run: Run, event: HistoryEvent) -> None:
    run.task = None
    a = event.workflow_task_failed_event_attributes
    if a.cause == codes.RESET_WORKFLOW and a.new_run_id:  # a worker may name any cause
        run.resets = (*run.resets, (event.event_id, a.new_run_id))
        _reset(run, to_ns(event.event_time))


def _reset(run: Run, time: int) -> None:
    """Here a run begins that was made by a reset: its deadlines, and the attempts of what it waits for, count from now."""
    run.start_time = run.reset_time = time
    execution = to_ns(run.start.workflow_execution_timeout)
    run.execution_expiration = time + execution if execution else 0
    run.run_expiration = earliest(time + run.run_timeout if run.run_timeout else 0, run.execution_expiration)
    for a in run.activities.values():
        a.first_scheduled_time = a.scheduled_time = time


def _activity_scheduled(run: Run, event: HistoryEvent) -> None:
    activity_scheduled(run, event, None)


def activity_scheduled(run: Run, event: HistoryEvent, shared: Shared | None) -> Activity:
    """Folds ActivityTaskScheduled; `shared` as `Activity` takes it."""
    a = Activity(event, shared)
    run.activities[a.scheduled_event_id] = a
    run.activity_ids[a.activity_id] = a.scheduled_event_id
    if run.standalone:
        a.first_scheduled_time = a.scheduled_time = run.execution_time
    due.watch_activity(run, a)
    return a


def _activity_completed(run: Run, event: HistoryEvent) -> None:
    end_activity(run, event.activity_task_completed_event_attributes.scheduled_event_id)
    if run.standalone:
        closed(run, codes.COMPLETED, to_ns(event.event_time))


def _activity_failed(run: Run, event: HistoryEvent) -> None:
    end_activity(run, event.activity_task_failed_event_attributes.scheduled_event_id)
    if run.standalone:
        closed(run, codes.FAILED, to_ns(event.event_time))


def _activity_timed_out(run: Run, event: HistoryEvent) -> None:
    end_activity(run, event.activity_task_timed_out_event_attributes.scheduled_event_id)
    if run.standalone:
        closed(run, codes.TIMED_OUT, to_ns(event.event_time))


def _activity_canceled(run: Run, event: HistoryEvent) -> None:
    end_activity(run, event.activity_task_canceled_event_attributes.scheduled_event_id)
    if run.standalone:
        closed(run, codes.CANCELED, to_ns(event.event_time))


def end_activity(run: Run, scheduled_event_id: int) -> None:
    """Folds the end of an activity, whatever it was."""
    a = run.activities.pop(scheduled_event_id, None)
    if a is not None and a.in_process:
        let_go(run, a)
    if a is not None and run.activity_ids.get(a.activity_id) == scheduled_event_id:
        del run.activity_ids[a.activity_id]


def hold(run: Run, a: Activity, incarnation: int) -> None:
    """A worker inside the engine's process, of this incarnation, runs the activity. (No event says so.)"""
    a.in_process = True
    a.incarnation = incarnation
    run.held_since = run.held_since or incarnation
    run.held += 1


def let_go(run: Run, a: Activity) -> None:
    """No worker inside the engine's process runs the activity any more."""
    if a.in_process:
        a.in_process = False
        a.incarnation = 0
        run.held -= 1
        if not run.held:
            run.held_since = 0


def _activity_cancel_requested(run: Run, event: HistoryEvent) -> None:
    a = run.activities.get(event.activity_task_cancel_requested_event_attributes.scheduled_event_id)
    if a is not None:
        a.cancel_requested_event_id = event.event_id


def _timer_started(run: Run, event: HistoryEvent) -> None:
    a = event.timer_started_event_attributes
    timer = Timer(event.event_id, a.timer_id, to_ns(event.event_time) + to_ns(a.start_to_fire_timeout))
    run.timers[timer.started_event_id] = timer
    run.timer_ids[timer.timer_id] = timer.started_event_id
    due.watch_timer(run, timer)


def _timer_fired(run: Run, event: HistoryEvent) -> None:
    _end_timer(run, event.timer_fired_event_attributes.started_event_id)


def _timer_canceled(run: Run, event: HistoryEvent) -> None:
    _end_timer(run, event.timer_canceled_event_attributes.started_event_id)


def _end_timer(run: Run, started_event_id: int) -> None:
    timer = run.timers.pop(started_event_id, None)
    if timer is not None and run.timer_ids.get(timer.timer_id) == started_event_id:
        del run.timer_ids[timer.timer_id]


def _signaled(run: Run, event: HistoryEvent) -> None:
    request_id = event.workflow_execution_signaled_event_attributes.request_id
    signaled(run, request_id)
    if event.links and request_id:
        if run.linked_signals is None:
            run.linked_signals = {}
        run.linked_signals[request_id] = event.event_id


def signaled(run: Run, request_id: str) -> None:
    """Folds WorkflowExecutionSignaled."""
    run.signal_count += 1
    if request_id:
        run.signal_request_ids.add(request_id)


def _cancel_requested(run: Run, event: HistoryEvent) -> None:
    run.cancel_requested = True
    if run.standalone:
        for a in run.activities.values():
            a.cancel_requested_event_id = event.event_id


def _options_updated(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_execution_options_updated_event_attributes
    for option in a.workflow_update_options:
        run.linked = True
        updates.of(run).attach(option.update_id, option.attached_completion_callbacks, event, option.attached_request_id)
    if a.attached_request_id:
        run.attached_request_ids[a.attached_request_id] = event.event_id
    if a.HasField("priority"):
        run.start = changed = WorkflowExecutionStartedEventAttributes()
        changed.CopyFrom(run.start_event.workflow_execution_started_event_attributes)
        changed.priority.CopyFrom(a.priority)
        run.activity_head = b""
    if a.attached_completion_callbacks:
        attach(run, a.attached_completion_callbacks, event, a.attached_request_id)
    if a.unset_versioning_override or a.HasField("versioning_override"):
        override = None if a.unset_versioning_override else a.versioning_override
        run.versioning = (run.versioning or Versioning())._replace(override=override)


def _paused(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_execution_paused_event_attributes
    run.status = codes.RUN_PAUSED
    run.paused = Pause(to_ns(event.event_time), a.identity, a.reason, a.request_id)


def _unpaused(run: Run, event: HistoryEvent) -> None:
    run.status = codes.RUNNING
    run.paused = None


def _attributes_upserted(run: Run, event: HistoryEvent) -> None:
    _merge(run.search_attributes, event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields.items())


def _properties_modified(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_properties_modified_event_attributes
    if a.HasField("upserted_memo"):
        _merge(run.memo, a.upserted_memo.fields.items())


def _merge(into: dict[str, Payload], changes: Iterable[tuple[str, Payload]]) -> None:
    for key, value in changes:
        if is_null(value):
            into.pop(key, None)
        else:
            into[key] = value


def _closed(status: WorkflowExecutionStatus.ValueType) -> Callable[[Run, HistoryEvent], None]:
    def close(run: Run, event: HistoryEvent) -> None:
        closed(run, status, to_ns(event.event_time), others.end_of(event) if run.linked else End.LAST)

    return close


def closed(run: Run, status: WorkflowExecutionStatus.ValueType, time: int, end: End = End.LAST) -> None:
    """Folds the end of a run; `end` is what it means for others."""
    run.status = status
    run.closed = True
    run.close_time = time
    run.task = None
    run.first_task_due = 0
    run.activities, run.activity_ids = {}, {}
    run.timers, run.timer_ids = {}, {}
    run.held = run.held_since = 0
    run.heap = []
    if run.linked:
        others.closed(run, end)


def _operation_ended(status: WorkflowExecutionStatus.ValueType) -> Callable[[Run, HistoryEvent], None]:
    def end(run: Run, event: HistoryEvent) -> None:
        nexus.ended(run, event)
        if run.lone_operation:
            closed(run, status, to_ns(event.event_time))

    return end


_FOLDS: Final[dict[int, Callable[[Run, HistoryEvent], None]]] = {
    codes.WORKFLOW_STARTED: _started,
    codes.WORKFLOW_COMPLETED: _closed(codes.COMPLETED),
    codes.WORKFLOW_FAILED: _closed(codes.FAILED),
    codes.WORKFLOW_TIMED_OUT: _closed(codes.TIMED_OUT),
    codes.WORKFLOW_CANCELED: _closed(codes.CANCELED),
    codes.WORKFLOW_TERMINATED: _closed(codes.TERMINATED),
    codes.WORKFLOW_CONTINUED: _closed(codes.CONTINUED_AS_NEW),
    codes.WORKFLOW_SIGNALED: _signaled,
    codes.WORKFLOW_CANCEL_REQUESTED: _cancel_requested,
    codes.WORKFLOW_OPTIONS_UPDATED: _options_updated,
    codes.WORKFLOW_PAUSED: _paused,
    codes.WORKFLOW_UNPAUSED: _unpaused,
    codes.TASK_SCHEDULED: _task_scheduled,
    codes.TASK_STARTED: _task_started,
    codes.TASK_COMPLETED: _task_completed,
    codes.TASK_FAILED: _task_failed,
    codes.TASK_TIMED_OUT: _task_ended,
    codes.ACTIVITY_SCHEDULED: _activity_scheduled,
    codes.ACTIVITY_COMPLETED: _activity_completed,
    codes.ACTIVITY_FAILED: _activity_failed,
    codes.ACTIVITY_TIMED_OUT: _activity_timed_out,
    codes.ACTIVITY_CANCELED: _activity_canceled,
    codes.ACTIVITY_CANCEL_REQUESTED: _activity_cancel_requested,
    codes.TIMER_STARTED: _timer_started,
    codes.TIMER_FIRED: _timer_fired,
    codes.TIMER_CANCELED: _timer_canceled,
    codes.ATTRIBUTES_UPSERTED: _attributes_upserted,
    codes.PROPERTIES_MODIFIED: _properties_modified,
    **updates.FOLDS,
    **others.FOLDS,
    **nexus.FOLDS,
    codes.OPERATION_COMPLETED: _operation_ended(codes.COMPLETED),
    codes.OPERATION_FAILED: _operation_ended(codes.FAILED),
    codes.OPERATION_CANCELED: _operation_ended(codes.CANCELED),
    codes.OPERATION_TIMED_OUT: _operation_ended(codes.TIMED_OUT),
}
