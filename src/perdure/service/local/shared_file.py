"""One SQLite file as this event loop sees it: owned, with its engine, or joined, with a connection to whoever owns it.

Ownership is the lock on the file, and the lock alone: who gets it opens the engine, listens, and says where in the lock's file. Who
does not get it reads that and joins. When a joined owner ends, however it does, the connection ends with it, and everybody who had
joined tries again for the lock. Calls wait meanwhile; those whose answer was lost are made again where that is harmless
(`is_repeatable`), and fail with UNAVAILABLE otherwise, which clients and workers know how to repeat.

The rule a newcomer would get wrong: a joiner may become the owner at any time, and an owner never becomes a joiner. So what an owner
gives out at first is the engine's own frontend, at no cost per call; what a joiner gives out forwards each call to where the file is now.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from perdure.model.clock import Clock
from perdure.model.errors import StorageError, StorageLocked
from perdure.model.rpc import unavailable
from perdure.service.contract import WorkflowService
from perdure.service.local.address import OPENING, Address, listen
from perdure.service.local.connection import LocalConnection, NotLetIn, OwnerLost, join
from perdure.service.local.greeting import Greeting
from perdure.service.local.server import LocalServer
from perdure.service.methods import Method, is_repeatable, is_wait, method_named, service_of

if TYPE_CHECKING:
    from perdure.engine import Engine
    from perdure.storage.sqlite import SQLiteStorage

logger = logging.getLogger("perdure.service")

FIRST_PAUSE_SECONDS = 0.005
PAUSE_SECONDS_MAX = 0.1
"""Between two attempts to own or join, while another process is opening the file or has just died."""
OPENING_SECONDS_MAX = 30.0
"""How long somebody who opens the file waits for an owner who holds the lock and does not answer."""
JOIN_AT_ONCE_SECONDS = 1.0
"""How long an owner gets to answer before the lock is looked at."""
BRIEF_SECONDS = 0.5
"""After so long, who meant to be brief gets ready to own the file."""
CALL_WAIT_SECONDS = 5.0
"""How long a call waits for an owner; then it is UNAVAILABLE. Takeovers take a fraction of a second."""


class SharedFile:
    """`open`, then `service`; `close` at the end. Belongs to one event loop."""

    def __init__(
        self,
        path: str,
        clock: Clock | None,
        namespaces: Sequence[str] = ("default",),
        configure: Callable[[Engine], None] = lambda engine: None,
        *,
        brief: bool = False,
    ) -> None:
        """`configure` sees the engine before anybody else, once this is the owner. `brief`: see `perdure.service.connect.connect`."""
        self.path = path
        self.engine: Engine | None = None
        """While this is the owner."""
        self._clock = clock
        self._namespaces = namespaces
        self._greeting = _greeting()
        self._server: LocalServer | None = None
        self._owner: LocalConnection | None = None
        self._configure = configure
        self._brief = brief
        self._waits: dict[asyncio.Task[Any], bool] = {}
        """Calls that wait at the owner's; whether they have been told to end."""
        self._waits_ended = False
        self._settled = asyncio.Event()
        """There is an owner that can be called, this process or another."""
        self._reason = "nobody has it open"
        self._closing = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<SharedFile {self.path}: {'owned' if self.engine else self._owner or self._reason}>"

    @property
    def closed(self) -> bool:
        return self._closing.is_set() or (self.engine is not None and self.engine.closed)

    def service(self) -> WorkflowService:
        """For a new user in this process."""
        return self.frontend(in_process=True)

    def frontend(self, *, in_process: bool) -> WorkflowService:
        """The engine's frontend if this is the owner, otherwise what forwards to it.

        `in_process` says whether its users die with this process; that counts where this process is the owner.
        """
        if self.engine is not None:
            return self.engine.frontend(in_process=in_process)
        return service_of(partial(self._call, in_process), in_process=False, shown=f"of {self.path}, joined")

    def end_waits(self) -> None:
        """Answers what waits for tasks or news, and later ones at once; everything else goes on."""
        self._waits_ended = True
        if self.engine is not None:
            self.engine.end_waits()
        for task in self._waits:
            self._waits[task] = True
            task.cancel()

    async def open(self, *, own: bool = False) -> None:
        """Owns or joins; only owns if told so.

        Raises:
            StorageLocked: it is owned by somebody who cannot be joined; the message says why.
            StorageError: it cannot be opened.
        """
        if own:
            await self._own()
            return
        started = asyncio.get_running_loop().create_task(self._settle(asyncio.get_running_loop().time() + OPENING_SECONDS_MAX))
        try:
            await asyncio.shield(started)
        except asyncio.CancelledError:
            self._closing.set()
            await asyncio.wait((started,))
            if not started.exception():
                await self.close()
            raise
        if self._owner is not None:
            self._following = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Gives the file up, to those who have joined if there are any, or leaves its owner."""
        self._closing.set()
        self._settled.set()
        if self._following is not None:
            await asyncio.wait((self._following,))
        if self._owner is not None:
            await self._owner.close()
        if self.engine is not None:
            if self._server is not None:
                await self._server.stop_listening()
            await self.engine.close()
            if self._server is not None:
                await self._server.close()

    # --- calls of those who joined

    async def _call(self, in_process: bool, name: str, request: Any) -> Any:
        if not is_wait(name, request):
            return await self._ask(in_process, name, request)
        if self._waits_ended:
            return _nothing(name)
        task = asyncio.current_task()
        assert task is not None
        self._waits[task] = False
        try:
            return await self._ask(in_process, name, request)
        except asyncio.CancelledError:
            if not self._waits[task] or task.uncancel():
                raise
            return _nothing(name)
        finally:
            del self._waits[task]

    async def _ask(self, in_process: bool, name: str, request: Any) -> Any:
        while True:
            if self.engine is not None:
                return await getattr(self.engine.frontend(in_process=in_process), name)(request)
            owner = self._owner
            if owner is None:
                await self._await_owner()
                continue
            try:
                return await owner.call(name, request)
            except OwnerLost as lost:
                if lost.begun and not is_repeatable(name, request):
                    raise unavailable(f"the process that had {self.path} open has gone, perhaps with this call done") from None
            await owner.ended.wait()
            self._forget(owner)

    async def _await_owner(self) -> None:
        try:
            async with asyncio.timeout(CALL_WAIT_SECONDS):
                await self._settled.wait()
        except TimeoutError:
            raise unavailable(f"{self.path} has no owner that answers: {self._reason}") from None
        if self._closing.is_set() and self.engine is None:
            raise unavailable("the connection is closed")

    def _forget(self, owner: LocalConnection) -> None:
        if self._owner is owner:
            self._owner = None
            if not self._closing.is_set():
                self._settled.clear()

    # --- who owns the file

    async def _follow(self) -> None:
        """Waits until the owner ends, and finds the next one; until this process owns the file itself."""
        loop = asyncio.get_running_loop()
        closing, preparing = loop.create_task(self._closing.wait()), loop.create_task(self._prepare())
        try:
            while (owner := self._owner) is not None:
                ending = loop.create_task(owner.ended.wait())
                await asyncio.wait((ending, closing), return_when=asyncio.FIRST_COMPLETED)
                ending.cancel()
                if self._closing.is_set():
                    return
                self._forget(owner)
                await owner.close()
                await self._settle(None)
        finally:
            closing.cancel()
            preparing.cancel()
            await asyncio.wait((preparing,))

    async def _prepare(self) -> None:
        """Loads, beside the loop, what an owner needs: an heir that began with that would keep the others waiting."""
        if self._brief:
            await asyncio.sleep(BRIEF_SECONDS)
            await asyncio.to_thread(_load, self.path)

    async def _settle(self, deadline: float | None) -> None:
        """Owns or joins, however long that takes; with a deadline, and for what waiting cannot mend, raises StorageError."""
        pause = FIRST_PAUSE_SECONDS
        settled = self._brief and await self._join_at_once()
        while not self._closing.is_set():
            try:
                reason = "" if settled else await self._own_or_join()
            except Exception as error:
                if deadline is not None:
                    raise
                reason, pause = str(error), PAUSE_SECONDS_MAX
                if reason != self._reason:
                    logger.warning("This process can neither own nor join: %s", error, exc_info=not isinstance(error, StorageError))
            self._reason = reason
            if not reason:
                self._settled.set()
                return
            if deadline is not None and asyncio.get_running_loop().time() > deadline:
                raise StorageLocked(reason)
            try:
                async with asyncio.timeout(pause):
                    await self._closing.wait()
            except TimeoutError:
                pause = min(pause * 2, PAUSE_SECONDS_MAX)

    async def _own_or_join(self) -> str:
        """Empty once this is settled; otherwise what there is to wait for. StorageError where waiting helps nobody."""
        try:
            await self._own()
        except StorageLocked as error:
            return await self._join(error)
        return ""

    async def _join_at_once(self) -> bool:
        """Joins if an owner answers where the lock's file says that there is one; whatever else is found there is left to the lock."""
        from perdure.storage.sqlite import read_holder

        holder = read_holder(self.path)
        address = Address.of_note(holder.note) if holder is not None else None
        if address is None or not address.answers_only_for_an_owner:
            return False
        try:
            async with asyncio.timeout(JOIN_AT_ONCE_SECONDS):
                self._owner = await join(address, self._greeting)
        except (NotLetIn, OSError):
            return False
        return True

    async def _own(self) -> None:
        open_engine, storage = _load(self.path)
        storage.announce(OPENING)
        engine = await open_engine(storage, clock=self._clock, namespaces=self._namespaces)
        self._server = _serve(engine, storage, self._greeting)
        self._configure(engine)
        self.engine = engine

    async def _join(self, locked: StorageLocked) -> str:
        from perdure.storage.sqlite import read_holder

        holder = read_holder(self.path)
        if holder is None or holder.note == OPENING:
            return f"{self.path} is being opened by {_named(holder.pid) if holder else 'another process'}."
        address = Address.of_note(holder.note)
        if address is None:
            raise locked
        try:
            self._owner = await join(address, self._greeting)
        except NotLetIn as error:
            text = f"{self.path} is open in {_named(holder.pid)}, which {error.refusal.reason}."
            if error.refusal.forever:
                raise StorageLocked(text) from error
            return text
        except OSError:
            return f"{self.path} is open in {_named(holder.pid)}, which does not answer: {_instead(holder.pid)}, or use another file."
        return ""


def _load(path: str) -> tuple[Callable[..., Coroutine[Any, Any, Engine]], SQLiteStorage]:
    """What opens an engine, and the storage for it, not yet open. Half a second of work, the first time."""
    from perdure.engine import open_engine
    from perdure.storage.sqlite import SQLiteStorage

    return open_engine, SQLiteStorage(path)


def _serve(engine: Engine, storage: SQLiteStorage, greeting: Greeting) -> LocalServer | None:
    """Lets others join; None, and a warning, where they cannot."""
    try:
        listener = listen(storage.path)
        storage.announce(listener.address.note())
    except OSError as error:
        logger.warning("No other process can join this one on %s: %s", storage.path, error)
        return None
    return LocalServer(engine, engine.frontend(in_process=False), listener, greeting)


def _nothing(name: str) -> Any:
    """What a wait that has to end is answered: a poll with no task; whoever waits for news asks again."""
    if name.endswith("_task_queue"):
        return cast(Method, method_named(name)).response()
    raise unavailable("the server is going down")


def _named(pid: int) -> str:
    return f"this process ({pid})" if pid == os.getpid() else f"process {pid}"


def _instead(pid: int) -> str:
    """What to do about a holder that is deaf: in this process, a client that was left open when its event loop ended."""
    return "close the client that has it, as `async with WorkflowClient.connect(…)` does" if pid == os.getpid() else "stop it"


def _greeting() -> Greeting:
    from perdure import __version__
    from perdure.storage.schema_version import SCHEMA_VERSION

    return Greeting(__version__, SCHEMA_VERSION)
