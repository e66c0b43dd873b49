"""One port on one engine.

The rule a newcomer would get wrong: at the end, polls are answered (empty) before calls are cut off. A poll that is cut off
may have had a task in hand.
"""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field
from typing import Protocol

from grpc import aio
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.testservice.v1 import service_pb2 as test_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from perdure.engine.engine import Engine
from perdure.model.errors import ServerStartFailed
from perdure.server.admission import REQUEST_BYTES_MAX, Admission
from perdure.server.forwarding import Forwarding
from perdure.server.health import CHECK, WATCH, Health
from perdure.server.skipping_clock import SkippingClock
from perdure.server.time_skipping import TimeSkipping
from perdure.service.contract import WorkflowService

GRACE_SECONDS = 5.0
"""What calls that are under way get to finish when the server ends."""
HARD_REQUEST_BYTES_MAX = 4 * REQUEST_BYTES_MAX
"""A request of more bytes is cut off by gRPC itself, unread; between the two limits the refusal can say what clients understand."""
PING_SECONDS_MIN = 5
"""Clients may ping so often, with and without calls; the SDKs do every 30 s."""
PING_SECONDS = 60
"""After so much silence a client is asked whether it is there; one that does not answer for a while loses its polls."""
_WORKFLOW = workflow_service.DESCRIPTOR.services_by_name["WorkflowService"]
_OPERATOR = operator_service.DESCRIPTOR.services_by_name["OperatorService"]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where a server listens, and how much it takes."""

    host: str = "127.0.0.1"
    port: int = 7233
    """0: a free one."""
    allow_unauthenticated_bind: bool = False
    """Listen beyond this machine although everybody who reaches the port may do everything."""
    admission: Admission = field(default_factory=Admission)

    def __post_init__(self) -> None:
        """Raises ServerStartFailed for an address that others reach, before anything is opened."""
        if not (self.allow_unauthenticated_bind or is_loopback(self.host)):
            raise ServerStartFailed(
                f"{self.host} can be reached from other machines, and this server lets everybody do everything; "
                "listen on 127.0.0.1, or allow it (--allow-unauthenticated-bind) on a network that you trust"
            )


class Served(Protocol):
    """What a server serves: an engine, or a file whose engine may be in another process."""

    def frontend(self, *, in_process: bool) -> WorkflowService:
        """The service, for callers who die with this process or not."""
        ...

    def end_waits(self) -> None:
        """Answers every poll and every wait for news, and later ones at once; everything else goes on."""
        ...


class Server:
    """Serves an engine, which it does not own. `start`, then `stop`; neither twice."""

    def __init__(self, engine: Served, options: ServerOptions) -> None:
        """An engine of this process whose clock is a `SkippingClock` gets the `TestService` as well."""
        self._engine = engine
        self._skipping = _skipping(engine)
        self._options = options
        self._health = Health((_WORKFLOW.full_name, _OPERATOR.full_name), options.admission.polls)
        self._grpc = aio.server(options=_channel_options())
        self.port = 0
        """The port that is bound, once it has started."""

    def __repr__(self) -> str:
        return f"<Server {self.address}: {'serving' if self._health.serving else 'not serving'}>"

    @property
    def address(self) -> str:
        """HOST:PORT, for clients."""
        return f"{_bracketed(self._options.host)}:{self.port}"

    async def start(self) -> None:
        """Binds the port and takes calls.

        Raises:
            ServerStartFailed: the port is taken.
        """
        self._grpc.add_generic_rpc_handlers((self._forwarding(),))
        wanted = f"{_bracketed(self._options.host)}:{self._options.port}"
        try:
            self.port = self._grpc.add_insecure_port(wanted)
        except RuntimeError as error:
            raise ServerStartFailed(
                f"cannot listen on {wanted}: the address is taken, or not one of this machine's; choose another"
            ) from error
        await self._grpc.start()
        self._health.begin()

    def _forwarding(self) -> Forwarding:
        frontend = self._engine.frontend(in_process=False)
        skipping = self._skipping
        forwarding = Forwarding(self._options.admission, None if skipping is None else skipping.consider)
        if skipping is not None:
            forwarding.add_service(test_service.DESCRIPTOR.services_by_name["TestService"], skipping)
        forwarding.add_service(_WORKFLOW, frontend)
        forwarding.add_service(_OPERATOR, frontend)
        forwarding.add(CHECK, self._health.check)
        forwarding.add_stream(WATCH, self._health.watch)
        return forwarding

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Takes no more calls, answers polls and waits at once, and lets other calls finish, `grace` seconds at most."""
        self._health.end()
        if self._skipping is not None:
            self._skipping.close()
        stopping = asyncio.ensure_future(self._grpc.stop(grace))
        self._engine.end_waits()
        await stopping


def _skipping(served: Served) -> TimeSkipping | None:
    if isinstance(served, Engine) and isinstance(served.clock, SkippingClock):
        return TimeSkipping(served, served.clock)
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _channel_options() -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share
        ("grpc.max_receive_message_length", HARD_REQUEST_BYTES_MAX),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", PING_SECONDS * 1000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_SECONDS_MIN * 1000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_SECONDS_MIN * 1000),
        ("grpc.http2.max_ping_strikes", 0),
    ]
