"""Proves that every RPC answers every request, however wrong: with a status that says why, never UNKNOWN, never silence."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from itertools import chain

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure, WorkflowExecutionAlreadyStartedFailure
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest, GetSystemInfoResponse, StartWorkflowExecutionRequest
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from perdure.engine import open_engine
from perdure.server import Server, ServerOptions
from perdure.server.admission import REQUEST_BYTES_MAX, Admission
from perdure.storage import MemoryStorage

Code = grpc.StatusCode
SERVICES = (
    workflow_service.DESCRIPTOR.services_by_name["WorkflowService"],
    operator_service.DESCRIPTOR.services_by_name["OperatorService"],
)
METHODS = list(chain.from_iterable(service.methods for service in SERVICES))
SECONDS = 10


class Caller:
    """Sends bytes and gives the status."""

    def __init__(self, channel: aio.Channel) -> None:
        self._channel = channel

    async def reply(self, path: str, body: bytes, seconds: float = SECONDS) -> bytes:
        return await self._channel.unary_unary(path)(body, timeout=seconds)

    async def refusal(self, path: str, body: bytes) -> aio.AioRpcError | None:
        try:
            await self.reply(path, body)
        except aio.AioRpcError as error:
            return error
        return None

    async def code(self, path: str, body: bytes) -> grpc.StatusCode:
        refused = await self.refusal(path, body)
        return Code.OK if refused is None else refused.code()


@pytest.fixture
async def caller(server: str) -> AsyncGenerator[Caller]:
    async with aio.insecure_channel(server, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield Caller(channel)


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


START = "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution"
CONCURRENT_LIMIT = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
WELL = {Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.FAILED_PRECONDITION, Code.UNIMPLEMENTED, Code.ALREADY_EXISTS}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
async def test_wrong_requests(caller: Caller, method: MethodDescriptor) -> None:
    path = path_of(method)
    assert await caller.code(path, b"") in WELL
    refused = await caller.refusal(path, b"\x0a\xff\xff\xff\xff\x0f")
    assert refused is not None and refused.code() in {Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED}
    rng = random.Random(method.name)
    for _ in range(5):
        request = noise(GetMessageClass(method.input_type)(), rng)
        code = await caller.code(path, request.SerializeToString())
        assert code in WELL, f"{code} for {request}"


def noise(message: Message, rng: random.Random, depth: int = 0) -> Message:
    """Fields set to values that no client sends."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.5:
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.is_repeated or depth > 2:
                continue
            noise(getattr(message, field.name), rng, depth + 1)
            getattr(message, field.name).SetInParent()
        elif not field.is_repeated:
            setattr(message, field.name, _value(field, rng))
    return message


def _value(field: FieldDescriptor, rng: random.Random) -> object:
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(["", "default", "x" * 2000, "\x00", "üñí", "nobody's"])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice([b"", b"\x00", b"token" * 50])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice([0.0, -1.0, 1e300 if field.type == FieldDescriptor.TYPE_DOUBLE else 1e30, float("nan")])
    return rng.choice([0, 1, 99, 2**31 - 1])


async def test_methods_and_services_that_nobody_knows(caller: Caller) -> None:
    refused = await caller.refusal("/temporal.api.workflowservice.v1.WorkflowService/Fly", b"")
    assert refused is not None and refused.code() is Code.UNIMPLEMENTED
    assert refused.details() == "unknown method Fly for service temporal.api.workflowservice.v1.WorkflowService"
    refused = await caller.refusal("/temporal.api.cloud.cloudservice.v1.CloudService/GetUsers", b"")
    assert refused is not None and refused.code() is Code.UNIMPLEMENTED
    assert refused.details() == "unknown service temporal.api.cloud.cloudservice.v1.CloudService"


async def test_a_request_that_is_too_large(caller: Caller) -> None:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="r")
    request.input.payloads.add().data = bytes(REQUEST_BYTES_MAX)
    refused = await caller.refusal(START, request.SerializeToString())
    assert refused is not None and refused.code() is Code.RESOURCE_EXHAUSTED
    assert (refused.details() or "").startswith("grpc: received message larger than max (")
    request.input.payloads[0].data = bytes(40 * 1024 * 1024)
    assert await caller.code(START, request.SerializeToString()) is Code.RESOURCE_EXHAUSTED
    assert await caller.code("/grpc.health.v1.Health/Check", b"") is Code.OK


async def test_compressed_requests(server: str) -> None:
    async with aio.insecure_channel(server, compression=grpc.Compression.Gzip) as channel:
        reply = await Caller(channel).reply(path_of(METHODS_BY_NAME["GetSystemInfo"]), GetSystemInfoRequest().SerializeToString())
    assert GetSystemInfoResponse.FromString(reply).capabilities.sdk_metadata


METHODS_BY_NAME = {method.name: method for method in METHODS}


async def test_refusals_carry_their_typed_detail(caller: Caller) -> None:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="r")
    request.workflow_type.name, request.task_queue.name = "t", "q"
    assert await caller.code(START, request.SerializeToString()) is Code.OK
    request.request_id = "another"
    started = detail_of(await caller.refusal(START, request.SerializeToString()), WorkflowExecutionAlreadyStartedFailure)
    assert started.start_request_id == "r" and started.run_id
    request.namespace = "nowhere"
    refused = await caller.refusal(START, request.SerializeToString())
    assert detail_of(refused, NamespaceNotFoundFailure).namespace == "nowhere"
    assert refused is not None and refused.code() is Code.NOT_FOUND


def detail_of(error: aio.AioRpcError | None, kind: type[Message]) -> Message:
    assert error is not None
    found = next(value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin")
    status = GrpcStatus.FromString(found)
    assert status.code == error.code().value[0] and status.message == error.details()
    detail = kind()
    assert status.details[0].Unpack(detail)
    return detail


async def test_health(caller: Caller) -> None:
    check = "/grpc.health.v1.Health/Check"
    name = SERVICES[0].full_name.encode()
    assert await caller.reply(check, b"\x0a" + bytes([len(name)]) + name) == b"\x08\x01"
    assert await caller.reply(check, b"") == b"\x08\x01"
    assert await caller.code(check, b"\x0a\x01x") is Code.NOT_FOUND
    assert await caller.code(check, b"\x0a\xff") is Code.INVALID_ARGUMENT


async def test_who_watches_its_health_hears_of_its_end() -> None:
    engine = await open_engine(MemoryStorage())
    server = Server(engine, ServerOptions(port=0, admission=Admission(polls_max=2)))
    await server.start()
    try:
        async with aio.insecure_channel(server.address) as channel:
            watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
            whole, unknown = watch(b""), watch(b"\x0a\x01x")
            assert await whole.read() == b"\x08\x01"
            assert await unknown.read() == b"\x08\x03"
            one_too_many = watch(b"")
            assert await one_too_many.code() is Code.RESOURCE_EXHAUSTED
            stopping = asyncio.ensure_future(server.stop(grace=60))
            assert [await whole.read(), await whole.read()] == [b"\x08\x02", aio.EOF]
            assert await unknown.read() is aio.EOF
            await stopping
            assert await whole.code() is Code.OK
    finally:
        await server.stop(grace=0)
        await engine.close()


async def test_a_watch_that_cannot_be_read(server: str) -> None:
    async with aio.insecure_channel(server) as channel:
        call = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"\x0a\xff")
        assert await call.code() is Code.INVALID_ARGUMENT


async def test_too_many_calls_at_once() -> None:
    engine = await open_engine(MemoryStorage())
    admission = Admission(polls_max=2)
    server = Server(engine, ServerOptions(port=0, admission=admission))
    await server.start()
    try:
        async with aio.insecure_channel(server.address) as channel:
            poll = channel.unary_unary("/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue")
            body = b"\x0a\x07default\x12\x03\x0a\x01q"
            polls = [poll(body) for _ in range(3)]
            statuses = [asyncio.ensure_future(call.code()) for call in polls]
            done, waiting = await asyncio.wait(statuses, return_when=asyncio.FIRST_COMPLETED)
            assert [task.result() for task in done] == [Code.RESOURCE_EXHAUSTED]
            refused = await Caller(channel).refusal("/temporal.api.workflowservice.v1.WorkflowService/PollActivityTaskQueue", body)
            detail = detail_of(refused, ResourceExhaustedFailure)
            assert (detail.cause, detail.scope) == (CONCURRENT_LIMIT, ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM)
            for call in polls:
                call.cancel()
            assert {await task for task in waiting} == {Code.CANCELLED}
    finally:
        await server.stop(grace=1)
        await engine.close()
    assert admission.polls.inside == 0


async def test_what_nobody_expected_is_internal_with_a_reference(caplog: pytest.LogCaptureFixture) -> None:
    engine = await open_engine(MemoryStorage())
    server = Server(engine, ServerOptions(port=0))
    await server.start()
    engine.runs.find = None  # type: ignore[assignment,method-assign]
    try:
        async with aio.insecure_channel(server.address) as channel:
            body = b"\x0a\x07default\x12\x03\x0a\x01w"
            refused = await Caller(channel).refusal("/temporal.api.workflowservice.v1.WorkflowService/TerminateWorkflowExecution", body)
    finally:
        await server.stop(grace=1)
        await engine.close()
    assert refused is not None and refused.code() is Code.INTERNAL
    reference = (refused.details() or "").rpartition(" ")[2]
    assert reference and reference in caplog.text
