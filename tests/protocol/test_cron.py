"""Proves cron with the official SDK: the wait before the first run, what each run hands on, and how a schedule ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers
from tests.protocol.family import END, STARTED, TASK, WORKFLOWS, Child, Ticker, find, story

S = WorkflowExecutionStatus


@pytest.fixture
async def queue(worker: Workers) -> AsyncGenerator[str]:
    async with worker(WORKFLOWS) as running:
        yield running.task_queue


async def tick(client: Client, queue: str, fails: list[int], **options: Any) -> WorkflowHandle[Any, Any]:
    options.setdefault("cron_schedule", "@every 1s")
    return await client.start_workflow(Ticker.run, fails, id="ticker", task_queue=queue, **options)


async def result(client: Client, run_id: str) -> Any:
    try:
        return await client.get_workflow_handle("ticker", run_id=run_id).result(follow_runs=False)
    except (WorkflowFailureError, WorkflowContinuedAsNewError) as error:
        return error


async def test_a_run_hands_its_result_to_the_next(client: Client, queue: str) -> None:
    handle = await tick(client, queue, [2])
    first = handle.first_execution_run_id
    assert first is not None
    run_id, results = first, []
    for _ in range(3):
        results.append(await result(client, run_id))
        closed = client.get_workflow_handle("ticker", run_id=run_id)
        kinds = await story(closed)
        assert kinds[:-1] == [*STARTED, *TASK]
        run_id = (await find(closed, kinds[-1])).new_execution_run_id
    assert results[0] is not None and isinstance(results[1], WorkflowContinuedAsNewError | WorkflowFailureError)
    begun = [await find(client.get_workflow_handle("ticker", run_id=each), STARTED[0]) for each in (first, run_id)]
    assert [each.initiator for each in begun] == [3, 3] and [each.attempt for each in begun] == [1, 1]
    assert begun[0].first_workflow_task_backoff.seconds == 1 and begun[0].cron_schedule == "@every 1s"
    assert begun[1].first_execution_run_id == first
    assert begun[1].last_completion_result.payloads[0].data == b"102"  # the second run failed: the third knows the first one's result
    await handle.terminate()


async def test_a_schedule_ends_when_its_workflow_is_cancelled_or_terminated(client: Client, queue: str) -> None:
    handle = await tick(client, queue, [], cron_schedule="0 0 1 1 *")
    described = await handle.describe()
    assert described.status == S.RUNNING and described.execution_time is not None and described.execution_time.month == 1
    assert await story(handle) == STARTED
    await handle.terminate()
    assert (await handle.describe()).status == S.TERMINATED
    again = await client.start_workflow(Child.run, "wait", id="waiter", task_queue=queue, cron_schedule="0 0 1 1 *")
    await again.cancel()
    with pytest.raises(WorkflowFailureError):
        await again.result()
    assert (await again.describe()).run_id == again.first_execution_run_id
    assert await story(again) == [*STARTED, "WorkflowExecutionCancelRequested", *TASK, "WorkflowExecutionCanceled"]


async def test_the_execution_timeout_ends_a_schedule(client: Client, queue: str) -> None:
    handle = await tick(client, queue, [], execution_timeout=timedelta(seconds=2.5))
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert (await handle.describe()).status == S.TIMED_OUT


async def test_what_is_no_schedule_is_refused(client: Client, queue: str) -> None:
    for schedule in ("whenever", "* * *", "0 0 30 2 *", "CRON_TZ=Mars/Base * * * * *"):
        with pytest.raises(RPCError) as caught:
            await tick(client, queue, [], cron_schedule=schedule)
        assert caught.value.status == RPCStatusCode.INVALID_ARGUMENT
    with pytest.raises(RPCError):
        await tick(client, queue, [], start_delay=timedelta(seconds=1))


async def test_a_client_that_waits_follows_the_runs(client: Client, queue: str) -> None:
    handle = await tick(client, queue, [], execution_timeout=timedelta(seconds=6.5))
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    kinds = await story(client.get_workflow_handle("ticker", run_id=handle.first_execution_run_id))
    assert kinds == [*STARTED, *TASK, END]
