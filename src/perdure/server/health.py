"""`grpc.health.v1.Health`, as load balancers and the SDKs' `check_health` call it: `Check` answers once, `Watch` whenever it changes.

Its messages have one field each, so wrappers of the same shape read and write them, and no generated code is needed.

Easily got wrong: a service that nobody knows is NOT_FOUND to `Check`, but a status to `Watch`, which goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from perdure.model.rpc import RpcError, invalid_argument, not_found
from perdure.server.admission import Gate
from perdure.server.forwarding import Context
from perdure.server.statuses import refuse

__all__ = ["CHECK", "WATCH", "Health"]

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = (Int32Value(value=value).SerializeToString() for value in (1, 2, 3))


class Health:
    """Of one server and its services; the empty name stands for the whole server."""

    def __init__(self, services: Collection[str], gate: Gate) -> None:
        """`gate` lets in those who watch."""
        self.serving = False
        self._services = services
        self._gate = gate
        self._over = asyncio.Event()

    def begin(self) -> None:
        """The server takes calls."""
        self.serving = True

    def end(self) -> None:
        """It takes no more; who watches hears of it, and is let go."""
        self.serving = False
        self._over.set()

    async def check(self, body: bytes, context: Context) -> bytes:
        """The status now."""
        try:
            if not self._knows(body, "Check"):
                await refuse(context, not_found("unknown service"))
        except RpcError as error:
            await refuse(context, error)
        return self._status()

    async def watch(self, body: bytes, context: Context) -> AsyncGenerator[bytes]:
        """The status, and what it becomes."""
        try:
            with self._gate.admitted(body):
                known = self._knows(body, "Watch")
                yield self._status() if known else _SERVICE_UNKNOWN
                await self._over.wait()
                if known:
                    yield self._status()
        except RpcError as error:
            await refuse(context, error)

    def _knows(self, body: bytes, method: str) -> bool:
        try:
            service = StringValue.FromString(body).value
        except DecodeError:
            raise invalid_argument(f"the request of {method} cannot be read") from None
        return not service or service in self._services

    def _status(self) -> bytes:
        return _SERVING if self.serving else _NOT_SERVING
