"""Eager activities in the worker: which are asked for, in which slots they run, and that all the others go through the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from temporalio.api.enums.v1 import CommandType
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse

from perdure import WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow
from perdure.engine import background, open_engine
from perdure.engine.engine import Engine
from perdure.engine.frontend import Frontend
from perdure.storage import MemoryStorage
from perdure.storage.contract import Committed, Transaction
from perdure.worker.eager_activities import EAGER_PER_COMPLETION_MAX, EagerActivities
from perdure.worker.poll_lane import Slot

running = most = 0


@activity
async def double(number: int) -> int:
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(0)
    running -= 1
    return 2 * number


@workflow
async def both(ctx: WorkflowContext) -> list[int]:
    one = ctx.execute_activity(double, 1)
    other = ctx.execute_activity(double, 2, task_queue="others")
    return list(await asyncio.gather(one, other))


@workflow
async def fan_out(ctx: WorkflowContext, count: int) -> int:
    return sum(await asyncio.gather(*(ctx.execute_activity(double, number) for number in range(count))))


class Elsewhere(Frontend):
    """An engine that a worker takes for one in another process; notes what was asked for, and what came."""

    in_process = False

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, in_process=False)
        self.asked: list[str] = []
        self.came: list[int] = []

    async def respond_workflow_task_completed(self, request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        commands = [command.schedule_activity_task_command_attributes for command in request.commands]
        self.asked += [each.activity_type.name for each in commands if each.request_eager_execution]
        reply: RespondWorkflowTaskCompletedResponse = await super().respond_workflow_task_completed(request)
        self.came.append(len(reply.activity_tasks))
        return reply


class Unsure(MemoryStorage):
    """Writes, and does not know it, when it is told so."""

    unsure = False

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        answers = super().commit(group)
        if self.unsure:
            self.unsure = False
            return [Committed.UNKNOWN] * len(answers)
        return answers


@pytest.fixture
async def engine() -> AsyncIterator[Elsewhere]:
    global running, most
    running = most = 0
    opened = await open_engine(MemoryStorage())
    yield Elsewhere(opened)
    await opened.close()


def worker(engine: Elsewhere, **settings: Any) -> tuple[WorkflowClient, WorkflowWorker]:
    client = WorkflowClient(engine)  # type: ignore[arg-type]
    return client, WorkflowWorker(client, workflows=[both, fan_out], activities=[double], **settings)


async def test_activities_of_another_queue_go_there(engine: Elsewhere) -> None:
    client, one = worker(engine)
    async with one, WorkflowWorker(client, "others", activities=[double]):
        assert await client.execute_workflow(both, id="both") == [2, 4]
    assert engine.asked == ["double"] and engine.came[0] == 1


def test_only_what_the_worker_has_is_asked_for() -> None:
    slots = [Slot() for _ in range(5)]

    class Lane:
        standing_by = slots

        def reserve(self) -> Slot | None:
            return slots.pop() if slots else None

    completion = RespondWorkflowTaskCompletedRequest()
    for name, queue in (("other", "mine"), ("double", "mine"), ("double", "yours")):
        command = completion.commands.add(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
        command.schedule_activity_task_command_attributes.activity_type.name = name
        command.schedule_activity_task_command_attributes.task_queue.name = queue
    completion.commands.add(command_type=CommandType.COMMAND_TYPE_START_TIMER)
    assert len(EagerActivities(Lane(), {"double"}, "mine").ask(completion)) == 1  # type: ignore[arg-type]
    asked = [command.schedule_activity_task_command_attributes.request_eager_execution for command in completion.commands]
    assert asked == [False, True, False, False]


@pytest.mark.parametrize("slots", [1, 2, 5, 100])
async def test_a_fan_out_keeps_to_the_slots_and_to_the_bound(engine: Elsewhere, slots: int) -> None:
    client, one = worker(engine, max_concurrent_activity_tasks=slots)
    async with one:
        assert await client.execute_workflow(fan_out, 200, id="fan") == 200 * 199
    assert engine.came[0] == len(engine.asked) == min(EAGER_PER_COMPLETION_MAX, slots // 2)
    assert most <= slots


async def test_a_worker_without_slots_for_activities_asks_for_none(engine: Elsewhere) -> None:
    client, one = worker(engine, max_concurrent_activity_tasks=0)
    async with one, WorkflowWorker(client, activities=[double]):
        assert await client.execute_workflow(fan_out, 3, id="fan") == 6
    assert not engine.asked and not any(engine.came)


async def test_slots_come_back_when_the_engine_gives_nothing(engine: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Frontend.respond_workflow_task_completed

    async def keeps(self: Any, request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        for command in request.commands:
            if command.HasField("schedule_activity_task_command_attributes"):
                command.schedule_activity_task_command_attributes.request_eager_execution = False
        return await real(self, request)

    monkeypatch.setattr(Frontend, "respond_workflow_task_completed", keeps)
    client, one = worker(engine, max_concurrent_activity_tasks=4)
    async with one:
        for number in range(5):
            assert await client.execute_workflow(fan_out, 3, id=f"fan-{number}") == 6
    assert len(engine.asked) == 10 and not any(engine.came)


async def test_an_activity_whose_start_nobody_was_told_of_is_ready_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is told to try again, and then that the engine has the completion already: the activity has not begun."""
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.02)
    storage = Unsure()
    opened = await open_engine(storage)
    engine = Elsewhere(opened)
    real = engine.respond_workflow_task_completed

    async def unsure_once(request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        storage.unsure = not engine.asked
        return await real(request)

    monkeypatch.setattr(engine, "respond_workflow_task_completed", unsure_once)
    client, one = worker(engine)
    async with asyncio.timeout(50), one:
        assert await client.execute_workflow(fan_out, 2, id="fan") == 2
    assert engine.asked == ["double", "double", "double", "double"] and not any(engine.came)
    await opened.close()
