"""A row of the table: code that does it wrong, and the full text that its author sees."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from perdure import PerdureError, WorkflowClient, WorkflowWorker, workflow
from perdure.worker import watchdog


class Row(NamedTuple):
    name: str
    code: Callable[..., Awaitable[object]]
    error: str
    text: str


class Table:
    """Rows in the order of the file."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __call__(self, error: type[BaseException] | str, text: str) -> Callable[[Any], Any]:
        name = error if isinstance(error, str) else error.__name__

        def add(code: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
            self.rows.append(Row(code.__name__, code, name, text))
            return code

        return add


def normal(text: str, *paths: object) -> str:
    """A text without what differs from run to run."""
    for path in paths:
        text = text.replace(str(path), "<path>")
    text = re.sub(r"/\S*?([\w.]+\.py):\d+", r"\1:<line>", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<run>", text)
    text = text.replace("tests.bad_input.", "")  # how pytest names the module depends on the mode of import
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return text.replace(f"{os.getpid()}@{socket.gethostname()}", "<worker>")


async def seen(code: Awaitable[object], *paths: object) -> tuple[str, str]:
    """What its author sees: the error's type and text; of a workflow that failed, those of the cause."""
    try:
        async with asyncio.timeout(50):
            await code
    except PerdureError as error:
        return type(error).__name__, normal(str(error), *paths)
    except Exception as error:
        return f"raw {type(error).__name__}", str(error)
    return "nothing", ""


async def of_workflow(code: Any, *activities: Any) -> tuple[str, str]:
    """Runs workflow code. What is seen is the first warning or error of the log, or what the result raises, whichever comes first."""
    code.__name__ = code.__qualname__ = "flow"
    logged: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != watchdog.logger.name:  # which has something to say of a machine under load
                loop.call_soon_threadsafe(logged.put_nowait, record.getMessage())

    listener = Listener(logging.WARNING)
    logger = logging.getLogger("perdure")
    logger.addHandler(listener)
    logger.propagate = False
    try:
        async with (
            WorkflowClient.connect("memory://") as client,
            WorkflowWorker(client, workflows=[workflow(code)], activities=list(activities), graceful_shutdown_timeout=0.1),
        ):
            result = asyncio.ensure_future(client.execute_workflow("flow", id="w"))
            message = asyncio.ensure_future(logged.get())
            done, _ = await asyncio.wait([result, message], timeout=50, return_when=asyncio.FIRST_COMPLETED)
            message.cancel()
            if result not in done:
                result.cancel()
                return "log", normal(message.result() if message in done else "")
            return await seen(result)
    finally:
        logger.removeHandler(listener)
        logger.propagate = True
