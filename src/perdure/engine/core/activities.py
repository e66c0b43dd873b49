"""The attempts of an activity: started, ended, tried again, timed out (3.1 to 3.3).

Writes ActivityTaskStarted with ActivityTaskCompleted, Failed, TimedOut or Canceled. Its life, as a table:

    READY    start        STARTED      a worker takes it; no event, and at once if one waits already
    READY    close        (gone)       cancelled, or timed out, without having started
    BACKOFF  due          READY
    BACKOFF  close        (gone)       cancelled, or schedule-to-close has expired
    STARTED  take back    READY        the worker was gone before the hand-over: the attempt never ran
    STARTED  retry        BACKOFF      no event: an attempt that is tried again leaves nothing
    STARTED  close        (gone)       Started and the close event are written together
    READY    pause        PAUSED       so from BACKOFF; what a worker has goes on, and is paused when it comes back
    PAUSED   reschedule   BACKOFF      unpaused; so from READY and BACKOFF, when an operator sets its time anew
    PAUSED   assume       STARTED      completed by id without having been taken; so from READY and BACKOFF
    PAUSED   close        (gone)       cancelled

Easily got wrong: the Started event is written only when the activity closes, with the time at which the attempt started
and the failure of the attempt before. Does not know requests or tokens: `activity_requests` does.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import ActivityTaskCompletedEventAttributes, ActivityTaskStartedEventAttributes, HistoryEvent
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedResponse

from perdure.engine.core import codes, due, limits, retry
from perdure.engine.core.apply import closed, end_activity, hold, let_go
from perdure.engine.core.closing import void
from perdure.engine.core.codes import BACKOFF, PAUSED, READY, STARTED
from perdure.engine.core.cut_failures import cut
from perdure.engine.core.interventions import Intervention
from perdure.engine.core.outcome import ActivityReady, ActivityStarted, Reservation, StartedActivity, TaskKind
from perdure.engine.core.pending import Activity
from perdure.engine.core.responses import activity_response
from perdure.engine.core.task_failures import ENGINE
from perdure.engine.core.transaction import Transaction
from perdure.model.framing import framed, tag

_RESULT: Final = tag(ActivityTaskCompletedEventAttributes, "result")

Step: TypeAlias = Literal["start", "take back", "retry", "due", "close", "pause", "reschedule", "assume"]

LIFE: Final[dict[tuple[int, Step], int | None]] = {
    (READY, "start"): STARTED,
    (READY, "close"): None,
    (BACKOFF, "due"): READY,
    (BACKOFF, "close"): None,
    (STARTED, "take back"): READY,
    (STARTED, "retry"): BACKOFF,
    (STARTED, "close"): None,
    (READY, "pause"): PAUSED,
    (BACKOFF, "pause"): PAUSED,
    (READY, "reschedule"): BACKOFF,
    (BACKOFF, "reschedule"): BACKOFF,
    (PAUSED, "reschedule"): BACKOFF,
    (READY, "assume"): STARTED,
    (BACKOFF, "assume"): STARTED,
    (PAUSED, "assume"): STARTED,
    (PAUSED, "close"): None,
}
"""From state and step to state; None: no longer pending. What is not here is refused."""


def _step(tx: Transaction, a: Activity, step: Step) -> None:
    state = LIFE[a.state, step]
    if state is None:
        raise RuntimeError(f"{step} is not a step between states")
    a.state = state
    tx.outcome.activities[a.scheduled_event_id] = a
    due.watch_activity(tx.run, a)


# Starting.


def begin(tx: Transaction, a: Activity, reservation: Reservation) -> None:
    """A worker takes it: durable before its code runs."""
    _take(tx, a, reservation.identity, reservation.request_id, reservation.in_process)
    tx.outcome.effects.append(ActivityStarted(reservation, StartedActivity(a.scheduled_event_id, a.attempt, activity_response(tx.run, a))))


def _take(tx: Transaction, a: Activity, identity: str, request_id: str, in_process: bool) -> None:
    a.started_time = tx.now
    a.identity = identity
    a.request_id = request_id
    if in_process:
        hold(tx.run, a, tx.env.incarnation)
    _step(tx, a, "start")


def start_eager(tx: Transaction, identity: str, in_process: bool, reply: RespondWorkflowTaskCompletedResponse) -> None:
    """The worker that scheduled them takes them with the reply. (Not those that the same completion has cancelled.)"""
    if tx.run.paused is not None:
        tx.ready.extend(tx.eager)
        return
    for a in tx.eager:
        if a.state == READY and a.scheduled_event_id in tx.run.activities:
            _take(tx, a, identity, tx.env.new_uuid(), in_process)
            reply.activity_tasks.append(activity_response(tx.run, a))


def offer(tx: Transaction) -> None:
    """Gives what became ready in this transaction to pollers that wait, and announces the rest."""
    run, effects = tx.run, tx.outcome.effects
    if run.paused is not None:
        _keep(tx)
        return
    deserted: set[str] = set()
    for a in tx.ready:
        if a.state != READY or a.scheduled_event_id not in run.activities:
            continue
        reservation = None if a.queue in deserted else tx.env.reserve(TaskKind.ACTIVITY, run, a.queue, False)
        if reservation is not None:
            begin(tx, a, reservation)
        else:
            deserted.add(a.queue)
            tx.outcome.activities[a.scheduled_event_id] = a
            effects.append(ActivityReady(a.queue, a.scheduled_event_id))
    tx.ready = []


def _keep(tx: Transaction) -> None:
    """The run is paused: what is ready waits, and is offered when it is unpaused."""
    for a in tx.ready:
        if a.scheduled_event_id in tx.run.activities:
            tx.outcome.activities[a.scheduled_event_id] = a
    tx.ready = []


def take_back(tx: Transaction, a: Activity) -> None:
    """The worker was gone: the attempt has not started after all. If its cancellation was requested meanwhile, nobody else gets it."""
    a.started_time = 0
    a.identity = a.request_id = ""
    let_go(tx.run, a)
    if a.intervention is not None:
        _begin_again(a, a.intervention)
    _step(tx, a, "take back")
    if a.cancel_requested_event_id:
        cancel_unstarted(tx, a, ENGINE)
    elif a.paused is not None:
        _step(tx, a, "pause")
    else:
        tx.outcome.effects.append(ActivityReady(a.queue, a.scheduled_event_id))


def become_ready(tx: Transaction, a: Activity) -> None:
    """Its backoff is over."""
    _step(tx, a, "due")
    tx.ready.append(a)


def pause(tx: Transaction, a: Activity) -> None:
    """No worker gets it any more; one that has it keeps it."""
    if a.state != STARTED:
        _step(tx, a, "pause")
    else:
        touch(tx, a)


def reschedule(tx: Transaction, a: Activity, time: int) -> None:
    """Its next attempt is due at another time, perhaps at once. For one that no worker has."""
    a.scheduled_time = time
    _step(tx, a, "reschedule")
    if time <= tx.now:
        become_ready(tx, a)


def assume_started(tx: Transaction, a: Activity, identity: str) -> None:
    """It is being completed by somebody who never took it."""
    a.started_time = tx.now
    a.identity = identity
    _step(tx, a, "assume")


def touch(tx: Transaction, a: Activity) -> None:
    """Something about it has changed that is no step: its row is written, its deadlines are looked at."""
    tx.outcome.activities[a.scheduled_event_id] = a
    due.watch_activity(tx.run, a)


# Ending.


def _write_started(tx: Transaction, a: Activity) -> int:
    """The event of the attempt that now closes; 0 if it is buffered, or never started."""
    if a.state != STARTED:
        return 0
    s = ActivityTaskStartedEventAttributes()
    s.scheduled_event_id = a.scheduled_event_id
    s.identity = a.identity
    s.request_id = a.request_id
    s.attempt = a.attempt
    if a.last_failure is not None:
        s.last_failure.CopyFrom(a.last_failure)
    return tx.put(codes.ACTIVITY_STARTED, s.SerializeToString(), a.started_time)


def _close(tx: Transaction, a: Activity, event: HistoryEvent) -> None:
    tx.add(event)
    _closed(tx, a)


def _closed(tx: Transaction, a: Activity) -> None:
    tx.outcome.activities[a.scheduled_event_id] = None
    tx.wants_task = True
    if tx.run.standalone:
        void(tx)


def complete(tx: Transaction, a: Activity, result: bytes | None, identity: str) -> None:
    """The activity's code returned; `result`: Payloads, encoded."""
    c = ActivityTaskCompletedEventAttributes()
    c.started_event_id = _write_started(tx, a)
    c.scheduled_event_id = a.scheduled_event_id
    c.identity = identity
    attributes = c.SerializeToString()
    tx.put(codes.ACTIVITY_COMPLETED, attributes if result is None else framed(_RESULT, result) + attributes)
    end_activity(tx.run, a.scheduled_event_id)
    if tx.run.standalone:
        closed(tx.run, codes.COMPLETED, tx.now)
    _closed(tx, a)


def fail(tx: Transaction, a: Activity, failure: Failure | None, identity: str) -> None:
    """The activity's code raised: it is tried again, or has failed."""
    verdict = _verdict(tx, a, failure)
    if verdict.state == codes.RETRY_IN_PROGRESS:
        _retry(tx, a, _kept(failure), verdict.delay)
        return
    started = _write_started(tx, a)
    event = tx.event(codes.ACTIVITY_FAILED)
    f = event.activity_task_failed_event_attributes
    if failure is not None:
        f.failure.CopyFrom(failure)
    f.scheduled_event_id = a.scheduled_event_id
    f.started_event_id = started
    f.identity = identity
    f.retry_state = verdict.state
    _close(tx, a, event)


def cancel(tx: Transaction, a: Activity, details: Payloads | None, identity: str) -> None:
    """The activity's code accepted its cancellation, or it had not started."""
    started = _write_started(tx, a)
    event = tx.event(codes.ACTIVITY_CANCELED)
    c = event.activity_task_canceled_event_attributes
    if details is not None:
        c.details.CopyFrom(details)
    c.latest_cancel_requested_event_id = a.cancel_requested_event_id
    c.scheduled_event_id = a.scheduled_event_id
    c.started_event_id = started
    c.identity = identity
    _close(tx, a, event)


_NOT_STARTED: Final = Payloads()
_not_started = _NOT_STARTED.payloads.add()
_not_started.metadata["encoding"] = b"json/plain"
_not_started.data = b'"ACTIVITY_ID_NOT_STARTED"'


def cancel_unstarted(tx: Transaction, a: Activity, identity: str) -> None:
    """No worker has the activity, so nobody need accept its cancellation."""
    cancel(tx, a, None if tx.run.standalone else _NOT_STARTED, identity)


def time_out(tx: Transaction, a: Activity, timeout: TimeoutType.ValueType) -> None:
    """A timeout has expired: it is tried again, or has timed out."""
    failure = _timeout_failure(timeout, f"activity {retry.TIMEOUT_TEXT[timeout]} timeout")
    verdict = _verdict(tx, a, failure)
    if verdict.state == codes.RETRY_IN_PROGRESS:
        _retry(tx, a, failure, verdict.delay)
        return
    if verdict.state == codes.RETRY_TIMEOUT and timeout not in (codes.SCHEDULE_TO_START, codes.SCHEDULE_TO_CLOSE):
        message = "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
        failure = _timeout_failure(codes.SCHEDULE_TO_CLOSE, message)
    if a.heartbeat_details is not None:  # what is tried again has them beside its failure
        failure.timeout_failure_info.last_heartbeat_details.CopyFrom(a.heartbeat_details)
    if a.last_failure is not None:
        failure.cause.CopyFrom(a.last_failure)
    _close_timed_out(tx, a, failure, verdict.state)


def _close_timed_out(tx: Transaction, a: Activity, failure: Failure, state: RetryState.ValueType) -> None:
    started = _write_started(tx, a)
    event = tx.event(codes.ACTIVITY_TIMED_OUT)
    t = event.activity_task_timed_out_event_attributes
    t.failure.CopyFrom(failure)
    t.scheduled_event_id = a.scheduled_event_id
    t.started_event_id = started
    t.retry_state = state
    _close(tx, a, event)


def expired(a: Activity, now: int) -> TimeoutType.ValueType | None:
    """Which of its timeouts has expired by `now`: the earliest; None if none has."""
    found: list[tuple[int, TimeoutType.ValueType]] = []
    if a.schedule_to_close:
        found.append((a.first_scheduled_time + a.schedule_to_close, codes.SCHEDULE_TO_CLOSE))
    if a.state == STARTED:
        if a.start_to_close:
            found.append((a.started_time + a.start_to_close, codes.START_TO_CLOSE))
        if a.heartbeat:
            found.append((max(a.started_time, a.heartbeat_time) + a.heartbeat, codes.HEARTBEAT))
    elif a.state == READY and a.schedule_to_start:
        found.append((a.scheduled_time + a.schedule_to_start, codes.SCHEDULE_TO_START))
    first = min(found, default=None)
    return first[1] if first is not None and first[0] <= now else None


def _timeout_failure(timeout: TimeoutType.ValueType, message: str) -> Failure:
    failure = Failure()
    failure.message = message
    failure.source = "Server"
    failure.timeout_failure_info.timeout_type = timeout
    return failure


# Trying again.


def _verdict(tx: Transaction, a: Activity, failure: Failure | None) -> retry.Verdict:
    if a.cancel_requested_event_id:
        return retry.Verdict(codes.RETRY_CANCEL_REQUESTED, 0)
    if failure is not None and failure.timeout_failure_info.timeout_type in (codes.SCHEDULE_TO_START, codes.SCHEDULE_TO_CLOSE):
        return retry.Verdict(codes.RETRY_TIMEOUT, 0)
    if a.paused is not None and retry.retryable(failure, a.attributes.retry_policy):
        return retry.Verdict(codes.RETRY_IN_PROGRESS, 0)  # its attempts and its time are judged once it goes on
    deadline = a.first_scheduled_time + a.schedule_to_close if a.schedule_to_close else 0
    attempt = 1 if a.intervention is not None and a.intervention.reset else a.attempt
    return retry.decide(a.attributes.retry_policy, attempt, failure, tx.now, deadline, delay_unbounded=True)


def _retry(tx: Transaction, a: Activity, failure: Failure | None, delay: int) -> None:
    a.attempt += 1
    a.last_failure = failure
    a.last_completed_time = tx.now
    a.scheduled_time = tx.now + delay
    a.started_time = 0
    a.request_id = ""
    let_go(tx.run, a)
    if a.intervention is not None:
        _begin_again(a, a.intervention)
    _step(tx, a, "retry")
    if a.paused is not None:
        _step(tx, a, "pause")


def _begin_again(a: Activity, intervention: Intervention) -> None:
    """What was reset while a worker had it is at its first attempt again."""
    if intervention.reset:
        a.attempt = 1
        intervention.stamp += 1
    if intervention.reset_heartbeats:
        a.heartbeat_details, a.heartbeat_time = None, 0
    intervention.reset = intervention.reset_heartbeats = False


def _kept(failure: Failure | None) -> Failure | None:
    if failure is None:
        return None
    if limits.too_large(failure, limits.KEPT_FAILURE_BYTES_MAX):
        return cut(failure, limits.CUT_FAILURE_BYTES, non_retryable=False)
    copy = Failure()
    copy.CopyFrom(failure)
    return copy
