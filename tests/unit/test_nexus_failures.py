"""Proves how errors of Nexus become failures of Temporal, which of them are tried again, and what the engine's own endpoint refuses."""

from __future__ import annotations

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from temporalio.api.enums.v1 import NexusHandlerErrorRetryBehavior
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.nexus.v1 import Failure as NexusFailure
from temporalio.api.nexus.v1 import HandlerError, Request
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest, SignalWithStartWorkflowExecutionResponse

from perdure.engine.core.nexus import Operation, OperationRequest
from perdure.engine.core.nexus_answers import OperationEnded
from perdure.engine.nexus.failures import is_retryable, of_engine, of_handler, of_nexus
from perdure.engine.nexus.system import OPERATION, SERVICE, perform
from perdure.model.rpc import RpcError, already_exists, invalid_argument, unavailable


@pytest.mark.parametrize(
    ("kind", "again"),
    [("INTERNAL", True), ("RESOURCE_EXHAUSTED", True), ("UPSTREAM_TIMEOUT", True), ("BAD_REQUEST", False), ("NOT_FOUND", False)],
)
def test_the_type_says_whether_to_try_again(kind: str, again: bool) -> None:
    assert is_retryable(of_engine(kind, "")) is again


@pytest.mark.parametrize(("behavior", "again"), [(1, True), (2, False)])
def test_a_handler_may_say_so_itself(behavior: NexusHandlerErrorRetryBehavior.ValueType, again: bool) -> None:
    for kind in ("INTERNAL", "BAD_REQUEST"):
        assert is_retryable(of_handler(HandlerError(error_type=kind, retry_behavior=behavior))) is again


def test_a_failure_of_temporal_within_one_of_nexus() -> None:
    inner = Failure(source="sdk")
    inner.application_failure_info.type = "Bad"
    told = NexusFailure(message="why", details=json_format.MessageToJson(inner).encode())
    told.metadata["type"] = "temporal.api.failure.v1.Failure"
    failure = of_handler(HandlerError(error_type="INTERNAL", failure=told))
    assert (failure.message, failure.nexus_handler_failure_info.type) == ("why", "INTERNAL")
    assert (failure.cause.message, failure.cause.source, failure.cause.application_failure_info.type) == ("why", "sdk", "Bad")


@pytest.mark.parametrize("details", [b"not json", b"\xff", b'{"a": 1}'])
def test_any_other_failure_keeps_what_it_says(details: bytes) -> None:
    told = NexusFailure(message="why", details=details, cause=NexusFailure(message="deeper"))
    told.metadata["type"] = "temporal.api.failure.v1.Failure" if details != b'{"a": 1}' else "other"
    failure = of_nexus(told)
    assert (failure.message, failure.application_failure_info.type, failure.cause.message) == ("why", "NexusFailure", "deeper")
    assert failure.application_failure_info.details.payloads[0].metadata["encoding"] == b"json/plain"


def asked(data: bytes, operation: str = OPERATION) -> OperationRequest:
    request = Request()
    start = request.start_operation
    start.service, start.operation, start.request_id = SERVICE, operation, "request"
    start.payload.data = data
    return OperationRequest(5, "ns", Operation(HistoryEvent(event_id=5)), request, 0)


async def accept(request: SignalWithStartWorkflowExecutionRequest) -> Message:
    assert (request.namespace, request.request_id) == ("ns", "request")
    return SignalWithStartWorkflowExecutionResponse(run_id="run")


async def test_the_system_endpoint_does_what_it_is_asked() -> None:
    done = await perform(asked(SignalWithStartWorkflowExecutionRequest(workflow_id="w").SerializeToString()), accept)
    assert isinstance(done, OperationEnded) and done.result is not None
    assert SignalWithStartWorkflowExecutionResponse.FromString(done.result.data).run_id == "run"


@pytest.mark.parametrize(
    ("data", "operation", "kind"),
    [
        (b"\xff\xff", OPERATION, "BAD_REQUEST"),
        (b"", "Other", "NOT_FOUND"),
        (SignalWithStartWorkflowExecutionRequest(namespace="other").SerializeToString(), OPERATION, "BAD_REQUEST"),
    ],
)
async def test_what_the_system_endpoint_refuses(data: bytes, operation: str, kind: str) -> None:
    refused = await perform(asked(data, operation), accept)
    assert isinstance(refused, Failure) and refused.nexus_handler_failure_info.type == kind


@pytest.mark.parametrize(
    ("error", "again"), [(unavailable("later"), True), (already_exists("there"), False), (invalid_argument("wrong"), False)]
)
async def test_refusals_of_the_engine_are_tried_again_where_that_helps(error: RpcError, again: bool) -> None:
    async def refuse(request: SignalWithStartWorkflowExecutionRequest) -> Message:
        raise error

    refused = await perform(asked(b""), refuse)
    assert isinstance(refused, Failure) and is_retryable(refused) is again
