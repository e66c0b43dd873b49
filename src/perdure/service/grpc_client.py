"""`TemporalGrpcClient`: the contract over gRPC, to `perdure server` or to Temporal Server.

Methods are found by name, each RPC of the API is one; the connection (HTTP/2, TLS, API keys, keep-alive) is the official SDK's.

The rule a newcomer would get wrong: nothing is tried again here. Who calls knows whether and how long that makes sense, and a request
keeps its request id while it does; here only the error says whether the call may have been lost (UNAVAILABLE).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import temporalio.api.errordetails.v1 as errordetails
from google.protobuf.message import DecodeError, Message
from temporalio.api.common.v1 import GrpcStatus
from temporalio.service import ConnectConfig, GrpcCompression, RPCError, ServiceClient, TLSConfig

from perdure.model.errors import EngineUnavailable, UnknownEngine
from perdure.model.patience import seconds_left
from perdure.model.rpc import RpcError, StatusCode

__all__ = ["TemporalGrpcClient", "target_of"]

CALL_SECONDS = 30.0
"""What a call gets that does not wait for anything."""
WAIT_SECONDS = 70.0
"""What a call gets that waits for news; servers answer within 60 s."""
_WAITING = ("poll_", "get_workflow_execution_history", "query_workflow", "update_workflow", "execute_multi_operation")
_FEATURES = {"supported-features": "follows-next-run-id"}
"""Servers then show how a run has ended also where another follows; we go on to that by ourselves."""
_LOST = frozenset((StatusCode.UNKNOWN, StatusCode.CANCELLED))
"""How a connection that broke is reported."""

Method = Callable[[Any], Awaitable[Any]]


_SYSTEM_MESSAGE = re.compile(r'(?:message|dns error[^}]*error): "(?:failed to lookup address information: )?([^"]+)"')
_SIGNS = {
    "InvalidContentType": "it does not speak TLS",
    "h2 protocol error": "what listens there does not speak gRPC, or only over TLS",
}
"""What the connection's library shows of an error, in words."""


class TemporalGrpcClient:
    """Every RPC of `WorkflowService`, and of `OperatorService` where the name is not taken, as an async method that raises `RpcError`."""

    in_process = False

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"<TemporalGrpcClient {self._client.config.target_host}>"

    @staticmethod
    async def connect(
        target: str, *, tls: bool | TLSConfig = False, api_key: str | None = None, metadata: Mapping[str, str] | None = None
    ) -> TemporalGrpcClient:
        """Connects to HOST:PORT. Raises EngineUnavailable when nobody answers there."""
        config = ConnectConfig(
            target_host=target,
            tls=tls or None,
            api_key=api_key,
            rpc_metadata={**_FEATURES, **(metadata or {})},
            grpc_compression=GrpcCompression.GZIP if tls else GrpcCompression.NONE,  # within one network it costs more than it saves
        )
        try:
            return TemporalGrpcClient(await ServiceClient.connect(config))
        except RuntimeError as error:
            raise EngineUnavailable(
                f"no server answers at {target}: {_reason(error)}. Start one with `perdure server`, or look at the address."
            ) from error

    async def close(self) -> None:
        """Nothing is to be done: the connection ends with its last call."""

    def __getattr__(self, name: str) -> Method:
        call = getattr(self._client.workflow_service, name, None) or getattr(self._client.operator_service, name, None)
        if call is None or name.startswith("_"):
            raise AttributeError(f"the API has no RPC {name!r}")
        method = _method(call, WAIT_SECONDS if name.startswith(_WAITING) else CALL_SECONDS)
        setattr(self, name, method)  # the next one finds it without asking here
        return method


def _method(call: Callable[..., Awaitable[Message]], seconds: float) -> Method:
    async def method(request: Message) -> Message:
        left = seconds_left.get()
        try:
            return await call(request, timeout=timedelta(seconds=seconds if left is None else min(seconds, left)))
        except RPCError as error:
            raise _refusal(error) from error

    return method


def _refusal(error: RPCError) -> RpcError:
    code = StatusCode(error.status)
    return RpcError(StatusCode.UNAVAILABLE if code in _LOST else code, error.message, _detail(error.raw_grpc_status))


def _detail(status: bytes) -> Message | None:
    """The typed detail, which comes first, if it is one that we know."""
    try:
        details = GrpcStatus.FromString(status).details
        kind = getattr(errordetails, details[0].TypeName().rpartition(".")[2], None) if details else None
        return kind.FromString(details[0].value) if kind is not None else None
    except DecodeError:
        return None


def target_of(url: str) -> str:
    """HOST:PORT of a `perdure://` or `temporal://` URL, whose port is 7233 unless it says so. Raises UnknownEngine."""
    try:
        parts = urlsplit(url)
        port = parts.port or 7233
    except ValueError as error:
        raise UnknownEngine(f"{url!r} is no address of a server: {error}; write it like perdure://localhost:7233") from None
    if not parts.hostname or parts.path.strip("/"):
        raise UnknownEngine(f"{url!r} is no address of a server; write it like perdure://localhost:7233")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port}"


def options_of(url: str) -> dict[str, Any]:
    """What stands after the question mark: `tls=true`, `api_key=…`."""
    query = {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}
    unknown = sorted(set(query) - {"namespace", "tls", "api_key"})
    if unknown:
        raise UnknownEngine(f"{url!r} has an option {unknown[0]!r}; there are namespace, tls and api_key")
    api_key = query.get("api_key")
    return {"tls": query.get("tls", "true" if api_key else "false").lower() in ("true", "1", "yes"), "api_key": api_key}


def _reason(error: RuntimeError) -> str:
    """What the operating system or the other side said, if that can be found in what the connection's library says."""
    text = str(error)
    sign = next((reason for sign, reason in _SIGNS.items() if sign in text), "")
    found = _SYSTEM_MESSAGE.search(text)
    return sign or (found.group(1).lower() if found else text)
