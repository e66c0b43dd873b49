"""Updates as clients ask for them, and the words on them that workers send."""

from __future__ import annotations

from typing import Any

from core_support import payloads
from temporalio.api.common.v1 import Callback
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Rejection, Response
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

from perdure.engine.core.callbacks import SYSTEM_URL, TOKEN_HEADER, CallbackToken


def update_request(update_id: str = "u", name: str = "add", **fields: Any) -> UpdateWorkflowExecutionRequest:
    request = UpdateWorkflowExecutionRequest(namespace="ns")
    request.workflow_execution.workflow_id = "wf"
    request.request.meta.update_id = update_id
    request.request.meta.identity = "client"
    request.request.input.name = name
    request.request.input.args.CopyFrom(payloads("argument"))
    request.MergeFrom(UpdateWorkflowExecutionRequest(**fields))
    return request


def callback(name: str = "caller") -> Callback:
    """Of a Nexus operation that waits for an update."""
    made = Callback()
    made.nexus.url = SYSTEM_URL
    made.nexus.header[TOKEN_HEADER] = CallbackToken("ns", name, "run", 5, "r").encode()
    return made


def waiting_request(update_id: str = "u", request_id: str = "r1", **fields: Any) -> UpdateWorkflowExecutionRequest:
    """A request whose sender is to be called back."""
    request = update_request(update_id, **fields)
    request.request.request_id = request_id
    request.request.completion_callbacks.append(callback(request_id))
    return request


def acceptance(update_id: str, sequencing_event_id: int = 2, **fields: Any) -> ProtocolMessage:
    body = Acceptance(
        accepted_request_message_id=f"{update_id}/request", accepted_request_sequencing_event_id=sequencing_event_id, **fields
    )
    return _message(f"{update_id}/accept", update_id, body)


def response(update_id: str, result: str = "done") -> ProtocolMessage:
    body = Response()
    body.meta.update_id = update_id
    body.outcome.success.CopyFrom(payloads(result))
    return _message(f"{update_id}/complete", update_id, body)


def rejection(update_id: str, message: str = "no", **fields: Any) -> ProtocolMessage:
    body = Rejection(rejected_request_message_id=f"{update_id}/request", **fields)
    body.failure.message = message
    return _message(f"{update_id}/reject", update_id, body)


def _message(message_id: str, update_id: str, body: Any) -> ProtocolMessage:
    message = ProtocolMessage(id=message_id, protocol_instance_id=update_id)
    message.body.Pack(body)
    return message
