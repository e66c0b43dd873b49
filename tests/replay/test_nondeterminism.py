"""Proves that changed code is refused, with the event, what history has, what the code did, and the line of the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from perdure.model.decorators import activity, workflow
from perdure.model.errors import NondeterminismError, UsageError
from perdure.runtime.context import WorkflowContext
from perdure.runtime.options import RunnerOptions
from perdure.runtime.processor import EventProcessor, read_history


@activity
async def reserve(order: str) -> str:
    return order


@activity
async def charge(order: str) -> str:
    return order


@workflow(name="fulfil")
async def original(ctx: WorkflowContext, order: str) -> str:
    await ctx.execute_activity(reserve, order)
    await ctx.sleep(5)
    await ctx.execute_activity(charge, order)
    return "done"


@workflow(name="fulfil")
async def other_activity(ctx: WorkflowContext, order: str) -> str:
    await ctx.execute_activity(reserve, order)
    await ctx.sleep(5)
    await ctx.execute_activity(reserve, order)  # the line
    return "done"


@workflow(name="fulfil")
async def timer_instead(ctx: WorkflowContext, order: str) -> str:
    await ctx.sleep(1)
    return "done"


@workflow(name="fulfil")
async def one_more(ctx: WorkflowContext, order: str) -> str:
    await ctx.execute_activity(reserve, order)
    ctx.start_activity(charge, order)
    await ctx.sleep(5)
    return "done"


@workflow(name="fulfil")
async def one_less(ctx: WorkflowContext, order: str) -> str:
    await ctx.execute_activity(reserve, order)
    await ctx.await_signal("never")
    return "done"


@workflow(name="fulfil")
async def ends_early(ctx: WorkflowContext, order: str) -> str:
    await ctx.execute_activity(reserve, order)
    return "early"


@workflow(name="fulfil")
async def fails_instead(ctx: WorkflowContext, order: str) -> str:
    await original.run(ctx, order)
    from perdure.model.errors import ApplicationError

    raise ApplicationError("no")


@workflow(name="fulfil")
async def other_input(ctx: WorkflowContext, order: str) -> str:
    await ctx.execute_activity(reserve, order.upper(), start_to_close_timeout=1)
    await ctx.sleep(7)
    await ctx.execute_activity(charge, order)
    return "done otherwise"


def recorded(script: Any) -> Any:
    s = script(original, "o1")
    s.run()
    s.complete("1", "o1").run()
    s.fire("1").run()
    s.complete("2", "o1").run()
    assert s.result() == "done"
    return s


@pytest.mark.parametrize(
    ("code", "event_id", "expected", "found"),
    [
        (other_activity, 16, "schedule activity 'charge' (activity id 2)", "schedule activity 'reserve' (activity id 2)"),
        (timer_instead, 5, "schedule activity 'reserve' (activity id 1)", "start timer 1 (1 s)"),
        (one_more, 11, "start timer 1 (5 s)", "schedule activity 'charge' (activity id 2)"),
        (one_less, 11, "start timer 1 (5 s)", "nothing: it waits, or has ended"),
        (ends_early, 11, "start timer 1 (5 s)", "complete the workflow"),
        (fails_instead, 22, "complete the workflow", "fail the workflow (no)"),
    ],
)
def test_changed_code_is_refused(script: Any, code: Any, event_id: int, expected: str, found: str) -> None:
    result = recorded(script).replay(code)
    error = result.error
    assert isinstance(error, NondeterminismError)
    assert (error.event_id, error.expected, error.found) == (event_id, expected, found)
    assert "ctx.patched" in str(error) and "(w)" in str(error)
    with pytest.raises(NondeterminismError):
        result.check()


def test_the_line_of_the_code_is_named(script: Any) -> None:
    error = recorded(script).replay(other_activity).error
    number = next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if line.endswith("# the line"))
    assert error.line == f"{__file__}:{number}, in other_activity"
    assert error.line in str(error)


def test_inputs_and_options_may_change(script: Any) -> None:
    assert recorded(script).replay(other_input).matched


def test_a_worker_answers_changed_code_with_a_failed_task(script: Any) -> None:
    s = script(original, "o1")
    s.run()
    s.complete("1", "o1").run()
    s.definition = timer_instead
    s.runner = s.new_runner()
    s.fire("1").run(full=True)
    assert s.completion.cause == 24 or "NON_DETERMINISTIC" in str(s.completion)
    assert "history has: schedule activity 'reserve'" in s.completion.failure.message
    assert not s.completion.failure.HasField("cause"), "it is said once, and not again as raised while handling itself"


def test_a_history_in_all_its_forms(script: Any) -> None:
    history = recorded(script).history()
    text = json_format.MessageToJson(history)
    old = json.loads(text)
    for event in old["events"]:
        name = event["eventType"].removeprefix("EVENT_TYPE_")
        event["eventType"] = "".join(part.capitalize() for part in name.split("_"))
    for form in (history, history.SerializeToString(), text, text.encode(), json.loads(text), old, list(history.events)):
        assert EventProcessor([original]).replay_history(form).matched
    for wrong in (b"\xff\xff\xff", "no json", 5, [1], []):
        with pytest.raises(UsageError):
            read_history(wrong)
    with pytest.raises(UsageError, match="does not begin"):
        EventProcessor([original]).replay_history(list(history.events)[1:])


def test_event_by_event(script: Any) -> None:
    s = recorded(script)
    processor = EventProcessor([original])
    seen = []
    for event in s.events:
        state = processor.process_workflow_event(event)
        seen.append((state.activities, state.timers))
    assert state.status == "completed"
    assert (("reserve",), ()) in seen and ((), ("1",)) in seen
    processor.process_workflow_event(s.events[0])
    with pytest.raises(UsageError, match="does not follow"):
        processor.process_workflow_event(s.events[5])
    processor.close()
    changed = EventProcessor([timer_instead])
    with pytest.raises(NondeterminismError):
        for event in s.events:
            changed.process_workflow_event(event)


def test_a_strict_replay_compares_inputs_too(script: Any) -> None:
    values = iter(range(100))

    @workflow
    async def differs(ctx: WorkflowContext) -> None:
        await ctx.execute_activity(charge, f"at {next(values)}")

    s = script(differs)
    s.run()
    s.complete("1", "x").run()
    assert s.replay().matched
    s.options = RunnerOptions(strict=True)
    error = s.replay().error
    assert isinstance(error, NondeterminismError)
    assert error.expected == "schedule activity 'charge' (activity id 1): \"at 0\""
    assert error.found.startswith("schedule activity 'charge' (activity id 1): \"at ")
    timers = script(original, "o1", options=RunnerOptions(strict=True))
    timers.run()
    timers.complete("1", "o1").run()
    assert timers.replay().matched
    error = timers.replay(other_input).error
    assert isinstance(error, NondeterminismError) and error.event_id == 5
