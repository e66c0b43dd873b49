"""What runs in a process of its own: a loop that takes calls from a pipe, runs them, and sends back how they ended.

The main thread runs the activity; a second thread listens on the pipe, so that a cancellation is noticed while the activity
computes, and so that the process ends at once when its parent has died (the pipe closes), however it died.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure.model.conversion import DataConverter
from perdure.model.errors import ApplicationError, ProcessError
from perdure.worker.activity_context import ActivityContext, CancelReason, current_activity

__all__ = ["Call", "Cancel", "Ended", "Heartbeat", "Stopping", "serve"]


@dataclass(frozen=True)
class Call:
    """To the process: run this function."""

    module: str
    filename: str
    """Where the module comes from, if it cannot be imported by name (a script, a test)."""
    qualname: str
    arguments: bytes
    """Pickled: they may need the module."""
    takes_ctx: bool
    task: bytes
    """The task, serialised, for the context; its input is left out."""
    task_queue: str


@dataclass(frozen=True)
class Cancel:
    """To the process: the activity shall stop."""

    reason: CancelReason


@dataclass(frozen=True)
class Stopping:
    """To the process: the worker is shutting down."""


@dataclass(frozen=True)
class Heartbeat:
    """From the process."""

    details: Sequence[Any]


@dataclass(frozen=True)
class Ended:
    """From the process: how the call ended."""

    result: Any = None
    error: BaseException | None = None
    stack_trace: str = ""


class _Line:
    """The activity's line to the worker, through the pipe."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.cancel_reason: CancelReason | None = None
        self.worker_stopping = False

    def heartbeat(self, details: Sequence[Any]) -> None:
        if self.cancel_reason is not None:
            raise asyncio.CancelledError(f"The activity is to stop: {self.cancel_reason.value}.")
        self.send(Heartbeat(tuple(details)))

    def send(self, message: Heartbeat | Ended) -> None:
        data = pickle.dumps(message)  # before anything is written: an error here is the caller's
        with self._lock:
            self._connection.send_bytes(data)


def serve(connection: Connection) -> None:
    """Runs calls until the pipe closes. Ctrl-C is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
    line = _Line(connection)
    threading.Thread(target=_listen, args=(connection, calls, line), name="perdure pipe", daemon=True).start()
    while True:
        call = calls.get()
        ended = _run(call, line)
        line.cancel_reason = None
        _send_end(line, call, ended)


def _listen(connection: Connection, calls: queue.SimpleQueue[Call], line: _Line) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        except Exception as error:  # what was sent cannot be read here: a class that this process cannot import
            line.send(Ended(error=ProcessError(f"The call cannot be read in the activity's process: {error}")))
            continue
        if isinstance(message, Call):
            line.cancel_reason = None
            calls.put(message)
        elif isinstance(message, Cancel):
            line.cancel_reason = message.reason
        elif isinstance(message, Stopping):
            line.worker_stopping = True


def _run(call: Call, line: _Line) -> Ended:
    try:
        fn = _find(call)
        arguments = pickle.loads(call.arguments)
        task = PollActivityTaskQueueResponse.FromString(call.task)
        context = ActivityContext(task, line, DataConverter.default, call.task_queue)
        token = current_activity.set(context)
        try:
            return Ended(fn(*([context] if call.takes_ctx else []), *arguments))
        finally:
            current_activity.reset(token)
    except BaseException as error:
        return Ended(error=error, stack_trace="".join(traceback.format_tb(error.__traceback__)))


def _find(call: Call) -> Any:
    found: Any = _load(call.module, call.filename)
    for name in call.qualname.split("."):
        found = getattr(found, name)
    return getattr(found, "fn", found)  # the decorated name is the definition


def _load(name: str, filename: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        spec = importlib.util.spec_from_file_location(name, filename)
        if spec is None or spec.loader is None or not (error.name and name.startswith(error.name)):
            raise
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


def _send_end(line: _Line, call: Call, ended: Ended) -> None:
    """Sends the end; what does not pickle becomes an error that does, and says so."""
    try:
        if ended.error is not None:
            pickle.loads(pickle.dumps(ended.error))  # some errors pickle, and cannot be read again
        line.send(ended)
    except Exception as problem:
        if ended.error is None:
            text = f"The result of {call.qualname} cannot be passed between processes: {problem}. Return something that pickles."
            error = ApplicationError(text, type="InvalidResult", non_retryable=True)
        else:
            non_retryable = bool(getattr(ended.error, "non_retryable", False))
            error = ApplicationError(str(ended.error), type=type(ended.error).__name__, non_retryable=non_retryable)
        line.send(Ended(error=error, stack_trace=ended.stack_trace))
