"""Matching brings each task to one poller, loses none, and holds no more of a backlog than its bound."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.engine import matching as module
from perdure.engine.back_pressure import START_WAIT_SECONDS, make_way
from perdure.engine.backlog import PLAIN
from perdure.engine.core import TaskKind
from perdure.engine.matching import Matching, QueueKey, ReadyTask, TaskQueue
from perdure.engine.poller import Poller
from perdure.engine.unpolled import UNPOLLED_WARNING_SECONDS
from perdure.testing import ManualClock

KEY = QueueKey(TaskKind.ACTIVITY, "default", "q")


class Fixture:
    """An engine whose `start` delivers the task's name at once, unless the task is stale."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.stale: set[str] = set()
        self.started: list[str] = []
        self.reads = 0
        self.on_read: Callable[[TaskQueue], None] = lambda queue: None
        self.matching = Matching(self.clock, self.start, self.hand_over, self.take_back, self.read)

    def start(self, queue: TaskQueue, task: ReadyTask, poller: Poller) -> None:
        if task.run_id in self.stale:
            poller.release()
        else:
            self.started.append(task.run_id)
            poller.deliver(task.run_id)

    def hand_over(self, orphan: Any, poller: Poller) -> bool:
        return poller.deliver(orphan)

    def take_back(self, queue: TaskQueue, response: Any) -> None:
        self.matching.adopt(response, queue.key)

    def read(self, queue: TaskQueue) -> None:
        self.reads += 1
        self.on_read(queue)

    def poll(self, key: QueueKey = KEY, in_process: bool = False) -> "asyncio.Task[Any]":
        return asyncio.create_task(self.matching.poll(key, "me", in_process, None))


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_waiting_poll_gets_the_task_that_comes() -> None:
    f = Fixture()
    poll = f.poll()
    await turn()
    f.matching.queue(KEY).add_ready(ReadyTask("a", 1))
    assert await poll == "a"


async def test_a_task_that_waits_goes_to_the_poll_that_comes_and_order_is_kept() -> None:
    f = Fixture()
    for name in "abc":
        f.matching.queue(KEY).add_ready(ReadyTask(name, 1))
    assert [await f.poll() for _ in "abc"] == ["a", "b", "c"]


async def test_stale_tasks_are_passed_over_without_recursion() -> None:
    f = Fixture()
    names = [str(i) for i in range(5000)]
    f.stale = set(names)
    for name in names:
        f.matching.queue(KEY).add_ready(ReadyTask(name, 1))
    poll = f.poll()
    await turn()
    assert not poll.done()
    f.matching.queue(KEY).add_ready(ReadyTask("good", 1))
    assert await poll == "good"


async def test_a_cancelled_poll_takes_no_task_with_it() -> None:
    f = Fixture()
    first, second = f.poll(), f.poll()
    await turn()
    first.cancel()
    await turn()
    f.matching.queue(KEY).add_ready(ReadyTask("a", 1))
    assert await second == "a"


async def test_a_poll_that_is_cancelled_when_its_task_has_come_gives_it_back() -> None:
    f = Fixture()
    first = f.poll()
    await turn()
    f.matching.queue(KEY).add_ready(ReadyTask("a", 1))
    first.cancel()  # the task is delivered, the poll has not run yet
    await turn()
    assert first.cancelled()
    assert await asyncio.wait_for(f.poll(), 30) == "a"


async def test_a_poll_in_process_that_is_cancelled_when_its_task_has_come_keeps_it() -> None:
    f = Fixture()
    poll = f.poll(in_process=True)
    await turn()
    f.matching.queue(KEY).add_ready(ReadyTask("a", 1))
    poll.cancel()
    assert await asyncio.wait_for(poll, 30) == "a"


async def test_polls_are_served_in_their_order_and_those_in_process_the_last_one_first() -> None:
    for in_process, order in ((False, [0, 1, 2]), (True, [2, 1, 0])):
        f = Fixture()
        polls = [f.poll(in_process=in_process) for _ in range(3)]
        await turn()
        for name in "abc":
            f.matching.queue(KEY).add_ready(ReadyTask(name, 1))
        assert [await polls[i] for i in order] == ["a", "b", "c"]


async def test_reserve_takes_a_poller_once_and_release_gives_it_back() -> None:
    f = Fixture()
    poll = f.poll()
    await turn()
    poller = f.matching.reserve(*KEY)
    assert poller is not None
    assert f.matching.reserve(*KEY) is None
    poller.release()
    again = f.matching.reserve(*KEY)
    assert again is poller
    again.deliver("task")
    assert await poll == "task"


async def test_nothing_is_reserved_past_tasks_that_wait() -> None:
    f = Fixture()
    f.matching.queue(KEY).ready.append(ReadyTask("older", 1))
    f.matching.queue(KEY).pollers.clear()
    assert f.matching.reserve(*KEY) is None


async def test_a_poll_ends_empty_after_its_time() -> None:
    f = Fixture()
    poll = f.poll()
    await f.clock.advance(module.POLL_SECONDS + 1)
    assert poll.done()
    assert poll.result() is None
    assert f.matching.find(KEY) is None, "a queue that nobody uses is forgotten"


async def test_an_orphan_goes_to_the_next_poll() -> None:
    f = Fixture()
    f.matching.adopt("orphan", KEY)
    assert await f.poll() == "orphan"
    poll = f.poll()
    await turn()
    f.matching.adopt("another", KEY)
    assert await poll == "another"


async def test_a_backlog_beyond_the_bound_is_read_from_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Fixture()
    monkeypatch.setattr(module, "READY_TASKS_MAX", 10)
    queue = f.matching.queue(KEY)
    stored = [ReadyTask(f"{i:03}", 1) for i in range(25)]
    taken: list[str] = []

    def read(queue: TaskQueue) -> None:
        left = [task for task in stored if task.run_id not in taken]
        assert queue.remainder is not None
        queue.remainder.begin()
        queue.remainder.has_read(PLAIN, None if len(left) <= 8 else "there is more")
        f.matching.refill(queue, [(task, None) for task in left[:8]])

    f.on_read = read
    for task in stored:
        queue.add_ready(task)
    assert len(queue.ready) == 10
    while len(taken) < 25:
        taken.append(await asyncio.wait_for(f.poll(), 30))
    assert sorted(set(taken)) == [task.run_id for task in stored]


async def test_a_queue_that_nobody_polls_is_named_with_those_that_are(caplog: pytest.LogCaptureFixture) -> None:
    f = Fixture()
    poll = f.poll(QueueKey(TaskKind.ACTIVITY, "default", "polled"))
    await turn()
    f.matching.queue(KEY).add_ready(ReadyTask("a", 1))
    await f.clock.advance(UNPOLLED_WARNING_SECONDS + 1)
    assert '"q", which no worker polls; queues with a worker: "polled"' in caplog.text
    poll.cancel()


async def test_close_answers_every_poll_and_later_ones_at_once() -> None:
    f = Fixture()
    poll = f.poll()
    await turn()
    f.matching.close()
    assert await poll is None
    assert await f.poll() is None


async def test_starts_wait_for_workers_that_have_fallen_behind_and_for_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Fixture()
    monkeypatch.setattr(module, "CROWDED_TASKS", 10)
    queue = f.matching.queue(KEY)
    for number in range(10):
        queue.add_ready(ReadyTask(str(number), 1))
    assert not queue.is_crowded(), "nobody polls: there is nobody to wait for"
    await f.poll()
    queue.add_ready(ReadyTask("10", 1))
    assert queue.is_crowded()
    start = asyncio.create_task(make_way(queue, f.clock))
    await turn()
    for _ in range(4):
        await f.poll()
    assert not start.done()
    await f.poll()
    await asyncio.wait_for(start, 30)
    assert len(queue.ready) == 5


async def test_a_start_waits_only_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Fixture()
    monkeypatch.setattr(module, "CROWDED_TASKS", 1)
    queue = f.matching.queue(KEY)
    start = asyncio.create_task(make_way(queue, f.clock))
    await f.clock.advance(START_WAIT_SECONDS + 0.1)
    assert start.done()


async def test_a_poll_that_comes_back_to_a_queue_that_was_forgotten_is_found() -> None:
    f = Fixture()
    poll = f.poll()
    await turn()
    queue = f.matching.queue(KEY)
    reserved = queue.take_poller()
    assert reserved is not None
    f.matching.forget_if_unused(queue)  # while the commit is under way for which it is reserved
    assert f.matching.find(KEY) is None
    reserved.release()  # the commit failed
    f.matching.queue(KEY).add_ready(ReadyTask("a", 1))
    assert await poll == "a"
