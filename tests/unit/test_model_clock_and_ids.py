"""The clock waits by the wall clock; ids are unique, ordered, and different after a fork; durations are exact."""

from __future__ import annotations

import asyncio
import os
import uuid
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from perdure.model import clock as clock_module
from perdure.model.clock import Clock, SystemClock
from perdure.model.durations import set_duration, to_ns, to_seconds, to_timedelta
from perdure.model.errors import UsageError
from perdure.model.ids import new_run_id, run_id_bytes, run_id_text, uuid4_text


def test_the_system_clock_is_a_clock() -> None:
    assert isinstance(SystemClock(), Clock)
    before = clock_module.time.time_ns()
    assert before <= SystemClock().now() <= clock_module.time.time_ns()


async def test_a_callback_comes_at_its_time_and_not_inside_the_call() -> None:
    clock, done = SystemClock(), asyncio.Event()
    clock.call_at(clock.now() - 1, done.set)
    assert not done.is_set()
    await done.wait()


async def test_a_cancelled_callback_does_not_come() -> None:
    clock, fired = SystemClock(), []
    clock.call_at(clock.now() + 1_000_000, lambda: fired.append(1)).cancel()
    await clock.sleep_until(clock.now() + 5_000_000)
    assert fired == []


async def test_a_clock_that_was_set_back_delays_and_one_set_forward_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's timer is only a slice: at its end the wall clock is asked again."""
    monkeypatch.setattr(clock_module, "_SLICE_SECONDS", 0.001)
    clock, shift, done = SystemClock(), [0], asyncio.Event()
    monkeypatch.setattr(clock, "now", lambda: clock_module.time.time_ns() + shift[0])
    timer = clock.call_at(clock.now() + 3600 * 10**9, done.set)
    await asyncio.sleep(0.005)
    assert not done.is_set()
    shift[0] = 3601 * 10**9
    async with asyncio.timeout(30):
        await done.wait()
    timer.cancel()


async def test_sleeping_until_the_past_returns_at_once() -> None:
    sleeping = asyncio.ensure_future(SystemClock().sleep_until(0))
    for _ in range(5):
        await asyncio.sleep(0)
    assert sleeping.done()


def test_run_ids_are_uuids_of_version_7_in_order() -> None:
    ids = [new_run_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(7, uuid.RFC_4122)}


def test_run_ids_go_on_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = new_run_id()
    monkeypatch.setattr("perdure.model.ids.time.time_ns", lambda: 0)
    assert before < new_run_id() < new_run_id()


def test_request_ids_are_uuids_of_version_4() -> None:
    ids = {uuid4_text() for _ in range(1000)}
    assert len(ids) == 1000
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(4, uuid.RFC_4122)}


@given(st.uuids())
def test_ids_as_bytes_and_back(of: uuid.UUID) -> None:
    assert run_id_bytes(str(of)) == of.bytes
    assert run_id_text(of.bytes) == str(of)


@pytest.mark.parametrize("text", ["", "x", "0" * 30, "0" * 34])
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        run_id_bytes(text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_makes_other_ids() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, uuid4_text().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 36).decode() != uuid4_text()
    os.close(read)
    os.close(write)


@given(st.timedeltas(min_value=timedelta(0)))
def test_timedeltas_are_exact(of: timedelta) -> None:
    assert to_ns(of) == of // timedelta(microseconds=1) * 1000
    assert to_timedelta(of) == of


def test_seconds_may_be_whole_or_not() -> None:
    assert (to_ns(3), to_ns(0.5), to_seconds(timedelta(minutes=1)), to_timedelta(1.5)) == (
        3 * 10**9,
        5 * 10**8,
        60.0,
        timedelta(seconds=1.5),
    )
    message = Duration()
    set_duration(message, 1.25)
    assert (message.seconds, message.nanos) == (1, 250_000_000)


@pytest.mark.parametrize(
    ("duration", "says"),
    [
        (-1, "heartbeat_timeout is -1; a duration cannot be negative"),
        (timedelta(seconds=-1), "a duration cannot be negative"),
        ("30s", "heartbeat_timeout is '30s'; give seconds as a number, or a timedelta"),
        (True, "give seconds as a number"),
        (float("inf"), "leave it out for no limit"),
        (float("nan"), "leave it out for no limit"),
        (None, "give seconds as a number"),
    ],
)
def test_what_is_no_duration_is_refused_by_name(duration: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        to_ns(duration, "heartbeat_timeout")  # type: ignore[arg-type]
