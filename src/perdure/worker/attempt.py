"""One attempt of an activity: what state it is in and how it is told to stop.

The rules that a newcomer would get wrong:
- An async activity runs inside its slot's asyncio task, in a context of its own (`run_in_context`). Cancelling it is cancelling
  that task, which is right only while the activity itself runs: `finished` is set in the same step in which it ends, and a
  cancellation that came too late is absorbed (`absorb_cancellation`) before anything is reported.
- A thread cannot be interrupted: a plain `def` learns of its cancellation at its next heartbeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context
from typing import Any, TypeVar

from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure.model.conversion import DataConverter
from perdure.model.errors import InvalidInput
from perdure.worker.activity_context import CancelReason
from perdure.worker.heartbeats import Heartbeats

__all__ = ["Attempt", "absorb_cancellation", "run_in_context"]

T = TypeVar("T")
_MAKING = threading.Lock()
"""An activity may send its first heartbeats from several threads of its own."""


class Attempt:
    """An attempt that is running; the line between its `ActivityContext` and the worker."""

    # What most attempts never change stands in the class: making one is then cheap.
    cancel_reason: CancelReason | None = None
    finished = False
    worker_stopping = False
    deadline_ns: int | None = None
    """When the engine has given this attempt up for certain; 0: never; None: not worked out yet."""
    interrupt: Callable[[], None] | None = None
    """Delivers a cancellation to where the activity runs, if that is not the slot."""
    raises_on_heartbeat = False
    """It runs in a thread, and learns of its cancellation there."""
    heartbeats: Heartbeats | None = None
    invalid_heartbeat: InvalidInput | None = None
    """From another process, where it could not be raised."""
    stack_trace: str | None = None
    """Of an exception that was raised in another process."""

    def __init__(
        self,
        task: PollActivityTaskQueueResponse,
        slot: asyncio.Task[Any] | None,
        converter: DataConverter,
        make_heartbeats: Callable[[Attempt], Heartbeats],
    ) -> None:
        """`slot` is the asyncio task that executes the attempt."""
        self.task = task
        self.slot = slot
        self._converter = converter
        self._make_heartbeats = make_heartbeats

    def __repr__(self) -> str:
        return f"<Attempt {self.task.attempt} of {self.task.activity_type.name} {self.task.activity_id}>"

    def heartbeat(self, details: Sequence[Any]) -> None:
        """Line: from the activity, in whatever thread it runs."""
        if self.raises_on_heartbeat and self.cancel_reason is not None:
            raise asyncio.CancelledError(f"The activity is to stop: {self.cancel_reason.value}.")
        self.beat(_encode(self._converter, details))

    def beat(self, details: Sequence[Payload]) -> None:
        """Passes encoded details on, unless the attempt is over."""
        if self.heartbeats is None:
            with _MAKING:
                self.heartbeats = self.heartbeats or self._make_heartbeats(self)
        if not self.finished:
            self.heartbeats.beat(details)

    def cancel(self, reason: CancelReason) -> None:
        """Tells the activity to stop; only the first reason counts. On the loop's thread."""
        if self.finished or self.cancel_reason is not None:
            return
        self.cancel_reason = reason
        if self.interrupt is not None:
            self.interrupt()
        elif not self.raises_on_heartbeat:
            self._interrupt_slot()

    def _interrupt_slot(self) -> None:
        """Cancels an async activity where it waits; never in the middle of its own step, where it would come out too late."""
        if self.slot is None:
            return
        if asyncio.current_task() is self.slot:
            self.slot.get_loop().call_soon(self._interrupt_unless_finished, self.slot)
        else:
            self.slot.cancel()

    def _interrupt_unless_finished(self, slot: asyncio.Task[Any]) -> None:
        if not self.finished:
            slot.cancel()

    def finish(self) -> Sequence[Payload] | None:
        """The activity has ended; the heartbeat details that may not have arrived, if any."""
        self.finished = True
        return None if self.heartbeats is None else self.heartbeats.close()


def _encode(converter: DataConverter, details: Sequence[Any]) -> Sequence[Payload]:
    try:
        return converter.encode_values(details)
    except InvalidInput as error:
        raise InvalidInput(f"The details of a heartbeat cannot be converted: {error}") from error


@types.coroutine
def run_in_context(coroutine: Coroutine[Any, Any, T], context: Context) -> Generator[Any, Any, T]:
    """Awaits a coroutine inside the current asyncio task, but in a context of its own: what it sets does not outlive it."""
    run, value, error = context.run, None, None
    try:
        awaited = run(coroutine.send, None)
        while True:
            try:
                value = yield awaited
            except BaseException as raised:
                error = raised
            if error is None:
                awaited = run(coroutine.send, value)
            else:
                thrown, error = error, None
                awaited = run(coroutine.throw, thrown)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    finally:
        coroutine.close()


async def absorb_cancellation(task: asyncio.Task[Any]) -> None:
    """Takes back cancellations of the current asyncio task that were meant for what ran in it before."""
    while task.cancelling():
        task.uncancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)  # before Python 3.13 one may still be pending: it comes out here
    while task.cancelling():
        task.uncancel()
