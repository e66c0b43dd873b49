"""Commands that begin or end what a run waits for: activities and timers (2.2).

Writes ActivityTaskScheduled (by `activity_options`), ActivityTaskCancelRequested, with ActivityTaskCanceled if the
activity is not running, TimerStarted and TimerCanceled.

Easily got wrong: what has ended already may still be cancelled as long as its end waits in the buffer, since the
workflow has not seen it. A timer's firing is then taken out of the buffer (B5); an activity's end stays.
"""

from __future__ import annotations

from temporalio.api.command.v1 import Command

from perdure.engine.core import activities, activity_options, codes, limits
from perdure.engine.core.codes import STARTED
from perdure.engine.core.plan import Plan, Refused
from perdure.engine.core.state import Run
from perdure.engine.core.times import HUNDRED_YEARS, set_ns, to_ns
from perdure.engine.core.transaction import Transaction, annotate


def check_schedule_activity(plan: Plan, command: Command) -> None:
    a = command.schedule_activity_task_command_attributes
    activity_id = a.activity_id
    if not activity_id:
        raise Refused(codes.BAD_SCHEDULE_ACTIVITY, "ActivityId is not set on ScheduleActivityTaskCommand.")
    options = activity_options.options(a, plan.run.run_timeout)
    if options.complaint or limits.too_long(activity_id):
        wrong = options.complaint or "ActivityId on ScheduleActivityTaskCommand exceeds length limit."
        raise Refused(codes.BAD_SCHEDULE_ACTIVITY, f"{wrong} ActivityId={activity_id}")
    known = plan.activity_ids.get(activity_id)
    if known or (known is None and activity_id in plan.run.activity_ids):
        raise Refused(codes.DUPLICATE_ACTIVITY, f"an activity with id {activity_id} is pending already")
    if limits.too_large(a.input, plan.env.payload_bytes_max):
        raise Refused(codes.BAD_SCHEDULE_ACTIVITY, "ScheduleActivityTaskCommandAttributes.Input exceeds size limit.", terminate=True)
    if plan.pending_activities >= limits.PENDING_ACTIVITIES_MAX:
        raise Refused(
            codes.TOO_MANY_ACTIVITIES,
            f"{plan.pending_activities} activities are pending, and no more than {limits.PENDING_ACTIVITIES_MAX} may be",
        )
    plan.pending_activities += 1
    plan.activity_ids[activity_id] = plan.next_event_id
    plan.activities[plan.next_event_id] = activity_id
    plan.options.append(options)


def check_cancel_activity(plan: Plan, command: Command) -> None:
    scheduled = command.request_cancel_activity_task_command_attributes.scheduled_event_id
    run = plan.run
    if scheduled <= 0:
        raise Refused(codes.BAD_CANCEL_ACTIVITY, "ScheduledEventId is not set on RequestCancelActivityTaskCommand.")
    if scheduled in plan.cancelled:
        raise Refused(codes.BAD_CANCEL_ACTIVITY, f"the cancellation of activity {scheduled} was requested already")
    pending = run.activities.get(scheduled)
    if pending is not None:
        if pending.cancel_requested_event_id:
            raise Refused(codes.BAD_CANCEL_ACTIVITY, f"the cancellation of activity {scheduled} was requested already")
        if pending.state != STARTED:
            _plan_gone(plan, pending.activity_id)
    elif scheduled in plan.activities:
        _plan_gone(plan, plan.activities[scheduled])
    elif not _closes_in_buffer(run, scheduled):
        raise Refused(codes.BAD_CANCEL_ACTIVITY, f"no activity with scheduled event id {scheduled} is pending")
    plan.cancelled.add(scheduled)


def _plan_gone(plan: Plan, activity_id: str) -> None:
    plan.activity_ids[activity_id] = 0
    plan.pending_activities -= 1


def _closes_in_buffer(run: Run, scheduled_event_id: int) -> bool:
    for event in run.buffered:
        kind = event.event_type
        if kind == codes.ACTIVITY_COMPLETED:
            found = event.activity_task_completed_event_attributes.scheduled_event_id
        elif kind == codes.ACTIVITY_FAILED:
            found = event.activity_task_failed_event_attributes.scheduled_event_id
        elif kind == codes.ACTIVITY_TIMED_OUT:
            found = event.activity_task_timed_out_event_attributes.scheduled_event_id
        elif kind == codes.ACTIVITY_CANCELED:
            found = event.activity_task_canceled_event_attributes.scheduled_event_id
        else:
            continue
        if found == scheduled_event_id:
            return True
    return False


def cancel_activity(tx: Transaction, command: Command, completed_event_id: int) -> None:
    scheduled = command.request_cancel_activity_task_command_attributes.scheduled_event_id
    event = tx.event(codes.ACTIVITY_CANCEL_REQUESTED)
    a = event.activity_task_cancel_requested_event_attributes
    a.scheduled_event_id = scheduled
    a.workflow_task_completed_event_id = completed_event_id
    annotate(event, command)
    tx.append(event)
    pending = tx.run.activities.get(scheduled)
    if pending is not None and pending.state != STARTED:
        activities.cancel_unstarted(tx, pending, tx.worker)


# Timers.


def check_start_timer(plan: Plan, command: Command) -> None:
    a = command.start_timer_command_attributes
    if not a.timer_id:
        raise Refused(codes.BAD_START_TIMER, "TimerId is not set on StartTimerCommand.")
    if limits.too_long(a.timer_id):
        raise Refused(codes.BAD_START_TIMER, "TimerId on StartTimerCommand exceeds length limit.")
    if a.start_to_fire_timeout.seconds < 0 or a.start_to_fire_timeout.nanos < 0:
        raise Refused(codes.BAD_START_TIMER, f"Invalid StartToFireTimeout on StartTimerCommand: it is negative. TimerId={a.timer_id}")
    if plan.timers.get(a.timer_id, a.timer_id in plan.run.timer_ids):
        raise Refused(codes.DUPLICATE_TIMER, f"a timer with id {a.timer_id} is pending already")
    plan.timers[a.timer_id] = True


def start_timer(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.start_timer_command_attributes
    event = tx.event(codes.TIMER_STARTED)
    a = event.timer_started_event_attributes
    a.timer_id = c.timer_id
    set_ns(a.start_to_fire_timeout, min(to_ns(c.start_to_fire_timeout), HUNDRED_YEARS))
    a.workflow_task_completed_event_id = completed_event_id
    annotate(event, command)
    tx.append(event)


def check_cancel_timer(plan: Plan, command: Command) -> None:
    timer_id = command.cancel_timer_command_attributes.timer_id
    if not timer_id:
        raise Refused(codes.BAD_CANCEL_TIMER, "TimerId is not set on CancelTimerCommand.")
    if plan.timers.get(timer_id, timer_id in plan.run.timer_ids):
        plan.timers[timer_id] = False
    elif timer_id not in plan.unfired and _fired_in_buffer(plan.run, timer_id) >= 0:
        plan.unfired.add(timer_id)
        plan.buffered -= 1
    else:
        raise Refused(codes.BAD_CANCEL_TIMER, f"no timer with id {timer_id} is pending")


def _fired_in_buffer(run: Run, timer_id: str) -> int:
    for index, event in enumerate(run.buffered):
        if event.event_type == codes.TIMER_FIRED and event.timer_fired_event_attributes.timer_id == timer_id:
            return index
    return -1


def cancel_timer(tx: Transaction, command: Command, completed_event_id: int) -> None:
    timer_id = command.cancel_timer_command_attributes.timer_id
    started = tx.run.timer_ids.get(timer_id)
    if started is None:
        fired = tx.withdraw(_fired_in_buffer(tx.run, timer_id))
        started = fired.timer_fired_event_attributes.started_event_id
    event = tx.event(codes.TIMER_CANCELED)
    a = event.timer_canceled_event_attributes
    a.timer_id = timer_id
    a.started_event_id = started
    a.workflow_task_completed_event_id = completed_event_id
    a.identity = tx.worker
    annotate(event, command)
    tx.append(event)
