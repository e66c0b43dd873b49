"""A real server in the process of the tests: Temporal's gRPC API on a fresh engine, on a free port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from perdure.engine.settings import EngineSettings
from perdure.model.clock import Clock
from perdure.server import Server, ServerOptions, SkippingClock
from perdure.service.connect import open_to_serve

__all__ = ["server"]

GRACE_SECONDS = 1.0


@asynccontextmanager
async def server(
    url: str = "memory://",
    *,
    port: int = 0,
    namespaces: Sequence[str] = ("default",),
    clock: Clock | None = None,
    settings: EngineSettings | None = None,
    time_skipping: bool = False,
) -> AsyncGenerator[str]:
    """A server for as long as the block runs; gives its address, HOST:PORT, for any Temporal SDK.

        async with perdure.testing.server() as address:
            client = await temporalio.client.Client.connect(address)

    With `time_skipping` it serves Temporal's `TestService` too: while that is unlocked, a timer of a year takes no time.

    Raises:
        ServerStartFailed: the port is taken.
        StorageError: the storage cannot be opened.
    """
    if time_skipping and clock is None:
        clock = SkippingClock()
    in_force = settings or EngineSettings()
    opened = await open_to_serve(url, clock=clock, namespaces=namespaces, configure=lambda engine: engine.configure(in_force))
    try:
        served = Server(opened.served, ServerOptions(port=port))
        await served.start()
        try:
            yield served.address
        finally:
            await served.stop(GRACE_SECONDS)
    finally:
        await opened.close()
