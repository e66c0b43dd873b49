"""Signals to a run (4.6).

Writes WorkflowExecutionSignaled. Decides whether a signal is new, and whether it may still be sent. Knows nothing of its
meaning.

Easily got wrong: a request id that was seen before is answered as success even when the run has closed; and a signal to
a run whose first workflow task is delayed does not bring that task forward. Who says from where a signal comes, by a link, is told by one
where it went.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from temporalio.api.common.v1 import Header, Link, Payloads
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.history.v1 import WorkflowExecutionSignaledEventAttributes
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest, SignalWorkflowExecutionResponse

from perdure.engine.core import codes, limits
from perdure.engine.core.apply import signaled
from perdure.engine.core.callbacks import check_links, link_to
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.model.framing import framed, tag
from perdure.model.rpc import invalid_argument, not_found, resource_exhausted

_INPUT: Final = tag(WorkflowExecutionSignaledEventAttributes, "input")
_HEADER: Final = tag(WorkflowExecutionSignaledEventAttributes, "header")


def check_signal(
    name: str, request_id: str, identity: str, payloads: Payloads | None, payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX
) -> None:
    """Refuses what no run may be sent.

    Raises:
        RpcError: InvalidArgument.
    """
    if not name:
        raise invalid_argument("SignalName is not set on request.")
    if limits.too_long(name):
        raise invalid_argument("SignalName length exceeds limit.")
    if limits.too_long(request_id):
        raise invalid_argument("RequestId length exceeds limit.")
    if limits.too_long(identity):
        raise invalid_argument("Identity length exceeds limit.")
    if payloads is not None and limits.too_large(payloads, payload_bytes_max):
        raise invalid_argument("Signal input exceeds size limit.")


def check_receiver(run: Run) -> None:
    """Refuses while the run cannot take a signal.

    Raises:
        RpcError: NotFound when it has closed, InvalidArgument when it had too many, ResourceExhausted when it is closing.
    """
    if run.closed:
        raise not_found("workflow execution already completed")
    if run.signal_count >= limits.SIGNALS_MAX:
        raise invalid_argument("exceeded workflow execution limit for signal events")
    if run.close_attempted and run.task is not None and run.task.started_event_id:
        raise resource_exhausted(
            "workflow operation can not be applied because workflow is closing",
            ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
        )


def signal(run: Run, request: SignalWorkflowExecutionRequest, env: Env) -> Outcome:
    """A signal arrives.

    Raises:
        RpcError: as `check_signal` and `check_receiver`.
    """
    name, request_id, identity = request.signal_name, request.request_id, request.identity
    has = request.HasField
    payloads = request.input if has("input") else None
    check_signal(name, request_id, identity, payloads, env.payload_bytes_max)
    if request.links:
        check_links(request.links)
    seen = bool(request_id) and request_id in run.signal_request_ids
    if not seen:
        check_receiver(run)
    tx = Transaction(run, env)
    tx.outcome.reply = reply = SignalWorkflowExecutionResponse()
    if request.links and request_id:
        reply.link.CopyFrom(link_to(run, request_id, codes.WORKFLOW_SIGNALED))
    if seen:
        return tx.close()
    write_signaled(tx, name, payloads, request.header if has("header") else None, identity, request_id, request.links)
    tx.wants_task = True
    return settle(tx)


def write_signaled(
    tx: Transaction,
    name: str,
    payloads: Payloads | None,
    header: Header | None,
    identity: str,
    request_id: str,
    links: Sequence[Link] = (),
) -> None:
    """Puts the event into the history or the buffer."""
    a = WorkflowExecutionSignaledEventAttributes()
    a.signal_name = name
    a.identity = identity
    a.request_id = request_id
    attributes = a.SerializeToString()
    if payloads is not None:
        attributes += framed(_INPUT, payloads.SerializeToString())
    if header is not None:
        attributes += framed(_HEADER, header.SerializeToString())
    if links:
        event = tx.event(codes.WORKFLOW_SIGNALED)
        event.links.extend(links)
        event.workflow_execution_signaled_event_attributes.MergeFromString(attributes)
        tx.add(event)
        return
    tx.put(codes.WORKFLOW_SIGNALED, attributes)
    signaled(tx.run, request_id)
