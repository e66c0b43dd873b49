"""When a run has something to do by itself: the earliest of its deadlines.

Decides which instant is next, never what happens then (`firing` does). The deadlines of timers and activities stand in a
heap whose entries are checked when they come to the top; those of which a run has one (workflow task, run, first task)
are computed. Nothing here costs in proportion to what is pending.

Easily got wrong: an entry may be stale, but never late. A deadline that moves back (a heartbeat) leaves its entry, which
is replaced when it surfaces; one that moves forward (a start) needs a new entry at once.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from perdure.engine.core.codes import BACKOFF, RUN_PAUSED, RUNNING, STARTED
from perdure.engine.core.limits import SPECULATIVE_START

if TYPE_CHECKING:
    from perdure.engine.core.pending import Activity, Timer, WorkflowTask
    from perdure.engine.core.state import Run

TIMER: Final = 0
ACTIVITY: Final = 1
OPERATION: Final = 2
HEAP_SLACK: Final = 64
"""Stale entries that are always tolerated; beyond, twice the pending work, the heap is rebuilt."""


def next_due(run: Run) -> int | None:
    """The earliest deadline of the run, in nanoseconds; None if it has none."""
    if run.status != RUNNING:
        return _paused_due(run) if run.status == RUN_PAUSED else None
    due = run.run_expiration
    first = run.first_task_due
    if first and (not due or first < due):
        due = first
    if run.task is not None:
        task = task_due(run, run.task)
        if task and (not due or task < due):
            due = task
    heap = run.heap
    if heap:
        top = heap_due(run)
        if top and (not due or top < due):
            due = top
    return due or None


def _paused_due(run: Run) -> int | None:
    """A paused run goes on but for its workflow tasks, and those it has not yet had begin when it is unpaused."""
    due = run.run_expiration
    for other in (0 if run.task is None else task_due(run, run.task), heap_due(run)):
        due = _sooner(due, other) if other else due
    return due or None


def durable_due(run: Run) -> int | None:
    """As `next_due`, for the store, which knows nothing of the speculative task that the run has."""
    task = run.task
    run.task = None
    try:
        return next_due(run)
    finally:
        run.task = task


def task_due(run: Run, task: WorkflowTask) -> int:
    """When the workflow task times out: start to close, or schedule to start on a sticky queue, or of a speculative one; 0: never."""
    if task.started_event_id:
        return task.started_time + task.timeout
    if (task.sticky or task.rerouted) and run.sticky_timeout:
        return task.scheduled_time + run.sticky_timeout
    return task.scheduled_time + SPECULATIVE_START if task.speculative else 0


def activity_due(a: Activity) -> int:
    """The earliest of what may happen to an activity by itself: a timeout, or the end of its backoff; 0: nothing, as to a paused one."""
    if a.intervention is not None and a.intervention.pause is not None:
        return 0
    due = a.first_scheduled_time + a.schedule_to_close if a.schedule_to_close else 0
    if a.state == STARTED:
        if a.start_to_close:
            due = _sooner(due, a.started_time + a.start_to_close)
        if a.heartbeat:
            due = _sooner(due, max(a.started_time, a.heartbeat_time) + a.heartbeat)
    elif a.state == BACKOFF:
        due = _sooner(due, a.scheduled_time)
    elif a.schedule_to_start:
        due = _sooner(due, a.scheduled_time + a.schedule_to_start)
    return due


def _sooner(due: int, other: int) -> int:
    return other if not due or other < due else due


def heap_due(run: Run) -> int:
    """The deadline at the top of the heap, stale entries gone; 0: none."""
    entry = surface(run)
    return entry[0] if entry is not None else 0


def surface(run: Run) -> tuple[int, int, int] | None:
    """The first entry that still holds: (due, TIMER, ACTIVITY or OPERATION, key). It stays in the heap."""
    heap = run.heap
    while heap:
        entry = heap[0]
        if entry[1] == TIMER:
            if entry[2] in run.timers:
                return entry
            heappop(heap)
            continue
        if entry[1] == OPERATION:
            if _operation_due(run, entry[2]) == entry[0]:
                return entry
            heappop(heap)
            continue
        a = run.activities.get(entry[2])
        if a is None or a.queued_due != entry[0]:
            heappop(heap)
            continue
        due = activity_due(a)
        if due == entry[0]:
            return entry
        heappop(heap)
        a.queued_due = due
        if due:
            heappush(heap, (due, ACTIVITY, entry[2]))
    return None


def _operation_due(run: Run, scheduled_event_id: int) -> int:
    op = None if run.operations is None else run.operations.get(scheduled_event_id)
    return 0 if op is None else op.due()


def watch_timer(run: Run, timer: Timer) -> None:
    """Enters the deadline of a new timer."""
    heappush(run.heap, (timer.due, TIMER, timer.started_event_id))


def watch_activity(run: Run, a: Activity) -> None:
    """Enters the deadline of an activity whose state has changed, unless an earlier entry stands for it."""
    due = activity_due(a)
    if due and (not a.queued_due or due < a.queued_due):
        a.queued_due = due
        heap = run.heap
        if len(heap) > HEAP_SLACK + 2 * (len(run.activities) + len(run.timers)):
            rebuild(run)
        else:
            heappush(heap, (due, ACTIVITY, a.scheduled_event_id))


def rebuild(run: Run) -> None:
    """Makes the heap anew from what is pending."""
    heap = [(timer.due, TIMER, key) for key, timer in run.timers.items()]
    for key, a in run.activities.items():
        a.queued_due = activity_due(a)
        if a.queued_due:
            heap.append((a.queued_due, ACTIVITY, key))
    if run.operations:
        heap += [(at, OPERATION, key) for key, op in run.operations.items() if (at := op.due())]
    heapify(heap)
    run.heap = heap
