"""What happens by itself when its time has come: timers, activities, workflow tasks, the run itself (3.2, 4.4).

Writes TimerFired; schedules the first workflow task of a delayed run; hands expired activities, workflow tasks and runs
to those who know their rules. Everything due by now is done in one transaction, the earliest first, and at one instant
timers and activities before workflow tasks, and those before the end of the run.

Easily got wrong: a run that times out in this transaction keeps what fired before; and only one workflow task is
scheduled, after all the events that call for it.
"""

from __future__ import annotations

from heapq import heappop

from perdure.engine.core import activities, codes, continuing, due, nexus_answers, task_failures, workflow_tasks
from perdure.engine.core.codes import BACKOFF, STARTED
from perdure.engine.core.outcome import AbandonInProcess, Env, FireTimers, Outcome
from perdure.engine.core.pending import WorkflowTask
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction


def fire_timers(run: Run, request: FireTimers, env: Env) -> Outcome:
    """Does everything that is due."""
    tx = Transaction(run, env)
    task = run.task
    if task is not None and task.speculative and due.task_due(run, task) <= tx.now:
        _time_out_task(tx, task)  # before all else: nothing may be written while it is not
    while True:
        first = due.next_due(run)
        if first is None or first > tx.now:
            return settle(tx)
        _fire(tx, first)


def _fire(tx: Transaction, first: int) -> None:
    run = tx.run
    entry = due.surface(run)
    if entry is not None and entry[0] == first:
        if entry[1] == due.TIMER:
            _fire_timer(tx, entry[2])
        elif entry[1] == due.OPERATION:
            nexus_answers.time_out(tx, entry[2])
        else:
            _fire_activity(tx, entry[2])
    elif run.first_task_due == first and run.paused is None:
        workflow_tasks.schedule(tx)
    elif run.task is not None and due.task_due(run, run.task) == first:
        _time_out_task(tx, run.task)
    else:
        continuing.time_out_run(tx)


def _time_out_task(tx: Transaction, task: WorkflowTask) -> None:
    timeout = codes.START_TO_CLOSE if task.started_event_id else codes.SCHEDULE_TO_START
    workflow_tasks.schedule(tx, task_failures.time_out(tx, timeout))


def _fire_timer(tx: Transaction, started_event_id: int) -> None:
    timer = tx.run.timers[started_event_id]
    heappop(tx.run.heap)
    event = tx.event(codes.TIMER_FIRED)
    a = event.timer_fired_event_attributes
    a.timer_id = timer.timer_id
    a.started_event_id = started_event_id
    tx.add(event)
    tx.wants_task = True


def _fire_activity(tx: Transaction, scheduled_event_id: int) -> None:
    a = tx.run.activities[scheduled_event_id]
    if a.state == BACKOFF and a.scheduled_time <= tx.now:
        activities.become_ready(tx, a)
        return
    timeout = activities.expired(a, tx.now)
    if timeout is not None:
        activities.time_out(tx, a, timeout)


def abandon_in_process(run: Run, request: AbandonInProcess, env: Env) -> Outcome:
    """What in-process workers of another incarnation held has timed out (START_TO_CLOSE): they died with their engine."""
    tx = Transaction(run, env)
    for a in list(run.activities.values()):
        if a.state == STARTED and a.in_process and a.incarnation != request.incarnation:
            activities.time_out(tx, a, codes.START_TO_CLOSE)
    task = run.task
    if task is not None and task.started_event_id and task.in_process and task.incarnation != request.incarnation:
        workflow_tasks.schedule(tx, task_failures.time_out(tx, codes.START_TO_CLOSE))
    return settle(tx)
