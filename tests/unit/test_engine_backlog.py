"""Proves the order of a queue in which some tasks are more urgent: by priority key, then by turns of fairness keys, then by arrival;
and that a rate limit lets through what it says."""

from __future__ import annotations

from collections import Counter

import pytest
from temporalio.api.common.v1 import Priority

from perdure.engine.backlog import Backlog, Urgency, urgency
from perdure.engine.matching import ReadyTask
from perdure.engine.rate_limits import RateLimit


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
