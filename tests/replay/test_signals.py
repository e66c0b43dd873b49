"""Proves that signals reach their handlers whole: those that came early, with others, with the wrong values, or at the end of a wait."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from perdure.model.decorators import activity, workflow
from perdure.runtime.context import WorkflowContext

ENDS_EARLY = "of its signal handlers still run"


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


def test_a_signal_that_nobody_awaits_any_more_can_get_a_handler(script: Any) -> None:
    @workflow
    async def waits_then_handles(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []
        try:
            await ctx.await_signal("go", timeout=1)
        except TimeoutError:
            ctx.set_signal_handler("go", seen.append)
        await ctx.wait_condition(lambda: seen)
        return seen

    s = script(waits_then_handles)
    s.run()
    s.fire("1").run()
    s.signal("go", "late").run()
    assert s.result() == ["late"]
    assert s.replay().matched


def test_a_signal_goes_to_who_still_awaits_it(script: Any) -> None:
    @workflow
    async def gives_up_often(ctx: WorkflowContext) -> str:
        for _ in range(3):
            try:
                return str(await ctx.await_signal("go", timeout=1))
            except TimeoutError:
                pass
        return str(await ctx.await_signal("go"))

    s = script(gives_up_often)
    s.run()
    for timer in ("1", "2", "3"):
        s.fire(timer).run()
    assert not s.runner.run.signals._waiters["go"][0].done() and len(s.runner.run.signals._waiters["go"]) == 1
    s.signal("go", "at last").run()
    assert s.result() == "at last"
    assert s.replay().matched


@pytest.mark.parametrize("is_async", [True, False])
def test_handlers_that_have_yet_to_begin_can_be_waited_for(script: Any, is_async: bool) -> None:
    @workflow
    async def sets_it_late(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []

        async def greets(name: str) -> None:
            seen.append(await greet(name))

        await ctx.sleep(1)
        ctx.set_signal_handler("name", greets if is_async else seen.append)
        await ctx.wait_condition(ctx.all_handlers_finished)
        return seen

    s = script(sets_it_late)
    s.signal("name", "ann").signal("name", "bob").run()
    s.fire("1").run()
    if is_async:
        s.complete("1", "hello ann").complete("2", "hello bob").run()
    assert s.result() == (["hello ann", "hello bob"] if is_async else ["ann", "bob"])
    assert s.replay().matched


def test_who_does_not_wait_for_them_is_told(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def leaves(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []
        await ctx.sleep(1)
        ctx.set_signal_handler("name", seen.append)
        return list(seen)

    s = script(leaves)
    s.signal("name", "ann").run()
    with caplog.at_level(logging.WARNING):
        s.fire("1").run()
    assert s.result() == []
    assert f"1 {ENDS_EARLY}" in caplog.text


@workflow
class RollsOver:
    async def run(self, ctx: WorkflowContext, round: int) -> int:
        self.ctx = ctx
        await ctx.await_signal("never")
        return round

    @workflow.signal
    def roll(self, round: int) -> None:
        self.ctx.continue_as_new(round)

    @workflow.signal
    async def roll_later(self, round: int) -> None:
        await self.ctx.sleep(1)
        self.ctx.continue_as_new(round)


@pytest.mark.parametrize("name", ["roll", "roll_later"])
def test_a_handler_may_continue_as_new(script: Any, name: str, caplog: pytest.LogCaptureFixture) -> None:
    s = script(RollsOver, 1)
    s.run()
    with caplog.at_level(logging.WARNING):
        s.signal(name, 2).run()
        if name == "roll_later":
            s.fire("1").run()
    assert s.kinds() == ["continue_as_new_workflow_execution"]
    assert ENDS_EARLY not in caplog.text  # the one that ends the run has ended, too
    assert s.replay().matched


@workflow
class Dynamic:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def run(self, ctx: WorkflowContext) -> list[Any]:
        ctx.set_signal_handler(None, lambda name, values: self.seen.append((name, values)))
        ctx.set_query_handler(None, lambda name, values: [name, values])
        await ctx.wait_condition(lambda: len(self.seen) == 3)
        return self.seen

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, *args: Any) -> None:
        self.seen.append((name, *args))

    @workflow.query(dynamic=True)
    def any_query(self, name: str, *args: Any) -> Any:
        return [name, *args]


def test_dynamic_handlers_get_the_values_as_they_ask_for_them(script: Any) -> None:
    s = script(Dynamic)
    s.signal("first", 1, "x").run()
    s.signal("second", 2).signal("third").run()
    assert s.result() == [["first", 1, "x"], ["second", [2]], ["third", []]]
    assert s.replay().matched


def test_dynamic_queries_get_the_values_as_they_ask_for_them(script: Any) -> None:
    @workflow
    class Asked:
        async def run(self, ctx: WorkflowContext) -> None:
            await ctx.await_signal("never")

        @workflow.query(dynamic=True)
        def spread(self, name: str, *args: Any) -> Any:
            return [name, *args]

    s = script(Asked)
    s.run()
    assert s.answer("what") == ["what"]
    s = script(Dynamic)
    s.run()
    assert s.answer("what") == ["what", []]


@workflow
class Adds:
    def __init__(self) -> None:
        self.total = 0

    async def run(self, ctx: WorkflowContext) -> int:
        await ctx.wait_condition(lambda: self.total)
        return self.total

    @workflow.signal
    def add(self, number: int, times: int = 1) -> None:
        self.total += number * times

    @workflow.query
    def times(self, number: int) -> int:
        return self.total * number


@pytest.mark.parametrize("values", [(), (1, 2, 3), ("one",)])
def test_a_signal_that_does_not_fit_its_handler_is_dropped_and_said(script: Any, values: Any, caplog: pytest.LogCaptureFixture) -> None:
    s = script(Adds)
    s.run()
    with caplog.at_level(logging.ERROR):
        s.signal("add", *values).run()
    assert "signal 'add' was dropped" in caplog.text and "handler add" in caplog.text
    s.signal("add", 4, 2).run()
    assert s.result() == 8
    assert s.replay().matched


def test_a_query_that_does_not_fit_its_handler_says_what_it_takes(script: Any) -> None:
    s = script(Adds)
    s.run()
    assert s.ask("times").error_message == "handler times takes 1 argument (number), and 0 were given"


@pytest.mark.parametrize(
    ("awaits", "says"),
    [
        (lambda ctx: ctx.await_signal("go", timeout=1.5), "signal 'go' did not come within 1.5 s"),
        (lambda ctx: ctx.wait_condition(lambda: False, timeout=90), "the condition did not become true within 90 s"),
    ],
)
def test_what_did_not_come_in_time_is_said(script: Any, awaits: Any, says: str) -> None:
    @workflow
    async def waits(ctx: WorkflowContext) -> None:
        await awaits(ctx)

    s = script(waits)
    s.run()
    s.fire("1").run()
    failure = s.failure()
    assert (failure.application_failure_info.type, failure.message) == ("TimeoutError", says)
    assert not failure.HasField("cause")
    assert s.replay().matched


def test_a_query_whose_handler_raises_says_what(script: Any) -> None:
    @workflow
    async def answers(ctx: WorkflowContext) -> None:
        ctx.set_query_handler("price", lambda item: {"egg": 1}[item])
        await ctx.await_signal("never")

    s = script(answers)
    s.run()
    assert s.answer("price", "egg") == 1
    assert s.ask("price", "ham").error_message == "KeyError: 'ham'"
