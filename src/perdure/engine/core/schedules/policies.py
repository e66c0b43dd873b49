"""What a schedule does when: times become actions, and actions wait, start or are dropped (6.2).

`advance` takes the times that have come, goes on with backfills, and decides about everything that waits; the shell makes the
state durable, starts what is in `starting` and tells `started`, `not_started` and `closed`. `next_due` says when to look again.

Easily got wrong: whether a schedule may act (paused, actions left) is asked when an action is taken, not when its time comes, and
not of manual ones; the overlap policy too holds as it stands then. Cancelling or terminating what runs makes every earlier
action that waits pointless.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Overlap
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.failure.v1 import Failure
from temporalio.api.schedule.v1 import Schedule, SchedulePatch

from perdure.engine.core.schedules.fields import InvalidSpec
from perdure.engine.core.schedules.spec import ActionTime, CompiledSpec, compiled
from perdure.engine.core.schedules.state import Action, Backfill, ScheduleState
from perdure.engine.core.times import SECOND, set_ns, to_ns
from perdure.model.rpc import resource_exhausted

BUFFER_MAX: Final = 1000
"""Actions that wait; a further one is dropped and counted."""
TIMES_AT_ONCE_MAX: Final = 1000
"""Times taken in one step, so that a step is short after a long absence; the next one follows at once."""
BACKFILLED_AT_ONCE_MAX: Final = 10
"""Actions of backfills in one step."""
BACKFILL_BUFFER_MAX: Final = BUFFER_MAX // 2
"""Of the buffer, for backfills."""
BACKFILLS_MAX: Final = 100
"""That go on at a time; a patch that asks for more is refused."""
RECENT_ACTIONS_MAX: Final = 10
CATCHUP_DEFAULT: Final = 365 * 86_400 * SECOND
CATCHUP_MIN: Final = 10 * SECOND
IDLE: Final = 7 * 86_400 * SECOND
"""How long a schedule that will never act again is kept."""
START_RETRY: Final = SECOND
"""Before a start that failed is tried again."""
START_RETRIED_MAX: Final = 3600 * SECOND
MANUAL_START_RETRIED_MAX: Final = 60 * SECOND


# Asking.


def overlap_policy(schedule: Schedule) -> Overlap.ValueType:
    """The one that holds; SKIP unless it says another."""
    return schedule.policies.overlap_policy or Overlap.SCHEDULE_OVERLAP_POLICY_SKIP


def catchup_window(schedule: Schedule) -> int:
    """How late an action may be taken."""
    policies = schedule.policies
    return max(to_ns(policies.catchup_window), CATCHUP_MIN) if policies.HasField("catchup_window") else CATCHUP_DEFAULT


def may_act(schedule: Schedule) -> bool:
    """Whether it takes actions by itself."""
    state = schedule.state
    return not state.paused and (not state.limited_actions or state.remaining_actions > 0)


def compiled_spec(state: ScheduleState) -> CompiledSpec | None:
    """None if the spec no longer holds (its time zone has gone from this machine)."""
    try:
        return compiled(state.schedule.spec.SerializeToString(deterministic=True))
    except InvalidSpec:
        return None


def next_due(state: ScheduleState, now: int) -> int | None:
    """When to look at the schedule again; None: not before something happens to it."""
    if state.starting:
        return now + START_RETRY
    if state.backfills and len(state.buffer) < BACKFILL_BUFFER_MAX:
        return now
    coming = _coming(state)
    if coming is not None:
        return max(coming.actual, now)
    return None if state.schedule.state.paused or _busy(state) else _last_used(state) + IDLE


def is_over(state: ScheduleState, now: int) -> bool:
    """Whether it has been of no use for so long that it is deleted."""
    idle = not state.schedule.state.paused and not _busy(state) and _coming(state) is None
    return idle and _last_used(state) + IDLE <= now


def may_go_on(state: ScheduleState) -> bool:
    """Whether something waits, and nothing that runs or starts is in its way."""
    return bool(state.buffer) and not state.info.running_workflows and not any(action.tracked for action in state.starting)


def _coming(state: ScheduleState) -> ActionTime | None:
    spec = compiled_spec(state)
    return spec.next(state.processed, state.seed) if spec is not None and may_act(state.schedule) else None


def _busy(state: ScheduleState) -> bool:
    return bool(state.backfills or state.buffer or state.starting or state.info.running_workflows)


def _last_used(state: ScheduleState) -> int:
    info = state.info
    acted = to_ns(info.recent_actions[-1].actual_time) if info.recent_actions else 0
    return max(to_ns(info.create_time), to_ns(info.update_time), acted)


# Taking times.


def advance(state: ScheduleState, now: int) -> bool:
    """Takes what has come by `now` and decides about what waits; True if there is more to take at once."""
    more = _take_times(state, now)
    more = _take_backfills(state) or more
    _decide(state, now)
    return more


def _take_times(state: ScheduleState, now: int) -> bool:
    spec = compiled_spec(state)
    if spec is None or not may_act(state.schedule):
        state.processed = max(state.processed, now)
        return False
    catchup = catchup_window(state.schedule)
    for _ in range(TIMES_AT_ONCE_MAX):
        coming = spec.next(state.processed, state.seed)
        if coming is None or coming.nominal > now:
            state.processed = max(state.processed, now)
            return False
        if coming.actual > now:
            return False
        state.processed = coming.nominal
        if now - coming.actual > catchup:
            state.info.missed_catchup_window += 1
        else:
            _wait(state, coming.nominal, coming.actual, Overlap.SCHEDULE_OVERLAP_POLICY_UNSPECIFIED, manual=False)
    return True


def _take_backfills(state: ScheduleState) -> bool:
    spec = compiled_spec(state)
    if spec is None:
        state.backfills.clear()
    left = min(BACKFILLED_AT_ONCE_MAX, BACKFILL_BUFFER_MAX - len(state.buffer))
    while spec is not None and state.backfills and left > 0:
        after, end, overlap = state.backfills[0]
        coming = spec.next(after, state.seed)
        if coming is None or coming.nominal > end:
            del state.backfills[0]
            continue
        state.backfills[0] = Backfill(coming.nominal, end, overlap)
        _wait(state, coming.nominal, coming.nominal, overlap, manual=True)
        left -= 1
    return bool(state.backfills) and left <= 0 and len(state.buffer) < BACKFILL_BUFFER_MAX


def _wait(state: ScheduleState, nominal: int, actual: int, overlap: int, *, manual: bool) -> None:
    if len(state.buffer) >= BUFFER_MAX:
        state.info.buffer_dropped += 1
    else:
        state.buffer.append(Action(state.next_number(), nominal, actual, overlap, manual))


# Deciding.


def _decide(state: ScheduleState, now: int) -> None:
    """Each action that waits is started, kept, or dropped."""
    running = bool(state.info.running_workflows) or any(action.tracked for action in state.starting)
    kept: list[Action] = []
    chosen: Action | None = None
    for action in state.buffer:
        if not action.manual and not may_act(state.schedule):
            kept.extend([action] if running else [])
            continue
        overlap = action.overlap or overlap_policy(state.schedule)
        if overlap == Overlap.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL:
            _start(state, action, now, tracked=False)
        elif overlap in (Overlap.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER, Overlap.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER):
            state.info.overlap_skipped += len(kept) + (chosen is not None)
            kept, chosen = ([action], None) if running else ([], action)
            if running:
                state.cancelling = state.cancelling or overlap == Overlap.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER
                state.terminating = state.terminating or overlap == Overlap.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER
        elif not running and chosen is None:
            chosen = action
        elif overlap == Overlap.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL or (overlap == Overlap.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE and not kept):
            kept.append(action)
        else:
            state.info.overlap_skipped += 1
    state.buffer = kept
    if chosen is not None and not _start(state, chosen, now, tracked=True) and kept:
        _decide(state, now)  # it was dropped: the next one has its turn


def _start(state: ScheduleState, action: Action, now: int, *, tracked: bool) -> bool:
    own = state.schedule.state
    if not action.manual:
        if not may_act(state.schedule):
            return False
        if own.limited_actions:
            own.remaining_actions -= 1
            state.token += 1
    state.starting.append(action._replace(tracked=tracked, decided=now))
    return True


# Hearing.


def started(state: ScheduleState, action: Action, workflow_id: str, run_id: str, now: int) -> None:
    """An action that was in `starting` runs."""
    state.starting = [each for each in state.starting if each.number != action.number]
    info = state.info
    info.action_count += 1
    recent = info.recent_actions.add()
    set_ns(recent.schedule_time, action.actual)
    set_ns(recent.actual_time, now)
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    recent.start_workflow_result.CopyFrom(execution)
    recent.start_workflow_status = Status.WORKFLOW_EXECUTION_STATUS_RUNNING
    del info.recent_actions[:-RECENT_ACTIONS_MAX]
    if action.tracked:
        info.running_workflows.append(execution)


def not_started(state: ScheduleState, action: Action) -> None:
    """An action that was in `starting` cannot be started: it is dropped."""
    state.starting = [each for each in state.starting if each.number != action.number]


def retries_until(state: ScheduleState, action: Action) -> int:
    """Until when a start that fails is tried again."""
    longest = MANUAL_START_RETRIED_MAX if action.manual else min(catchup_window(state.schedule), START_RETRIED_MAX)
    return action.decided + longest


def closed(
    state: ScheduleState,
    execution: WorkflowExecution,
    status: Status.ValueType,
    result: Payloads | None = None,
    failure: Failure | None = None,
) -> None:
    """The chain of runs that began with `execution` has ended; status 0: nobody knows how, for it has been deleted."""
    info = state.info
    for recent in info.recent_actions:
        if recent.start_workflow_result == execution and status:
            recent.start_workflow_status = status
    if execution not in info.running_workflows:
        return
    info.running_workflows.remove(execution)
    if not info.running_workflows:
        state.cancelling = state.terminating = False
    if status == Status.WORKFLOW_EXECUTION_STATUS_COMPLETED:
        state.last.Clear()
        if result is not None:
            state.last.last_completion_result.CopyFrom(result)
    elif status in (Status.WORKFLOW_EXECUTION_STATUS_FAILED, Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT):
        if failure is not None:
            state.last.continued_failure.CopyFrom(failure)
        _pause_on_failure(state, execution.workflow_id, status, failure)


def _pause_on_failure(state: ScheduleState, workflow_id: str, status: Status.ValueType, failure: Failure | None) -> None:
    own = state.schedule.state
    if not state.schedule.policies.pause_on_failure or own.paused:
        return
    own.paused = True
    if status == Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
        own.notes = f"paused due to workflow timeout: {workflow_id}"
    else:
        own.notes = f"paused due to workflow failure: {workflow_id}: {failure.message if failure is not None else ''}"
    state.token += 1


# Being told.


def update(state: ScheduleState, schedule: Schedule, now: int) -> None:
    """Replaces the schedule; times before now are not taken under the new spec."""
    state.schedule.CopyFrom(schedule)
    state.processed = now
    state.token += 1
    set_ns(state.info.update_time, now)


def patch(state: ScheduleState, request: SchedulePatch, now: int) -> None:
    """Triggers, backfills, pauses, unpauses. Call `advance` before, so that what came until now is judged as things stood.

    Raises:
        RpcError: RESOURCE_EXHAUSTED, if too many backfills go on.
    """
    if request.HasField("trigger_immediately"):
        trigger = request.trigger_immediately
        when = to_ns(trigger.scheduled_time) if trigger.HasField("scheduled_time") else now
        _wait(state, when, when, trigger.overlap_policy, manual=True)
    if len(state.backfills) + len(request.backfill_request) > BACKFILLS_MAX:
        cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
        raise resource_exhausted(
            f"schedule {state.schedule_id!r} has {len(state.backfills)} backfills that go on; {BACKFILLS_MAX} are the limit", cause
        )
    for backfill in request.backfill_request:
        state.backfills.append(Backfill(to_ns(backfill.start_time) - 1, to_ns(backfill.end_time), backfill.overlap_policy))
    own = state.schedule.state
    for paused, note in ((True, request.pause), (False, request.unpause)):
        if note:
            own.paused, own.notes = paused, note
            state.token += 1
