"""How a workflow task ends without completing: failed by its worker or by the engine, timed out, abandoned (2.3).

Writes WorkflowTaskFailed and WorkflowTaskTimedOut, for a recorded task only: a transient one leaves no event, a speculative one is
recorded for it. Decides the
attempt of the task that follows. It does not close runs: a cause for which the run is terminated is handed to `control`.

Easily got wrong: while the run was sticky a failure does not count; stickiness is cleared instead, and the same attempt
comes again with the whole history on the normal queue. A sticky schedule-to-start timeout never counts.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.enums.v1 import TimeoutType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure

from perdure.engine.core import codes, limits
from perdure.engine.core.pending import WorkflowTask
from perdure.engine.core.state import Run
from perdure.engine.core.tokens import WORKFLOW, decode_token
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.workflow_tasks import record_unrecorded, task_not_found, unstick

ENGINE: Final = "history-service"
"""The identity in events that the engine writes of its own accord."""
_CAUSES: Final = frozenset(WorkflowTaskFailedCause.values())


def held_task(run: Run, data: bytes) -> WorkflowTask:
    """The started task that a token means.

    Raises:
        RpcError: InvalidArgument for a bad token; NotFound if the task is no longer that worker's.
    """
    task = run.task
    if task is not None and task.token and task.token == data:
        return task
    token = decode_token(data, WORKFLOW)
    if (
        task is None
        or not task.started_event_id
        or task.started_event_id != token.started_event_id
        or task.scheduled_event_id != token.scheduled_event_id
        or task.attempt != token.attempt
        or (token.activity_id and token.activity_id != str(task.started_time))
    ):
        raise task_not_found()
    return task


def fail(
    tx: Transaction,
    cause: WorkflowTaskFailedCause.ValueType,
    failure: Failure | None,
    identity: str,
    checksum: str = "",
    version: WorkerVersionStamp | None = None,
) -> int:
    """Ends the pending task as failed; returns the attempt of the next one."""
    run, task = tx.run, tx.run.task
    if task is None:
        return 1
    if task.attempt == 1:
        if task.speculative:
            record_unrecorded(tx, task)
        event = tx.event(codes.TASK_FAILED)
        a = event.workflow_task_failed_event_attributes
        a.scheduled_event_id = task.scheduled_event_id
        a.started_event_id = task.started_event_id
        a.cause = cause
        if failure is not None:
            a.failure.CopyFrom(failure)
        a.identity = identity
        if checksum:
            a.binary_checksum = checksum
        if version is not None:
            a.worker_version.CopyFrom(version)
        tx.append(event)
    else:
        _drop(tx)
    if cause in (codes.RESET_WORKFLOW, codes.FAILOVER_CLOSE, codes.PAUSE_REQUESTED):
        run.close_attempted = False
        return 1
    return _next_attempt(tx, task, f"WorkflowTaskFailed:{cause_text(cause)}")


def time_out(tx: Transaction, timeout: TimeoutType.ValueType) -> int:
    """Ends the pending task as timed out; returns the attempt of the next one."""
    task = tx.run.task
    if task is None:
        return 1
    if task.attempt == 1:
        if task.speculative:
            record_unrecorded(tx, task)
        event = tx.event(codes.TASK_TIMED_OUT)
        a = event.workflow_task_timed_out_event_attributes
        a.scheduled_event_id = task.scheduled_event_id
        a.started_event_id = task.started_event_id
        a.timeout_type = timeout
        tx.append(event)
    else:
        _drop(tx)
    if timeout == codes.SCHEDULE_TO_START:
        unstick(tx.run)
        return task.attempt
    return _next_attempt(tx, task, "WorkflowTaskTimedOut:StartToClose")


def _drop(tx: Transaction) -> None:
    tx.run.task = None
    tx.changed = True


def _next_attempt(tx: Transaction, task: WorkflowTask, reason: str) -> int:
    run = tx.run
    run.close_attempted = False
    if run.sticky_queue:
        unstick(run)
        return task.attempt
    run.task_failures += 1
    run.reported_cause = reason
    if run.task_failures == limits.REPORTED_FAILURES:
        tx.outcome.visibility_changed = tx.outcome.search_changed = True
    return task.attempt + 1


def succeed(tx: Transaction) -> None:
    """A task has completed: the failures before it no longer count."""
    run = tx.run
    run.close_attempted = False
    if run.task_failures:
        if run.task_failures >= limits.REPORTED_FAILURES:
            tx.outcome.visibility_changed = tx.outcome.search_changed = True
        run.task_failures = 0
        run.reported_cause = ""


def cause_text(cause: WorkflowTaskFailedCause.ValueType) -> str:
    """A cause as the protocol's messages spell it: `UnhandledCommand`. One that a newer SDK knows and this version does not is a number."""
    if cause not in _CAUSES:
        return str(cause)
    words = WorkflowTaskFailedCause.Name(cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").split("_")
    return "".join(word.capitalize() for word in words)
