"""Attempts whose time is over are found within two seconds, in whatever order they begin; a clock of the test's own tells the time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure import DataConverter
from perdure.testing.clock import ManualClock
from perdure.worker.activity_context import CancelReason
from perdure.worker.attempt import Attempt
from perdure.worker.deadlines import Deadlines

LATE_SECONDS = 2


class Watched:
    """Attempts that run until they are cancelled."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.running: set[Attempt] = set()
        self.deadlines = Deadlines(self.running, lambda attempt: attempt.task.start_to_close_timeout.seconds * 1_000_000_000, self.clock)

    def begin(self, seconds: int) -> Attempt:
        task = PollActivityTaskQueueResponse()
        task.start_to_close_timeout.seconds = seconds

        def no_heartbeats(_attempt: Attempt) -> Any:
            raise AssertionError

        attempt = Attempt(task, None, DataConverter.default, no_heartbeats)
        self.running.add(attempt)
        if not self.deadlines.looks_soon:
            self.deadlines.look_soon()
        return attempt


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.deadlines.close()


async def test_an_attempt_is_stopped_when_its_time_is_over_and_not_before(watched: Watched) -> None:
    attempt = watched.begin(10)
    await watched.clock.advance(10)
    assert attempt.cancel_reason is None
    await watched.clock.advance(LATE_SECONDS)
    assert attempt.cancel_reason is CancelReason.TIMED_OUT


async def test_a_short_one_that_begins_beside_a_long_one_is_not_overlooked(watched: Watched) -> None:
    long = watched.begin(1_000)
    await watched.clock.advance(100)
    short = watched.begin(5)
    await watched.clock.advance(5 + LATE_SECONDS)
    assert (short.cancel_reason, long.cancel_reason) == (CancelReason.TIMED_OUT, None)
    watched.running.discard(short)
    await watched.clock.advance(1_000)
    assert long.cancel_reason is CancelReason.TIMED_OUT


async def test_without_a_time_out_or_without_attempts_nothing_is_looked_at(watched: Watched) -> None:
    endless, ended = watched.begin(0), watched.begin(3)
    watched.running.discard(ended)
    await watched.clock.advance(LATE_SECONDS)
    assert "0 waiting" in repr(watched.clock)
    await watched.clock.advance(100_000)
    assert endless.cancel_reason is None and ended.cancel_reason is None
