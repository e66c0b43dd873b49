"""What workers say of activities: they take one, report its end, or a heartbeat (3.3 to 3.5).

Decides whether the sender still holds the attempt, and what an oversized report becomes; the rest is `activities`.
A refusal changes nothing.

A worker names its attempt by the token; whoever else ends an activity from outside names it by its id, and then any attempt is
meant. Easily got wrong: empty heartbeat details overwrite older ones, and a failure's last details are kept before the failure
is judged, since they survive the retry.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)

from perdure.engine.core import activities, limits, retry
from perdure.engine.core.codes import READY, STARTED
from perdure.engine.core.cut_failures import cut
from perdure.engine.core.outcome import Env, Outcome, StartActivityTask, UnstartActivity
from perdure.engine.core.pending import Activity
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.tokens import token_attempt
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import failed_precondition, invalid_argument, not_found

_Completed: TypeAlias = RespondActivityTaskCompletedRequest | RespondActivityTaskCompletedByIdRequest
_Failed: TypeAlias = RespondActivityTaskFailedRequest | RespondActivityTaskFailedByIdRequest
_FailedReply: TypeAlias = RespondActivityTaskFailedResponse | RespondActivityTaskFailedByIdResponse
_Canceled: TypeAlias = RespondActivityTaskCanceledRequest | RespondActivityTaskCanceledByIdRequest
_Heartbeat: TypeAlias = RecordActivityTaskHeartbeatRequest | RecordActivityTaskHeartbeatByIdRequest
_HeartbeatReply: TypeAlias = RecordActivityTaskHeartbeatResponse | RecordActivityTaskHeartbeatByIdResponse

_COMPLETED: Final = "workflow execution already completed"
_NOT_HELD: Final = "invalid activityID or activity already timed out or invoking workflow is completed"


def held_activity(run: Run, token: bytes) -> Activity:
    """The started activity that a token means.

    Raises:
        RpcError: InvalidArgument for a bad token; NotFound if the attempt is no longer that worker's.
    """
    scheduled, attempt, stamp = token_attempt(token)
    if run.closed:
        raise not_found(_COMPLETED)
    a = run.activities.get(scheduled)
    if a is None or a.state != STARTED or a.attempt != attempt or a.stamp != stamp:
        raise not_found(_NOT_HELD)
    return a


def named_activity(run: Run, activity_id: str, *, started: bool) -> Activity:
    """The pending activity of an id; `started`: only if somebody has it.

    Raises:
        RpcError: InvalidArgument without an id; NotFound.
    """
    if not activity_id:
        raise invalid_argument("ActivityId is not set on request.")
    if run.closed:
        raise not_found(_COMPLETED)
    a = run.activities.get(run.activity_ids.get(activity_id, 0))
    if a is None or (started and a.state != STARTED):
        raise not_found(_NOT_HELD)
    return a


def start_activity(run: Run, request: StartActivityTask, env: Env) -> Outcome:
    """A poller takes an activity that is ready.

    Raises:
        RpcError: NotFound, if it is not ready any more; the poller goes on polling.
    """
    a = run.activities.get(request.scheduled_event_id)
    if a is None or a.state != READY or run.paused is not None or (request.queue and request.queue != a.queue):
        raise not_found(_NOT_HELD)
    tx = Transaction(run, env)
    activities.begin(tx, a, request.reservation)
    return tx.close()


def unstart_activity(run: Run, request: UnstartActivity, env: Env) -> Outcome:
    """The reserved poller was gone. Nothing happens if the attempt has ended meanwhile."""
    tx = Transaction(run, env)
    a = run.activities.get(request.scheduled_event_id)
    if a is not None and a.state == STARTED and a.attempt == request.attempt:
        activities.take_back(tx, a)
    return settle(tx)


def completed(run: Run, request: RespondActivityTaskCompletedRequest, env: Env) -> Outcome:
    """The attempt returned. A result that is too large fails the activity.

    Raises:
        RpcError: as `held_activity`.
    """
    return _complete(run, held_activity(run, request.task_token), request, RespondActivityTaskCompletedResponse(), env)


def completed_by_id(run: Run, request: RespondActivityTaskCompletedByIdRequest, env: Env) -> Outcome:
    """As `completed`; even of an activity that nobody has taken.

    Raises:
        RpcError: as `named_activity`.
    """
    a = named_activity(run, request.activity_id, started=False)
    return _complete(run, a, request, RespondActivityTaskCompletedByIdResponse(), env)


def _complete(run: Run, a: Activity, request: _Completed, reply: Message, env: Env) -> Outcome:
    tx = Transaction(run, env)
    tx.outcome.reply = reply
    if a.state != STARTED:
        activities.assume_started(tx, a, request.identity)
    result = request.result.SerializeToString() if request.HasField("result") else None
    if result is not None and len(result) > env.payload_bytes_max:
        activities.fail(tx, a, _too_large("Activity result"), request.identity)
    else:
        activities.complete(tx, a, result, request.identity)
    return settle(tx)


def failed(run: Run, request: RespondActivityTaskFailedRequest, env: Env) -> Outcome:
    """The attempt raised. The last details are kept for the next one; a failure that is too large is cut.

    Raises:
        RpcError: as `held_activity`; InvalidArgument if the failure is not an application's.
    """
    return _fail(run, held_activity(run, request.task_token), request, RespondActivityTaskFailedResponse(), env)


def failed_by_id(run: Run, request: RespondActivityTaskFailedByIdRequest, env: Env) -> Outcome:
    """As `failed`.

    Raises:
        RpcError: as `named_activity`; InvalidArgument if the failure is not an application's.
    """
    a = named_activity(run, request.activity_id, started=True)
    return _fail(run, a, request, RespondActivityTaskFailedByIdResponse(), env)


def _fail(run: Run, a: Activity, request: _Failed, reply: _FailedReply, env: Env) -> Outcome:
    failure = request.failure if request.HasField("failure") else None
    if failure is not None and not failure.HasField("application_failure_info"):
        raise invalid_argument("An activity failure must have ApplicationFailureInfo.")
    tx = Transaction(run, env)
    tx.outcome.reply = reply
    if request.HasField("last_heartbeat_details"):
        if limits.too_large(request.last_heartbeat_details, env.payload_bytes_max):
            reply.failures.append(_too_large("Last heartbeat details"))
        else:
            _keep_details(tx, a, request.last_heartbeat_details)
    if failure is not None and limits.too_large(failure, env.payload_bytes_max):
        reply.failures.append(_too_large("Activity failure"))
        refused = not retry.retryable(failure, a.attributes.retry_policy)
        failure = cut(failure, env.payload_bytes_max // 2, non_retryable=refused)
    activities.fail(tx, a, failure, request.identity)
    return settle(tx)


def canceled(run: Run, request: RespondActivityTaskCanceledRequest, env: Env) -> Outcome:
    """The attempt accepted its cancellation. Details that are too large fail the activity.

    Raises:
        RpcError: as `held_activity`; InvalidArgument if nobody asked for it.
    """
    return _cancel(run, held_activity(run, request.task_token), request, RespondActivityTaskCanceledResponse(), env)


def canceled_by_id(run: Run, request: RespondActivityTaskCanceledByIdRequest, env: Env) -> Outcome:
    """As `canceled`.

    Raises:
        RpcError: as `named_activity`; InvalidArgument if nobody asked for it.
    """
    a = named_activity(run, request.activity_id, started=True)
    return _cancel(run, a, request, RespondActivityTaskCanceledByIdResponse(), env)


def _cancel(run: Run, a: Activity, request: _Canceled, reply: Message, env: Env) -> Outcome:
    if not a.cancel_requested_event_id:
        if run.standalone:
            raise failed_precondition("invalid transition from Started: the cancellation of the activity was not requested")
        raise invalid_argument("unable to mark activity as canceled without activity being request canceled first")
    tx = Transaction(run, env)
    tx.outcome.reply = reply
    if limits.too_large(request.details, env.payload_bytes_max):
        activities.fail(tx, a, _too_large("Activity cancellation details"), request.identity)
        return settle(tx)
    activities.cancel(tx, a, request.details if request.HasField("details") else None, request.identity)
    return settle(tx)


def heartbeat(run: Run, request: RecordActivityTaskHeartbeatRequest, env: Env) -> Outcome:
    """The attempt lives; the answer says whether it is to stop.

    Raises:
        RpcError: as `held_activity`.
    """
    return _beat(run, held_activity(run, request.task_token), request, RecordActivityTaskHeartbeatResponse(), env)


def heartbeat_by_id(run: Run, request: RecordActivityTaskHeartbeatByIdRequest, env: Env) -> Outcome:
    """As `heartbeat`.

    Raises:
        RpcError: as `named_activity`.
    """
    a = named_activity(run, request.activity_id, started=True)
    return _beat(run, a, request, RecordActivityTaskHeartbeatByIdResponse(), env)


def _beat(run: Run, a: Activity, request: _Heartbeat, reply: _HeartbeatReply, env: Env) -> Outcome:
    tx = Transaction(run, env)
    tx.outcome.reply = reply
    if limits.too_large(request.details, env.payload_bytes_max):
        activities.fail(tx, a, _too_large("Activity heartbeat details"), request.identity)
        reply.cancel_requested = True
        return settle(tx)
    _keep_details(tx, a, request.details)
    reply.cancel_requested = bool(a.cancel_requested_event_id)
    if a.intervention is not None:
        reply.activity_paused = a.intervention.pause is not None
        reply.activity_reset = a.intervention.reset
    return tx.close()


def _keep_details(tx: Transaction, a: Activity, details: Payloads) -> None:
    kept = Payloads()
    kept.CopyFrom(details)
    a.heartbeat_details = kept
    a.heartbeat_time = tx.now
    tx.outcome.activities[a.scheduled_event_id] = a


def _too_large(what: str) -> Failure:
    failure = Failure()
    failure.message = f"{what} exceeds size limit."
    failure.source = "Server"
    failure.server_failure_info.non_retryable = True
    return failure
