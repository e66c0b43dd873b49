"""Proves that activations and replays leave the loop that they run in as it was, uvloop's included."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from typing import Any

import pytest

from perdure.model.decorators import activity, workflow
from perdure.model.definitions import current_workflow
from perdure.runtime.context import WorkflowContext

outside: contextvars.ContextVar[str] = contextvars.ContextVar("outside", default="unset")


@activity
async def step() -> int:
    return 1


@workflow
async def looks_around(ctx: WorkflowContext) -> list[str]:
    seen = [outside.get(), type(asyncio.get_running_loop()).__name__]
    outside.set("inside")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(ctx.execute_activity(step))
    return [*seen, outside.get()]


async def activations_from_a_callback(script: Any) -> None:
    outer = asyncio.get_running_loop()
    outside.set("outside")
    s = script(looks_around)
    for happens in (lambda: None, lambda: s.complete("1", 1)):
        happens()
        done: asyncio.Future[None] = outer.create_future()

        def call(done: asyncio.Future[None] = done) -> None:
            s.run()
            assert asyncio.get_running_loop() is outer
            done.set_result(None)

        outer.call_soon(call)
        await done
        await asyncio.sleep(0)
    assert s.result() == ["unset", "WorkflowLoop", "inside"]
    assert outside.get() == "outside"
    assert current_workflow.get() is None
    assert s.replay().matched
    assert asyncio.current_task() is not None
    assert asyncio.get_running_loop() is outer


def test_asyncio(script: Any) -> None:
    asyncio.run(activations_from_a_callback(script))


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop does not exist there")
def test_uvloop(script: Any) -> None:
    import uvloop

    uvloop.run(activations_from_a_callback(script))


def test_no_loop_at_all(script: Any) -> None:
    s = script(looks_around)
    s.run()
    s.complete("1", 1).run()
    assert s.result()[0] == "unset"
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_runs_do_not_see_each_other(script: Any) -> None:
    first, second = script(looks_around), script(looks_around, run_id="another")
    first.run()
    second.run()
    second.complete("1", 1).run()
    first.complete("1", 1).run()
    assert first.result() == second.result() == ["unset", "WorkflowLoop", "inside"]
