"""Proves that workflow code, driven by tasks, issues the right commands, and that its history replays."""

from __future__ import annotations

from typing import Any

from perdure import WorkflowContext, activity, workflow


@activity
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow
async def hello(ctx: WorkflowContext, name: str) -> str:
    return await ctx.execute_activity(greet, name, start_to_close_timeout=60)


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
