"""Proves the order of a queue in which some tasks are more urgent: by priority key, then by turns of fairness keys, then by arrival;
and that a rate limit lets through what it says."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from temporalio.api.common.v1 import Priority

from perdure.engine.backlog import Backlog, Urgency, urgency
from perdure.engine.matching import ReadyTask
from perdure.engine.rate_limits import FairLimit, RateLimit
from perdure.testing import ManualClock


def task(name: str) -> ReadyTask:
    return ReadyTask(name, 0)


def drain(backlog: Backlog) -> list[str]:
    return [backlog.popleft().run_id for _ in range(len(backlog))]


def test_the_most_urgent_comes_first_and_equals_in_order() -> None:
    backlog = Backlog([task("old 1"), task("old 2")])
    for name, key in (("low", 5), ("high 1", 1), ("middle", 3), ("high 2", 1)):
        backlog.add(task(name), Urgency(key))
    assert [t.run_id for t in backlog] == ["high 1", "high 2", "old 1", "old 2", "middle", "low"]
    assert drain(backlog) == ["high 1", "high 2", "old 1", "old 2", "middle", "low"]


def test_fairness_keys_take_turns_by_their_weights() -> None:
    backlog = Backlog([])
    for number in range(40):
        backlog.add(task("many"), Urgency(3, "many", 1.0))
        backlog.add(task("heavy"), Urgency(3, "heavy", 3.0))
        if number < 4:
            backlog.add(task("few"), Urgency(3, "few", 1.0))
    first = Counter(drain(backlog)[:20])
    assert first == {"many": 4, "heavy": 12, "few": 4}


def test_a_key_that_comes_late_does_not_get_what_it_missed() -> None:
    backlog = Backlog([])
    for _ in range(10):
        backlog.add(task("a"), Urgency(3, "a"))
    taken = [backlog.popleft() for _ in range(5)]
    assert len(taken) == 5
    for _ in range(10):
        backlog.add(task("b"), Urgency(3, "b"))
    assert Counter(drain(backlog)[:6]) == {"a": 3, "b": 3}


def test_a_task_put_back_is_the_next() -> None:
    backlog = Backlog([task("a"), task("b")])
    first = backlog.popleft()
    backlog.appendleft(first)
    assert drain(backlog) == ["a", "b"]


def test_an_activity_inherits_what_it_does_not_say() -> None:
    workflow = Priority(priority_key=2, fairness_key="tenant", fairness_weight=5.0)
    assert urgency(workflow, Priority()) == Urgency(2, "tenant", 5.0)
    assert urgency(workflow, Priority(priority_key=4)) == Urgency(4, "tenant", 5.0)
    assert urgency(Priority(), Priority()) == Urgency(3, "", 1.0)


@pytest.mark.parametrize(("rate", "expected"), [(10.0, 20), (0.5, 1), (0.0, 0)])
def test_a_rate_limit_lets_through_a_second_at_once_and_then_its_rate(rate: float, expected: int) -> None:
    limit = RateLimit(rate, 0)
    passed = sum(limit.take(now) for now in range(0, 1_000_000_001, 1_000_000))
    assert passed == expected


def test_what_is_not_admitted_stays_in_its_place() -> None:
    backlog = Backlog([])
    for name, key, fair in (("a1", 1, "a"), ("b1", 3, "b"), ("a2", 1, "a"), ("b2", 3, "b"), ("c", 5, "c")):
        backlog.add(task(name), Urgency(key, fair))
    assert backlog.take(lambda fairness_key, weight: False) is None and len(backlog) == 5
    taken = [backlog.take(lambda fairness_key, weight: fairness_key != "a") for _ in range(4)]
    assert [each and each.run_id for each in taken] == ["b1", "b2", "c", None]
    backlog.appendleft(task("c"))
    assert [t.run_id for t in backlog] == ["c", "a1", "a2"]
    assert backlog.take(lambda fairness_key, weight: False) == task("c"), "it had been admitted before it was put back"
    assert drain(backlog) == ["a1", "a2"]


class Waiting:
    """A queue of two tenants, one of them with a weight of 2."""

    def __init__(self) -> None:
        self.ready: deque[ReadyTask] | Backlog = Backlog([])
        for _ in range(40):
            self.ready.add(task("light"), Urgency(3, "light"))
            self.ready.add(task("heavy"), Urgency(3, "heavy", 2.0))


@pytest.mark.parametrize(("whole", "expected"), [(None, {"light": 20, "heavy": 40}), (15.0, {"light": 10, "heavy": 20})])
def test_each_fairness_key_has_a_rate_of_its_own(whole: float | None, expected: dict[str, int]) -> None:
    """Ten in a second, times the weight: a second's worth at once, and another in a second; and no more than the queue gives away."""
    queue, limit = Waiting(), FairLimit(None if whole is None else RateLimit(whole, 0), 10.0)
    assert not limit.take(0), "no poller is reserved for a task of which the key is not known"
    taken: Counter[str] = Counter()
    for now in range(0, 1_000_000_001, 1_000_000):
        while (found := limit.next(queue, now)) is not None:
            taken[found.run_id] += 1
    assert sum(taken.values()) == sum(expected.values())
    assert all(abs(taken[name] - count) <= (0 if whole is None else 3) for name, count in expected.items())


async def test_who_has_had_enough_is_called_when_the_next_is_due() -> None:
    clock = ManualClock()
    queue, limit = Waiting(), FairLimit(None, 4.0)
    while limit.next(queue, clock.now()) is not None:
        pass
    called: list[int] = []
    for _ in range(3):
        limit.wait(clock, queue, lambda queue: called.append(clock.now()))  # type: ignore[arg-type]
    begun = clock.now()
    await clock.advance(0.124)
    assert not called
    await clock.advance(0.002)
    assert len(called) == 1 and called[0] - begun == pytest.approx(0.125e9, abs=1e6)
    found = limit.next(queue, clock.now())
    assert found is not None and found.run_id == "heavy"
