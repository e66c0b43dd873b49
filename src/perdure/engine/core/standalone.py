"""An activity without a workflow: a run of its own, that has no workflow tasks and ends with its activity.

Writes WorkflowExecutionStarted and ActivityTaskScheduled, WorkflowExecutionCancelRequested and WorkflowExecutionTerminated.
Decides whether an activity id may be used again, and what is in the first two events. The rest is `activities`: attempts, timeouts,
retries, heartbeats and reports are those of any activity, and the event that closes the activity closes the run.

Easily got wrong: such runs live in a namespace beside the real one (`STANDALONE_MARK`), so that activity ids and workflow ids do not
meet; only their queues are the real namespace's. Its history is the engine's own: no RPC shows it.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes
from temporalio.api.errordetails.v1 import ActivityExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    RequestCancelActivityExecutionRequest,
    RequestCancelActivityExecutionResponse,
    StartActivityExecutionRequest,
    StartActivityExecutionResponse,
    TerminateActivityExecutionRequest,
    TerminateActivityExecutionResponse,
)

from perdure.engine.core import activities, activity_options, codes, limits
from perdure.engine.core.callbacks import check_callbacks, check_links, run_link
from perdure.engine.core.closing import terminate
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.search_attributes import Types, complaint, set_types, size_complaint
from perdure.engine.core.settling import settle
from perdure.engine.core.standalone_ids import Found, judge
from perdure.engine.core.standalone_runs import attaching_complaint, has_long_texts, started_event, write_cancel_requested
from perdure.engine.core.start import bounded, metadata_complaint
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import already_exists, invalid_argument, not_found

_OPTIONS: Final = (
    "activity_type",
    "task_queue",
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
    "retry_policy",
    "header",
    "input",
    "priority",
)
"""What a start says in the words of the command that schedules an activity."""


def _command(request: StartActivityExecutionRequest) -> ScheduleActivityTaskCommandAttributes:
    command = ScheduleActivityTaskCommandAttributes(activity_id=request.activity_id)
    for name in _OPTIONS:
        if request.HasField(name):
            getattr(command, name).CopyFrom(getattr(request, name))
    return command


def check_start(request: StartActivityExecutionRequest, custom: Types, payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> None:
    """Refuses what can never be started; notes the types of search attributes; `custom`: the namespace's own.

    Raises:
        RpcError: InvalidArgument.
    """
    if not request.activity_id:
        raise invalid_argument("ActivityId is not set on request.")
    for name, text in (("ActivityId", request.activity_id), ("RequestId", request.request_id), ("Identity", request.identity)):
        if limits.too_long(text):
            raise invalid_argument(f"{name} length exceeds limit.")
    options = activity_options.options(_command(request), 0)
    wrong = options.complaint.replace("ScheduleActivityTaskCommand", "request")
    if not wrong and limits.too_large(request.input, payload_bytes_max):
        wrong = "Activity input exceeds size limit."
    attributes = request.search_attributes.indexed_fields
    wrong = wrong or complaint(attributes, custom, request.namespace) or size_complaint(attributes)
    wrong = wrong or metadata_complaint(request.user_metadata)
    if not wrong and (request.start_delay.seconds < 0 or request.start_delay.nanos < 0):
        wrong = "An invalid StartDelay is set on request."
    wrong = wrong or attaching_complaint(request)
    if wrong:
        raise invalid_argument(wrong)
    check_links(request.links)
    check_callbacks(request.completion_callbacks)
    set_types(attributes, custom)


def answer_existing(run: Run, request: StartActivityExecutionRequest) -> StartActivityExecutionResponse | None:
    """What a start is told of the activity that its id means now; None: another may begin.

    Raises:
        RpcError: AlreadyExists, with that activity as detail.
    """
    found = judge(run, request.request_id, request.id_reuse_policy, request.id_conflict_policy)
    if found is Found.NOTHING:
        return None
    if found in (Found.SAME, Found.EXISTING):
        return StartActivityExecutionResponse(run_id=run.run_id, started=found is Found.SAME, link=run_link(run))
    detail = ActivityExecutionAlreadyStartedFailure(start_request_id=run.start_request_id, run_id=run.run_id)
    raise already_exists(f"Activity execution {found.value}. ActivityId: {run.workflow_id}, RunId: {run.run_id}.", detail)


def start_standalone(namespace: str, request: StartActivityExecutionRequest, env: Env) -> Outcome:
    """A new activity of a request that `check_start` let pass; `namespace`: the one beside the request's."""
    run = Run(namespace, env.new_run_id(), request.request_id or env.new_uuid())
    tx = Transaction(run, env)
    _write_started(tx, request)
    event = tx.event(codes.ACTIVITY_SCHEDULED)
    command = _command(request)
    event.MergeFromString(activity_options.options(command, 0).template)
    a = event.activity_task_scheduled_event_attributes
    a.activity_id = request.activity_id
    if command.HasField("input"):
        a.input.CopyFrom(command.input)
    if command.HasField("header"):
        a.header.CopyFrom(command.header)
    tx.append(event)
    activity = run.activities[event.event_id]
    if activity.scheduled_time > tx.now:
        activities.reschedule(tx, activity, activity.scheduled_time)
    else:
        tx.ready.append(activity)
    tx.outcome.visibility_changed = True
    tx.outcome.reply = StartActivityExecutionResponse(run_id=run.run_id, started=True, link=run_link(run))
    return settle(tx)


def _write_started(tx: Transaction, request: StartActivityExecutionRequest) -> None:
    event = started_event(tx, request, request.activity_id, request.activity_type.name, request.task_queue.name)
    if request.HasField("start_delay"):
        set_ns(event.workflow_execution_started_event_attributes.first_workflow_task_backoff, bounded(request.start_delay))
    tx.append(event)


def request_cancel(run: Run, request: RequestCancelActivityExecutionRequest, env: Env) -> Outcome:
    """Asks the activity to stop; one that no worker has is cancelled at once. Asking again changes nothing.

    Raises:
        RpcError: NotFound if it has ended; InvalidArgument for texts that are too long.
    """
    _check_ending(run, request)
    tx = Transaction(run, env)
    tx.outcome.reply = RequestCancelActivityExecutionResponse()
    if run.cancel_requested:
        return tx.close()
    write_cancel_requested(tx, request)
    for a in list(run.activities.values()):
        if a.state != codes.STARTED:
            activities.cancel(tx, a, None, request.identity)
    return settle(tx)


def request_terminate(run: Run, request: TerminateActivityExecutionRequest, env: Env) -> Outcome:
    """Ends the activity now, whoever has it.

    Raises:
        RpcError: NotFound if it has ended; InvalidArgument for texts that are too long.
    """
    _check_ending(run, request)
    tx = Transaction(run, env)
    tx.outcome.reply = TerminateActivityExecutionResponse()
    terminate(tx, request.reason, None, request.identity)
    return settle(tx)


def _check_ending(run: Run, request: RequestCancelActivityExecutionRequest | TerminateActivityExecutionRequest) -> None:
    if has_long_texts(request):
        raise invalid_argument("RequestId, Identity or Reason length exceeds limit.")
    if run.closed:
        raise not_found("activity execution already completed")
