"""Reading the storage without holding the loop: in threads where the storage may wait, at once where it never does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from perdure.model.errors import StorageError
from perdure.storage.contract import WorkflowStorage

READER_THREADS = 2
"""Reads that wait for a disk at the same time; each has a connection of its own."""
READS_QUEUED_MAX = 1000
"""Reads that may wait for a thread; a further one waits before it is queued."""

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Reader:
    """Calls the storage's reading methods."""

    def __init__(self, storage: WorkflowStorage) -> None:
        self.storage = storage
        self._threads = ThreadPoolExecutor(READER_THREADS, "perdure-reader") if storage.blocking else None
        self._places = asyncio.Semaphore(READS_QUEUED_MAX)
        self._closed = False

    async def read(self, method: Callable[[*Ts], T], *arguments: *Ts) -> T:
        """What `method` returns.

        Raises:
            StorageError: as `method` does; and when it is read after `close`.
        """
        if self._threads is None:
            return method(*arguments)
        async with self._places:
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, method, *arguments)
            except RuntimeError as error:
                raise StorageError(f"{self.storage.url} has been closed") from error
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if not self._closed or task is None or task.cancelling():
                    raise
                raise StorageError(f"{self.storage.url} has been closed") from error  # it was the read that was cancelled

    def close(self) -> None:
        """Lets the reads under way end, and no other begin."""
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
