"""Proves where queries go when their workflow task, their worker or their caller does not wait for them (2.7), and that none hangs.

The test is the worker; the clock stands still unless it is told to go on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import QueryResultType, TaskQueueKind, WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from core_support import payloads, seconds

from perdure.engine import open_engine
from perdure.engine.engine import Engine
from perdure.engine.matching import QueueKey, TaskKind
from perdure.model.patience import seconds_left
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage
from perdure.testing import ManualClock

ANSWERED = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
STICKY = "my own"


class Rig:
    """An engine, and a worker and a client of few words."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.engine, self.clock = engine, clock
        self.service = engine.frontend(in_process=True)

    async def start(self, **fields: Any) -> None:
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="r", **fields)
        request.workflow_type.name, request.task_queue.name = "t", "q"
        await self.service.start_workflow_execution(request)

    def poll(self, sticky: str = "") -> asyncio.Task[PollWorkflowTaskQueueResponse]:
        request = PollWorkflowTaskQueueRequest(namespace="default", identity="worker")
        request.task_queue.name = sticky or "q"
        if sticky:
            request.task_queue.kind, request.task_queue.normal_name = TaskQueueKind.TASK_QUEUE_KIND_STICKY, "q"
        return asyncio.ensure_future(self.service.poll_workflow_task_queue(request))

    async def complete(self, task: PollWorkflowTaskQueueResponse, *todo: Any, sticky: float = 0, **fields: Any) -> None:
        request = RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=todo, **fields)
        if sticky:
            request.sticky_attributes.worker_task_queue.name = STICKY
            request.sticky_attributes.schedule_to_start_timeout.CopyFrom(seconds(sticky))
        await self.service.respond_workflow_task_completed(request)

    def query(self) -> asyncio.Task[QueryWorkflowResponse]:
        request = QueryWorkflowRequest(namespace="default")
        request.execution.workflow_id, request.query.query_type = "w", "ask"
        return asyncio.ensure_future(self.service.query_workflow(request))

    async def signal(self) -> None:
        request = SignalWorkflowExecutionRequest(namespace="default", signal_name="s")
        request.workflow_execution.workflow_id = "w"
        await self.service.signal_workflow_execution(request)

    async def terminate(self) -> None:
        request = TerminateWorkflowExecutionRequest(namespace="default")
        request.workflow_execution.workflow_id = "w"
        await self.service.terminate_workflow_execution(request)

    async def pause(self) -> None:
        await self.service.pause_workflow_execution(PauseWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="p"))

    async def answer(self, task: PollWorkflowTaskQueueResponse, text: str = "well") -> None:
        reply = RespondQueryTaskCompletedRequest(task_token=task.task_token, completed_type=ANSWERED, query_result=payloads(text))
        await self.service.respond_query_task_completed(reply)

    async def turns(self) -> None:
        """Everything happens that can without time passing."""
        await self.clock.advance(0)

    def waiting(self) -> bool:
        return bool(self.engine.queries._buffered)


@pytest.fixture
async def rig() -> AsyncGenerator[Rig]:
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    yield Rig(engine, clock)
    await engine.close()


async def refusal(asked: Awaitable[object]) -> RpcError:
    with pytest.raises(RpcError) as refused:
        await asked
    return refused.value


async def test_a_query_whose_first_task_goes_with_its_run_is_refused_at_once(rig: Rig) -> None:
    await rig.start()
    asked = rig.query()
    await rig.turns()
    assert rig.waiting()
    await rig.terminate()
    assert (await refusal(asked)).code is StatusCode.FAILED_PRECONDITION
    assert not rig.waiting()


async def test_a_query_whose_task_goes_with_its_run_is_asked_directly(rig: Rig) -> None:
    await rig.start()
    await rig.complete(await rig.poll())
    await rig.signal()
    asked = rig.query()
    await rig.turns()
    assert rig.waiting()
    await rig.terminate()
    task = await rig.poll()
    assert task.query.query_type == "ask" and len(task.history.events) == 7
    await rig.answer(task)
    assert (await asked).query_result == payloads("well")


async def test_a_query_whose_task_goes_with_a_pause_is_rejected(rig: Rig) -> None:
    await rig.start()
    asked = rig.query()
    await rig.turns()
    await rig.pause()
    assert (await asked).query_rejected.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED


async def test_the_last_task_of_a_run_answers_its_queries(rig: Rig) -> None:
    await rig.start()
    asked = rig.query()
    await rig.turns()
    task = await rig.poll()
    (query_id,) = task.queries
    await rig.complete(task, commands.complete(), query_results={query_id: {"result_type": ANSWERED, "answer": payloads("last")}})
    assert (await asked).query_result == payloads("last")


async def test_an_answer_that_is_too_large_fails_the_query(rig: Rig) -> None:
    rig.engine.transactions.environment.payload_bytes_max = 1000
    await rig.start()
    buffered = rig.query()
    await rig.turns()
    task = await rig.poll()
    (query_id,) = task.queries
    await rig.complete(task, query_results={query_id: {"result_type": ANSWERED, "answer": payloads("x" * 1000)}})
    direct = rig.query()
    await rig.answer(await rig.poll(), "x" * 1000)
    for asked in (buffered, direct):
        refused = await refusal(asked)
        assert refused.code is StatusCode.INVALID_ARGUMENT and "size limit" in refused.message


async def test_a_closed_run_is_asked_of_any_worker_with_its_whole_history(rig: Rig) -> None:
    """The one that knew it has forgotten it."""
    await rig.start()
    mine = rig.poll(STICKY)
    await rig.complete(await rig.poll(), commands.complete(), sticky=10)
    asked = rig.query()
    task = await rig.poll()
    assert len(task.history.events) == 5
    await rig.answer(task)
    await asked
    assert not mine.done()


async def test_a_worker_that_does_not_answer_is_not_asked_again(rig: Rig) -> None:
    """It is waited for as long as it said itself; then any other is asked, who has the next workflow task as well."""
    await rig.start()
    mine = rig.poll(STICKY)
    await rig.complete(await rig.poll(), sticky=3)
    asked = rig.query()
    assert (await mine).query.query_type == "ask"
    other = rig.poll()
    await rig.clock.advance(2.9)
    assert not other.done()
    await rig.clock.advance(0.2)
    task = await other
    assert task.query.query_type == "ask" and len(task.history.events) == 4
    await rig.answer(task)
    await asked
    mine, other = rig.poll(STICKY), rig.poll()
    await rig.signal()
    assert len((await other).history.events) == 7 and not mine.done()


async def test_a_caller_in_a_hurry_is_no_sign_of_a_worker_that_is_gone(rig: Rig) -> None:
    await rig.start()
    mine = rig.poll(STICKY)
    await rig.complete(await rig.poll(), sticky=10)
    seconds_left.set(2)
    asked = rig.query()
    await rig.turns()
    await rig.clock.advance(1.8)
    assert (await refusal(asked)).code is StatusCode.DEADLINE_EXCEEDED
    await mine
    mine, other = rig.poll(STICKY), rig.poll()
    await rig.signal()
    await mine
    assert not other.done()


async def test_a_caller_who_cannot_wait_for_the_first_task_is_told_at_once(rig: Rig) -> None:
    await rig.start(workflow_start_delay=seconds(10))
    seconds_left.set(5)
    assert (await refusal(rig.query())).code is StatusCode.FAILED_PRECONDITION
    seconds_left.set(20)
    asked = rig.query()
    await rig.clock.advance(10)
    task = await rig.poll()
    (query_id,) = task.queries
    await rig.complete(task, query_results={query_id: {"result_type": ANSWERED, "answer": payloads("here")}})
    await asked


async def test_queries_that_nobody_answers_leave_nothing_behind(rig: Rig) -> None:
    await rig.start()
    await rig.complete(await rig.poll())
    asked = [rig.query() for _ in range(5)]
    await rig.turns()
    queue = rig.engine.matching.queue(QueueKey(TaskKind.WORKFLOW, "default", "q"))
    assert len(queue.orphans) == 5
    asked.pop().cancel()
    await rig.turns()
    assert len(queue.orphans) == 4
    await rig.clock.advance(30)
    for each in asked:
        assert (await refusal(each)).code is StatusCode.DEADLINE_EXCEEDED
    assert not queue.orphans and not rig.engine.queries._asked


async def test_a_query_is_not_forgotten_with_those_before_it(rig: Rig) -> None:
    """Their run was read again; the one that comes in the same turn waits for its next task."""
    await rig.start()
    first = rig.query()
    await rig.turns()
    live = await rig.engine.runs.find("default", "w", "")
    rig.engine.queries.forget(live.run.run_id)
    second = rig.query()
    assert (await refusal(first)).code is StatusCode.UNAVAILABLE
    await rig.turns()
    task = await rig.poll()
    assert len(task.queries) == 1
    second.cancel()


@pytest.mark.parametrize(
    ("token", "code"), [(b"", StatusCode.INVALID_ARGUMENT), (b"x", StatusCode.INVALID_ARGUMENT), (b"query:", StatusCode.NOT_FOUND)]
)
async def test_tokens_that_mean_no_query(rig: Rig, token: bytes, code: StatusCode) -> None:
    reply = RespondQueryTaskCompletedRequest(task_token=token)
    assert (await refusal(rig.service.respond_query_task_completed(reply))).code is code
