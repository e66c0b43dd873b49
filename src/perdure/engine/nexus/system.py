"""The engine's own endpoint: operations that it does itself. There is one, SignalWithStartWorkflowExecution, by which a workflow does that.

The rule a newcomer would get wrong: it may be asked twice (the answer was lost), and signals once: the request id is the operation's,
unless the workflow has given one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import Link, Payload
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest

from perdure.engine.core.nexus import OperationRequest
from perdure.engine.core.nexus_answers import OperationEnded
from perdure.engine.core.nexus_links import from_nexus
from perdure.engine.nexus.failures import of_engine
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError, StatusCode

SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
OPERATION = "SignalWithStartWorkflowExecution"
_KINDS = {
    StatusCode.INVALID_ARGUMENT: "BAD_REQUEST",
    StatusCode.FAILED_PRECONDITION: "BAD_REQUEST",
    StatusCode.ALREADY_EXISTS: "CONFLICT",
    StatusCode.NOT_FOUND: "NOT_FOUND",
    StatusCode.RESOURCE_EXHAUSTED: "RESOURCE_EXHAUSTED",
    StatusCode.UNAVAILABLE: "UNAVAILABLE",
}

SignalWithStart = Callable[[SignalWithStartWorkflowExecutionRequest], Awaitable[Message]]


async def perform(message: OperationRequest, signal_with_start: SignalWithStart) -> OperationEnded | Failure:
    """Does an operation; a failure if it could not be done."""
    start = message.request.start_operation
    if (start.service, start.operation) != (SERVICE, OPERATION):
        return of_engine("NOT_FOUND", f'the system endpoint has no operation "{start.operation}" of a service "{start.service}"')
    request = SignalWithStartWorkflowExecutionRequest()
    try:
        request.MergeFromString(start.payload.data)
    except DecodeError as error:
        return of_engine("BAD_REQUEST", f"the input cannot be read: {error}")
    if request.namespace not in ("", message.namespace):
        return of_engine("BAD_REQUEST", f"a workflow of namespace {message.namespace} cannot signal one of {request.namespace}")
    request.namespace = message.namespace
    request.request_id = request.request_id or start.request_id
    request.links.extend(link for link in map(from_nexus, start.links) if link is not None)
    try:
        reply = await signal_with_start(request)
    except RpcError as error:
        return of_engine(_KINDS.get(error.code, "INTERNAL"), error.message)
    except StorageError as error:
        return of_engine("UNAVAILABLE", str(error))
    link = Link()
    link.workflow_event.namespace, link.workflow_event.workflow_id = message.namespace, request.workflow_id
    link.workflow_event.run_id = str(getattr(reply, "run_id", ""))
    return OperationEnded(message.key, start.request_id, _payload(reply), links=[link])


def _payload(reply: Message) -> Payload:
    """As the SDKs' converters of protobuf messages write it."""
    metadata = {"encoding": b"binary/protobuf", "messageType": reply.DESCRIPTOR.full_name.encode()}
    return Payload(metadata=metadata, data=reply.SerializeToString())
