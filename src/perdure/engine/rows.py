"""From an outcome of the core to what the storage writes."""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import quote, unquote

from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes, WorkflowExecutionStartedEventAttributes
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from perdure.engine.backlog import DEFAULT_KEY, PLAIN, Urgency, urgency
from perdure.engine.core import Outcome, Run
from perdure.engine.core.codes import READY
from perdure.engine.core.describe import shown_attributes
from perdure.engine.indexing import search_values
from perdure.storage.contract import ActivityRow, RunRow, RunWrite, VisibilityRow, queue_key

STICKY_MARK = "\x1e"
"""Follows the namespace of a sticky queue in a row: on open, what waits on one is known to have lost its worker.

The namespace, since its names are the engine's own; a queue's name is the user's, and may hold any character.
"""

LEVEL_MARK = "\x1c"
"""Follows the namespace where tasks are more urgent than most, or less, or take turns; their priority key comes after it,"""
FAIR_MARK = "\x1d"
"""then this, a weight, this again and a fairness key, unless they have none."""
Prioritised: TypeAlias = WorkflowExecutionStartedEventAttributes | ActivityTaskScheduledEventAttributes

AT_ONCE = 1
"""When a run is due that has something to deliver: longer ago than everything else."""


def run_write(outcome: Outcome, version: int, run_id: bytes) -> RunWrite:
    """What a transaction writes of a run that stood at `version`."""
    run = outcome.run
    task = run.task
    queue = incarnation = None
    if task is not None and not task.speculative:
        if not task.started_event_id:
            queue = queue_key(run.namespace + (STICKY_MARK if task.sticky else _level_mark(run, run.start)), task.queue)
        elif task.in_process:
            incarnation = task.incarnation
    if run.held and (incarnation is None or run.held_since < incarnation):
        incarnation = run.held_since
    due = AT_ONCE if run.unsent else run.durable_due()
    row = RunRow(run_id, version + 1, run.status, run.next_event_id, due, queue, incarnation, run.facts())
    visibility = search = None
    if outcome.visibility_changed:
        visibility = visibility_row(run, run_id)
        if outcome.search_changed or not version:
            search = (
                search_values(run) if run.linked or run.search_attributes or outcome.search_changed or run.versioning is not None else None
            )
    if run.closed:
        return RunWrite(row, version, outcome.first_event_id, outcome.history, (), (), True, True, (), visibility, search)
    changed, closed = _activities(outcome) if outcome.activities else ((), ())
    buffered = _buffered(outcome) if outcome.buffered else ()
    return RunWrite(
        row, version, outcome.first_event_id, outcome.history, changed, closed, False, outcome.buffer_cleared, buffered, visibility, search
    )


def _activities(outcome: Outcome) -> tuple[list[ActivityRow], list[int]]:
    """The rows of activities that changed, and the ids of those that are no longer pending."""
    changed: list[ActivityRow] = []
    closed: list[int] = []
    for scheduled_event_id, activity in outcome.activities.items():
        if activity is None:
            closed.append(scheduled_event_id)
            continue
        queue = None
        if activity.state == READY:
            queue = queue_key(outcome.run.queue_namespace + _level_mark(outcome.run, activity.attributes), activity.queue)
        changed.append(ActivityRow(scheduled_event_id, queue, activity.row()))
    return changed, closed


def _level_mark(run: Run, named: Prioritised) -> str:
    """What a row says of how urgent a task is."""
    if not (run.start.HasField("priority") or named.HasField("priority")):
        return ""
    return level_mark(urgency(run.start.priority, named.priority))


def level_mark(lane: Urgency) -> str:
    """What a key says of how urgent its tasks are."""
    if lane.fairness_key or lane.weight != PLAIN.weight:
        return f"{LEVEL_MARK}{lane.key}{FAIR_MARK}{lane.weight!r}{FAIR_MARK}{quote(lane.fairness_key, safe='')}"
    return "" if lane.key == DEFAULT_KEY else f"{LEVEL_MARK}{lane.key}"


def lane_of(marked: str) -> tuple[str, Urgency]:
    """From the namespace's part of a key: the namespace, and how urgent its tasks are."""
    namespace, _, mark = marked.partition(LEVEL_MARK)
    if not mark:
        return namespace, PLAIN
    level, _, fair = mark.partition(FAIR_MARK)
    weight, _, fairness_key = fair.partition(FAIR_MARK)
    return namespace, Urgency(int(level), unquote(fairness_key), float(weight or PLAIN.weight))


def _buffered(outcome: Outcome) -> list[tuple[int, bytes]]:
    """The newly buffered events, numbered after those that are in the store."""
    before = len(outcome.run.buffered) - len(outcome.buffered)
    return [(before + i, event.SerializeToString()) for i, event in enumerate(outcome.buffered)]


def visibility_row(run: Run, run_id: bytes) -> VisibilityRow:
    """What lists show of a run as it stands."""
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
        _attributes(run) if _shows_more(run) else b"",
    )


def _shows_more(run: Run) -> bool:
    marked = run.task_failures or run.versioning is not None or run.paused is not None
    return bool(run.memo or run.search_attributes or run.linked or marked)


def _attributes(run: Run) -> bytes:
    shown = WorkflowExecutionInfo()
    if run.start.HasField("parent_workflow_execution"):
        shown.parent_execution.CopyFrom(run.start.parent_workflow_execution)
        shown.root_execution.CopyFrom(run.start.root_workflow_execution)
    for key, payload in run.memo.items():
        shown.memo.fields[key].CopyFrom(payload)
    for key, payload in shown_attributes(run).items():
        shown.search_attributes.indexed_fields[key].CopyFrom(payload)
    return shown.SerializeToString()
