"""Rebuilding a run from what is stored: its history folded, then what the history does not say.

Decides nothing. Easily got wrong: messages of a parsed batch keep the whole batch in memory as long as one of them is
referred to, so what the state keeps is copied at the end.
"""

from __future__ import annotations

from collections.abc import Iterable

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent

from perdure.engine.core.apply import apply, apply_buffered
from perdure.engine.core.due import rebuild
from perdure.engine.core.facts import Identity, read_facts
from perdure.engine.core.rows import read_activity
from perdure.engine.core.state import Run


def load(events: Iterable[HistoryEvent], facts: bytes, activities: Iterable[tuple[int, bytes]], buffered: Iterable[HistoryEvent]) -> Run:
    """The run that wrote all this, as it was; only its `tail` is empty.

    Raises:
        ValueError: a format that this version does not read, or facts that contradict the history.
    """
    identity = Identity(facts)
    run = Run(identity.namespace, identity.run_id, identity.start_request_id)
    for event in events:
        apply(run, event)
    read_facts(run, facts, identity.rest)
    for event in buffered:
        kept = _copy(event)
        apply_buffered(run, kept)
        run.buffered.append(kept)
        run.buffered_bytes += kept.ByteSize()
    _unpin(run)
    for scheduled_event_id, row in activities:
        activity = run.activities.get(scheduled_event_id)
        if activity is not None:
            read_activity(activity, row)
            if activity.in_process:
                run.held_since = min(run.held_since or activity.incarnation, activity.incarnation)
                run.held += 1
    run.tail_first_id = run.next_event_id
    rebuild(run)
    return run


def _copy(event: HistoryEvent) -> HistoryEvent:
    copy = HistoryEvent()
    copy.CopyFrom(event)
    return copy


def _unpin(run: Run) -> None:
    start = run.start
    run.start_event = _copy(run.start_event)
    run.start = run.start_event.workflow_execution_started_event_attributes
    if start.priority != run.start.priority:
        run.start = start  # a copy already, with what operators have changed
    for activity in run.activities.values():
        activity.event = _copy(activity.event)
        activity.attributes = activity.event.activity_task_scheduled_event_attributes
    for child in run.children.values():
        child.event = _copy(child.event)
        child.attributes = child.event.start_child_workflow_execution_initiated_event_attributes
    for external in run.externals.values():
        external.event = _copy(external.event)
    for operation in (run.operations or {}).values():
        operation.unpin()
    run.memo = {key: _copy_payload(value) for key, value in run.memo.items()}
    run.search_attributes = {key: _copy_payload(value) for key, value in run.search_attributes.items()}


def _copy_payload(payload: Payload) -> Payload:
    copy = Payload()
    copy.CopyFrom(payload)
    return copy
