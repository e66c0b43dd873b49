"""Proves that a run that leaves the cache runs nothing more: not its clean-up's commands, and nothing when memory is collected."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from perdure.model.decorators import activity, workflow
from perdure.runtime.context import WorkflowContext

events: list[str] = []


@activity
async def clean(what: str) -> None: ...


@pytest.fixture(autouse=True)
def _fresh() -> None:
    events.clear()


@workflow
async def stubborn(ctx: WorkflowContext) -> None:
    async def child() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            events.append("child ends")
            await ctx.execute_activity(clean, "child")
            events.append("child cleaned")

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            async with asyncio.timeout(60):
                await ctx.sleep(1000)
    except BaseException:
        events.append("caught")
        try:
            await clean("all")
        finally:
            events.append("finally")
            ctx.logger.warning("not to be seen")
            await asyncio.sleep(1)
        raise


def test_clean_up_runs_now_and_reaches_nobody(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    s = script(stubborn)
    s.run()
    run = s.runner.run
    s.runner.evict()
    assert "child ends" in events and "child cleaned" not in events
    assert "finally" in events
    assert run.commands == []
    before = list(events)
    gc.collect()
    assert events == before
    assert caplog.records == []


def test_a_run_is_freed_and_can_be_rebuilt(script: Any) -> None:
    s = script(stubborn)
    s.run()
    loop = weakref.ref(s.runner.run.loop)
    s.runner.evict()
    s.completion = None
    gc.collect()
    assert loop() is None
    s.fire("1").run(full=True)
    assert s.completion.commands


class Large:
    """What a workflow's code holds while it waits."""


held: list[weakref.ref[Large]] = []


def hold() -> Large:
    large = Large()
    held.append(weakref.ref(large))
    return large


@workflow
async def sleeps(ctx: WorkflowContext) -> None:
    large = hold()
    await ctx.sleep(1000)
    del large


@workflow
class Hears:
    async def run(self, ctx: WorkflowContext) -> None:
        await ctx.sleep(1000)

    @workflow.signal
    async def hear(self, what: str) -> None:
        large = hold()
        await asyncio.sleep(1000)
        del large


@pytest.mark.parametrize("waiting", [sleeps, Hears])
def test_what_an_evicted_run_held_is_freed_without_the_garbage_collector(script: Any, waiting: Any) -> None:
    """Of thousands that are evicted between two collections it would stay in memory until the second one."""
    held.clear()
    s = script(waiting)
    if waiting is Hears:
        s.signal("hear", "this")
    s.run()
    gc.collect()
    gc.disable()
    try:
        assert held[0]() is not None
        s.runner.evict()
        assert held[0]() is None
    finally:
        gc.enable()


def test_evicting_twice_or_before_the_start_is_harmless(script: Any) -> None:
    s = script(stubborn)
    s.runner.evict()
    s.run()
    s.runner.evict()
    s.runner.evict()


def test_tasks_that_never_ran_are_closed_without_a_warning(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def leaves(ctx: WorkflowContext) -> None:
        ctx.kept = [asyncio.create_task(ctx.execute_activity(clean, "x")) for _ in range(3)]  # type: ignore[attr-defined]
        raise KeyError("before they ran")

    s = script(leaves)
    with caplog.at_level(logging.ERROR, "asyncio"):
        s.run()
        s.runner.evict()
        gc.collect()
    assert caplog.records == []


def test_async_generators_end_with_their_run(script: Any) -> None:
    async def ticks(ctx: WorkflowContext) -> AsyncIterator[int]:
        try:
            while True:
                await ctx.sleep(1)
                yield 1
        finally:
            events.append("closed")

    @workflow
    async def iterates(ctx: WorkflowContext) -> None:
        async for _ in ticks(ctx):
            break
        await ctx.sleep(5)
        ctx.rest = ticks(ctx)  # type: ignore[attr-defined]
        await anext(ctx.rest)  # type: ignore[attr-defined]
        await ctx.sleep(9)

    s = script(iterates)
    s.run()
    s.fire("1").run()
    assert events == ["closed"]
    s.fire("2").run()
    s.fire("3").run()
    assert events == ["closed"]
    s.runner.evict()
    gc.collect()
    assert events == ["closed", "closed"]


def test_a_closed_run_leaves_nothing(script: Any) -> None:
    @workflow
    async def ends(ctx: WorkflowContext) -> None:
        async def background() -> None:
            try:
                await ctx.sleep(10)
            finally:
                events.append("background ends")

        ctx.kept = asyncio.create_task(background())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    s = script(ends)
    s.run()
    assert s.runner.closed
    assert events == []
    s.runner.evict()
    assert events == ["background ends"]
