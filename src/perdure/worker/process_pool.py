"""Processes for CPU-bound activities, so that a busy core does not starve the event loop.

Each process has a pipe and runs one activity at a time; a thread of the parent waits at the other end. `ProcessPoolExecutor` would
do for calls, but not for heartbeats on the way, and to stop one call it can only break them all: here a process that does not
heed its cancellation is killed alone (`CANCEL_GRACE_SECONDS`), and one that dies fails its own activity, as a `ProcessError` that
is tried again. Processes are started when they are needed, and kept.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure.model.definitions import ActivityDefinition
from perdure.model.errors import ApplicationError, InvalidInput, ProcessError
from perdure.worker.activity_context import CancelReason
from perdure.worker.attempt import Attempt
from perdure.worker.process_child import Call, Cancel, Ended, Heartbeat, Stopping, serve

__all__ = ["ProcessPool"]

CANCEL_GRACE_SECONDS = 5.0
"""From telling an activity to stop to killing its process."""
_START_METHOD = "spawn" if sys.platform == "win32" else "forkserver"
"""Never plain fork: the parent has threads, an event loop and an open database."""

_REAPING = threading.Lock()
"""`multiprocessing` reads an exit code once, whoever asks first gets it: starting and asking take turns."""


class ProcessPool:
    """At most `size` activities at once, each in a process; None: one for each CPU."""

    def __init__(self, size: int | None, task_queue: str) -> None:
        self._task_queue = task_queue
        self._size = size or os.cpu_count() or 1
        self._free = asyncio.Semaphore(self._size)
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<ProcessPool {len(self._busy)} of {self._size} busy>"

    async def run(
        self, definition: ActivityDefinition[..., Any], arguments: Sequence[Any], attempt: Attempt, loop: asyncio.AbstractEventLoop
    ) -> Any:
        """The result of the activity; raises what it raised, or ProcessError when its process died."""
        call = _call(definition, arguments, attempt.task, self._task_queue)
        async with self._free:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._size, thread_name_prefix="perdure process")
            worker = self._idle.pop() if self._idle else _Worker()
            worker.take(attempt)
            self._busy.add(worker)
            attempt.interrupt = partial(_interrupt, attempt, worker, loop)
            try:
                ended = await loop.run_in_executor(self._threads, worker.run, call, attempt)
            except BaseException:
                worker.kill()  # given up, or its thread could not be started
                raise
            finally:
                self._busy.discard(worker)
            if not worker.usable or self._closed:
                worker.kill()
            else:
                self._idle.append(worker)
        return _result(ended, attempt)

    def announce_stop(self) -> None:
        """Lets the activities know that the worker is shutting down."""
        for worker in self._busy:
            worker.tell(Stopping(), worker.attempt)

    def close(self) -> None:
        """Ends all processes, those that still compute too."""
        self._closed = True
        for worker in [*self._idle, *self._busy]:
            worker.kill()
        self._idle.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=False)


class _Worker:
    """One process and the parent's end of its pipe. `run` is called in a thread, `tell` and `kill` on the loop."""

    def __init__(self) -> None:
        self._process: SpawnProcess | Any = None
        self._connection: Connection | None = None
        self.usable = True
        """False once the process was killed or has died."""
        self._sending = threading.Lock()
        self._in_call = False
        self._word: Cancel | Stopping | None = None
        self.attempt: Attempt | None = None

    def take(self, attempt: Attempt) -> None:
        """The next call will be this attempt's; words meant for another are dropped."""
        with self._sending:
            self.attempt = attempt
            self._in_call = False
            self._word = None

    def run(self, call: bytes, attempt: Attempt) -> Ended:
        """Sends the call and waits for its end, passing heartbeats on."""
        try:
            connection = self._living() or self._start()
            self._begin(connection, call)
            while True:
                message = connection.recv()
                if isinstance(message, Ended):
                    return message
                _pass_on(message, attempt)
        except (EOFError, OSError, RuntimeError) as error:
            self.usable = False
            return Ended(error=self._died(attempt.task.activity_type.name, error))
        except Exception as error:  # what came back cannot be read here
            return Ended(error=ProcessError(f"What the process of {attempt.task.activity_type.name} sent cannot be read: {error}"))

    def _begin(self, connection: Connection, call: bytes) -> None:
        with self._sending:
            connection.send_bytes(call)
            self._in_call = True
            if self._word is not None:
                connection.send(self._word)

    def tell(self, message: Cancel | Stopping, attempt: Attempt | None) -> None:
        """Sends a word to an attempt, after its call; from a thread, since a full pipe blocks."""
        threading.Thread(target=self._tell, args=(message, attempt), daemon=True, name="perdure tell").start()

    def _tell(self, message: Cancel | Stopping, attempt: Attempt | None) -> None:
        with self._sending:
            if self.attempt is not attempt:
                return
            if not self._in_call:
                self._word = message
                return
            try:
                assert self._connection is not None
                self._connection.send(message)
            except OSError:
                pass  # it has died: `run` sees that too, and says so

    def kill(self) -> None:
        """Ends the process at once; who waits for its answer sees the pipe close. (The fork server is its parent, and reaps it.)"""
        self.usable = False
        if self._process is not None:
            self._process.kill()

    def _living(self) -> Connection | None:
        """The pipe, if there is a process at its other end: one may have died while it had nothing to do."""
        with _REAPING:
            return self._connection if self._process is not None and self._process.is_alive() else None

    def _start(self) -> Connection:
        context: Any = multiprocessing.get_context(_START_METHOD)
        ours: Connection
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), name="perdure activity", daemon=True)
        with _REAPING:
            process.start()
        theirs.close()
        self._process, self._connection = process, ours
        if not self.usable:  # killed meanwhile
            process.kill()
        return ours

    def _died(self, activity: str, error: BaseException) -> ProcessError:
        if self._process is None:
            return ProcessError(f"The process for the activity {activity} could not be started: {error}.")
        with _REAPING:
            self._process.join(5)
            code = self._process.exitcode
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        remedy = (
            " If it died at its start: a script that runs a worker keeps its last lines under `if __name__ == \"__main__\":`,"
            " since the process imports the script." if code == 1 else ""
        )  # fmt: skip
        return ProcessError(f"The process that ran the activity {activity} {how}.{remedy}")


def _pass_on(message: Any, attempt: Attempt) -> None:
    """A heartbeat on its way; details that cannot be converted end the activity."""
    if isinstance(message, Heartbeat):
        try:
            attempt.heartbeat(message.details)
        except InvalidInput as error:
            attempt.invalid_heartbeat = error


def _call(
    definition: ActivityDefinition[..., Any], arguments: Sequence[Any], task: PollActivityTaskQueueResponse, task_queue: str
) -> bytes:
    facts = PollActivityTaskQueueResponse()
    facts.CopyFrom(task)
    facts.ClearField("input")
    fn = definition.fn
    try:
        pickled = pickle.dumps(tuple(arguments))
    except Exception as error:
        text = f"The input of the cpu_bound activity {definition.name} cannot be passed to its process: {error}. Use types that pickle."
        raise InvalidInput(text) from error
    call = Call(
        module=fn.__module__,
        filename=fn.__code__.co_filename,
        qualname=fn.__qualname__,
        arguments=pickled,
        takes_ctx=definition.takes_ctx,
        task=facts.SerializeToString(),
        task_queue=task_queue,
    )
    return pickle.dumps(call)


def _result(ended: Ended, attempt: Attempt) -> Any:
    if attempt.invalid_heartbeat is not None:
        raise attempt.invalid_heartbeat
    if ended.error is None:
        return ended.result
    if isinstance(ended.error, ProcessError) and attempt.cancel_reason is not None:
        raise asyncio.CancelledError  # killed because it was to stop
    attempt.stack_trace = ended.stack_trace
    if isinstance(ended.error, SystemExit):
        raise ApplicationError(f"The activity called sys.exit({ended.error.code}).", type="SystemExit")
    raise ended.error


def _interrupt(attempt: Attempt, worker: _Worker, loop: asyncio.AbstractEventLoop) -> None:
    """Tells the process, and kills it when it does not heed."""
    worker.tell(Cancel(attempt.cancel_reason or CancelReason.REQUESTED), attempt)
    loop.call_later(CANCEL_GRACE_SECONDS, _kill_unless_finished, attempt, worker)


def _kill_unless_finished(attempt: Attempt, worker: _Worker) -> None:
    if not attempt.finished:
        worker.kill()
