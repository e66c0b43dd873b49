"""A Nexus operation without a workflow: a run of its own, that has no workflow tasks and ends with its operation.

Writes WorkflowExecutionStarted and NexusOperationScheduled, WorkflowExecutionCancelRequested with NexusOperationCancelRequested, and
WorkflowExecutionTerminated. Decides whether an operation's id may be used again, and what is in the first two events. The rest is
`nexus_answers`: what a handler says is recorded as for any operation, and the event that ends the operation closes the run.

Easily got wrong: such runs live in a namespace beside the real one (`OPERATION_MARK`), so that their ids and those of workflows do not
meet. Its history is the engine's own: no RPC shows it. What lists and queries know of it stands where a workflow has other things:
the endpoint as task queue, the operation as type, the service as a search attribute (`SERVICE`).
"""

from __future__ import annotations

import json
from typing import Final, TypeAlias

from temporalio.api.errordetails.v1 import NexusOperationExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    RequestCancelNexusOperationExecutionRequest,
    RequestCancelNexusOperationExecutionResponse,
    StartNexusOperationExecutionRequest,
    StartNexusOperationExecutionResponse,
    TerminateNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionResponse,
)

from perdure.engine.core import codes, limits
from perdure.engine.core.callbacks import check_callbacks, check_links
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

SERVICE: Final = "TemporalNexusService"
"""The search attribute in which the service stands. Nobody can set it, or make one of that name."""
SCHEDULED: Final = 2
"""The id of the event that scheduled the operation, in every such run."""
_SPANS: Final = ("schedule_to_close_timeout", "schedule_to_start_timeout", "start_to_close_timeout")

_Ending: TypeAlias = RequestCancelNexusOperationExecutionRequest | TerminateNexusOperationExecutionRequest


def check_start(request: StartNexusOperationExecutionRequest, custom: Types, payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> None:
    """Refuses what can never be started; notes the types of search attributes; `custom`: the namespace's own.

    Raises:
        RpcError: InvalidArgument.
    """
    wrong = _complaint(request, payload_bytes_max)
    attributes = request.search_attributes.indexed_fields
    wrong = wrong or complaint(attributes, custom, request.namespace) or size_complaint(attributes)
    wrong = wrong or metadata_complaint(request.user_metadata)
    if wrong:
        raise invalid_argument(wrong)
    check_links(request.links)
    check_callbacks(request.completion_callbacks)
    set_types(attributes, custom)


def _complaint(request: StartNexusOperationExecutionRequest, payload_bytes_max: int) -> str:
    for name in ("operation_id", "endpoint", "service", "operation"):
        if not getattr(request, name):
            return f"{name} is required"
    for name in ("operation_id", "request_id", "identity", "endpoint", "service", "operation"):
        if limits.too_long(getattr(request, name)):
            return f"{name} exceeds length limit. Limit={limits.ID_BYTES_MAX}"
    for name in _SPANS:
        span = getattr(request, name)
        if span.seconds < 0 or span.nanos < 0:
            return f"{name} is invalid: negative duration"
    if limits.too_large(request.input, payload_bytes_max):
        return "input exceeds size limit"
    if attaching := attaching_complaint(request):
        return attaching
    if sum(len(key.encode()) + len(value.encode()) for key, value in request.nexus_header.items()) > limits.NEXUS_HEADER_BYTES_MAX:
        return "nexus_header exceeds size limit"
    return ""


def answer_existing(run: Run, request: StartNexusOperationExecutionRequest) -> StartNexusOperationExecutionResponse | None:
    """What a start is told of the operation that its id means now; None: another may begin.

    Raises:
        RpcError: AlreadyExists, with that operation as detail.
    """
    found = judge(run, request.request_id, request.id_reuse_policy, request.id_conflict_policy)
    if found is Found.NOTHING:
        return None
    if found in (Found.SAME, Found.EXISTING):
        return StartNexusOperationExecutionResponse(run_id=run.run_id, started=found is Found.SAME)
    detail = NexusOperationExecutionAlreadyStartedFailure(start_request_id=run.start_request_id, run_id=run.run_id)
    raise already_exists(f"nexus operation execution {found.value}. OperationId: {run.workflow_id}, RunId: {run.run_id}.", detail)


def start_operation(namespace: str, request: StartNexusOperationExecutionRequest, env: Env) -> Outcome:
    """A new operation of a request that `check_start` let pass; `namespace`: the one beside the request's.

    Raises:
        RpcError: NotFound, if there is no such endpoint.
    """
    endpoint_id = env.endpoint_id(request.endpoint)
    if not endpoint_id:
        raise not_found(f"could not find Nexus endpoint by name: {request.endpoint}")
    run = Run(namespace, env.new_run_id(), request.request_id or env.new_uuid())
    tx = Transaction(run, env)
    _write_started(tx, request)
    event = tx.event(codes.OPERATION_SCHEDULED)
    a = event.nexus_operation_scheduled_event_attributes
    a.endpoint, a.service, a.operation = request.endpoint, request.service, request.operation
    a.endpoint_id, a.request_id = endpoint_id, env.new_uuid()
    if request.HasField("input"):
        a.input.CopyFrom(request.input)
    for key, value in request.nexus_header.items():
        a.nexus_header[key.lower()] = value
    for name in _SPANS:
        getattr(a, name).SetInParent()
        set_ns(getattr(a, name), bounded(getattr(request, name)))
    tx.append(event)
    tx.outcome.visibility_changed = True
    tx.outcome.reply = StartNexusOperationExecutionResponse(run_id=run.run_id, started=True)
    return settle(tx)


def _write_started(tx: Transaction, request: StartNexusOperationExecutionRequest) -> None:
    event = started_event(tx, request, request.operation_id, request.operation, request.endpoint)
    a = event.workflow_execution_started_event_attributes
    service = a.search_attributes.indexed_fields[SERVICE]
    service.metadata["encoding"], service.metadata["type"] = b"json/plain", b"Keyword"
    service.data = json.dumps(request.service).encode()
    tx.append(event)


def request_cancel(run: Run, request: RequestCancelNexusOperationExecutionRequest, env: Env) -> Outcome:
    """Asks the operation's handler to stop it, once it has started. Asking again changes nothing.

    Raises:
        RpcError: NotFound if it has ended; InvalidArgument for texts that are too long.
    """
    _check_ending(run, request)
    tx = Transaction(run, env)
    tx.outcome.reply = RequestCancelNexusOperationExecutionResponse()
    if run.cancel_requested:
        return tx.close()
    write_cancel_requested(tx, request)
    event = tx.event(codes.OPERATION_CANCEL_REQUESTED)
    event.nexus_operation_cancel_requested_event_attributes.scheduled_event_id = SCHEDULED
    tx.append(event)
    return settle(tx)


def request_terminate(run: Run, request: TerminateNexusOperationExecutionRequest, env: Env) -> Outcome:
    """Ends the operation now, without its handler.

    Raises:
        RpcError: NotFound if it has ended; InvalidArgument for texts that are too long.
    """
    _check_ending(run, request)
    tx = Transaction(run, env)
    tx.outcome.reply = TerminateNexusOperationExecutionResponse()
    terminate(tx, request.reason, None, request.identity)
    return settle(tx)


def _check_ending(run: Run, request: _Ending) -> None:
    if has_long_texts(request):
        raise invalid_argument("request_id, identity or reason exceeds length limit")
    if run.closed:
        raise not_found("nexus operation execution already completed")
