"""Serves an ASGI application over HTTP: uvicorn, without its command, its signal handlers and its logging set-up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from perdure.model.errors import ServerStartFailed

__all__ = ["HttpServer"]

GRACE_SECONDS = 5
"""What calls that are under way get to finish when the server ends."""
CONNECTIONS_MAX = 2_000
"""Beyond, a request is answered with 503 at once."""


class _Uvicorn(uvicorn.Server):
    """Signals are the application's affair."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """One port. `start`, then `stop`; neither twice."""

    def __init__(self, application: Any, host: str, port: int) -> None:
        self._host, self._wanted = host, port
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Uvicorn(config)
        self._serving: asyncio.Task[None] | None = None
        self.port = 0
        """The port that is bound, once it has started."""

    @property
    def address(self) -> str:
        """As URLs name it."""
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{self.port}"

    def __repr__(self) -> str:
        return f"<HttpServer {self.address}>"

    async def start(self) -> None:
        """Binds the port and takes requests.

        Raises:
            ServerStartFailed: the port is taken.
        """
        bound = self._bind()
        self.port = bound.getsockname()[1]
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[bound]))

    def _bind(self) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self._host, self._wanted))
            made.listen(128)
        except OSError as error:
            made.close()
            where = f"{self._host}:{self._wanted}"
            raise ServerStartFailed(f"cannot serve HTTP on {where}: {error.strerror}; choose another --http-port") from error
        return made

    async def stop(self) -> None:
        """Takes no more requests, and lets those under way finish."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
