"""One kind of long poll on one task queue: as many slots as tasks may be in progress, each with one poll or one task.

A slot is an asyncio task that lives as long as the worker and does, over and over: poll, hand the task to the handler, poll.
Nothing is queued in between, so a task that was taken from the engine is always being worked on.

The rules that a newcomer would get wrong:
- The handler runs *inside* the slot's asyncio task (no task is made per activity). Who cancels a slot may do so only while it
  polls; a running activity is cancelled through its own attempt, which keeps the cancellation away from the report.
- Some slots do not poll (`spares`): they stand by for tasks that come otherwise (`reserve`, `give`). A slot that polls cannot do
  that: its poll may be given a task in the same moment.
- A poll that is cancelled in the moment in which its answer has come is not cancelled: the engine has given the task away, and
  would wait for it until it times out. An engine in this process sees to that itself; for others `_unless_answered` does.
- An error pauses the whole lane, not one slot: a hundred slots that fail together are one error, and one back-off.
- An engine that answers an empty poll at once cannot wake polls; the lane then pauses for `poll_interval` instead of spinning.
"""

from __future__ import annotations

import asyncio
import logging
import random
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from perdure.model.clock import Clock
from perdure.model.rpc import RpcError

__all__ = ["LaneSettings", "PollLane", "Slot"]

logger = logging.getLogger("perdure.worker")


class _Task(Protocol):
    @property
    def task_token(self) -> bytes: ...


TaskT = TypeVar("TaskT", bound=_Task)


@dataclass(frozen=True, kw_only=True)
class LaneSettings:
    """How a lane polls; durations in seconds."""

    slots: int
    """Asyncio tasks: tasks in progress, and tasks waiting for `gate`, at most."""
    poll_timeout: float | None
    """None: the engine ends polls itself."""
    poll_interval: float
    error_backoff: float
    error_backoff_max: float
    polls_max: int | None = None
    """Polls outstanding at once; None: one for each free slot."""
    gate: asyncio.Semaphore | None = None
    """Bounds the tasks in progress where there are more slots than may run."""
    keeps_answers: bool = False
    """Whether a poll that is cancelled when its answer has come gives that answer by itself."""
    spares: int = 0
    """Slots that do not poll while the others do."""


class Slot:
    """Where a task is done, and before that, where it is waited for."""

    __slots__ = ("called", "ends", "polling", "task")

    def __init__(self) -> None:
        self.called: asyncio.Future[Any] | None = None
        """While it stands by: done with a task, or with None for it to look anew what it is to do."""
        self.polling = False
        self.ends = False
        """It polls no more: the lane closes, or the slot was cancelled when its last task came. It does that one first."""
        self.task: asyncio.Task[None] | None = None


class PollLane(Generic[TaskT]):
    """Polls with `poll` and hands each task to `handle`, `settings.slots` at once."""

    def __init__(
        self,
        name: str,
        poll: Callable[[], Coroutine[Any, Any, TaskT]],
        handle: Callable[[TaskT], Awaitable[None]],
        settings: LaneSettings,
        clock: Clock,
    ) -> None:
        self.name = name
        self.in_progress = 0
        self.last_poll_ns = 0
        """When a poll was last answered; 0 before the first."""
        self.consecutive_errors = 0
        self.last_error: Exception | None = None
        self._ask = poll
        self._poll = poll if settings.keeps_answers else self._poll_unless_answered
        self._handle = handle
        self._settings = settings
        self._clock = clock
        self._bounded = settings.polls_max is not None or settings.poll_timeout is not None
        self._closing = False
        self._slots: list[Slot] = []
        self._polling = 0
        self._polling_max = settings.slots - settings.spares
        self.standing_by: list[Slot] = []
        """Slots that are free to be reserved."""
        self._open = asyncio.Event()
        self._open.set()
        self._polls: AbstractAsyncContextManager[object] = asyncio.Semaphore(settings.polls_max) if settings.polls_max else nullcontext()

    def __repr__(self) -> str:
        return f"<PollLane {self.name}: {self.in_progress} of {self._settings.slots} running>"

    def start(self) -> None:
        """Opens the slots."""
        for number in range(self._settings.slots):
            slot = Slot()
            slot.task = asyncio.get_running_loop().create_task(self._run(slot), name=f"perdure {self.name} {number}")
            self._slots.append(slot)

    def close(self) -> None:
        """No new polls: those that wait are cancelled, tasks in progress go on."""
        self.close_softly()
        self.cancel_polls()

    def close_softly(self) -> list[asyncio.Task[None]]:
        """No new polls, those that wait go on; the slots that they are in."""
        self._closing = True
        self._end_slots()
        return [slot.task for slot in self._slots if slot.polling and slot.task is not None]

    def cancel_polls(self) -> None:
        """Cancels the polls that wait."""
        for slot in self._slots:
            if slot.polling and slot.task is not None:
                slot.task.cancel()

    def abort(self) -> None:
        """Cancels what is still in progress."""
        self._closing = True
        self._end_slots()
        for task in self.unfinished():
            task.cancel()

    def _end_slots(self) -> None:
        for slot in self._slots:
            slot.ends = True
        while self.standing_by:
            self.give(self.standing_by.pop(), None)

    def unfinished(self) -> list[asyncio.Task[None]]:
        """The slots that have not ended."""
        return [slot.task for slot in self._slots if slot.task is not None and not slot.task.done()]

    # --- slots that stand by ---------------------------------------------------------------------------------------------

    def reserve(self) -> Slot | None:
        """A slot that stands by, to be given a task or given back soon: it does nothing else until then. None: all are busy."""
        gate = self._settings.gate
        return self.standing_by.pop() if self.standing_by and (gate is None or not gate.locked()) else None

    def give(self, slot: Slot, task: TaskT | None) -> None:
        """A task for a reserved slot."""
        called, slot.called = slot.called, None
        if called is not None and not called.done():
            called.set_result(task)

    def give_back(self, slot: Slot) -> None:
        """There is no task for a reserved slot."""
        if slot.ends or self._polling < self._polling_max:
            self.give(slot, None)
        else:
            self.standing_by.append(slot)

    def _stand_by(self, slot: Slot) -> asyncio.Future[Any]:
        slot.called = called = asyncio.get_running_loop().create_future()
        self.standing_by.append(slot)
        return called

    # --- slots that poll -------------------------------------------------------------------------------------------------

    async def _run(self, slot: Slot) -> None:
        handle, gate, now = self._handle, self._settings.gate, self._clock.now
        poll = self._poll_within_bounds if self._bounded else self._poll
        while not slot.ends:
            task: TaskT | None = None  # a slot that waits keeps no task in memory: its input may be large
            if self._polling >= self._polling_max:
                task = await self._stand_by(slot)
            else:
                slot.polling = True
                self._polling += 1
                try:
                    if not self._open.is_set():
                        await self._open.wait()
                        continue
                    asked_ns = now()
                    task = await poll()
                    self.last_poll_ns = now()
                    if self.consecutive_errors:
                        self._recovered()
                    if task is not None and not task.task_token:
                        task = None
                        await self._rest(asked_ns)
                except asyncio.CancelledError:
                    if not self._closing:
                        raise
                    return
                except Exception as error:
                    self._pause(error)
                finally:
                    slot.polling = False
                    self._polling -= 1
                if slot.task is not None and slot.task.cancelling():
                    _note_late_cancellation(slot, slot.task)
                if task is not None and self.standing_by:
                    self.give(self.standing_by.pop(0), None)  # another one polls
            if task is None:
                continue
            if gate is not None:
                await gate.acquire()
            self.in_progress += 1
            try:
                await handle(task)
            except Exception:
                logger.exception("A task of %s could not be handled; the engine hands it out again when its time is over.", self.name)
            finally:
                self.in_progress -= 1
                if gate is not None:
                    gate.release()

    async def _rest(self, asked_ns: int) -> None:
        """Pauses after an empty answer, if it came at once."""
        if self._clock.now() - asked_ns < self._settings.poll_interval * 1e9:
            await asyncio.sleep(self._settings.poll_interval)

    async def _poll_unless_answered(self) -> TaskT:
        return await _unless_answered(self._ask())

    async def _poll_within_bounds(self) -> TaskT | None:
        """A poll, once it may begin; None when it was not answered in its time."""
        try:
            async with self._polls, asyncio.timeout(self._settings.poll_timeout):
                return None if self._closing else await self._poll()
        except TimeoutError:
            return None

    def _recovered(self) -> None:
        logger.info("Polling %s works again.", self.name)
        self.consecutive_errors = 0
        self.last_error = None

    def _pause(self, error: Exception) -> None:
        """Backs off after an error; the errors of other slots in the same pause are the same error."""
        if not self._open.is_set() or self._closing:
            return
        self.consecutive_errors += 1
        self.last_error = error
        settings = self._settings
        seconds = min(settings.error_backoff * 2.0 ** min(self.consecutive_errors - 1, 20), settings.error_backoff_max)
        seconds *= random.uniform(0.8, 1.0) if self.consecutive_errors > 1 else 1.0  # so that many workers do not return together
        logger.warning(
            "Polling %s failed (%s in a row), the next try is in %.1f s: %s", self.name, self.consecutive_errors, seconds, error,
            exc_info=None if isinstance(error, RpcError) else error,
        )  # fmt: skip
        self._open.clear()
        self._clock.call_at(self._clock.now() + int(seconds * 1e9), self._open.set)


@types.coroutine
def _unless_answered(poll: Coroutine[Any, Any, TaskT]) -> Generator[Any, Any, TaskT]:
    """Awaits a poll; a cancellation that finds what it awaits done comes too late, and is kept for its next wait, if there is one."""
    late: BaseException | None = None
    try:
        awaited = poll.send(None)
        while True:
            thrown: BaseException | None = late
            late = None
            if thrown is None:
                try:
                    yield awaited
                except asyncio.CancelledError as error:
                    if asyncio.isfuture(awaited) and awaited.done() and not awaited.cancelled():
                        late = error
                    else:
                        thrown = error
                except BaseException as error:
                    thrown = error
            awaited = poll.send(None) if thrown is None else poll.throw(thrown)
    except StopIteration as end:
        answer: TaskT = end.value
        return answer


def _note_late_cancellation(slot: Slot, task: asyncio.Task[None]) -> None:
    """What was polled is done as if there had been no cancellation; then the slot ends."""
    slot.ends = True
    while task.cancelling():
        task.uncancel()
