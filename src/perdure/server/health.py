"""`grpc.health.v1.Health/Check`, as load balancers and the SDKs' `check_health` call it.

Its messages have one field each, so wrappers of the same shape read and write them, and no generated code is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from perdure.model.rpc import invalid_argument, not_found
from perdure.server.forwarding import Behaviour, Context
from perdure.server.statuses import refuse

CHECK = "/grpc.health.v1.Health/Check"
_SERVING, _NOT_SERVING = 1, 2


def check(services: Collection[str], is_serving: Callable[[], bool]) -> Behaviour:
    """Answers for these services; the empty name stands for the whole server."""

    async def behaviour(body: bytes, context: Context) -> bytes:
        try:
            service = StringValue.FromString(body).value
        except DecodeError:
            await refuse(context, invalid_argument("the request of Check cannot be read"))
        if service and service not in services:
            await refuse(context, not_found("unknown service"))
        return Int32Value(value=_SERVING if is_serving() else _NOT_SERVING).SerializeToString()

    return behaviour
