"""Proves that workflow code, driven by tasks, issues the right commands, and that its history replays."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1.request_response_pb2 import RespondWorkflowTaskFailedRequest

from perdure.model.decorators import activity, workflow
from perdure.model.errors import ActivityError, ActivityTimedOut, ApplicationError, DeterminismViolation, ExecutionFailed
from perdure.model.messages import Signal, signal
from perdure.model.options import CancellationType
from perdure.model.retry import RetryPolicy
from perdure.runtime.context import WorkflowContext, workflow_context
from perdure.runtime.options import RunnerOptions
from perdure.runtime.runner import CacheMiss


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def hello(ctx: WorkflowContext, name: str) -> str:
    return await ctx.execute_activity(greet, name, start_to_close_timeout=60)


@signal
class Approval:
    by: str


# --- activities -----------------------------------------------------------------------------------------------------------------


def test_one_activity(script: Any) -> None:
    s = script(hello, "ann")
    (command,) = s.run()
    attributes = command.schedule_activity_task_command_attributes
    assert (attributes.activity_id, attributes.activity_type.name, attributes.task_queue.name) == ("1", "greet", "default")
    assert attributes.start_to_close_timeout.seconds == 60
    s.complete("1", "hello ann").run()
    assert s.result() == "hello ann"
    assert s.replay().matched


def test_the_definition_itself_can_be_awaited(script: Any) -> None:
    @workflow
    async def calls(ctx: WorkflowContext) -> str:
        return await greet("bob")

    s = script(calls)
    (command,) = s.run()
    assert command.schedule_activity_task_command_attributes.start_to_close_timeout.seconds == 600
    s.complete("1", "hi").run()
    assert s.result() == "hi"
    assert s.replay().matched


def test_every_option_of_an_activity_reaches_the_command(script: Any) -> None:
    @workflow
    async def options(ctx: WorkflowContext) -> Any:
        return await ctx.execute_activity(
            "other",
            1,
            "two",
            result_type=int,
            activity_id="mine",
            task_queue="gpu",
            start_to_close_timeout=timedelta(seconds=1.5),
            schedule_to_close_timeout=9,
            schedule_to_start_timeout=3,
            heartbeat_timeout=2,
            retry_policy=RetryPolicy(maximum_attempts=3, non_retryable_error_types=["X"]),
            summary="what it does",
        )

    s = script(options)
    (command,) = s.run()
    a = command.schedule_activity_task_command_attributes
    assert (a.activity_id, a.activity_type.name, a.task_queue.name) == ("mine", "other", "gpu")
    assert (a.start_to_close_timeout.seconds, a.start_to_close_timeout.nanos) == (1, 500_000_000)
    assert (a.schedule_to_close_timeout.seconds, a.schedule_to_start_timeout.seconds, a.heartbeat_timeout.seconds) == (9, 3, 2)
    assert (a.retry_policy.maximum_attempts, list(a.retry_policy.non_retryable_error_types)) == (3, ["X"])
    assert [p.data for p in a.input.payloads] == [b"1", b'"two"']
    assert command.user_metadata.summary.data == b'"what it does"'
    s.complete("mine", 5).run()
    assert s.result() == 5
    assert s.replay().matched


def test_start_to_close_is_the_workers_where_nobody_says(script: Any) -> None:
    s = script(hello_plain, options=RunnerOptions(default_start_to_close_timeout=42))
    (command,) = s.run()
    assert command.schedule_activity_task_command_attributes.start_to_close_timeout.seconds == 42


@workflow
async def hello_plain(ctx: WorkflowContext) -> str:
    return await ctx.execute_activity(greet, "x")


def test_failures_of_activities_are_errors_of_our_tree(script: Any) -> None:
    @workflow
    async def tries(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []
        try:
            await greet("a")
        except ExecutionFailed as error:
            cause = error.__cause__
            assert isinstance(cause, ApplicationError)
            seen.append(f"{error.activity_type} {error.activity_id} {cause.type}")
        try:
            await greet("b")
        except ActivityTimedOut as error:
            seen.append(error.timeout_type.name)
        return seen

    s = script(tries)
    s.run()
    s.fail("1", ValueError("no")).run()
    s.time_out("2").run()
    assert s.result() == ["greet 1 ValueError", "START_TO_CLOSE"]
    assert s.replay().matched


def test_an_activity_error_that_is_not_caught_fails_the_workflow(script: Any) -> None:
    s = script(hello, "ann")
    s.run()
    s.fail("1", ValueError("no")).run()
    failure = s.failure()
    assert failure.activity_failure_info.activity_type.name == "greet"
    assert failure.cause.application_failure_info.type == "ValueError"
    assert s.replay().matched


@pytest.mark.parametrize("kind", list(CancellationType))
def test_the_three_ways_to_cancel_an_activity(script: Any, kind: CancellationType) -> None:
    @workflow
    async def cancels(ctx: WorkflowContext) -> str:
        handle = ctx.start_activity(greet, "x", cancellation_type=kind)
        await ctx.sleep(1)
        handle.cancel()
        try:
            return await handle
        except asyncio.CancelledError:
            return "cancelled"

    s = script(cancels)
    s.run()
    s.fire("1").run()
    if kind is CancellationType.ABANDON:
        assert s.kinds() == ["complete_workflow_execution"]
    elif kind is CancellationType.TRY_CANCEL:
        assert s.kinds() == ["request_cancel_activity_task", "complete_workflow_execution"]
    else:
        assert s.kinds() == ["request_cancel_activity_task"]
        s.canceled("1").run()
    assert s.result() == "cancelled"
    assert s.replay().matched


def test_an_activity_that_is_waited_for_may_still_complete(script: Any) -> None:
    @workflow
    async def cancels(ctx: WorkflowContext) -> str:
        handle = ctx.start_activity(greet, "x", cancellation_type=CancellationType.WAIT_CANCELLATION_COMPLETED)
        await ctx.sleep(1)
        handle.cancel()
        return await handle

    s = script(cancels)
    s.run()
    s.fire("1").run()
    s.complete("1", "done anyway").run()
    assert s.result() == "done anyway"
    assert s.replay().matched


def test_what_is_withdrawn_before_it_is_sent_was_never_sent(script: Any) -> None:
    @workflow
    async def changes_its_mind(ctx: WorkflowContext) -> str:
        handle = ctx.start_activity(greet, "x")
        timer = asyncio.ensure_future(ctx.sleep(5))
        handle.cancel()
        timer.cancel()
        await asyncio.gather(handle, timer, return_exceptions=True)
        return await greet("y")

    s = script(changes_its_mind)
    (command,) = s.run()
    assert command.schedule_activity_task_command_attributes.activity_id == "2"
    s.complete("2", "y").run()
    assert s.result() == "y"
    assert s.replay().matched


# --- time -----------------------------------------------------------------------------------------------------------------------


def test_time_is_that_of_the_workflow_task(script: Any) -> None:
    @workflow
    async def clock(ctx: WorkflowContext) -> list[float]:
        start: datetime = ctx.now()
        await ctx.sleep(timedelta(hours=1))
        return [start.timestamp(), ctx.now().timestamp()]

    s = script(clock)
    (command,) = s.run()
    assert command.start_timer_command_attributes.start_to_fire_timeout.seconds == 3600
    s.fire("1").wait(0.25).run()
    assert s.result() == [1_700_000_000.0, 1_700_003_600.25]
    assert s.replay().matched


def test_asyncio_sleep_and_timeout_are_durable_timers(script: Any) -> None:
    @workflow
    async def waits(ctx: WorkflowContext) -> str:
        await asyncio.sleep(2)
        try:
            async with asyncio.timeout(3):
                await greet("slow")
        except TimeoutError:
            return "too slow"
        return "never"

    s = script(waits)
    assert s.run()[0].start_timer_command_attributes.start_to_fire_timeout.seconds == 2
    s.fire("1").run()
    assert s.kinds() == ["start_timer", "schedule_activity_task"]
    s.fire("2").run()
    assert s.kinds() == ["request_cancel_activity_task", "complete_workflow_execution"]
    assert s.result() == "too slow"
    assert s.replay().matched


def test_a_sleep_without_end_is_a_timer_of_a_hundred_years(script: Any) -> None:
    @workflow
    async def sleeps(ctx: WorkflowContext) -> None:
        await ctx.sleep(timedelta.max)

    s = script(sleeps, options=RunnerOptions(strict=True))
    (command,) = s.run()
    assert command.start_timer_command_attributes.start_to_fire_timeout.seconds == 3_153_600_000, "as the engine will record it"
    assert s.replay().matched


# --- signals, queries, conditions -----------------------------------------------------------------------------------------------


def test_signals_wait_in_order_until_they_are_asked_for(script: Any) -> None:
    @workflow
    async def collects(ctx: WorkflowContext) -> list[Any]:
        await ctx.sleep(1)
        first = await ctx.await_signal(Approval)
        second = await ctx.await_signal(Approval)
        number = await ctx.await_signal(Signal("number", int))
        third = await ctx.await_signal(Approval)
        return [first.by, second.by, number, third.by]

    s = script(collects)
    s.signal("Approval", {"by": "ann"}).signal("Approval", {"by": "bob"}).run()
    s.fire("1").signal("number", 7).run()
    assert s.completion.commands == []
    s.signal("Approval", {"by": "cid"}).run()
    assert s.result() == ["ann", "bob", 7, "cid"]
    assert s.replay().matched


def test_a_signal_that_does_not_come_in_time(script: Any) -> None:
    @workflow
    async def waits(ctx: WorkflowContext) -> str:
        try:
            await ctx.await_signal(Approval, timeout=10)
        except TimeoutError:
            return "late"
        return "in time"

    s = script(waits)
    s.run()
    s.fire("1").run()
    assert s.result() == "late"
    assert s.replay().matched


def test_a_signal_that_comes_with_the_timeout_is_not_lost(script: Any) -> None:
    @workflow
    async def waits(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []
        try:
            seen.append((await ctx.await_signal(Approval, timeout=10)).by)
        except TimeoutError:
            seen.append("late")
            seen.append((await ctx.await_signal(Approval)).by)
        return seen

    s = script(waits)
    s.run()
    s.fire("1").signal("Approval", {"by": "ann"}).run()
    assert s.result()[-1] == "ann"
    assert s.replay().matched


@workflow
class Cart:
    """A workflow with handlers."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = False
        self.others: list[str] = []

    async def run(self, ctx: WorkflowContext) -> list[str]:
        await ctx.wait_condition(lambda: self.closed)
        return self.items

    @workflow.signal
    def add(self, item: str) -> None:
        """Adds an item."""
        self.items.append(item)

    @workflow.signal
    async def close(self) -> None:
        await greet("closing")
        self.closed = True

    @workflow.query
    def count(self) -> int:
        return len(self.items)


def test_a_class_with_handlers(script: Any) -> None:
    s = script(Cart)
    s.signal("add", "egg").run()
    assert s.answer("count") == 1
    s.signal("add", "ham").signal("close").run()
    assert s.kinds() == ["schedule_activity_task"]
    s.complete("1", "x").run()
    assert s.result() == ["egg", "ham"]
    assert s.replay().matched


def test_queries_that_come_with_a_task(script: Any) -> None:
    s = script(Cart)
    s.queries["q1"] = s.poll_query("count")
    s.queries["q2"] = s.poll_query("cuont")
    s.signal("add", "egg").run()
    results = s.completion.query_results
    assert results["q1"].answer.payloads[0].data == b"1"
    assert "it answers 'count'" in results["q2"].error_message


def test_direct_queries(script: Any) -> None:
    s = script(Cart)
    s.signal("add", "egg").run()
    assert s.answer("count") == 1
    assert "no query 'nope'; it answers 'count'" in s.ask("nope").error_message
    trace = s.answer("__stack_trace")
    assert "in run" in trace and "test_activations.py" in trace and "wait_condition" in trace
    fresh = s.new_runner()
    s.runner.evict()
    s.runner = fresh
    assert s.ask("count", full=True).query_result.payloads[0].data == b"1"


def test_metadata_tells_the_current_details(script: Any) -> None:
    @workflow
    async def reports(ctx: WorkflowContext) -> None:
        ctx.record_heartbeat("one")
        await ctx.record_heartbeat({"done": 2})
        ctx.set_query_handler("mine", lambda: 1)
        await ctx.await_signal("never")

    s = script(reports)
    assert s.run() == []
    answer = s.answer("__temporal_workflow_metadata")
    assert answer.current_details == '{"done":2}'
    assert answer.definition.type == "reports"
    assert answer.definition.query_definitions[0].name == "mine"


def test_a_query_must_not_act(script: Any) -> None:
    @workflow
    async def asks(ctx: WorkflowContext) -> None:
        ctx.set_query_handler("acts", lambda: ctx.start_activity(greet, "x"))
        await ctx.await_signal("never")

    s = script(asks)
    s.run()
    assert "may look at the workflow's state, and not act" in s.ask("acts").error_message


def test_handlers_set_by_a_function_get_earlier_signals_first(script: Any) -> None:
    @workflow
    async def handles(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []
        await ctx.sleep(1)
        ctx.set_signal_handler(Approval, lambda approval: seen.append(approval.by))

        @ctx.on_signal(None)
        def other(name: str, values: list[Any]) -> None:
            seen.append(f"{name}{values}")

        await ctx.wait_condition(lambda: len(seen) == 3)
        return seen

    s = script(handles)
    s.signal("Approval", {"by": "ann"}).signal("what", 1).run()
    s.fire("1").run()
    s.signal("Approval", {"by": "bob"}).run()
    assert s.result() == ["ann", "what[1]", "bob"]
    assert s.replay().matched


def test_an_undecodable_signal_is_dropped_and_said(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def waits(ctx: WorkflowContext) -> int:
        return await ctx.await_signal(Signal("number", int))

    s = script(waits)
    s.run()
    with caplog.at_level(logging.ERROR):
        s.signal("number", "no number").run()
    assert "signal 'number' was dropped" in caplog.text
    s.signal("number", 3).run()
    assert s.result() == 3


def test_wait_condition_with_a_timeout(script: Any) -> None:
    @workflow
    async def waits(ctx: WorkflowContext) -> str:
        try:
            await ctx.wait_condition(lambda: False, timeout=5)
        except TimeoutError:
            return "gave up"
        return "never"

    s = script(waits)
    s.run()
    s.fire("1").run()
    assert s.result() == "gave up"
    assert s.replay().matched


# --- how workflows end ----------------------------------------------------------------------------------------------------------


def test_an_application_error_fails_the_workflow(script: Any) -> None:
    @workflow
    async def refuses(ctx: WorkflowContext) -> None:
        raise ApplicationError("no stock", {"sku": 1}, type="OutOfStock")

    s = script(refuses)
    s.run()
    assert s.failure().application_failure_info.type == "OutOfStock"
    assert s.replay().matched


def test_a_mistake_fails_the_task_and_not_the_workflow(script: Any) -> None:
    broken = True

    @workflow
    async def mistaken(ctx: WorkflowContext) -> str:
        await ctx.sleep(1)
        if broken:
            raise KeyError("typo")
        return "mended"

    s = script(mistaken)
    s.run()
    s.fire("1").run()
    assert isinstance(s.completion, RespondWorkflowTaskFailedRequest)
    assert s.completion.failure.application_failure_info.type == "KeyError"
    assert isinstance(s.runner.error, KeyError)
    broken = False
    s.run(full=True)
    assert s.result() == "mended"
    assert s.replay().matched


def test_errors_named_as_failures_fail_the_workflow(script: Any) -> None:
    @workflow
    async def raises(ctx: WorkflowContext) -> None:
        raise KeyError("meant")

    s = script(raises, options=RunnerOptions(failure_exception_types=(LookupError,)))
    s.run()
    assert s.failure().application_failure_info.type == "KeyError"


def test_a_group_of_failures_is_a_failure(script: Any) -> None:
    @workflow
    async def parallel(ctx: WorkflowContext) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.execute_activity(greet, "a"))
            group.create_task(ctx.execute_activity(greet, "b"))

    s = script(parallel)
    s.run()
    s.fail("2", ApplicationError("no", type="Refused")).run()
    assert s.kinds() == ["request_cancel_activity_task", "fail_workflow_execution"]
    assert s.failure().cause.cause.application_failure_info.type == "Refused"
    assert s.failure().message == ("unhandled errors in a TaskGroup (1 sub-exception): ExecutionFailed: activity greet failed: Refused: no")
    assert not s.failure().application_failure_info.non_retryable
    assert s.replay().matched


def test_a_group_with_an_error_that_is_not_to_be_tried_again_is_not(script: Any) -> None:
    @workflow
    async def together(ctx: WorkflowContext) -> None:
        errors = ApplicationError("may be tried again"), ApplicationError("may not", non_retryable=True)
        raise ExceptionGroup("both", [errors[0], ExceptionGroup("inner", [errors[1]])])

    s = script(together)
    s.run()
    assert s.failure().application_failure_info.non_retryable
    assert s.failure().message == "both (2 sub-exceptions): ApplicationError: may be tried again"


def test_input_that_does_not_decode_fails_the_workflow(script: Any) -> None:
    @dataclass
    class Order:
        id: str

    @workflow
    async def takes(ctx: WorkflowContext, order: int) -> int:
        return order

    s = script(takes, {"not": "a number"})
    s.run()
    info = s.failure().application_failure_info
    assert (info.type, info.non_retryable) == ("InvalidInput", True)
    assert "'order'" in s.failure().message
    s = script(takes)
    s.run()
    assert s.failure().application_failure_info.type == "InvalidInput"
    assert s.replay().matched


def test_continue_as_new(script: Any) -> None:
    @workflow
    async def loops(ctx: WorkflowContext, n: int) -> None:
        try:
            await ctx.sleep(1)
            ctx.continue_as_new(n + 1, task_queue="other", run_timeout=30)
        except Exception:
            raise AssertionError("continue_as_new is no error") from None

    s = script(loops, 1)
    s.run()
    s.fire("1").run()
    (command,) = s.completion.commands
    attributes = command.continue_as_new_workflow_execution_command_attributes
    assert attributes.input.payloads[0].data == b"2"
    assert (attributes.workflow_type.name, attributes.task_queue.name, attributes.workflow_run_timeout.seconds) == ("loops", "other", 30)
    assert s.replay().matched


def test_cancellation_runs_the_clean_up(script: Any) -> None:
    @workflow
    async def cleans(ctx: WorkflowContext) -> None:
        try:
            await ctx.sleep(1000)
        finally:
            assert ctx.cancel_requested
            await ctx.execute_activity(greet, "clean up")

    s = script(cleans)
    s.run()
    s.cancel("enough").run()
    assert s.kinds() == ["cancel_timer", "schedule_activity_task"]
    s.complete("1", "").run()
    assert s.kinds() == ["cancel_workflow_execution"]
    assert s.replay().matched


def test_shield_protects_from_cancellation(script: Any) -> None:
    @workflow
    async def shields(ctx: WorkflowContext) -> str:
        task = asyncio.create_task(ctx.execute_activity(greet, "important"))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            return await task
        return "never"

    s = script(shields)
    s.run()
    s.cancel().run()
    assert s.kinds() == []
    s.complete("1", "finished").run()
    assert s.result() == "finished"
    assert s.replay().matched


def test_commands_after_the_end_are_not_sent(script: Any) -> None:
    @workflow
    async def ends(ctx: WorkflowContext) -> None:
        async def late() -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await greet("late")

        ctx.side = asyncio.create_task(late())  # type: ignore[attr-defined]

    s = script(ends)
    s.run()
    assert s.kinds() == ["complete_workflow_execution"]
    assert s.replay().matched


def test_a_close_that_the_engine_refuses_is_asked_again(script: Any) -> None:
    @workflow
    async def ends(ctx: WorkflowContext) -> int:
        await ctx.sleep(1)
        return ctx.pending_signals("more")

    s = script(ends)
    s.run()
    s.fire("1")
    s.begin_task()
    s.runner.activate(s.poll())
    s.event(8)  # EVENT_TYPE_WORKFLOW_TASK_FAILED: UNHANDLED_COMMAND
    s.signal("more", 1).run(full=True)
    assert s.result() == 1
    assert s.replay().matched


# --- what the history remembers -------------------------------------------------------------------------------------------------


def test_side_effects_are_called_once(script: Any) -> None:
    calls: list[int] = []

    def draw() -> int:
        calls.append(1)
        return 40 + len(calls)

    @workflow
    async def effects(ctx: WorkflowContext) -> int:
        first = ctx.side_effect(draw)
        second = ctx.side_effect(draw, type=int)
        await ctx.sleep(1)
        return first * 100 + second

    s = script(effects)
    s.run()
    assert s.kinds() == ["record_marker", "record_marker", "start_timer"]
    s.fire("1").run()
    assert s.result() == 4142
    assert s.replay().matched
    assert len(calls) == 2


def test_a_patch_changes_the_code_under_running_workflows(script: Any) -> None:
    @workflow(name="shop")
    async def old(ctx: WorkflowContext) -> str:
        await ctx.sleep(1)
        return await greet("old")

    @workflow(name="shop")
    async def new(ctx: WorkflowContext) -> str:
        await ctx.sleep(1)
        if ctx.patched("greeting"):
            await ctx.sleep(2)
        return await greet("new")

    @workflow(name="shop")
    async def newest(ctx: WorkflowContext) -> str:
        await ctx.sleep(1)
        ctx.deprecate_patch("greeting")
        await ctx.sleep(2)
        return await greet("new")

    before = script(old)
    before.run()
    before.fire("1").run()
    assert before.replay(new).matched
    after = script(new)
    after.run()
    after.fire("1").run()
    assert after.kinds() == ["record_marker", "start_timer"]
    after.fire("2").run()
    assert after.replay().matched
    assert after.replay(newest).matched
    assert not after.replay(old).matched


def test_memo_and_search_attributes_can_be_changed(script: Any) -> None:
    from temporalio.common import SearchAttributeKey

    key = SearchAttributeKey.for_keyword("Stage")

    @workflow
    async def upserts(ctx: WorkflowContext) -> list[Any]:
        ctx.upsert_memo({"owner": "ann"})
        ctx.upsert_search_attributes([key.value_set("half way")])
        await ctx.sleep(1)
        return [ctx.memo["owner"], ctx.search_attributes[key]]

    s = script(upserts)
    s.run()
    assert s.kinds() == ["modify_workflow_properties", "upsert_workflow_search_attributes", "start_timer"]
    s.fire("1").run()
    assert s.result() == ["ann", "half way"]
    assert s.replay().matched


def test_chance_is_the_runs_own(script: Any) -> None:
    @workflow
    async def draws(ctx: WorkflowContext) -> list[Any]:
        return [str(ctx.uuid4()), ctx.random().random()]

    values = []
    for run_id in ("a", "a", "b"):
        s = script(draws, run_id=run_id)
        s.run()
        values.append(s.result())
    assert values[0] == values[1] != values[2]


# --- helpers, logging, refusals -------------------------------------------------------------------------------------------------


def test_helpers_find_the_context(script: Any) -> None:
    async def helper() -> str:
        return workflow_context().workflow_id

    @workflow
    async def asks(ctx: WorkflowContext) -> list[str]:
        return [await helper(), await asyncio.create_task(helper())]

    s = script(asks)
    s.run()
    assert s.result() == ["w", "w"]
    with pytest.raises(Exception, match="no workflow is running here"):
        workflow_context()


def test_the_logger_does_not_repeat_itself(script: Any, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def logs(ctx: WorkflowContext) -> None:
        ctx.logger.info("before")
        await ctx.sleep(1)
        ctx.logger.info("after")

    s = script(logs)
    with caplog.at_level(logging.INFO):
        s.run()
        s.fire("1").run(full=True)
        s.replay()
    assert [r.message for r in caplog.records] == ["before", "after"]
    assert caplog.records[0].workflow_id == "w"  # type: ignore[attr-defined]


def _sleeps() -> None:
    import time

    time.sleep(0.001)


async def _opens() -> None:
    with open(__file__) as file:
        file.read(1)


@pytest.mark.parametrize(
    ("offence", "says"),
    [
        (lambda: _as_async(_sleeps), "ctx.sleep"),
        (_opens, "activity"),
        (lambda: asyncio.to_thread(_sleeps), "activity"),
        (lambda: asyncio.open_connection("localhost", 1), "activity"),
        (lambda: asyncio.create_subprocess_exec("true"), "activity"),
    ],
)
def test_blocking_calls_are_refused_with_a_remedy(script: Any, offence: Any, says: str) -> None:
    @workflow
    async def offends(ctx: WorkflowContext) -> None:
        await offence()

    s = script(offends)
    s.run()
    assert isinstance(s.completion, RespondWorkflowTaskFailedRequest)
    assert isinstance(s.runner.error, DeterminismViolation)
    assert says in s.completion.failure.message


async def _as_async(call: Any) -> None:
    call()


def test_spinning_is_refused(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.runtime.loop.ACTIVATION_CALLBACKS_MAX", 1000)

    @workflow
    async def spins(ctx: WorkflowContext) -> None:
        while True:
            await asyncio.sleep(0)

    s = script(spins)
    s.run()
    assert "it spins" in s.completion.failure.message


def test_a_part_of_history_that_does_not_follow_is_a_cache_miss(script: Any) -> None:
    s = script(hello, "ann")
    s.run()
    s.complete("1", "x").begin_task()
    partial = s.poll()
    with pytest.raises(CacheMiss):
        s.new_runner().activate(partial)
    assert s.runner.activate(s.poll(full=True)).commands
    assert issubclass(ExecutionFailed, ActivityError)


def test_a_run_that_is_cancelled_before_it_begins_begins_and_is_cancelled(script: Any) -> None:
    s = script(hello, "ann")
    s.cancel("changed my mind").run()
    assert s.kinds() == ["cancel_workflow_execution"]
    assert s.replay().matched


def test_a_wrong_name_is_answered_with_the_right_one(script: Any) -> None:
    @workflow
    async def asks(ctx: WorkflowContext) -> list[str]:
        seen: list[str] = []
        for name in ("info", "execute_activty"):
            try:
                getattr(ctx, name)
            except AttributeError as error:
                seen.append(str(error))
        return seen

    s = script(asks)
    s.run()
    assert "say ctx.workflow_id" in s.result()[0]
    assert "did you mean 'execute_activity'?" in s.result()[1]


def test_a_result_of_another_type_fails_the_task_and_names_the_activity(script: Any) -> None:
    @workflow
    async def takes(ctx: WorkflowContext) -> int:
        return await ctx.execute_activity("counts", result_type=int)

    s = script(takes)
    s.run()
    s.complete("1", {"not": "a number"}).run()
    assert isinstance(s.completion, RespondWorkflowTaskFailedRequest)
    assert "the result of activity 'counts'" in s.completion.failure.message


def test_a_condition_is_a_plain_function(script: Any) -> None:
    async def done() -> bool:
        return True

    @workflow
    async def waits(ctx: WorkflowContext) -> None:
        await ctx.wait_condition(done)

    s = script(waits)
    s.run()
    assert "give a plain one" in s.completion.failure.message


def test_what_reads_files_for_its_own_reasons_is_let_through(script: Any) -> None:
    @workflow
    async def imports(ctx: WorkflowContext) -> str:
        import wave  # not imported by anything before
        from zoneinfo import ZoneInfo

        ZoneInfo.clear_cache()
        ctx.logger.error("with a stack", stack_info=True)
        return f"{wave.__name__} {ctx.now().astimezone(ZoneInfo('Europe/Zurich')).utcoffset()}"

    s = script(imports)
    s.run()
    assert s.result() == "wave 1:00:00"
