"""From a gRPC path to a method of the frontend: by name, from the API's descriptors.

`/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution` is `start_workflow_execution`. A method that the frontend
lacks, or that nobody knows, is answered with UNIMPLEMENTED in the words of Temporal's server, which clients look for.

The rule a newcomer would get wrong: requests come as bytes and are parsed here, since what a deserialiser of gRPC raises, and
whatever else escapes a handler, reaches the client as UNKNOWN, which it takes for a lost connection and tries again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import ServicerContext

from perdure.model.callers import sees_unrecorded
from perdure.model.patience import seconds_left
from perdure.model.rpc import RpcError, invalid_argument, unimplemented
from perdure.server import following
from perdure.server.admission import Admission
from perdure.server.statuses import fail, refuse

Context = ServicerContext[bytes, bytes]
Behaviour = Callable[[bytes, Context], Awaitable[bytes]]
Stream = Callable[[bytes, Context], AsyncIterator[bytes]]

PEOPLES_TOOLS = frozenset(("temporal-cli", "temporal-ui"))
"""Clients that show histories, and replay none."""
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_case(name: str) -> str:
    """`StartWorkflowExecution` as the frontend calls it."""
    return _WORD.sub("_", name).lower()


class Forwarding(grpc.GenericRpcHandler):
    """Every path of a port. Services are added before the port opens."""

    def __init__(self, admission: Admission, on_answered: Callable[[], None] | None = None) -> None:
        self._admission = admission
        self._on_answered = on_answered
        self._handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}
        self._services: set[str] = set()

    def add_service(self, service: ServiceDescriptor, target: object) -> None:
        """Serves what `target` has of a service."""
        self._services.add(service.full_name)
        for method in service.methods:
            found = getattr(target, snake_case(method.name), None)
            if found is not None:
                self.add(f"/{service.full_name}/{method.name}", self._behaviour(method, found))

    def add(self, path: str, behaviour: Behaviour) -> None:
        """Serves one path by a function of bytes."""
        self._services.add(path.split("/")[1])
        self._handlers[path] = grpc.unary_unary_rpc_method_handler(behaviour)

    def add_stream(self, path: str, behaviour: Stream) -> None:
        """Serves one path by a function that gives answers as they come."""
        self._services.add(path.split("/")[1])
        self._handlers[path] = grpc.unary_stream_rpc_method_handler(behaviour)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """What answers a call; for every path there is something."""
        path = handler_call_details.method
        return self._handlers.get(path) or self._unknown(path)

    def _unknown(self, path: str) -> grpc.RpcMethodHandler[bytes, bytes]:
        service, _, method = path.removeprefix("/").rpartition("/")
        known = service in self._services
        error = unimplemented(f"unknown method {method} for service {service}" if known else f"unknown service {service}")

        async def answer(body: bytes, context: Context) -> bytes:
            await refuse(context, error)

        return grpc.unary_unary_rpc_method_handler(answer)

    def _behaviour(self, method: MethodDescriptor, target: Callable[[Any], Awaitable[Message]]) -> Behaviour:
        parse = GetMessageClass(method.input_type).FromString
        gate = self._admission.gate(method.name)
        reads_history = method.name == "GetWorkflowExecutionHistory"

        async def forward(body: bytes, context: Context) -> bytes:
            try:
                with gate.admitted(body):
                    seconds_left.set(context.time_remaining())
                    request = _parsed(parse, body, method.name)
                    if reads_history:
                        sees_unrecorded.set(_client_name(context) not in PEOPLES_TOOLS)
                    response = await target(request)
                    if reads_history:
                        following.show(request, response, context)
                    return response.SerializeToString()
            except RpcError as error:
                refusal = error
            except Exception as error:
                await fail(context, method.name, error)
            await refuse(context, refusal)

        return forward if self._on_answered is None else _followed(forward, self._on_answered)


def _client_name(context: Context) -> str:
    return next((str(value) for key, value in context.invocation_metadata() or () if key == "client-name"), "")


def _followed(behaviour: Behaviour, then: Callable[[], None]) -> Behaviour:
    async def forward(body: bytes, context: Context) -> bytes:
        try:
            return await behaviour(body, context)
        finally:
            then()

    return forward


def _parsed(parse: Callable[[bytes], Message], body: bytes, method: str) -> Message:
    try:
        return parse(body)
    except DecodeError as error:
        raise invalid_argument(f"the request of {method} cannot be read: {error}") from None
