"""Requests about schedules: what is refused, what is kept, and the request that starts an action's workflow (6.3, 6.4).

Easily got wrong: what is described is the schedule as it was sent but for its spec, which is shown in canonical form, its retry
policy and its policies, whose defaults are filled in.
"""

from __future__ import annotations

from datetime import UTC, datetime
from json import dumps
from typing import Final

from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import WorkflowIdReusePolicy as Reuse
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.schedule.v1 import Schedule, ScheduleListEntry, SchedulePatch
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DescribeScheduleResponse,
    StartWorkflowExecutionRequest,
    UpdateScheduleRequest,
)

from perdure.engine.core import limits, retry
from perdure.engine.core.schedules import policies
from perdure.engine.core.schedules.fields import InvalidSpec
from perdure.engine.core.schedules.spec import canonical
from perdure.engine.core.schedules.state import Action, ScheduleState
from perdure.engine.core.search_attributes import Types, complaint, set_types, size_complaint
from perdure.engine.core.start import drop_nulls, validate_start
from perdure.engine.core.times import SECOND, duration, timestamp, to_ns
from perdure.model.rpc import RpcError, already_exists, invalid_argument, not_found

SCHEDULED_BY_ID: Final = "TemporalScheduledById"
SCHEDULED_START_TIME: Final = "TemporalScheduledStartTime"
FUTURE_TIMES: Final = 10
LISTED_TIMES: Final = 5
LISTED_SPEC_ITEMS_MAX: Final = 10
NOTE_BYTES_MAX: Final = 1000
MATCHING_TIMES_MAX: Final = 1000


def no_schedule(schedule_id: str) -> RpcError:
    """There is none of this id."""
    return not_found(f"schedule {schedule_id!r} not found")


def schedule_exists(state: ScheduleState) -> RpcError:
    """There is one of this id, and another request made it."""
    detail = WorkflowExecutionAlreadyStartedFailure(start_request_id=state.request_id, run_id=state.uid, first_execution_run_id=state.uid)
    return already_exists(f"schedule {state.schedule_id!r} is already registered", detail)


# Checking.


def checked(namespace: str, schedule_id: str, schedule: Schedule, custom: Types) -> Schedule:
    """The schedule as it is kept; `custom` are the namespace's own search attributes.

    Raises:
        RpcError: InvalidArgument.
    """
    kept = Schedule()
    kept.CopyFrom(schedule)
    try:
        kept.spec.CopyFrom(canonical(schedule.spec))
    except InvalidSpec as error:
        raise invalid_argument(f"Invalid schedule spec: {error}") from None
    kept.policies.overlap_policy = policies.overlap_policy(schedule)
    kept.policies.catchup_window.CopyFrom(duration(policies.catchup_window(schedule)))
    _check_action(namespace, schedule_id, kept)
    _check_attributes(kept.action.start_workflow.search_attributes, custom, namespace)
    return kept


def _check_action(namespace: str, schedule_id: str, schedule: Schedule) -> None:
    if not schedule.action.HasField("start_workflow"):
        raise invalid_argument("action is not set on schedule")
    workflow = schedule.action.start_workflow
    if workflow.cron_schedule:
        raise invalid_argument("Scheduled workflow must not contain CronSchedule")
    if workflow.workflow_id_reuse_policy not in (0, Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE):
        raise invalid_argument("Scheduled workflow must not contain WorkflowIdReusePolicy")
    sample = ScheduleState(namespace, schedule_id, "", "", schedule)
    validate_start(start_request(sample, Action(0, 0, 0, 0, True)))
    if workflow.HasField("retry_policy"):
        retry.fill(workflow.retry_policy)


def check_patch(patch: SchedulePatch) -> None:
    """Refuses a patch that cannot be meant.

    Raises:
        RpcError: InvalidArgument.
    """
    if len(patch.pause.encode()) > NOTE_BYTES_MAX or len(patch.unpause.encode()) > NOTE_BYTES_MAX:
        raise invalid_argument("pause notes exceed the limit of 1000 bytes")
    if patch.pause and patch.unpause:
        raise invalid_argument("a patch cannot both pause and unpause")
    for backfill in patch.backfill_request:
        if to_ns(backfill.start_time) > to_ns(backfill.end_time):
            raise invalid_argument("a backfill must not end before it starts")


def check_create(request: CreateScheduleRequest, custom: Types) -> None:
    """Refuses what is wrong beside the schedule itself.

    Raises:
        RpcError: InvalidArgument.
    """
    check_names(request.schedule_id, request.request_id, request.identity)
    if not request.request_id:
        raise invalid_argument("RequestId is not set on request.")
    _check_shown(request, custom)
    check_patch(request.initial_patch)


def check_update(request: UpdateScheduleRequest, custom: Types) -> None:
    """Refuses what is wrong beside the schedule itself.

    Raises:
        RpcError: InvalidArgument.
    """
    check_names(request.schedule_id, request.request_id, request.identity)
    _check_shown(request, custom)


def _check_shown(request: CreateScheduleRequest | UpdateScheduleRequest, custom: Types) -> None:
    if limits.too_large(request.memo, limits.MEMO_BYTES_MAX):
        raise invalid_argument("Memo exceeds size limit.")
    drop_nulls(request.memo.fields)
    _check_attributes(request.search_attributes, custom, request.namespace)


def _check_attributes(attributes: SearchAttributes, custom: Types, namespace: str) -> None:
    """Refuses attributes that the namespace does not have; notes the types of the others."""
    fields = attributes.indexed_fields
    wrong = complaint(fields, custom, namespace) or size_complaint(fields)
    if wrong:
        raise invalid_argument(wrong)
    drop_nulls(fields)
    set_types(fields, custom)


def check_names(schedule_id: str, *others: str) -> None:
    """Refuses a missing or overlong id.

    Raises:
        RpcError: InvalidArgument.
    """
    if not schedule_id:
        raise invalid_argument("ScheduleId is not set on request.")
    if limits.too_long(schedule_id):
        raise invalid_argument("ScheduleId length exceeds limit.")
    if any(limits.too_long(text) for text in others):
        raise invalid_argument("RequestId or Identity length exceeds limit.")


# Starting.


def start_request(state: ScheduleState, action: Action) -> StartWorkflowExecutionRequest:
    """What starts an action's workflow: the same bytes each time it is tried."""
    workflow = state.schedule.action.start_workflow
    # The two messages share names and types of what they have in common, but not numbers.
    request = StartWorkflowExecutionRequest(
        namespace=state.namespace,
        workflow_id=_workflow_id(state, action),
        workflow_type=workflow.workflow_type,
        task_queue=workflow.task_queue,
        identity=f"temporal-scheduler-{state.namespace}-{state.schedule_id}",
        request_id=f"{state.uid}-{action.number}",
        workflow_id_reuse_policy=_reuse_policy(state, action),
    )
    for name in (
        "input",
        "workflow_execution_timeout",
        "workflow_run_timeout",
        "workflow_task_timeout",
        "retry_policy",
        "memo",
        "search_attributes",
        "header",
        "user_metadata",
        "versioning_override",
        "priority",
    ):
        if workflow.HasField(name):
            getattr(request, name).CopyFrom(getattr(workflow, name))
    attributes = request.search_attributes.indexed_fields
    attributes[SCHEDULED_BY_ID].CopyFrom(_attribute("Keyword", state.schedule_id))
    attributes[SCHEDULED_START_TIME].CopyFrom(_attribute("Datetime", _seconds_text(action.nominal)))
    if action.tracked:
        for name in ("last_completion_result", "continued_failure"):
            if state.last.HasField(name):  # type: ignore[arg-type]
                getattr(request, name).CopyFrom(getattr(state.last, name))
    return request


def _workflow_id(state: ScheduleState, action: Action) -> str:
    own = state.schedule.action.start_workflow.workflow_id
    if state.schedule.policies.keep_original_workflow_id or not own:
        return own
    return f"{own}-{_seconds_text(action.nominal)}"


def _reuse_policy(state: ScheduleState, action: Action) -> Reuse.ValueType:
    if action.manual or state.schedule.policies.keep_original_workflow_id:
        return Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    return Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE


def _seconds_text(ns: int) -> str:
    return datetime.fromtimestamp(ns // SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _attribute(kind: str, text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", "type": kind.encode()}, data=dumps(text).encode())


# Answering.


def token_bytes(state: ScheduleState) -> bytes:
    """The conflict token, as callers see it."""
    return state.token.to_bytes(8)


def listed(state: ScheduleState) -> ScheduleListEntry:
    """What lists show of a schedule."""
    entry = ScheduleListEntry(schedule_id=state.schedule_id, memo=state.memo, search_attributes=state.search_attributes)
    schedule, info = state.schedule, entry.info
    info.spec.CopyFrom(schedule.spec)
    info.spec.ClearField("timezone_data")
    del info.spec.structured_calendar[LISTED_SPEC_ITEMS_MAX:]
    del info.spec.interval[LISTED_SPEC_ITEMS_MAX:]
    del info.spec.exclude_structured_calendar[LISTED_SPEC_ITEMS_MAX:]
    info.workflow_type.CopyFrom(schedule.action.start_workflow.workflow_type)
    info.notes, info.paused = schedule.state.notes, schedule.state.paused
    info.recent_actions.extend(state.info.recent_actions[-LISTED_TIMES:])
    info.future_action_times.extend(timestamp(when) for when in future_times(state, LISTED_TIMES))
    return entry


def described(state: ScheduleState) -> DescribeScheduleResponse:
    """All that is shown of one schedule."""
    response = DescribeScheduleResponse(
        schedule=state.schedule, info=state.info, memo=state.memo, search_attributes=state.search_attributes
    )
    response.conflict_token = token_bytes(state)
    info = response.info
    info.buffer_size = len(state.buffer) + len(state.starting)
    for when in future_times(state, FUTURE_TIMES):
        info.future_action_times.append(timestamp(when))
    if policies.compiled_spec(state) is None:
        info.invalid_schedule_error = f"the time zone {state.schedule.spec.timezone_name} is not known on this machine"
    return response


def future_times(state: ScheduleState, count: int) -> list[int]:
    """When the next actions are due (or would be: whether it is paused is not asked), in nanoseconds."""
    spec, own = policies.compiled_spec(state), state.schedule.state
    if own.limited_actions:
        count = min(count, own.remaining_actions)
    found: list[int] = []
    after = state.processed
    while spec is not None and len(found) < count and (coming := spec.next(after, state.seed)) is not None:
        found.append(coming.actual)
        after = coming.nominal
    return found


def matching_times(state: ScheduleState, start: int, end: int) -> list[int]:
    """The times with jitter after `start`, up to and with `end`; a bounded number of them."""
    spec = policies.compiled_spec(state)
    found: list[int] = []
    after = start
    while spec is not None and len(found) < MATCHING_TIMES_MAX:
        coming = spec.next(after, state.seed)
        if coming is None or coming.actual > end:
            break
        found.append(coming.actual)
        after = coming.nominal
    return found
