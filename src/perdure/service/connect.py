"""From a URL to a `WorkflowService`. Connections to one URL share one engine, per process and event loop.

The engine opens with the first connection and closes with the last: a client and a worker beside it, or two clients, speak to the same
one. `memory://` is a new engine for each connection; `memory://name` is shared like a file. A file that another process (or another
event loop of this one) has open is joined there: see `perdure.service.local`.
"""

from __future__ import annotations

import asyncio
import difflib
import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakKeyDictionary

from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

from perdure.model.clock import Clock
from perdure.model.errors import UnknownEngine
from perdure.model.rpc import RpcError, StatusCode
from perdure.service.contract import WorkflowService

if TYPE_CHECKING:
    from perdure.engine import Engine
    from perdure.service.local.shared_file import SharedFile

__all__ = [
    "DEFAULT_URL",
    "ENGINE_VARIABLE",
    "Connection",
    "Opened",
    "check_engine_url",
    "connect",
    "engine_url",
    "is_remote",
    "namespace_of",
    "open_to_serve",
]

DEFAULT_URL = "sqlite:///perdure.db"
ENGINE_VARIABLE = "PERDURE_ENGINE"
SCHEMES = ("sqlite", "memory")
REMOTE = ("perdure://", "temporal://")
"""Servers, over gRPC."""
RETENTION = timedelta(days=36_500)
"""Of namespaces that are made through an engine elsewhere: what lies nearest to for ever (see `engine.namespaces`)."""


class Connection:
    """A service, and the promise to give it back: `close()` ends the engine when nobody else uses it."""

    def __init__(
        self, url: str, service: WorkflowService, release: Callable[[], Awaitable[None]], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self.url = url
        self.service = service
        self.loop = loop
        """The event loop in which the service can be used; None: in any."""
        self._release = release
        self._closed = False

    async def close(self) -> None:
        """Gives the service back. Safe to call twice."""
        if not self._closed:
            self._closed = True
            await self._release()

    def __repr__(self) -> str:
        return f"<Connection {self.url}{' closed' if self._closed else ''}>"


class Opened(NamedTuple):
    """What a server serves, and how to close it with all that hangs on it."""

    served: Engine | SharedFile
    """The engine, or the file that another process has open (as long as it has)."""
    close: Callable[[], Awaitable[None]]


class _Opened(Protocol):
    """What gives the service to every user of a URL."""

    engine: Engine | None
    """None: it is another process's."""

    @property
    def closed(self) -> bool: ...
    def service(self) -> WorkflowService: ...
    async def close(self) -> None: ...


class _InMemory:
    """An engine that only this event loop can reach."""

    def __init__(self, engine: Engine) -> None:
        self.engine: Engine | None = engine
        self._engine = engine

    @property
    def closed(self) -> bool:
        return self._engine.closed

    def service(self) -> WorkflowService:
        return self._engine.frontend(in_process=True)

    async def close(self) -> None:
        await self._engine.close()


class _Shared:
    """What is open, and its users. The lock makes opening and closing wait for each other."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.opened: _Opened | None = None
        self.users = 0


_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()


def engine_url(url: str | None) -> str:
    """The URL to use: the one given, else that of the environment variable PERDURE_ENGINE, else `sqlite:///perdure.db`."""
    return url or os.environ.get(ENGINE_VARIABLE) or DEFAULT_URL


def check_engine_url(url: str) -> None:
    """Raises UnknownEngine when `url` cannot name an engine; opens nothing."""
    if not is_remote(url):
        _key(url)
        return
    from perdure.service.grpc_client import options_of, target_of  # here, for it loads the SDK's core

    target_of(url)
    options_of(url)


def is_remote(url: str) -> bool:
    """Whether the URL names a server, over gRPC."""
    return isinstance(url, str) and url.startswith(REMOTE)  # pyright: ignore[reportUnnecessaryIsInstance]


async def connect(url: str | None = None, *, clock: Clock | None = None, brief: bool = False) -> Connection:
    """Opens the engine that `url` names, or joins it when this process has it open already.

    `brief` says that the connection is for a moment, as a command's: a file that another process has open is joined without loading
    what it takes to own it, which is most of what such a command costs. Who stays longer gets ready for that after all.

    Raises:
        UnknownEngine: the URL names no engine.
        StorageError: the storage cannot be opened (StorageLocked: another process has it open and cannot be joined; the message says why).
        EngineUnavailable: no server answers at the address.
    """
    url = engine_url(url)
    if is_remote(url):
        return await _connect_remote(url)
    key, loop = _key(url), asyncio.get_running_loop()
    if key is None:
        alone = await _open(url, clock)
        return Connection(url, alone.service(), alone.close, loop)
    shared = _engines.setdefault(loop, {}).setdefault(key, _Shared())
    async with shared.lock:
        if shared.opened is None or shared.opened.closed:
            shared.opened = await _open(url, clock, brief=brief)
            shared.users = 0
        shared.users += 1
        service = shared.opened.service()
    return Connection(url, service, lambda: _release(shared), loop)


async def _connect_remote(url: str) -> Connection:
    from perdure.service.grpc_client import TemporalGrpcClient, options_of, target_of  # here, for it loads the SDK's core

    client = await TemporalGrpcClient.connect(target_of(url), **options_of(url))
    return Connection(url, cast(WorkflowService, client), client.close)


def namespace_of(url: str | None) -> str | None:
    """The namespace that a URL names (`?namespace=…`); None if it names none."""
    named = parse_qs(urlsplit(engine_url(url)).query).get("namespace")
    return named[-1] if named else None


async def _release(shared: _Shared) -> None:
    async with shared.lock:
        shared.users -= 1
        if shared.users == 0 and shared.opened is not None:
            opened, shared.opened = shared.opened, None
            await opened.close()


def _key(url: str) -> str | None:
    """What connections share an engine by; None for an engine of its own. UnknownEngine when the URL names none."""
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UnknownEngine(f"the URL is {url!r}; give a string, as in sqlite:///perdure.db")
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise UnknownEngine(f"{url!r} is not a URL; for a SQLite file say {_file_url(url)}, for an engine in memory memory://")
    if is_remote(url):
        raise UnknownEngine(f"{url!r} is a server already; what is served stands in a file or in memory: say {DEFAULT_URL}, or memory://")
    if scheme not in SCHEMES:
        meant = f"say {_file_url(url)} for a SQLite file, perdure://HOST:PORT for a server, or memory://"
        raise UnknownEngine(f"there is no engine for {scheme}:// in this release; {meant}")
    if scheme == "memory":
        name = rest.strip("/")
        return f"memory://{name}" if name else None
    if unquote(urlsplit(url).path) == "/:memory:":
        raise UnknownEngine("for an engine in memory say memory://")
    return f"sqlite:{_path(url)}"


def _path(url: str) -> str:
    """The file of a SQLite URL: one name, whichever way it is named."""
    from perdure.storage.urls import sqlite_path

    return os.path.realpath(sqlite_path(url))


def _file_url(wrong: str) -> str:
    """The SQLite URL that was probably meant."""
    scheme, separator, rest = wrong.partition("://")
    path = rest if separator else wrong.removeprefix("sqlite:").removeprefix("sqlite")
    meant = difflib.get_close_matches(scheme, SCHEMES) if separator else path.endswith((".db", ".sqlite", ".sqlite3"))
    return f"sqlite:///{path.lstrip('/')}" if meant and path else DEFAULT_URL


async def open_to_serve(
    url: str,
    *,
    clock: Clock | None = None,
    namespaces: Sequence[str] = ("default",),
    configure: Callable[[Engine], None] = lambda engine: None,
) -> Opened:
    """What `url` names, shared with no other connection of this event loop: for who serves it to others, and closes it.

    A file that another process has open is joined, unless there is a clock to go by: an engine in this process has to. `configure` sees
    such an engine before anybody else does.

    Raises:
        UnknownEngine: the URL names no engine, or a server.
        StorageError: the storage cannot be opened (StorageLocked: somebody has it open and cannot be joined; the message says why).
    """
    _key(url)
    opened = await _open(url, clock, namespaces, configure, own=clock is not None)
    if opened.engine is not None:
        return Opened(opened.engine, opened.close)
    file = cast("SharedFile", opened)
    try:
        await _have_namespaces(file.service(), namespaces)
    except BaseException:
        await file.close()
        raise
    return Opened(file, file.close)


async def _have_namespaces(service: WorkflowService, names: Sequence[str]) -> None:
    """As an engine does that opens: makes those that are missing."""
    for name in names:
        request = RegisterNamespaceRequest(namespace=name)
        request.workflow_execution_retention_period.FromTimedelta(RETENTION)
        try:
            await service.register_namespace(request)
        except RpcError as error:
            if error.code is not StatusCode.ALREADY_EXISTS:
                raise


async def _open(
    url: str,
    clock: Clock | None,
    namespaces: Sequence[str] = ("default",),
    configure: Callable[[Engine], None] = lambda engine: None,
    *,
    own: bool = False,
    brief: bool = False,
) -> _Opened:
    if url.startswith("memory://"):
        from perdure.engine import open_engine  # here, so that a program that never connects does not load the engine
        from perdure.storage import MemoryStorage

        engine = await open_engine(MemoryStorage(), clock=clock, namespaces=namespaces)
        configure(engine)
        return _InMemory(engine)
    from perdure.service.local.shared_file import SharedFile

    file = SharedFile(_path(url), clock, namespaces, configure, brief=brief)
    await file.open(own=own)
    return file
