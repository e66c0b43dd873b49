"""Proves that a workflow that is reset, even more than once, does again what it does to others, and hears of its children's ends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import ParentClosePolicy
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from by_hand import ByHand, child, execution, kinds

from perdure.engine.core import limits
from perdure.engine.engine import Engine

FIRST_TASK = 4
"""The point before all that the first workflow task has asked for."""


@pytest.fixture
def hand(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> ByHand:
    monkeypatch.setattr(limits, "CONTINUE_SPACING", 0)  # runs of a chain follow at once
    return ByHand(engine)


async def test_a_signal_that_is_sent_again_after_each_reset_arrives_each_time(hand: ByHand) -> None:
    """The events that ask for it have the same number in every reset run: that does not make them the same signal."""
    await hand.start("receiver")
    first = await hand.start("wf")
    await hand.step("wf", commands.signal_external("receiver"))
    await hand.until("wf", "ExternalWorkflowExecutionSignaled")
    for count in (2, 3):
        run_id = await hand.reset("wf", FIRST_TASK, first)
        await hand.step("wf", commands.signal_external("receiver"))
        answer = await hand.until("wf", "ExternalWorkflowExecutionSignaled", run_id)
        assert answer.external_workflow_execution_signaled_event_attributes.initiated_event_id == 8
        assert (await hand.kinds("receiver")).count("WorkflowExecutionSignaled") == count


async def test_a_signal_that_was_sent_before_the_point_is_not_sent_again(hand: ByHand) -> None:
    """Its answer was lost with the tail, so the new run asks again; the receiver knows it."""
    await hand.start("receiver")
    await hand.start("wf")
    await hand.signal("wf")  # so that there is a workflow task before the answer
    task = await hand.poll("wf")
    await hand.complete(task, commands.signal_external("receiver"), force_create_new_workflow_task=True)
    await hand.until("wf", "ExternalWorkflowExecutionSignaled")
    point = (await hand.kinds("wf")).index("ExternalWorkflowExecutionSignaled")  # the second WorkflowTaskScheduled
    assert (await hand.kinds("wf"))[point - 1] == "WorkflowTaskScheduled"
    run_id = await hand.reset("wf", point + 1)
    await hand.until("wf", "ExternalWorkflowExecutionSignaled", run_id)
    assert (await hand.kinds("receiver")).count("WorkflowExecutionSignaled") == 1


async def test_a_child_that_still_runs_cannot_be_started_again_after_any_reset(hand: ByHand) -> None:
    first = await hand.start("wf")
    await hand.step("wf", child("c"))
    await hand.until("wf", "ChildWorkflowExecutionStarted")
    for _ in range(2):
        run_id = await hand.reset("wf", FIRST_TASK, first)
        await hand.step("wf", child("c"))
        await hand.until("wf", "StartChildWorkflowExecutionFailed", run_id)
    assert kinds(await hand.events("c")) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


async def with_child(hand: ByHand) -> tuple[str, int]:
    """A parent whose child runs; its run id, and a point after the child's start."""
    first = await hand.start("wf")
    await hand.step("wf", child("c"))
    await hand.until("wf", "ChildWorkflowExecutionStarted")
    await hand.step("wf")
    return first, (await hand.kinds("wf")).index("WorkflowTaskCompleted", 6) + 1


async def test_a_child_that_runs_belongs_to_the_run_that_its_parent_was_reset_to(hand: ByHand) -> None:
    first, point = await with_child(hand)
    second = await hand.reset("wf", point, first)
    third = await hand.reset("wf", point, second)
    await hand.step("c", commands.complete("done"))
    ended = await hand.until("wf", "ChildWorkflowExecutionCompleted", third)
    assert ended.child_workflow_execution_completed_event_attributes.started_event_id
    assert "ChildWorkflowExecutionCompleted" not in await hand.kinds("wf", first) + await hand.kinds("wf", second)


async def test_a_child_is_ended_with_the_run_that_its_parent_was_reset_to(hand: ByHand) -> None:
    first, point = await with_child(hand)
    await hand.reset("wf", point, first)
    assert await hand.status("c") == 1
    await hand.terminate("wf")
    assert (await hand.until("c", "WorkflowExecutionTerminated")).workflow_execution_terminated_event_attributes.reason


@pytest.mark.parametrize("end", [commands.complete(), commands.fail()])
async def test_a_childs_end_is_heard_though_the_run_that_started_it_has_been_deleted(hand: ByHand, end: Command) -> None:
    first, point = await with_child(hand)
    second = await hand.reset("wf", point, first)
    await hand.delete("wf", first)
    await hand.step("c", end)
    kind = "Completed" if end.HasField("complete_workflow_execution_command_attributes") else "Failed"
    told = await hand.until("wf", f"ChildWorkflowExecution{kind}", second)
    assert told.event_id > point


async def chain(hand: ByHand, count: int) -> list[str]:
    """Runs that continue each other, each of which heard a signal that names it, the last one open; their ids."""
    run_ids = [await hand.start("wf")]
    for number in range(count):
        await hand.signal("wf", str(number))
        if number == count - 1:
            break
        await hand.step("wf", commands.continue_as_new())
        run_ids.append((await hand.events("wf", run_ids[-1]))[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id)
    return run_ids


async def signals(hand: ByHand, run_id: str = "") -> list[str]:
    return [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in await hand.events("wf", run_id)
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]


async def test_what_later_runs_of_the_chain_heard_happens_again(hand: ByHand) -> None:
    first, second, third = await chain(hand, 3)
    again = await hand.reset("wf", 5, first)
    assert await signals(hand, again) == ["0", "1", "2"]
    assert [await hand.status("wf", run_id) for run_id in (first, second, third, again)] == [6, 6, 5, 1]


async def test_a_chain_whose_middle_was_deleted_can_be_reset_at_its_beginning(hand: ByHand) -> None:
    """What the run after the gap heard is out of reach; it ends all the same, for it is the current one."""
    first, second, third = await chain(hand, 3)
    await hand.delete("wf", second)
    again = await hand.reset("wf", 5, first)
    assert await signals(hand, again) == ["0"]
    assert [await hand.status("wf", run_id) for run_id in (third, again)] == [5, 1]


async def test_a_workflow_whose_current_run_was_deleted_can_be_reset_at_an_older_one(hand: ByHand) -> None:
    first, _, third = await chain(hand, 3)
    await hand.delete("wf", third)
    again = await hand.reset("wf", 5, first)
    assert await signals(hand, again) == ["0", "1"]
    assert await hand.kinds("wf") == await hand.kinds("wf", again)  # it is the current one
    assert await hand.step("wf", commands.complete()) == [
        "WorkflowExecutionStarted",
        "WorkflowTaskScheduled",
        "WorkflowExecutionSignaled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
    ]


async def ended_unheard(hand: ByHand, way: str) -> tuple[str, int, str]:
    """A parent whose child has ended without an open run of it to hear that; its first run, a point before, and how the child ended."""
    first = await hand.start("wf")
    abandon = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON if "abandoned" in way else 0
    await hand.step("wf", child("c", parent_close_policy=abandon))
    await hand.until("wf", "ChildWorkflowExecutionStarted")
    task = await hand.poll("wf")
    if way == "in another reset run":
        await hand.complete(task)
        second = await hand.reset("wf", task.started_event_id + 1, first)
        await hand.step("c", commands.complete("done"))
        await hand.until("wf", "ChildWorkflowExecutionCompleted", second)
        return first, task.started_event_id + 1, "Completed"
    await hand.complete(task, commands.fail())
    if way == "with its parent":
        await hand.until("c", "WorkflowExecutionTerminated")
        return first, task.started_event_id + 1, "Terminated"
    if way == "abandoned, continued":
        await hand.step("c", commands.continue_as_new())
    await hand.step("c", commands.complete("done"))
    return first, task.started_event_id + 1, "Completed"


WAYS = ("in another reset run", "with its parent", "abandoned", "abandoned, continued")


@pytest.mark.parametrize("way", WAYS)
async def test_a_child_that_ended_when_no_run_listened_is_heard_after_a_reset(hand: ByHand, way: str) -> None:
    first, point, how = await ended_unheard(hand, way)
    while (live := hand.engine.runs.get_current("default", "c")) is None or live.run.unsent:
        await asyncio.sleep(0)  # it has yet to find that nobody listens
    last = await hand.service.describe_workflow_execution(DescribeWorkflowExecutionRequest(namespace="default", execution=execution("c")))
    run_id = await hand.reset("wf", point, first)
    told = await hand.until("wf", f"ChildWorkflowExecution{how}", run_id)
    attributes = getattr(told, f"child_workflow_execution_{how.lower()}_event_attributes")
    assert (attributes.initiated_event_id, attributes.started_event_id) == (5, 6)
    assert attributes.workflow_execution == last.workflow_execution_info.execution
    assert (await hand.kinds("wf", run_id))[-3:] == ["WorkflowTaskFailed", f"ChildWorkflowExecution{how}", "WorkflowTaskScheduled"]
    hand.engine.runs.evict(hand.engine.runs.get_current("default", "wf"))  # type: ignore[arg-type]
    assert (await hand.step("wf", commands.complete()))[-1] == "WorkflowTaskStarted"  # as it is read again


async def test_a_child_that_was_reset_itself_tells_its_end_later(hand: ByHand) -> None:
    first, point, _ = await ended_unheard(hand, "abandoned")
    await hand.reset("c", FIRST_TASK)
    run_id = await hand.reset("wf", point, first)
    assert (await hand.kinds("wf", run_id))[-2:] == ["WorkflowTaskFailed", "WorkflowTaskScheduled"]
    await hand.step("c", commands.fail())
    await hand.until("wf", "ChildWorkflowExecutionFailed", run_id)
