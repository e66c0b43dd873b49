"""Proves that a refusal fits into the trailers that clients take, whatever it has to say, and stays what it is."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.errordetails.v1 import (
    MultiOperationExecutionFailure,
    NamespaceNotFoundFailure,
    QueryFailedFailure,
    WorkflowExecutionAlreadyStartedFailure,
)
from temporalio.api.failure.v1 import Failure

from perdure.model.rpc import RpcError, StatusCode
from perdure.server.statuses import MESSAGE_BYTES_MAX, TRAILER_BYTES_MAX, status_of


def travels(error: RpcError) -> int:
    """The bytes of message and detail on the wire."""
    status = status_of(error)
    message = sum(1 if 32 <= byte < 127 and byte != 37 else 3 for byte in status.message.encode())
    assert message <= MESSAGE_BYTES_MAX
    return message + -(-len(status.SerializeToString()) // 3) * 4


def deep(levels: int, text: str) -> Failure:
    failure = Failure(message=text, stack_trace=text * 10)
    failure.application_failure_info.details.CopyFrom(Payloads(payloads=[Payload(data=text.encode() * 10)]))
    if levels:
        failure.cause.CopyFrom(deep(levels - 1, text))
    return failure


@pytest.mark.parametrize("letter", ["x", "%", "ü", "語", "🦜", "\n"])
@pytest.mark.parametrize("length", [10, 800, 2_500, 5_000, 20_000])
def test_a_message_is_cut_to_what_travels(letter: str, length: int) -> None:
    error = RpcError(StatusCode.INVALID_ARGUMENT, letter * length)
    assert travels(error) <= TRAILER_BYTES_MAX
    shown = status_of(error).message
    if len(letter.encode()) * 3 * length <= MESSAGE_BYTES_MAX:
        assert shown == error.message
    else:
        assert shown == error.message or (shown.endswith("…") and error.message.startswith(shown[:-1]) and len(shown) > 150)


@pytest.mark.parametrize("levels", [0, 3, 40])
@pytest.mark.parametrize("length", [10, 1_000, 20_000])
def test_a_detail_is_cut_to_what_travels_and_keeps_its_type(levels: int, length: int) -> None:
    error = RpcError(StatusCode.INVALID_ARGUMENT, "x" * length, QueryFailedFailure(failure=deep(levels, "ü" * length)))
    assert travels(error) <= TRAILER_BYTES_MAX
    detail = QueryFailedFailure()
    assert status_of(error).details[0].Unpack(detail)
    if levels < 4:
        assert detail.failure.message and detail.failure.HasField("application_failure_info")
    if length == 10 and not levels:
        assert detail == error.detail


def test_ids_and_statuses_of_several_operations_survive() -> None:
    started = WorkflowExecutionAlreadyStartedFailure(start_request_id="r" * 1000, run_id="run")
    error = RpcError(StatusCode.ALREADY_EXISTS, "x" * 2_000, started)
    detail = WorkflowExecutionAlreadyStartedFailure()
    assert travels(error) <= TRAILER_BYTES_MAX and status_of(error).details[0].Unpack(detail) and detail == started
    several = MultiOperationExecutionFailure()
    packed = Any()
    packed.Pack(started)
    several.statuses.add(code=6, message="x" * 5_000).details.append(packed)
    several.statuses.add(code=10, message="aborted")
    assert travels(RpcError(StatusCode.ALREADY_EXISTS, "y" * 5_000, several)) <= TRAILER_BYTES_MAX
    assert status_of(RpcError(StatusCode.ALREADY_EXISTS, "y", several)).details[0].Unpack(several)
    assert [status.code for status in several.statuses] == [6, 10] and several.statuses[1].message == "aborted"
    assert travels(RpcError(StatusCode.NOT_FOUND, "n", NamespaceNotFoundFailure(namespace="n" * 90_000))) <= TRAILER_BYTES_MAX
