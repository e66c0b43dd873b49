"""From an outcome of the core to what the storage writes."""

from __future__ import annotations

from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from perdure.engine.core import Outcome, Run
from perdure.engine.core.codes import READY
from perdure.model.ids import run_id_bytes
from perdure.storage.contract import ActivityRow, RunRow, RunWrite, VisibilityRow, queue_key

STICKY_MARK = "\x1f"
"""Follows the name of a sticky queue in a row: on open, what waits on one is known to have lost its worker."""


def run_write(outcome: Outcome, version: int, buffered_before: int) -> RunWrite:
    """What a transaction writes of a run that stood at `version`; `buffered_before` numbers its buffered events."""
    run = outcome.run
    task = run.task
    queue = incarnation = None
    if task is not None:
        if not task.started_event_id:
            queue = queue_key(run.namespace, task.queue + STICKY_MARK if task.sticky else task.queue)
        elif task.in_process:
            incarnation = task.incarnation
    closed = run.closed
    row = RunRow(run_id_bytes(run.run_id), version + 1, run.status, run.next_event_id, run.next_due(), queue, incarnation, run.facts())
    write = RunWrite(row, version, outcome.first_event_id, outcome.history)
    if closed:
        write.clear_activities = write.clear_buffered = True
    else:
        if outcome.activities:
            _write_activities(write, outcome)
        if outcome.buffer_cleared:
            write.clear_buffered = True
        if outcome.buffered:
            write.buffered = [(buffered_before + i, event.SerializeToString()) for i, event in enumerate(outcome.buffered)]
    if outcome.visibility_changed:
        write.visibility = visibility_row(run, row.run_id)
    return write


def _write_activities(write: RunWrite, outcome: Outcome) -> None:
    namespace = outcome.run.namespace
    for scheduled_event_id, activity in outcome.activities.items():
        if activity is None:
            write.closed_activities.append(scheduled_event_id)
        else:
            write.activities.append(
                ActivityRow(
                    scheduled_event_id,
                    queue_key(namespace, activity.queue) if activity.state == READY else None,
                    activity.incarnation if activity.in_process else None,
                    activity.row(),
                )
            )


def visibility_row(run: Run, run_id: bytes) -> VisibilityRow:
    """What lists show of a run as it stands."""
    shown = WorkflowExecutionInfo()
    if run.memo:
        for key, payload in run.memo.items():
            shown.memo.fields[key].CopyFrom(payload)
    if run.search_attributes:
        for key, payload in run.search_attributes.items():
            shown.search_attributes.indexed_fields[key].CopyFrom(payload)
    closed = run.closed
    return VisibilityRow(
        run_id,
        run.namespace,
        run.workflow_id,
        run.workflow_type,
        run.task_queue,
        run.status,
        run.start_time,
        run.execution_time,
        run.close_time if closed else None,
        run.next_event_id - 1 if closed else 0,
        run.history_bytes if closed else 0,
        shown.SerializeToString(),
    )
