"""What a worker answers to its workflow task: completed, with commands, or failed (2.1, 2.3).

Writes WorkflowTaskCompleted (after the two events of a transient task), what the commands write, then what was buffered,
then the next WorkflowTaskScheduled if one is needed. A wrong command throws all of them away: WorkflowTaskFailed, what
was buffered, and another workflow task; the worker gets InvalidArgument once that is durable.

Easily got wrong: a wrong command in a later attempt changes nothing at all. The error is answered, the task is left to
time out, and that is what slows the series of attempts down.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal, TypeAlias

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import WorkflowTaskCompletedEventAttributes
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes
from temporalio.api.workflowservice.v1 import (
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
)

from perdure.engine.core import codes, limits, reset_points, update_messages
from perdure.engine.core.activities import start_eager
from perdure.engine.core.activity_options import sent_ns
from perdure.engine.core.apply import task_completed as fold_completed
from perdure.engine.core.closing import terminate
from perdure.engine.core.commands import carry_out, check
from perdure.engine.core.outcome import Env, Outcome, WorkflowTaskStarted
from perdure.engine.core.pending import WorkflowTask
from perdure.engine.core.plan import Plan, Refused
from perdure.engine.core.settling import settle
from perdure.engine.core.speculative import leaves_no_trace, mark, schedule_speculative
from perdure.engine.core.state import Run
from perdure.engine.core.task_failures import ENGINE, cause_text, fail, held_task, succeed, time_out
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.update_messages import Answers
from perdure.engine.core.updates import Updates, abort_admitted
from perdure.engine.core.versions import after_task, completed_part, version_of
from perdure.engine.core.workflow_tasks import INLINE_REQUEST, begin, record_unrecorded, schedule, started_task, unstick
from perdure.model.framing import framed, tag, varint
from perdure.model.rpc import failed_precondition, invalid_argument, not_found

_Metadata: TypeAlias = Literal["worker_version_stamp", "sdk_metadata", "metering_metadata"]
_Sticky: TypeAlias = tuple[str, int]
"""A sticky queue, and its schedule-to-start timeout (ns)."""
_NOT_STICKY: Final[_Sticky] = ("", 0)
_SCHEDULED_ID: Final = tag(WorkflowTaskCompletedEventAttributes, "scheduled_event_id")
_STARTED_ID: Final = tag(WorkflowTaskCompletedEventAttributes, "started_event_id")
_METADATA: Final[tuple[tuple[_Metadata, bytes], ...]] = (
    ("worker_version_stamp", tag(WorkflowTaskCompletedEventAttributes, "worker_version")),
    ("sdk_metadata", tag(WorkflowTaskCompletedEventAttributes, "sdk_metadata")),
    ("metering_metadata", tag(WorkflowTaskCompletedEventAttributes, "metering_metadata")),
)
"""What a worker may add, and how it opens in the event."""


def task_completed(run: Run, request: RespondWorkflowTaskCompletedRequest, env: Env) -> Outcome:
    """The worker has done its workflow task. With `Outcome.error`, its commands were refused durably.

    Raises:
        RpcError: InvalidArgument for a bad token, the name of a sticky queue that is too long, or commands that change nothing;
            NotFound if the task is no longer its; FailedPrecondition for another task of a run that is paused.
    """
    task = held_task(run, request.task_token)
    sticky = _sticky(request.sticky_attributes.SerializeToString()) if request.HasField("sticky_attributes") else _NOT_STICKY
    if request.versioning_behavior and version_of(request.deployment_options) is None:
        raise invalid_argument("VersioningBehavior is set, but the worker that sends it has no versioned DeploymentOptions.")
    if run.paused is not None and request.force_create_new_workflow_task:
        raise failed_precondition("Workflow is paused, and cannot be given a new workflow task.")
    heartbeat = request.force_create_new_workflow_task and not request.commands and not request.messages
    if heartbeat and env.now > task.original_scheduled_time + limits.HEARTBEAT_CHAIN:
        return _heartbeat_timeout(run, env)
    try:
        answers = update_messages.read(request.messages, env.payload_bytes_max) if request.messages else None
        plan = check(run, request.commands, task.started_event_id + 1, env, answers)
    except Refused as refused:
        return _refuse(run, request, task, refused, env)
    tx = Transaction(run, env)
    if task.speculative and leaves_no_trace(run, task, request, only_rejections=answers is None or answers.only_rejections):
        return _discard(tx, request, task, answers, sticky)
    return _complete(tx, request, task, plan, heartbeat, sticky)


def _complete(
    tx: Transaction, request: RespondWorkflowTaskCompletedRequest, task: WorkflowTask, plan: Plan, heartbeat: bool, sticky: _Sticky
) -> Outcome:
    run = tx.run
    tx.outcome.reply = reply = RespondWorkflowTaskCompletedResponse()
    tx.worker = request.identity
    tx.holding = True
    completed_event_id = _write_completed(tx, request, task)
    run.sticky_queue, run.sticky_timeout = sticky
    succeed(tx)
    if plan.answers is not None:
        update_messages.carry_out_rejections(tx, plan.answers)
    carry_out(tx, plan, completed_event_id)
    if plan.answers is not None:
        update_messages.carry_out_rest(tx, plan.answers)
    tx.holding = False
    if tx.eager and not run.closed:
        start_eager(tx, request.identity, task.in_process, reply)
    if not run.closed:
        if run.updates is not None and not heartbeat:
            update_messages.reject_unprocessed(tx, run.updates)
        if run.paused is not None:
            return settle(tx)
        if request.force_create_new_workflow_task or run.buffered or tx.wants_task:
            schedule(tx, 1, task.original_scheduled_time if heartbeat else 0)
            _start_inline(tx, request, task)
        elif run.updates is not None:
            _follow_updates(tx, run.updates, request, task)
    return settle(tx)


def _follow_updates(tx: Transaction, updates: Updates, request: RespondWorkflowTaskCompletedRequest, task: WorkflowTask) -> None:
    """Updates that came meanwhile get a workflow task of their own."""
    if not updates.waiting() or tx.run.paused is not None:
        return
    if request.return_new_workflow_task:
        schedule_speculative(tx)
    else:
        schedule(tx)
    _start_inline(tx, request, task)


def _start_inline(tx: Transaction, request: RespondWorkflowTaskCompletedRequest, task: WorkflowTask) -> None:
    versioning = tx.run.versioning
    if request.return_new_workflow_task and (versioning is None or not tx.env.version_outdated(tx.run)):
        tx.task_ready = False
        begin(tx, request.identity, INLINE_REQUEST, task.in_process)
        tx.outcome.effects.append(WorkflowTaskStarted(None, started_task(tx.run, partial=True, suggest_events=tx.env.suggest_events)))


def _discard(
    tx: Transaction, request: RespondWorkflowTaskCompletedRequest, task: WorkflowTask, answers: Answers | None, sticky: _Sticky
) -> Outcome:
    """A speculative task ends without a trace: its worker goes back to where it was."""
    run = tx.run
    tx.outcome.reply = RespondWorkflowTaskCompletedResponse(reset_history_event_id=run.previous_started_event_id)
    tx.changed = sticky != (run.sticky_queue, run.sticky_timeout)
    run.sticky_queue, run.sticky_timeout = sticky
    run.task = None
    mark(tx)
    if answers is not None:
        update_messages.carry_out_rejections(tx, answers)
    if run.updates is not None:
        update_messages.reject_unprocessed(tx, run.updates)
        _follow_updates(tx, run.updates, request, task)
    return settle(tx)


def _write_completed(tx: Transaction, request: RespondWorkflowTaskCompletedRequest, task: WorkflowTask) -> int:
    if task.attempt > 1 or task.speculative:
        record_unrecorded(tx, task)
    attributes = _SCHEDULED_ID + varint(task.scheduled_event_id) + _STARTED_ID + varint(task.started_event_id)
    attributes += _of_worker(request.identity, request.binary_checksum)
    has = request.HasField
    for field, opening in _METADATA:
        if has(field):
            attributes += framed(opening, getattr(request, field).SerializeToString())
    if has("deployment_options") or request.versioning_behavior or tx.run.versioning is not None:
        attributes += _note_version(tx, request)
    tx.cut_tail()
    event_id = tx.record(codes.TASK_COMPLETED, attributes)
    fold_completed(tx.run, task.started_event_id)
    if request.binary_checksum or has("worker_version_stamp") or has("deployment_options"):
        reset_points.note(tx.run, event_id, tx.now, WorkflowTaskCompletedEventAttributes.FromString(attributes))
    return event_id


def _note_version(tx: Transaction, request: RespondWorkflowTaskCompletedRequest) -> bytes:
    run, before = tx.run, tx.run.versioning
    version = version_of(request.deployment_options)
    behavior = request.versioning_behavior
    if version is None or not behavior:
        run.versioning, part = after_task(before, 0, WorkerDeploymentVersion()), b""
    else:
        run.versioning = after_task(before, behavior, version.message())
        part = completed_part(version.deployment, version.build_id, behavior)
    if run.versioning != before:
        tx.outcome.visibility_changed = tx.outcome.search_changed = True
    return part


@lru_cache(maxsize=256)
def _of_worker(identity: str, checksum: str) -> bytes:
    """What WorkflowTaskCompleted says of its worker, encoded."""
    a = WorkflowTaskCompletedEventAttributes()
    a.identity = identity
    a.binary_checksum = checksum
    return a.SerializeToString()


@lru_cache(maxsize=256)
def _sticky(attributes: bytes) -> _Sticky:
    """What a worker says of its sticky queue: the same with every task."""
    sticky = StickyExecutionAttributes.FromString(attributes)
    queue = sticky.worker_task_queue.name
    if limits.too_long(queue):
        raise invalid_argument("TaskQueue on StickyExecutionAttributes exceeds length limit.")
    return (queue, max(0, sent_ns(sticky.schedule_to_start_timeout))) if queue else _NOT_STICKY


def _heartbeat_timeout(run: Run, env: Env) -> Outcome:
    tx = Transaction(run, env)
    attempt = time_out(tx, codes.START_TO_CLOSE)
    unstick(run)
    schedule(tx, attempt)
    tx.outcome.error = not_found("workflow task heartbeat timeout")
    return settle(tx)


def _refuse(run: Run, request: RespondWorkflowTaskCompletedRequest, task: WorkflowTask, refused: Refused, env: Env) -> Outcome:
    text = cause_text(refused.cause)
    message = f"{text}: {refused.message}" if refused.message else text
    error = invalid_argument(message)
    if task.attempt > 1 and refused.cause != codes.UNHANDLED_COMMAND:
        raise error
    tx = Transaction(run, env)
    failure = Failure()
    failure.message = message
    failure.source = "Server"
    failure.server_failure_info.non_retryable = True
    attempt = fail(tx, refused.cause, failure, request.identity, request.binary_checksum)
    if refused.terminate:
        terminate(tx, message, None, ENGINE)
    else:
        if run.updates is not None and refused.cause != codes.UNHANDLED_COMMAND:
            abort_admitted(tx.outcome, run.updates)
        schedule(tx, attempt)
        run.close_attempted = refused.cause == codes.UNHANDLED_COMMAND
    tx.outcome.error = error
    return settle(tx)


def task_failed(run: Run, request: RespondWorkflowTaskFailedRequest, env: Env) -> Outcome:
    """The worker could not do its workflow task; the next attempt follows at once.

    Raises:
        RpcError: InvalidArgument for a bad token; NotFound if the task is no longer that worker's.
    """
    held_task(run, request.task_token)
    tx = Transaction(run, env)
    tx.outcome.reply = RespondWorkflowTaskFailedResponse()
    failure = request.failure if request.HasField("failure") else None
    version = request.worker_version if request.HasField("worker_version") else None
    attempt = fail(tx, request.cause, failure, request.identity, request.binary_checksum, version)
    if request.cause == codes.MESSAGE_TOO_LARGE:
        terminate(tx, cause_text(request.cause), None, ENGINE)
    else:
        schedule(tx, attempt)
    return settle(tx)
