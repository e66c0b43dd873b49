"""Proves, for random workflows under random orders of events, that code delivered in parts, in whole, after evictions and after failed
tasks issues the commands that its history records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.model.decorators import activity, workflow
from perdure.model.errors import ActivityError
from perdure.model.messages import Signal
from perdure.runtime.context import WorkflowContext

NEXT = Signal("next", int)
WORKFLOW_TASK_FAILED = 8


@activity
async def step(name: int) -> int:
    return name


async def act(ctx: WorkflowContext, log: list[str], n: int) -> None:
    try:
        log.append(f"a{await ctx.execute_activity(step, n)}")
    except ActivityError as error:
        log.append(f"failed {type(error).__name__}")


async def nap(ctx: WorkflowContext, log: list[str], n: int) -> None:
    await asyncio.sleep(n + 1)
    log.append(f"t{n}")


async def listen(ctx: WorkflowContext, log: list[str], n: int) -> None:
    try:
        log.append(f"s{await ctx.await_signal(NEXT, timeout=n + 1)}")
    except TimeoutError:
        log.append("no signal")


async def effect(ctx: WorkflowContext, log: list[str], n: int) -> None:
    log.append(f"e{ctx.side_effect(lambda: n)}")
    ctx.upsert_memo({"n": n})


async def both(ctx: WorkflowContext, log: list[str], *parts: Any) -> None:
    await asyncio.gather(*(run(ctx, log, each) for each in parts))


async def group(ctx: WorkflowContext, log: list[str], *parts: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        for each in parts:
            tasks.create_task(run(ctx, log, each))


async def either(ctx: WorkflowContext, log: list[str], *parts: Any) -> None:
    done, rest = await asyncio.wait({asyncio.create_task(run(ctx, log, each)) for each in parts}, return_when=asyncio.FIRST_COMPLETED)
    log.append(f"{len(done)} first")
    for task in rest:
        task.cancel()


async def hurry(ctx: WorkflowContext, log: list[str], *parts: Any) -> None:
    try:
        async with asyncio.timeout(2):
            for each in parts:
                await run(ctx, log, each)
    except TimeoutError:
        log.append("late")


LEAVES: list[Callable[..., Coroutine[Any, Any, None]]] = [act, nap, listen, effect]
NODES: list[Callable[..., Coroutine[Any, Any, None]]] = [both, group, either, hurry]
KINDS = {each.__name__: each for each in LEAVES + NODES}
leaf = st.tuples(st.sampled_from([each.__name__ for each in LEAVES]), st.integers(0, 5))
program = st.recursive(leaf, lambda inner: st.tuples(st.sampled_from([each.__name__ for each in NODES]), inner, inner), max_leaves=7)


async def run(ctx: WorkflowContext, log: list[str], part: Any) -> None:
    kind, *rest = part
    await KINDS[kind](ctx, log, *rest)


@workflow
async def interprets(ctx: WorkflowContext, part: Any) -> Any:
    log: list[str] = []
    ctx.set_query_handler("log", lambda: log)
    try:
        await run(ctx, log, part)
    except asyncio.CancelledError:
        log.append("cancelled")
        await ctx.execute_activity(step, 99)
    return log


class Pending:
    """What the scripted engine can let happen next."""

    def __init__(self, script: Any) -> None:
        self.script = script
        self.activities: list[str] = []
        self.timers: list[str] = []

    def follow(self, commands: Any) -> None:
        for command in commands:
            attributes = getattr(command, command.WhichOneof("attributes"))
            if command.command_type == 1:
                self.activities.append(attributes.activity_id)
            elif command.command_type == 3:
                self.timers.append(attributes.timer_id)
            elif command.command_type == 5 + 1:
                self.timers.remove(attributes.timer_id)

    def happen(self, data: st.DataObject) -> None:
        choices = ["signal"] + ["complete", "fail"] * bool(self.activities) + ["fire"] * 2 * bool(self.timers)
        for kind in data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3)):
            if kind in ("complete", "fail") and self.activities:
                activity_id = self.activities.pop(data.draw(st.integers(0, len(self.activities) - 1)))
                _ = self.script.complete(activity_id, 1) if kind == "complete" else self.script.fail(activity_id, ValueError("x"))
            elif kind == "fire" and self.timers:
                self.script.fire(self.timers.pop(data.draw(st.integers(0, len(self.timers) - 1))))
            elif kind == "signal":
                self.script.signal("next", 1)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(part=program, data=st.data())
def test_any_program_in_any_order_replays(script: Any, part: Any, data: st.DataObject) -> None:
    s = script(interprets, part)
    pending = Pending(s)
    cancel_at = data.draw(st.sampled_from([None, None, 1, 2]))
    for turn in range(25):
        how = data.draw(st.sampled_from(["next part", "next part", "whole", "evicted", "failed"]))
        if how == "failed":
            s.begin_task()
            s.runner.activate(s.poll())
            s.event(WORKFLOW_TASK_FAILED)
        if how == "evicted":
            s.runner.evict()
        pending.follow(s.run(full=how != "next part"))
        assert s.runner.error is None
        if s.runner.closed:
            break
        assert s.answer("log") == _fresh_log(s)
        if turn == cancel_at:
            s.cancel()
        else:
            pending.happen(data)
    replayed = s.replay()
    assert replayed.matched, replayed.error
    s.runner.evict()


def _fresh_log(script: Any) -> Any:
    """What a runner that has just been given the whole history answers."""
    runner, script.runner = script.runner, script.new_runner()
    try:
        answer = script.ask("log", full=True)
        return script.decode(answer.query_result.payloads[0])
    finally:
        script.runner.evict()
        script.runner = runner
