"""A lane of polls: slots are bounded, errors back off together, an empty answer does not spin, nothing polled is lost at shutdown."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from perdure.model.clock import SystemClock
from perdure.model.rpc import unavailable
from perdure.worker.poll_lane import LaneSettings, PollLane


@dataclass
class Task:
    task_token: bytes = b""


class Answers:
    """Like the engine: an answer belongs to the poll that it was given to, from the moment it was given."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[Task | Exception]] = deque()
        self._ready: deque[Task | Exception] = deque()

    async def get(self) -> Task | Exception:
        if self._ready:
            return self._ready.popleft()
        future: asyncio.Future[Task | Exception] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return await future

    def put_nowait(self, answer: Task | Exception) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(answer)
                return
        self._ready.append(answer)

    def qsize(self) -> int:
        return len(self._ready)

    def empty(self) -> bool:
        return not self._ready


@dataclass
class Source:
    """What polls wait on."""

    tasks: Answers = field(default_factory=lambda: Answers())
    polling: int = 0
    polls: int = 0

    async def poll(self) -> Task:
        self.polls += 1
        self.polling += 1
        try:
            found = await self.tasks.get()
        finally:
            self.polling -= 1
        if isinstance(found, Exception):
            raise found
        return found


def lane(source: Source, handle: Callable[[Task], Awaitable[None]], slots: int = 2, **changes: object) -> PollLane[Task]:
    settings = {"slots": slots, "poll_timeout": None, "poll_interval": 0.01, "error_backoff": 0.02, "error_backoff_max": 0.05, **changes}
    return PollLane("tests", source.poll, handle, LaneSettings(**settings), SystemClock())  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_one_poll_for_each_free_slot_and_none_for_a_busy_one() -> None:
    source, release, running = Source(), asyncio.Event(), []

    async def handle(task: Task) -> None:
        running.append(task)
        await release.wait()

    made = lane(source, handle, slots=3)
    made.start()
    await until(lambda: source.polling == 3)
    for _ in range(5):
        source.tasks.put_nowait(Task(b"x"))
    await until(lambda: len(running) == 3)
    await asyncio.sleep(0.01)
    assert (made.in_progress, source.polling, source.tasks.qsize()) == (3, 0, 2)
    release.set()
    await until(lambda: len(running) == 5)
    made.close()
    await asyncio.wait(made.unfinished() or [asyncio.ensure_future(asyncio.sleep(0))])
    assert made.in_progress == 0


async def test_closing_cancels_polls_and_lets_tasks_end() -> None:
    source, release, done = Source(), asyncio.Event(), []

    async def handle(task: Task) -> None:
        await release.wait()
        done.append(task)

    made = lane(source, handle, slots=2)
    made.start()
    source.tasks.put_nowait(Task(b"x"))
    await until(lambda: made.in_progress == 1 and source.polling == 1)
    made.close()
    await until(lambda: source.polling == 0)
    assert len(made.unfinished()) == 1
    release.set()
    await asyncio.wait(made.unfinished())
    assert done and source.polls == 2


async def test_a_task_that_arrives_in_the_moment_of_closing_is_done() -> None:
    source, done = Source(), []

    async def handle(task: Task) -> None:
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await asyncio.sleep(0.001)
        done.append(task)

    made = lane(source, handle, slots=3)
    made.start()
    await until(lambda: source.polling == 3)
    source.tasks.put_nowait(Task(b"x"))  # the poll has its answer, but has not run on
    made.close()
    await asyncio.wait(made.unfinished())
    assert len(done) + source.tasks.qsize() == 1 and len(done) == 1


async def test_a_slot_that_is_cancelled_in_the_moment_in_which_its_poll_fails_ends() -> None:
    """As when the event loop is torn down: nobody has closed the lane, and nobody cancels twice."""
    source = Source()

    async def handle(task: Task) -> None: ...

    made = lane(source, handle, slots=1)
    made.start()
    await until(lambda: source.polling == 1)
    source.tasks.put_nowait(unavailable("gone"))  # the poll has its error, but has not run on
    (slot,) = made.unfinished()
    slot.cancel()
    await asyncio.wait([slot], timeout=30)
    assert slot.done() and source.polls == 1


async def test_an_idle_slot_keeps_no_task_in_memory() -> None:
    source, handled = Source(), asyncio.Event()
    last: list[weakref.ref[Task]] = []

    async def handle(task: Task) -> None:
        last.append(weakref.ref(task))
        handled.set()

    made = lane(source, handle, slots=1)
    made.start()
    await until(lambda: source.polling == 1)
    source.tasks.put_nowait(Task(b"x"))
    await handled.wait()
    await until(lambda: source.polling == 1)
    assert last[0]() is None
    made.close()
    await asyncio.wait(made.unfinished())


async def test_an_error_pauses_the_whole_lane_and_counts_once(caplog: pytest.LogCaptureFixture) -> None:
    source = Source()

    async def handle(task: Task) -> None: ...

    made = lane(source, handle, slots=4)
    made.start()
    await until(lambda: source.polling == 4)
    for _ in range(4):
        source.tasks.put_nowait(unavailable("gone fishing"))
    await until(lambda: made.consecutive_errors == 1 and source.polling == 0)
    assert source.polls == 4
    await until(lambda: source.polling == 4)  # the pause is over
    source.tasks.put_nowait(unavailable("still"))
    await until(lambda: made.consecutive_errors == 2)
    assert str(made.last_error) == "UNAVAILABLE: still"
    source.tasks.put_nowait(Task(b"x"))
    await until(lambda: made.consecutive_errors == 0 and made.last_error is None)
    assert len([r for r in caplog.records if "failed" in r.message]) == 2
    made.close()
    await asyncio.wait(made.unfinished())


async def test_an_engine_that_cannot_wake_polls_is_not_hammered() -> None:
    polls = 0

    async def poll() -> Task:
        nonlocal polls
        polls += 1
        return Task()

    async def handle(task: Task) -> None: ...

    settings = LaneSettings(slots=1, poll_timeout=None, poll_interval=0.05, error_backoff=1, error_backoff_max=1)
    made = PollLane("tests", poll, handle, settings, SystemClock())
    begun = asyncio.get_running_loop().time()
    made.start()
    await until(lambda: polls >= 4)
    seconds = asyncio.get_running_loop().time() - begun
    made.close()
    await asyncio.wait(made.unfinished())
    assert seconds > 0.14  # three pauses


async def test_polls_and_tasks_can_be_bounded_apart_from_slots() -> None:
    source, release, running = Source(), asyncio.Event(), []

    async def handle(task: Task) -> None:
        running.append(task)
        await release.wait()

    made = lane(source, handle, slots=4, polls_max=2, gate=asyncio.Semaphore(1))
    made.start()
    await until(lambda: source.polling == 2)
    for _ in range(4):
        source.tasks.put_nowait(Task(b"x"))
    await until(lambda: source.tasks.empty())
    assert (made.in_progress, len(running)) == (1, 1)
    release.set()
    await until(lambda: len(running) == 4)
    made.close()
    await asyncio.wait(made.unfinished())


async def test_a_poll_timeout_of_our_own_is_an_empty_answer() -> None:
    source = Source()

    async def handle(task: Task) -> None: ...

    made = lane(source, handle, slots=1, poll_timeout=0.01)
    made.start()
    await until(lambda: source.polls >= 3)
    assert made.last_poll_ns > 0 and made.consecutive_errors == 0
    made.close()
    await asyncio.wait(made.unfinished())


async def test_a_handler_that_raises_does_not_cost_the_slot(caplog: pytest.LogCaptureFixture) -> None:
    source, seen = Source(), []

    async def handle(task: Task) -> None:
        seen.append(task)
        raise ValueError("broken")

    made = lane(source, handle, slots=1)
    made.start()
    source.tasks.put_nowait(Task(b"1"))
    source.tasks.put_nowait(Task(b"2"))
    await until(lambda: len(seen) == 2)
    assert "could not be handled" in caplog.text
    made.close()
    await asyncio.wait(made.unfinished())


async def test_slots_that_stand_by_are_reserved_used_and_given_back() -> None:
    source, release, running = Source(), asyncio.Event(), []

    async def handle(task: Task) -> None:
        running.append(task)
        await release.wait()

    made = lane(source, handle, slots=4, spares=2)
    made.start()
    await until(lambda: source.polling == 2 and len(made.standing_by) == 2)
    one, other = made.reserve(), made.reserve()
    assert one is not None and other is not None and made.reserve() is None
    made.give(one, Task(b"with a reply"))
    made.give_back(other)
    await until(lambda: made.in_progress == 1)
    assert len(made.standing_by) == 1 and source.polling == 2
    source.tasks.put_nowait(Task(b"polled"))
    await until(lambda: made.in_progress == 2)
    await until(lambda: source.polling == 2)  # the one that stood by polls now
    assert made.reserve() is None
    source.tasks.put_nowait(Task(b"polled"))
    source.tasks.put_nowait(Task(b"polled"))
    await until(lambda: made.in_progress == 4)
    assert source.polling == 0
    release.set()
    await until(lambda: source.polling == 2 and len(made.standing_by) == 2)
    assert len(running) == 4
    made.close()
    await asyncio.wait(made.unfinished())


async def test_a_task_for_a_reserved_slot_is_done_when_the_lane_closes() -> None:
    source, done = Source(), []

    async def handle(task: Task) -> None:
        done.append(task.task_token)

    made = lane(source, handle, slots=6, spares=3)
    made.start()
    await until(lambda: len(made.standing_by) == 3)
    one, other = made.reserve(), made.reserve()
    assert one is not None and other is not None
    made.close()
    await until(lambda: len(made.unfinished()) == 2)
    assert made.reserve() is None
    made.give(one, Task(b"late"))
    made.give_back(other)
    await asyncio.wait(made.unfinished())
    assert done == [b"late"]


async def test_an_aborted_slot_takes_nothing_more() -> None:
    source = Source()

    async def handle(task: Task) -> None:
        raise AssertionError

    made = lane(source, handle, slots=2, spares=1)
    made.start()
    await until(lambda: len(made.standing_by) == 1)
    slot = made.reserve()
    assert slot is not None
    made.abort()
    await asyncio.wait(made.unfinished())
    made.give(slot, Task(b"late"))
    made.give_back(slot)
