"""Workflow tasks: scheduled and started, on normal and sticky queues (2.3 to 2.5).

Writes WorkflowTaskScheduled and WorkflowTaskStarted. Decides on which queue a task waits, its attempt, its timeout, and
whether its events are recorded: from attempt 2 on they are not (transient), unless it completes or something happened
between its scheduling and its start; nor are those of a `speculative` one.

Easily got wrong: scheduling flushes the buffer first, and if there was anything the task is an ordinary one of attempt 1
again. How a task ends: `completion`, `task_failures`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest, ResetStickyTaskQueueResponse

from perdure.engine.core import codes, limits
from perdure.engine.core.apply import task_scheduled, task_started
from perdure.engine.core.outcome import (
    Env,
    Outcome,
    StartedWorkflowTask,
    StartWorkflowTask,
    StickyUnavailable,
    TaskKind,
    WorkflowTaskReady,
    WorkflowTaskStarted,
)
from perdure.engine.core.pending import WorkflowTask
from perdure.engine.core.responses import make_heads
from perdure.engine.core.state import Run
from perdure.engine.core.times import SECOND, set_ns
from perdure.engine.core.tokens import WORKFLOW, token_of
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.update_messages import outgoing
from perdure.model.framing import framed, tag, varint
from perdure.model.rpc import RpcError, not_found

INLINE_REQUEST: Final = "request-from-RespondWorkflowTaskCompleted"
"""The request id of a task that is started for the reply to a completion."""
BACKOFF_FROM: Final = 3
"""Later attempts get more time: see `_timeout`."""
BACKOFF_FIRST: Final = 5 * SECOND
BACKOFF_MAX: Final = 600 * SECOND
_SCHEDULED_ID: Final = tag(WorkflowTaskStartedEventAttributes, "scheduled_event_id")
_IDENTITY: Final = tag(WorkflowTaskStartedEventAttributes, "identity")
_REQUEST_ID: Final = tag(WorkflowTaskStartedEventAttributes, "request_id")
_VERSION_CHANGED: Final = tag(WorkflowTaskStartedEventAttributes, "target_worker_deployment_version_changed")
_SIZE: Final = tag(WorkflowTaskStartedEventAttributes, "history_size_bytes")


def task_not_found() -> RpcError:
    return not_found("Workflow task not found.")


# Scheduling.


def ensure(tx: Transaction) -> None:
    """Schedules a workflow task unless one is pending or the first one is still to wait."""
    run = tx.run
    if run.task is None and not run.first_task_due and not run.closed:
        schedule(tx)


def schedule(tx: Transaction, attempt: int = 1, original: int = 0) -> None:
    """Schedules a workflow task, unless the run is paused; `original` is when the chain of heartbeats began to which it belongs (ns)."""
    run = tx.run
    if run.paused is not None:
        tx.flush()
        return
    if run.versioning is not None and run.sticky_queue and tx.env.version_outdated(run):
        unstick(run)
    if tx.flush():
        attempt = 1
    if attempt > 1:
        timeout = _timeout(run, attempt, tx.env.random())
        run.task = WorkflowTask(run.next_event_id, run.task_queue, False, tx.now, timeout, attempt)
        tx.changed = True
    else:
        _write_scheduled(tx)
    if original and run.task is not None:
        run.task.original_scheduled_time = original
    tx.task_ready = True


def _timeout(run: Run, attempt: int, random: float) -> int:
    """Start to close: from attempt 4 on longer by a delay that doubles from 5 s to 10 min, times 0.8 to 1.0."""
    if attempt <= BACKOFF_FROM:
        return run.task_timeout
    doublings = min(attempt - BACKOFF_FROM - 1, 10)
    delay = min(BACKOFF_FIRST << doublings, BACKOFF_MAX)
    return run.task_timeout + int(delay * (0.8 + 0.2 * random))


def _write_scheduled(tx: Transaction) -> None:
    run = tx.run
    queue, sticky = run.sticky_queue or run.task_queue, bool(run.sticky_queue)
    event_id = tx.record(codes.TASK_SCHEDULED, _scheduled(queue, run.task_queue if sticky else "", run.task_timeout, 1))
    task_scheduled(run, event_id, queue, sticky, tx.now, run.task_timeout, 1)


@lru_cache(maxsize=256)
def _scheduled(queue: str, normal: str, timeout: int, attempt: int) -> bytes:
    """The attributes of WorkflowTaskScheduled; `normal` is the normal queue behind a sticky one."""
    a = WorkflowTaskScheduledEventAttributes()
    a.task_queue.name = queue
    a.task_queue.kind = codes.STICKY_QUEUE if normal else codes.NORMAL_QUEUE
    a.task_queue.normal_name = normal
    set_ns(a.start_to_close_timeout, timeout)
    a.attempt = attempt
    return a.SerializeToString()


# Starting.


def offer(tx: Transaction) -> None:
    """Ends a transaction that scheduled a task: starts it if a poller waits or the reply is to carry it, else announces it."""
    tx.task_ready = False
    run = tx.run
    task = run.task
    if task is None or task.started_event_id:
        return
    queue, sticky = task.queue, task.sticky
    reservation = tx.env.reserve(TaskKind.WORKFLOW, run, queue, sticky)
    if reservation is None:
        tx.outcome.effects.append(WorkflowTaskReady(queue, sticky))
        return
    begin(tx, reservation.identity, reservation.request_id, reservation.in_process)
    tx.outcome.effects.append(WorkflowTaskStarted(reservation, started_task(run, partial=sticky, suggest_events=tx.env.suggest_events)))


def begin(tx: Transaction, identity: str, request_id: str, in_process: bool) -> None:
    """Starts the waiting task. Nothing but its effect may follow in the transaction."""
    run = tx.run
    task = _pending(run)
    if task.attempt > 1 and task.scheduled_event_id != run.next_event_id:
        original = task.original_scheduled_time
        _write_scheduled(tx)
        task = _pending(run)
        task.original_scheduled_time = original
    if task.attempt == 1 and not task.speculative:
        attributes = _started(run, tx.env.suggest_events, task.scheduled_event_id, identity, request_id, _has_many_updates(run))
        if run.versioning is not None and tx.env.version_superseded(run):
            attributes += _VERSION_CHANGED + b"\x01"
        event_id = tx.record(codes.TASK_STARTED, attributes)
        task_started(run, event_id, tx.now, request_id, identity)
    else:
        task.started_event_id = task.scheduled_event_id + 1
        task.started_time = tx.now
        task.identity, task.request_id = identity, request_id
        task.many_updates = _has_many_updates(run)
        tx.changed = tx.changed or not task.speculative
    task.in_process = in_process
    task.incarnation = tx.env.incarnation


def _pending(run: Run) -> WorkflowTask:
    if run.task is None:
        raise RuntimeError(f"{run!r} has no workflow task")
    return run.task


def _has_many_updates(run: Run) -> bool:
    return run.updates is not None and run.updates.total >= limits.SUGGEST_UPDATES


def _started(run: Run, suggest_events: int, scheduled_event_id: int, identity: str, request_id: str, many_updates: bool) -> bytes:
    size = run.history_bytes
    attributes = (
        _SCHEDULED_ID
        + varint(scheduled_event_id)
        + framed(_IDENTITY, identity.encode())
        + framed(_REQUEST_ID, request_id.encode())
        + _SIZE
        + varint(size)
    )
    if size < limits.SUGGEST_BYTES and run.next_event_id < suggest_events and not many_updates:
        return attributes
    a = WorkflowTaskStartedEventAttributes()
    if size >= limits.SUGGEST_BYTES:
        a.suggest_continue_as_new_reasons.append(codes.SUGGEST_SIZE)
    if run.next_event_id >= suggest_events:
        a.suggest_continue_as_new_reasons.append(codes.SUGGEST_EVENTS)
    if many_updates:
        a.suggest_continue_as_new_reasons.append(codes.SUGGEST_UPDATES)
    a.suggest_continue_as_new = bool(a.suggest_continue_as_new_reasons)
    return attributes + a.SerializeToString()


def record_unrecorded(tx: Transaction, task: WorkflowTask) -> None:
    """Writes the events of a transient task that completes, or of a speculative one, as its worker saw them; it is ordinary then."""
    run = tx.run
    started = _transient_started(run, task, tx.env.suggest_events) if task.started_event_id else None
    tx.number(_transient_scheduled(run, task))
    if started is not None:
        tx.number(started)
    run.first_task_due = 0
    task.speculative = task.many_updates = False


def _transient_scheduled(run: Run, task: WorkflowTask) -> HistoryEvent:
    event = HistoryEvent()
    event.event_type = codes.TASK_SCHEDULED
    normal = run.task_queue if task.sticky else ""
    event.workflow_task_scheduled_event_attributes.MergeFromString(_scheduled(task.queue, normal, task.timeout, task.attempt))
    set_ns(event.event_time, task.scheduled_time)
    return event


def _transient_started(run: Run, task: WorkflowTask, suggest_events: int) -> HistoryEvent:
    event = HistoryEvent()
    event.event_type = codes.TASK_STARTED
    set_ns(event.event_time, task.started_time)
    attributes = _started(run, suggest_events, task.scheduled_event_id, task.identity, task.request_id, task.many_updates)
    event.workflow_task_started_event_attributes.MergeFromString(attributes)
    return event


def transient_events(run: Run, task: WorkflowTask, suggest_events: int) -> tuple[HistoryEvent, ...]:
    """The events of a transient or speculative task as its worker (and a reader of the history) sees them: they are not recorded."""
    scheduled = _transient_scheduled(run, task)
    scheduled.event_id = task.scheduled_event_id
    if not task.started_event_id:
        return (scheduled,)
    started = _transient_started(run, task, suggest_events)
    started.event_id = task.started_event_id
    return scheduled, started


def started_task(run: Run, *, partial: bool, suggest_events: int = limits.SUGGEST_EVENTS) -> StartedWorkflowTask:
    """The started task on its way; `partial`: to a worker that knows the run up to its last completed task."""
    task = _pending(run)
    first = run.previous_started_event_id + 1 if partial else 1
    tail_first = run.tail_first_id
    unrecorded = task.attempt > 1 or task.speculative
    # Another speculative task may come to have the same ids: its token must not be the same.
    nonce = str(task.started_time) if task.speculative else ""
    task.token = token_of(run, WORKFLOW, task.scheduled_event_id, task.started_event_id, task.attempt, nonce)
    if not run.task_head:
        make_heads(run)
    return StartedWorkflowTask(
        task.token,
        run.task_head,
        run.namespace,
        run.workflow_id,
        run.run_id,
        run.workflow_type,
        run.task_queue,
        run.previous_started_event_id,
        task.started_event_id,
        task.attempt,
        task.scheduled_time,
        task.started_time,
        first,
        run.next_event_id - 1,
        b"".join(run.tail[first - tail_first :]) if tail_first <= first else None,
        transient_events(run, task, suggest_events) if unrecorded else (),
        b"" if run.updates is None else outgoing(run, run.updates, task),
    )


def start_workflow_task(run: Run, request: StartWorkflowTask, env: Env) -> Outcome:
    """A poller takes the waiting task.

    Raises:
        RpcError: NotFound, if none waits, or not for this poller; it goes on polling.
    """
    waiting = run.waiting_queue
    if waiting is None:
        raise task_not_found()
    if request.sticky_poll and (not run.sticky_queue or (request.queue and request.queue != run.sticky_queue)):
        raise not_found("Workflow task is not for this sticky queue any more.")
    tx = Transaction(run, env)
    if not request.sticky_poll and run.sticky_queue:
        unstick(run)
        tx.changed = True
    begin(tx, request.reservation.identity, request.reservation.request_id, request.reservation.in_process)
    tx.outcome.effects.append(
        WorkflowTaskStarted(request.reservation, started_task(run, partial=request.sticky_poll, suggest_events=env.suggest_events))
    )
    return tx.close()


# Sticky queues.


def unstick(run: Run) -> None:
    """Forgets the sticky queue: the next worker gets the whole history."""
    run.sticky_queue = ""
    run.sticky_timeout = 0


def sticky_unavailable(run: Run, request: StickyUnavailable, env: Env) -> Outcome:
    """The waiting task goes to the normal queue; its event still names the sticky one, whose timeout still runs.

    Said twice, it is offered twice: who asks may not know that the task has left the sticky queue.
    """
    tx = Transaction(run, env)
    if run.waiting_queue is not None and run.task is not None:
        if run.task.sticky:
            run.task.reroute(run.task_queue)
            tx.changed = not run.task.speculative
        _offer_normal(tx)
    return tx.close()


def reset_sticky(run: Run, request: ResetStickyTaskQueueRequest, env: Env) -> Outcome:
    """Forgets the sticky queue; a task that waits there goes to the normal one.

    Raises:
        RpcError: NotFound, if the run has closed.
    """
    if run.closed:
        raise not_found("workflow execution already completed")
    tx = Transaction(run, env)
    tx.outcome.reply = ResetStickyTaskQueueResponse()
    tx.changed = bool(run.sticky_queue)
    unstick(run)
    if run.waiting_queue is not None and run.task is not None and run.task.sticky:
        run.task.reroute(run.task_queue)
        _offer_normal(tx)
    return tx.close()


def _offer_normal(tx: Transaction) -> None:
    run = tx.run
    reservation = tx.env.reserve(TaskKind.WORKFLOW, run, run.task_queue, False)
    if reservation is None:
        tx.outcome.effects.append(WorkflowTaskReady(run.task_queue, False))
        return
    tx.changed = bool(run.sticky_queue)
    unstick(run)
    begin(tx, reservation.identity, reservation.request_id, reservation.in_process)
    tx.outcome.effects.append(WorkflowTaskStarted(reservation, started_task(run, partial=False, suggest_events=tx.env.suggest_events)))
