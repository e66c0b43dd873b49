"""Proves what the workflow loop does by itself: order, hashes, timers, refusals, closing."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from typing import Any

import pytest

from perdure.model.errors import DeterminismViolation
from perdure.runtime import asyncio_order
from perdure.runtime.loop import WorkflowLoop
from perdure.runtime.refusals import RefusingLoop


class Host:
    """A run that only keeps its timers."""

    def __init__(self) -> None:
        self.timers: list[tuple[int, Any]] = []
        self.errors: list[BaseException] = []
        self.reports: list[str] = []

    def elapsed_ns(self) -> int:
        return 5_000_000_000

    def start_timer(self, delay_ns: int, timer: Any) -> None:
        self.timers.append((delay_ns, timer))

    def cancel_timer(self, timer: Any) -> None:
        self.timers = [entry for entry in self.timers if entry[1] is not timer]

    def code_failed(self, error: BaseException) -> None:
        self.errors.append(error)

    def report(self, message: str, error: BaseException | None) -> None:
        self.reports.append(message)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def loop(host: Host) -> Any:
    loop = WorkflowLoop(host, 1000)
    yield loop
    loop.close()


def run(loop: WorkflowLoop, coroutine: Any) -> asyncio.Task[Any]:
    with loop.running():
        task = loop.create_task(coroutine, context=contextvars.Context())
        loop.drain()
    return task


def test_callbacks_run_in_the_order_in_which_they_were_scheduled(loop: WorkflowLoop) -> None:
    seen: list[int] = []
    handles = [loop.call_soon(seen.append, n) for n in range(5)]
    handles[2].cancel()
    loop.drain()
    assert seen == [0, 1, 3, 4]


def test_tasks_and_futures_hash_by_creation_number(loop: WorkflowLoop) -> None:
    async def nothing() -> None: ...

    futures = [loop.create_future() for _ in range(3)]
    task = run(loop, nothing())
    assert [hash(each) for each in [*futures, task]] == [1001, 1002, 1003, 1004]
    assert task.get_name() == "Task-4"


def test_timers_go_to_the_host(loop: WorkflowLoop, host: Host) -> None:
    seen: list[str] = []
    timer = loop.call_later(0.1, seen.append, "later")
    loop.call_at(loop.time() + 2, seen.append, "at")
    loop.call_later(-1, seen.append, "now")
    loop.drain()
    assert seen == ["now"]
    assert [delay for delay, _ in host.timers] == [100_000_000, 2_000_000_000]
    timer.cancel()
    timer.cancel()
    assert len(host.timers) == 1
    host.timers[0][1].fire()
    loop.drain()
    assert seen == ["now", "at"]


def test_the_outer_loop_runs_again_afterwards(loop: WorkflowLoop) -> None:
    async def outside() -> None:
        outer, hooks = asyncio.get_running_loop(), sys.get_asyncgen_hooks()
        with loop.running():
            assert asyncio.get_running_loop() is loop
        assert asyncio.get_running_loop() is outer
        assert sys.get_asyncgen_hooks() == hooks

    asyncio.run(outside())


def test_an_error_of_a_callback_is_an_error_of_the_code(loop: WorkflowLoop, host: Host) -> None:
    loop.call_soon(lambda: 1 / 0)
    loop.drain()
    assert isinstance(host.errors[0], ZeroDivisionError)


def test_an_error_that_nobody_asks_for_is_reported(loop: WorkflowLoop, host: Host) -> None:
    async def fails() -> None:
        raise KeyError

    loop.tasks.clear()
    run(loop, fails())
    loop.tasks.clear()
    gc.collect()
    assert host.reports == ["WorkflowTask exception was never retrieved"]


def _refused() -> list[str]:
    return [name for name in vars(RefusingLoop) if not name.startswith("_")]


def test_every_call_of_a_loop_is_answered_or_refused() -> None:
    answered = set(vars(WorkflowLoop)) | set(_refused())
    asked = {name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_")}
    assert asked <= answered


@pytest.mark.parametrize("name", _refused())
def test_refusals_say_what_to_do(loop: WorkflowLoop, name: str) -> None:
    with pytest.raises(DeterminismViolation, match=r"workflow code cannot use .*: they would not do the same on replay\. [A-Z]"):
        getattr(loop, name)()


def test_as_completed_imported_before_is_refused_with_coroutines(loop: WorkflowLoop) -> None:
    async def nothing() -> int:
        return 1

    async def uses(original: Any) -> int:
        coroutines = [nothing(), nothing()]
        try:
            return sum([await each for each in original(coroutines)])
        finally:
            for each in coroutines:
                each.close()

    task = run(loop, uses(asyncio_order._original_as_completed))
    with pytest.raises(DeterminismViolation, match="as_completed"):
        task.result()
    assert run(loop, uses(asyncio.as_completed)).result() == 2


async def test_other_loops_are_left_as_they_were() -> None:
    async def number(n: int) -> int:
        await asyncio.sleep(0)
        return n

    assert sorted([await each for each in asyncio.as_completed([number(1), number(2)])]) == [1, 2]
    group = asyncio.gather(number(1))
    assert hash(group) == object.__hash__(group)
    await group


def test_a_closed_loop_schedules_nothing(loop: WorkflowLoop) -> None:
    loop.close()
    seen: list[int] = []
    loop.call_soon(seen.append, 1)
    loop.call_later(1, seen.append, 2)
    loop.drain()
    assert seen == []
    assert loop.is_closed() and not loop.is_running()


def test_finished_tasks_are_forgotten(loop: WorkflowLoop) -> None:
    async def nothing() -> None: ...

    for _ in range(1000):
        run(loop, nothing())
    assert len(loop.tasks) < 100
