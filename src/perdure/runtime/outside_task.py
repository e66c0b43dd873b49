"""Runs a function where no asyncio task is current: from Python 3.14 on asyncio keeps the current task for each thread, not each loop."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable

_TASK_OF_THREAD: bool = sys.version_info[:2] >= (3, 14)


def outside_of_task(call: Callable[[], None]) -> None:
    """Calls `call`; in another thread, waited for, where this thread is inside a task and that would matter."""
    if not _TASK_OF_THREAD or asyncio._get_running_loop() is None or asyncio.current_task() is None:
        call()
        return
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="perdure-replay")
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
