"""What an engine does that no caller waits for, and its patience with a storage that cannot be read just now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from perdure.model.clock import Clock
from perdure.model.errors import StorageCorrupt, StorageError
from perdure.model.rpc import RpcError

logger = logging.getLogger("perdure.engine")

T = TypeVar("T")

RETRY_SECONDS = 0.5
"""Between two attempts at what has to succeed."""


class Background:
    """The tasks that run for as long as an engine is open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def __repr__(self) -> str:
        return f"<Background: {len(self)} tasks{', closed' if self.closed else ''}>"

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs something in the background."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("A task of the engine failed", exc_info=task.exception())

    async def persist(self, read: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """Reads until the storage answers; None if the engine closes first, or there is nothing, or nothing that can be read."""
        while not self.closed:
            try:
                return await read()
            except StorageCorrupt:
                logger.exception("The storage holds something that cannot be read")
                return None
            except StorageError:
                logger.exception("The storage could not be read; trying again in %s s", RETRY_SECONDS)
                await self.pause()
            except RpcError:
                return None
        return None

    async def pause(self) -> None:
        """What lies between two attempts."""
        await self._clock.sleep_until(self._clock.now() + int(RETRY_SECONDS * 1e9))

    async def close(self) -> None:
        """Ends what runs."""
        self.closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
