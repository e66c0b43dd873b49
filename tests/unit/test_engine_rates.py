"""Proves that what is set of a queue holds for the queues of its versions together, that the last word of a worker makes nothing
faster, that tasks which were void count for nothing, and that an operator's word goes first."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from perdure.engine.backlog import Urgency
from perdure.engine.core import TaskKind
from perdure.engine.core.versions import Version
from perdure.engine.matching import Matching, QueueKey, ReadyTask, TaskQueue
from perdure.engine.poller import Poller
from perdure.engine.queue_settings import put_in_force
from perdure.engine.versioned_queues import queue_of
from perdure.testing import ManualClock

KEY = QueueKey(TaskKind.ACTIVITY, "default", "q")
ONE, TWO = (KEY._replace(name=queue_of("q", Version("d", build))) for build in "12")


class Fixture:
    """Queues whose tasks are delivered at once, but those named "void"; and workers that poll again and again."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.matching = Matching(self.clock, self.start, lambda orphan, poller: False, lambda queue, task: None, lambda queue: None)
        self.given: Counter[str] = Counter()
        self.polls: list[asyncio.Task[Any]] = []

    def start(self, queue: TaskQueue, task: ReadyTask, poller: Poller) -> None:
        if task.run_id == "void":
            poller.release()
        else:
            self.given[task.run_id] += 1
            poller.deliver(task)
            self.poll(queue.key)

    def poll(self, key: QueueKey) -> None:
        self.polls.append(asyncio.ensure_future(self.matching.poll(key, "me", False, None)))

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 20)):
            await self.clock.advance(0.05)
        await turn()

    def end(self) -> None:
        self.matching.close()


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def f() -> Any:
    fixture = Fixture()
    yield fixture
    fixture.end()


def fill(f: Fixture, key: QueueKey, name: str, count: int = 50, urgency: Urgency | None = None) -> None:
    for number in range(count):
        f.matching.queue(key).add_ready(ReadyTask(name, number), urgency)


@pytest.mark.parametrize("each", [None, 100.0], ids=["one rate", "and one for each key"])
@pytest.mark.parametrize("before", [True, False], ids=["set before the queues are there", "and while they are"])
async def test_versions_share_the_rate_of_their_queue(f: Fixture, before: bool, each: float | None) -> None:
    if before:
        f.matching.settings.set(KEY, 4.0, each, {})
    for key, name in ((ONE, "1"), (TWO, "2"), (KEY, "plain")):
        fill(f, key, name)
    if not before:
        f.matching.settings.set(KEY, 4.0, each, {})
        put_in_force(f.matching, KEY)
    for key in (ONE, TWO, KEY):
        f.poll(key)
    await f.pass_time(6)
    assert sum(f.given.values()) == pytest.approx(4 + 24, abs=1)
    assert min(f.given[name] for name in ("1", "2", "plain")) >= 7, "each has a chance"


async def test_fairness_keys_have_one_rate_over_all_versions(f: Fixture) -> None:
    f.matching.settings.set(KEY, None, 2.0, {"heavy": 3.0})
    for key in (ONE, TWO):
        for tenant in ("light", "heavy"):
            fill(f, key, tenant, urgency=Urgency(fairness_key=tenant))
        f.poll(key)
    await f.pass_time(4)
    assert f.given == {"light": pytest.approx(2 + 8, abs=1), "heavy": pytest.approx(6 + 24, abs=1)}


async def test_workers_that_say_different_rates_are_not_faster_than_either(f: Fixture) -> None:
    assert f.matching.settings.say(KEY, 2.0)
    fill(f, ONE, "task")
    f.poll(ONE)
    for _ in range(40):
        for rate in (1.0, 2.0):
            assert f.matching.settings.say(KEY, rate)
            put_in_force(f.matching, KEY)
            await f.pass_time(0.05)
    assert 1 + 4 <= f.given["task"] <= 2 + 8, "four seconds at one or two in a second"


async def test_an_operators_word_goes_first_and_then_the_workers_again(f: Fixture) -> None:
    assert f.matching.settings.say(KEY, 7.0) and not f.matching.settings.say(KEY, 7.0)
    assert f.matching.queue(ONE).limit is not None and f.matching.queue(ONE).limit.rate == 7.0
    f.matching.settings.set(KEY, 3.0, None, {"tenant": 2.0})
    put_in_force(f.matching, KEY)
    assert f.matching.queue(ONE).limit.rate == 3.0 and f.matching.queue(ONE).weights == {"tenant": 2.0}
    f.matching.settings.set(KEY, None, None, {})
    put_in_force(f.matching, KEY)
    assert f.matching.queue(ONE).limit.rate == 7.0 and not f.matching.queue(ONE).weights


async def test_what_workers_said_goes_with_the_last_of_them(f: Fixture) -> None:
    """Those that come later, and say nothing, are not bound by it."""
    assert f.matching.settings.say(KEY, 7.0)
    f.poll(ONE)
    await f.pass_time(30)
    f.poll(TWO)
    await f.pass_time(35)
    assert f.matching.find(ONE) is None and f.matching.find(TWO) is not None
    assert f.matching.queue(KEY).limit is not None, "a worker of another version is there"
    f.matching.forget_if_unused(f.matching.queue(KEY))
    await f.pass_time(30)
    assert f.matching.find(TWO) is None and f.matching.queue(KEY).limit is None


async def test_what_is_changed_of_a_queue_lets_no_more_through(f: Fixture) -> None:
    """Setting a weight is no new second."""
    f.matching.settings.set(KEY, 5.0, None, {})
    fill(f, KEY, "task")
    f.poll(KEY)
    for number in range(20):
        f.matching.settings.set(KEY, 5.0, None, {"tenant": float(number + 1)})
        put_in_force(f.matching, KEY)
        await turn()
    assert f.given["task"] == 5


@pytest.mark.parametrize("each", [None, 3.0])
async def test_void_tasks_count_for_nothing(f: Fixture, each: float | None) -> None:
    """A backlog of what has timed out meanwhile does not hold up what follows it."""
    f.matching.settings.set(KEY, 3.0, each, {})
    fill(f, KEY, "void", 200)
    fill(f, KEY, "task", 3)
    f.poll(KEY)
    await turn()
    assert f.given["task"] == 3
