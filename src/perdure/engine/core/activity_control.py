"""What operators do to pending activities: pause, unpause, reset, other options (3.7). No event says any of it.

Decides which activities a request means (by id, by type, all) and what becomes of each; the steps are `activities`'.

A standalone activity is the only one of its run: the same steps, other refusals.

Easily got wrong: what a worker has is never taken from it. It hears of a pause or a reset with its next heartbeat, and the
reset takes effect when the attempt under way has failed: until then its number, and its token, stay.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseActivityResponse,
    ResetActivityRequest,
    ResetActivityResponse,
    UnpauseActivityRequest,
    UnpauseActivityResponse,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from perdure.engine.core import activities, limits, retry
from perdure.engine.core.activity_options import Timeouts, sent_ns, timeouts
from perdure.engine.core.codes import BACKOFF, NORMAL_QUEUE, READY, STARTED
from perdure.engine.core.interventions import Pause
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.pending import Activity, options_of
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import failed_precondition, invalid_argument, not_found

_Request: TypeAlias = PauseActivityRequest | UnpauseActivityRequest | ResetActivityRequest | UpdateActivityOptionsRequest

_UPDATABLE: Final = frozenset(ActivityOptions.DESCRIPTOR.fields_by_name) - {"start_delay"}


def _chosen(run: Run, request: _Request) -> list[Activity]:
    """The activities that a request means.

    Raises:
        RpcError: NotFound if the run has closed or there is none (FailedPrecondition for a standalone activity that has ended);
            InvalidArgument if the request names none.
    """
    if limits.too_long(request.identity):
        raise invalid_argument("Identity length exceeds limit.")
    if run.closed:
        raise (
            failed_precondition("activity execution is not running")
            if run.standalone
            else not_found("workflow execution already completed")
        )
    by = request.WhichOneof("activity")
    if by == "id" and request.id:
        scheduled = run.activity_ids.get(request.id)
        found = [] if scheduled is None else [run.activities[scheduled]]
    elif by == "type" and request.type:
        found = [a for a in run.activities.values() if a.activity_type == request.type]
    elif by in ("unpause_all", "match_all"):
        return list(run.activities.values())
    else:
        raise invalid_argument("Either activity id or activity type must be provided.")
    if not found:
        raise not_found("activity not found")
    return found


def pause(run: Run, request: PauseActivityRequest, env: Env) -> Outcome:
    """No further attempt begins until it is unpaused. The same request again changes nothing.

    Raises:
        RpcError: as `_chosen`; FailedPrecondition if it is paused already.
    """
    if limits.too_long(request.request_id) or limits.too_long(request.reason):
        raise invalid_argument("RequestId or Reason length exceeds limit.")
    chosen = _chosen(run, request)
    for a in chosen:
        if a.paused is not None and not (request.request_id and a.paused.request_id == request.request_id):
            raise failed_precondition("activity is already paused")
    tx = Transaction(run, env)
    tx.outcome.reply = PauseActivityResponse()
    for a in chosen:
        if a.paused is None:
            a.intervene().pause = Pause(tx.now, request.identity, request.reason, request.request_id)
            activities.pause(tx, a)
    return settle(tx)


def unpause(run: Run, request: UnpauseActivityRequest, env: Env) -> Outcome:
    """Attempts may begin again; one that was held back begins now, or within the jitter.

    Raises:
        RpcError: as `_chosen`; FailedPrecondition for a standalone activity that is not paused.
    """
    chosen = [a for a in _chosen(run, request) if a.paused is not None]
    if run.standalone and not chosen:
        raise failed_precondition("activity is not paused")
    tx = Transaction(run, env)
    tx.outcome.reply = UnpauseActivityResponse()
    for a in chosen:
        a.intervene().pause = None
        if request.reset_heartbeat:
            a.heartbeat_details, a.heartbeat_time = None, 0
        if request.reset_attempts:
            _first_again(a)
        _resume(tx, a, request.jitter)
    return settle(tx)


def _first_again(a: Activity) -> None:
    """Its attempts are counted anew: at once, or when the one under way has failed."""
    intervention = a.intervene()
    if a.state == STARTED:
        intervention.reset = True
    else:
        a.attempt = 1
        intervention.stamp += 1


def _resume(tx: Transaction, a: Activity, jitter: Duration) -> None:
    if a.state == STARTED:
        activities.touch(tx, a)
    else:
        activities.reschedule(tx, a, tx.now + int(max(0, sent_ns(jitter)) * tx.env.random()))


def reset(run: Run, request: ResetActivityRequest, env: Env) -> Outcome:
    """It is at its first attempt again, and unpaused unless that is to stay.

    Raises:
        RpcError: as `_chosen`.
    """
    chosen = _chosen(run, request)
    tx = Transaction(run, env)
    tx.outcome.reply = ResetActivityResponse()
    for a in chosen:
        _reset(tx, a, request)
    return settle(tx)


def _reset(tx: Transaction, a: Activity, request: ResetActivityRequest) -> None:
    intervention = a.intervene()
    if request.restore_original_options:
        a.override(None)
    if not request.keep_paused:
        intervention.pause = None
    _first_again(a)
    if request.reset_heartbeat:
        if a.state == STARTED:
            intervention.reset_heartbeats = True
        else:
            a.heartbeat_details, a.heartbeat_time = None, 0
    if intervention.pause is not None:
        activities.touch(tx, a)
    else:
        _resume(tx, a, request.jitter)


# Options.


def update_options(run: Run, request: UpdateActivityOptionsRequest, env: Env) -> Outcome:
    """Other options from now on; deadlines count with them at once, also for the attempt under way.

    Raises:
        RpcError: as `_chosen`; InvalidArgument for a mask or options that make no sense.
    """
    paths = [_snake(path) for path in request.update_mask.paths]
    _check_mask(request, paths)
    chosen = _chosen(run, request)
    changed: list[ActivityOptions | None] = [None if request.restore_original else _merged(run, a, request, paths) for a in chosen]
    tx = Transaction(run, env)
    reply = UpdateActivityOptionsResponse()
    tx.outcome.reply = reply
    for a, options in zip(chosen, changed, strict=True):
        a.override(options)
        reply.activity_options.CopyFrom(options_of(a.attributes))
        _reconsider(tx, a)
    return settle(tx)


def _check_mask(request: UpdateActivityOptionsRequest, paths: list[str]) -> None:
    if request.restore_original:
        if paths:
            raise invalid_argument("Both UpdateMask and RestoreOriginal are provided; only one of them may be.")
        return
    if not paths or not request.HasField("activity_options"):
        raise invalid_argument("Either ActivityOptions with an UpdateMask or RestoreOriginal must be provided.")
    for path in paths:
        known = FieldMask(paths=[path])
        if path.split(".")[0] not in _UPDATABLE or not known.IsValidForDescriptor(ActivityOptions.DESCRIPTOR):
            raise invalid_argument(f"UpdateMask has a path that is not an option of an activity: {path}")


def _snake(path: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in path)


def _merged(run: Run, a: Activity, request: UpdateActivityOptionsRequest, paths: list[str]) -> ActivityOptions:
    options = options_of(a.attributes)
    FieldMask(paths=paths).MergeMessage(request.activity_options, options, replace_message_field=True)
    if not options.task_queue.name or limits.too_long(options.task_queue.name):
        raise invalid_argument("TaskQueue is not set on ActivityOptions, or its name is too long.")
    urgency = limits.priority_complaint(options.priority)
    if urgency:
        raise invalid_argument(urgency)
    options.task_queue.kind = NORMAL_QUEUE
    wrong = retry.complaint(options.retry_policy)
    if wrong:
        raise invalid_argument(wrong)
    retry.fill(options.retry_policy)
    fields = (
        options.schedule_to_close_timeout,
        options.schedule_to_start_timeout,
        options.start_to_close_timeout,
        options.heartbeat_timeout,
    )
    spans = timeouts(Timeouts(*(sent_ns(field) for field in fields)), run.run_timeout)
    if isinstance(spans, str):
        raise invalid_argument(spans)
    for field, span in zip(fields, spans, strict=True):
        set_ns(field, span)
    return options


def _reconsider(tx: Transaction, a: Activity) -> None:
    """When the next attempt begins by the new policy, and where."""
    if a.state not in (READY, BACKOFF):
        activities.touch(tx, a)
        return
    due = a.scheduled_time
    if a.state == BACKOFF and a.attempt > 1:
        due = a.last_completed_time + retry.interval(a.attributes.retry_policy, a.attempt - 1)
    activities.reschedule(tx, a, due)
