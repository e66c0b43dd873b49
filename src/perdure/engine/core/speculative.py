"""Speculative workflow tasks: made for updates, and recorded only when there is something to record (2.6).

Decides what becomes of one: whatever else is recorded of the run while it is pending makes an ordinary task of it (its
WorkflowTaskScheduled and WorkflowTaskStarted are written first, with the times they had); when its worker only rejects, it goes
without a trace; when it fails or times out, its events are written with the end (`task_failures`), and an ordinary task follows.

Easily got wrong: its ids are those that the next events will have, so nothing may be written before it. That is why `guarded` stands
around every handler that does not know of it: the task is converted before the handler runs, and put back as it was if the handler
turns out to record nothing. And it is memory alone: no row names it, and who waits for its update asks again when it is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.engine.core import due
from perdure.engine.core.outcome import Env, FireTimers, Outcome
from perdure.engine.core.pending import WorkflowTask
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.workflow_tasks import record_unrecorded, unstick
from perdure.model.rpc import RpcError

RESENT_EVENTS_MAX: Final = 10
"""A task goes without a trace only if its worker need not be sent more events than these once again."""


def schedule_speculative(tx: Transaction) -> None:
    """Schedules a workflow task that leaves no event unless it has to."""
    run = tx.run
    if run.versioning is not None and run.sticky_queue and tx.env.version_outdated(run):
        unstick(run)
    queue, sticky = run.sticky_queue or run.task_queue, bool(run.sticky_queue)
    run.task = WorkflowTask(run.next_event_id, queue, sticky, tx.now, run.task_timeout, 1)
    run.task.speculative = True
    tx.task_ready = True
    mark(tx)


def mark(tx: Transaction) -> None:
    """Lets the shell look at the run's deadlines anew, though nothing of them is recorded."""
    if tx.outcome.updates is None:
        tx.outcome.updates = []


def guarded(run: Run, request: Any, env: Env, handler: Callable[[Run, Any, Env], Outcome]) -> Outcome:
    """Does what a request asks of a run whose workflow task is speculative, by a handler that does not know such tasks."""
    task = run.task
    if task is None or not task.speculative or (isinstance(request, FireTimers) and due.task_due(run, task) <= env.now):
        return handler(run, request, env)
    before = run.next_event_id, run.history_bytes, run.first_task_due, task.many_updates
    tx = Transaction(run, env)
    record_unrecorded(tx, task)
    try:
        outcome = handler(run, request, env)
    except RpcError:
        _put_back(run, task, tx, before)
        raise
    if not outcome.changed:
        _put_back(run, task, tx, before)
        return outcome
    outcome.events.parts[:0] = tx.written
    outcome.history = b"".join((*tx.written, outcome.history))
    outcome.first_event_id = tx.outcome.first_event_id
    return outcome


def _put_back(run: Run, task: WorkflowTask, tx: Transaction, before: tuple[int, int, int, bool]) -> None:
    run.next_event_id, run.history_bytes, run.first_task_due, task.many_updates = before
    del run.tail[-len(tx.written) :]
    task.speculative = True


def leaves_no_trace(run: Run, task: WorkflowTask, request: RespondWorkflowTaskCompletedRequest, *, only_rejections: bool) -> bool:
    """Whether a completion of this task need not be recorded."""
    if not task.speculative or request.commands or request.force_create_new_workflow_task or not only_rejections:
        return False
    if not run.previous_started_event_id:
        return False  # the worker's first sight of the run
    since = run.next_event_id - run.previous_started_event_id - 2
    return since == 0 or (request.capabilities.discard_speculative_workflow_task_with_events and since <= RESENT_EVENTS_MAX)
