"""Starting a run: the request checked, its events, its first workflow task (4.1, 4.3, 4.6).

Writes WorkflowExecutionStarted, with signal-with-start WorkflowExecutionSignaled, and the first workflow task unless it
is delayed. Decides the timeouts that will hold. Whether a new run may start at all is `policies`.

Easily got wrong: 0 means no execution or run timeout, but of the two the smaller one that is set bounds the run; and the
run's expiration counts from the end of its delay, the execution's does not.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
)

from perdure.engine.core import codes, cron, limits, retry
from perdure.engine.core.apply import Spans, is_null, run_started
from perdure.engine.core.callbacks import check_callbacks, check_links, further, link_to
from perdure.engine.core.closing import terminate
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.policies import check_policies
from perdure.engine.core.responses import poll_response
from perdure.engine.core.search_attributes import Types, complaint, set_types, size_complaint
from perdure.engine.core.settling import settle
from perdure.engine.core.signals import check_signal, write_signaled
from perdure.engine.core.state import Run
from perdure.engine.core.task_failures import ENGINE
from perdure.engine.core.times import HUNDRED_YEARS, earliest, set_ns, to_ns
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.update_requests import enter
from perdure.engine.core.versions import Version, at_start, version_of
from perdure.engine.core.workflow_tasks import begin, schedule, started_task
from perdure.model.rpc import invalid_argument

StartRequest: TypeAlias = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


class Parent(NamedTuple):
    """The run that starts a child, and the event with which it did."""

    namespace: str
    namespace_id: str
    workflow_id: str
    run_id: str
    initiated_event_id: int
    root: WorkflowExecution
    """The run at the root of the tree."""
    pinned: Version | None = None
    """What it is pinned to: so is the child, if that version's workers poll the child's task queue."""


_Span: TypeAlias = Literal["workflow_execution_timeout", "workflow_run_timeout", "workflow_task_timeout", "workflow_start_delay"]
_SPANS: Final[tuple[tuple[_Span, str], ...]] = (
    ("workflow_execution_timeout", "WorkflowExecutionTimeoutSeconds"),
    ("workflow_run_timeout", "WorkflowRunTimeoutSeconds"),
    ("workflow_task_timeout", "WorkflowTaskTimeoutSeconds"),
    ("workflow_start_delay", "WorkflowStartDelay"),
)


# Checking.


def validate_start(request: StartRequest, payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> None:
    """Refuses what can never be started, whatever runs now.

    Raises:
        RpcError: InvalidArgument.
    """
    workflow_id, workflow_type, queue = request.workflow_id, request.workflow_type.name, request.task_queue.name
    texts = len(workflow_id) + len(workflow_type) + len(queue) + len(request.request_id) + len(request.identity)
    if not (workflow_id and workflow_type and queue) or texts * 4 > limits.ID_BYTES_MAX or queue.startswith(limits.RESERVED_QUEUES):
        _check_texts(request)
    _check_spans(request)
    has = request.HasField
    if has("retry_policy"):
        wrong = retry.complaint(request.retry_policy)
        if wrong:
            raise invalid_argument(wrong)
    check_policies(request)
    _check_sizes(request, payload_bytes_max)
    _check_support(request)
    if isinstance(request, SignalWithStartWorkflowExecutionRequest):
        check_signal(request.signal_name, request.request_id, request.identity, request.signal_input, payload_bytes_max)


def _check_texts(request: StartRequest) -> None:
    for name, text in (
        ("WorkflowId", request.workflow_id),
        ("WorkflowType", request.workflow_type.name),
        ("TaskQueue", request.task_queue.name),
    ):
        if not text:
            raise invalid_argument(f"{name} is not set on request.")
        if limits.too_long(text):
            raise invalid_argument(f"{name} length exceeds limit.")
    if request.task_queue.name.startswith(limits.RESERVED_QUEUES):
        raise invalid_argument(f"TaskQueue name cannot start with the reserved prefix {limits.RESERVED_QUEUES}.")
    for name, text in (("RequestId", request.request_id), ("Identity", request.identity)):
        if limits.too_long(text):
            raise invalid_argument(f"{name} length exceeds limit.")


def _check_spans(request: StartRequest) -> None:
    has = request.HasField
    for field, name in _SPANS:
        if has(field):
            span = getattr(request, field)
            if span.seconds < 0 or span.nanos < 0:
                raise invalid_argument(f"An invalid {name} is set on request.")


def _check_sizes(request: StartRequest, payload_bytes_max: int) -> None:
    if request.ByteSize() <= limits.USER_SUMMARY_BYTES_MAX:
        return  # too small for anything in it to be too large
    if limits.too_large(request.input, payload_bytes_max):
        raise invalid_argument("Workflow input exceeds size limit.")
    if request.HasField("memo") and limits.too_large(request.memo, limits.MEMO_BYTES_MAX):
        raise invalid_argument("Memo exceeds size limit.")
    if request.HasField("user_metadata"):
        wrong = metadata_complaint(request.user_metadata)
        if wrong:
            raise invalid_argument(wrong)


def _check_support(request: StartRequest) -> None:
    if request.cron_schedule:
        if request.HasField("workflow_start_delay"):
            raise invalid_argument("CronSchedule and WorkflowStartDelay may not be used together.")
        wrong = cron.complaint(request.cron_schedule)
        if wrong:
            raise invalid_argument(wrong)
    if request.HasField("priority"):
        wrong = limits.priority_complaint(request.priority)
        if wrong:
            raise invalid_argument(wrong)
    if request.links:
        check_links(request.links)
    if isinstance(request, StartWorkflowExecutionRequest) and request.completion_callbacks:
        check_callbacks(request.completion_callbacks)


def check_attributes(request: StartRequest, custom: Types) -> None:
    """Refuses search attributes that the namespace does not have, or values that they do not take; notes the types of those it lets pass.

    Raises:
        RpcError: InvalidArgument.
    """
    fields = request.search_attributes.indexed_fields
    wrong = complaint(fields, custom, request.namespace) or size_complaint(fields)
    if wrong:
        raise invalid_argument(wrong)
    set_types(fields, custom)


def metadata_complaint(metadata: UserMetadata) -> str:
    """What is wrong with the size of user metadata; empty if nothing is."""
    if len(metadata.summary.data) > limits.USER_SUMMARY_BYTES_MAX:
        return f"user metadata summary exceeds {limits.USER_SUMMARY_BYTES_MAX} bytes"
    if len(metadata.details.data) > limits.USER_DETAILS_BYTES_MAX:
        return f"user metadata details exceed {limits.USER_DETAILS_BYTES_MAX} bytes"
    return ""


# Timeouts.


def bounded(span: Duration) -> int:
    """A span as sent, at most 100 years, in nanoseconds."""
    return min(to_ns(span), HUNDRED_YEARS)


def task_timeout(wanted: int, run_timeout: int) -> int:
    """The workflow task timeout that will hold."""
    timeout = min(wanted or limits.TASK_TIMEOUT_DEFAULT, limits.TASK_TIMEOUT_MAX)
    return earliest(timeout, run_timeout)


def drop_nulls(fields: MutableMapping[str, Payload]) -> None:
    """Removes the entries that say nothing from a memo or search attributes."""
    for key in [key for key, value in fields.items() if is_null(value)]:
        del fields[key]


# Starting.


def start(
    request: StartRequest,
    env: Env,
    replacing: Run | None = None,
    parent: Parent | None = None,
    update: UpdateWorkflowExecutionRequest | None = None,
) -> tuple[Run, Outcome]:
    """A new run of a request that `validate_start` let pass.

    `replacing`: the open run that it terminates; `parent`: of a child; `update`: what it is asked at once.
    """
    run = Run(request.namespace, env.new_run_id(), request.request_id or env.new_uuid())
    terminated = _terminate(replacing, run.run_id, env) if replacing is not None else None
    tx = Transaction(run, env)
    _write_started(tx, request, parent)
    if update is not None:
        enter(run, update)
    if isinstance(request, SignalWithStartWorkflowExecutionRequest):
        _write_signal(tx, request)
        tx.outcome.reply = told = SignalWithStartWorkflowExecutionResponse(
            run_id=run.run_id, first_execution_run_id=run.run_id, started=True
        )
        if request.links and request.request_id:
            told.signal_link.CopyFrom(link_to(run, request.request_id, codes.WORKFLOW_SIGNALED))
    else:
        tx.outcome.reply = reply = _started_reply(run.run_id)
        if run.callbacks or request.links:
            reply.link.CopyFrom(link_to(run, run.start_request_id, codes.WORKFLOW_STARTED))
    if not run.first_task_due:
        schedule(tx)
        if run.start.eager_execution_accepted:
            _start_eagerly(tx, request.identity)
    tx.outcome.visibility_changed = True
    outcome = settle(tx)
    outcome.terminated = terminated
    return run, outcome


def _start_eagerly(tx: Transaction, identity: str) -> None:
    """The first workflow task goes into the reply: whoever starts the workflow has a worker that waits for it."""
    tx.task_ready = False
    begin(tx, identity, tx.run.start_request_id, in_process=False)
    add_eager_task(tx.run, tx.outcome.reply)


def add_eager_task(run: Run, reply: Message | None) -> None:
    """Puts the first workflow task into the reply to a start, as long as that task is under way."""
    task = run.task
    if not isinstance(reply, StartWorkflowExecutionResponse) or task is None or (task.started_event_id, task.attempt) != (3, 1):
        return
    started = started_task(run, partial=False)
    if started.events is not None:
        reply.eager_workflow_task.CopyFrom(poll_response(started))


def _started_reply(run_id: str) -> StartWorkflowExecutionResponse:
    reply = StartWorkflowExecutionResponse()
    reply.run_id = reply.first_execution_run_id = run_id
    reply.started = True
    reply.status = codes.RUNNING
    return reply


def _terminate(run: Run, new_run_id: str, env: Env) -> Outcome:
    tx = Transaction(run, env)
    details = Payloads()
    payload = details.payloads.add()
    payload.metadata["encoding"] = b"json/plain"
    payload.data = f'"terminated by new runID: {new_run_id}"'.encode()
    terminate(tx, "TerminateIfRunning WorkflowIdReusePolicy", details, ENGINE)
    return settle(tx)


def _write_signal(tx: Transaction, request: SignalWithStartWorkflowExecutionRequest) -> None:
    payloads = request.signal_input if request.HasField("signal_input") else None
    header = request.header if request.HasField("header") else None
    write_signaled(tx, request.signal_name, payloads, header, request.identity, request.request_id, request.links)


def _write_started(tx: Transaction, request: StartRequest, parent: Parent | None) -> None:
    run, has = tx.run, request.HasField
    execution = bounded(request.workflow_execution_timeout) if has("workflow_execution_timeout") else 0
    run_timeout = bounded(request.workflow_run_timeout) if has("workflow_run_timeout") else 0
    wanted = bounded(request.workflow_task_timeout) if has("workflow_task_timeout") else 0
    run_timeout = earliest(run_timeout, execution)
    delay = bounded(request.workflow_start_delay) if has("workflow_start_delay") else 0
    schedule = request.cron_schedule
    if schedule:
        delay = cron.backoff(schedule, tx.now, tx.now) or 0
    spans = Spans(tx.now + execution if execution else 0, run_timeout, task_timeout(wanted, run_timeout), delay)
    workflow_type, queue = request.workflow_type.name, request.task_queue.name
    event = tx.event_like(_started_like(workflow_type, queue, request.identity, execution, spans.run, spans.task, delay))
    a = event.workflow_execution_started_event_attributes
    a.workflow_id = workflow_id = request.workflow_id
    a.original_execution_run_id = a.first_execution_run_id = run.run_id
    if has("input"):
        a.input.CopyFrom(request.input)
    if has("header"):
        a.header.CopyFrom(request.header)
    if execution:
        set_ns(a.workflow_execution_expiration_time, spans.execution_expiration)
    if has("retry_policy"):
        a.retry_policy.CopyFrom(request.retry_policy)
        retry.fill(a.retry_policy)
    if has("memo"):
        a.memo.CopyFrom(request.memo)
        drop_nulls(a.memo.fields)
    if has("search_attributes"):
        a.search_attributes.CopyFrom(request.search_attributes)
        drop_nulls(a.search_attributes.indexed_fields)
    if isinstance(request, StartWorkflowExecutionRequest):
        if request.HasField("continued_failure"):
            a.continued_failure.CopyFrom(request.continued_failure)
        if request.HasField("last_completion_result"):
            a.last_completion_result.CopyFrom(request.last_completion_result)
        if request.completion_callbacks:
            a.completion_callbacks.extend(request.completion_callbacks)
    if has("priority"):
        a.priority.CopyFrom(request.priority)
    if has("versioning_override"):
        a.versioning_override.CopyFrom(request.versioning_override)
        run.versioning = at_start(a)
    if schedule:
        a.cron_schedule = schedule
        a.initiator = codes.BY_CRON
    if parent is not None:
        _write_parent(a, parent)
        if parent.pinned is not None:
            a.inherited_pinned_version.CopyFrom(parent.pinned.message())
            run.versioning = at_start(a)
    if has("user_metadata"):
        event.user_metadata.CopyFrom(request.user_metadata)
    if request.links:
        event.links.extend(further(request.links, a.completion_callbacks))
    if isinstance(request, StartWorkflowExecutionRequest) and request.request_eager_execution and not delay:
        run.workflow_id, run.task_queue = workflow_id, queue  # by which it is decided whose task it is
        a.eager_execution_accepted = tx.env.is_for(run, version_of(request.eager_worker_deployment_options))
    tx.number(event)
    run_started(run, event, tx.now, workflow_id, workflow_type, queue, spans)


def _write_parent(a: WorkflowExecutionStartedEventAttributes, parent: Parent) -> None:
    a.parent_workflow_namespace = parent.namespace
    a.parent_workflow_namespace_id = parent.namespace_id
    a.parent_workflow_execution.workflow_id = parent.workflow_id
    a.parent_workflow_execution.run_id = parent.run_id
    a.parent_initiated_event_id = parent.initiated_event_id
    a.root_workflow_execution.CopyFrom(parent.root)


@lru_cache(maxsize=256)
def _started_like(workflow_type: str, queue: str, identity: str, execution: int, run: int, task: int, delay: int) -> bytes:
    """What the events have in common with which such runs start; the spans in nanoseconds."""
    event = HistoryEvent()
    event.event_type = codes.WORKFLOW_STARTED
    a = event.workflow_execution_started_event_attributes
    a.workflow_type.name = workflow_type
    a.task_queue.name = queue
    a.task_queue.kind = codes.NORMAL_QUEUE
    if execution:  # who set none sees none
        set_ns(a.workflow_execution_timeout, execution)
    if run:
        set_ns(a.workflow_run_timeout, run)
    set_ns(a.workflow_task_timeout, task)
    set_ns(a.first_workflow_task_backoff, delay)
    a.identity = identity
    a.attempt = 1
    return event.SerializeToString()
