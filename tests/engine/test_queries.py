"""Proves where queries go when their workflow task, their worker or their caller does not wait for them (2.7), and that none hangs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflowservice.v1 import (
    RespondQueryTaskCompletedRequest,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from core_support import payloads, seconds
from one_worker import ANSWERED, STICKY, Rig

from perdure.engine.matching import QueueKey, TaskKind
from perdure.model.patience import seconds_left
from perdure.model.rpc import RpcError, StatusCode


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
