"""Proves that workflows of the official SDK run on the server from end to end, and what stands in their histories."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowContinuedAsNewError, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

SHORT = timedelta(seconds=10)


async def history(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The types of a run's events."""
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") async for event in handle.fetch_history_events()]


TASK = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"]


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@activity.defn
async def fail(kind: str) -> None:
    raise ApplicationError("it broke", {"part": 7}, type=kind, non_retryable=activity.info().attempt == 2)


@activity.defn
async def wait_for_cancel() -> str:
    while True:
        activity.heartbeat("alive")
        await asyncio.sleep(0.05)


@workflow.defn
class Hello:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(greet, name, start_to_close_timeout=SHORT)


@workflow.defn
class Broken:
    @workflow.run
    async def run(self, kind: str) -> None:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
        await workflow.execute_activity(fail, kind, start_to_close_timeout=SHORT, retry_policy=policy)


@workflow.defn
class Basket:
    def __init__(self) -> None:
        self.contents: list[str] = []
        self.paid = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.paid)
        return self.contents

    @workflow.signal
    def add(self, thing: str) -> None:
        self.contents.append(thing)

    @workflow.signal
    def pay(self) -> None:
        self.paid = True

    @workflow.query
    def count(self) -> int:
        return len(self.contents)

    @workflow.query
    def refuse(self) -> int:
        raise ApplicationError("no answer to that")


@workflow.defn
class Waiting:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(wait_for_cancel, start_to_close_timeout=SHORT, heartbeat_timeout=timedelta(seconds=5))


@workflow.defn
class Countdown:
    @workflow.run
    async def run(self, number: int) -> str:
        await workflow.sleep(0.01)
        if number:
            workflow.continue_as_new(number - 1)
        return "lift-off"


@workflow.defn
class Forever:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)


async def test_a_workflow_with_an_activity(client: Client, worker: Workers) -> None:
    async with worker([Hello], [greet]) as running:
        handle = await client.start_workflow(Hello.run, "world", id="w", task_queue=running.task_queue)
        assert await handle.result() == "hello world"
    activities = ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
    assert await history(handle) == ["WORKFLOW_EXECUTION_STARTED", *TASK, *activities, *TASK, "WORKFLOW_EXECUTION_COMPLETED"]


async def test_a_failure_keeps_its_details_and_its_attempts(client: Client, worker: Workers) -> None:
    async with worker([Broken], [fail]) as running:
        handle = await client.start_workflow(Broken.run, "Fragile", id="w", task_queue=running.task_queue)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    error = failed.value.cause
    assert isinstance(error, ActivityError) and error.activity_type == "fail"
    cause = error.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type, cause.details, cause.non_retryable) == ("it broke", "Fragile", ({"part": 7},), True)
    started = [event async for event in handle.fetch_history_events() if event.HasField("activity_task_started_event_attributes")]
    assert [event.activity_task_started_event_attributes.attempt for event in started] == [2]
    assert started[0].activity_task_started_event_attributes.last_failure.message == "it broke"


async def test_signals_and_queries(client: Client, worker: Workers) -> None:
    async with worker([Basket]) as running:
        handle = await client.start_workflow(
            Basket.run, id="w", task_queue=running.task_queue, start_signal="add", start_signal_args=["bread"]
        )
        await handle.signal(Basket.add, "milk")
        assert await handle.query(Basket.count) == 2
        with pytest.raises(WorkflowQueryFailedError, match="no answer to that"):
            await handle.query(Basket.refuse)
        with pytest.raises(WorkflowQueryFailedError, match="not found"):
            await handle.query("nothing")
        await handle.signal(Basket.pay)
        assert await handle.result() == ["bread", "milk"]
        assert await handle.query(Basket.count) == 2, "a closed workflow answers too"
    assert (await history(handle))[:3] == ["WORKFLOW_EXECUTION_STARTED", "WORKFLOW_EXECUTION_SIGNALED", "WORKFLOW_TASK_SCHEDULED"]


async def test_cancelling_reaches_the_activity(client: Client, worker: Workers) -> None:
    async with worker([Waiting], [wait_for_cancel], max_heartbeat_throttle_interval=timedelta(milliseconds=50)) as running:
        handle = await client.start_workflow(Waiting.run, id="w", task_queue=running.task_queue)
        while not [a for a in (await handle.describe()).raw_description.pending_activities if a.HasField("heartbeat_details")]:
            pass  # the next answer shows more
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert isinstance(failed.value.cause, CancelledError)
    assert "ACTIVITY_TASK_CANCEL_REQUESTED" in await history(handle)


async def test_terminating(client: Client, worker: Workers) -> None:
    handle = await client.start_workflow(Forever.run, id="w", task_queue="nobody's")
    await handle.terminate("details", reason="enough")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, TerminatedError) and str(failed.value.cause) == "enough"
    assert failed.value.cause.details == ("details",)
    with pytest.raises(RPCError) as refused:
        await handle.terminate()
    assert refused.value.status is RPCStatusCode.NOT_FOUND


async def test_continuing_as_new(client: Client, worker: Workers) -> None:
    async with worker([Countdown]) as running:
        handle = await client.start_workflow(Countdown.run, 3, id="w", task_queue=running.task_queue)
        assert await handle.result() == "lift-off"
        first = client.get_workflow_handle("w", run_id=handle.first_execution_run_id)
        with pytest.raises(WorkflowContinuedAsNewError):
            await first.result(follow_runs=False)
    assert (await history(first))[-1] == "WORKFLOW_EXECUTION_CONTINUED_AS_NEW"


async def test_time_outs(client: Client) -> None:
    handle = await client.start_workflow(Forever.run, id="w", task_queue="nobody's", run_timeout=timedelta(milliseconds=100))
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, TimeoutError)
    assert (await history(handle))[-1] == "WORKFLOW_EXECUTION_TIMED_OUT"


async def test_ids_are_taken_once(client: Client) -> None:
    first = await client.start_workflow(Forever.run, id="w", task_queue="q")
    with pytest.raises(WorkflowAlreadyStartedError) as refused:
        await client.start_workflow(Forever.run, id="w", task_queue="q")
    assert refused.value.run_id == first.first_execution_run_id
    second = await client.start_workflow(Forever.run, id="w", task_queue="q", id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING)
    assert second.first_execution_run_id != first.first_execution_run_id
    assert (await history(client.get_workflow_handle("w", run_id=first.first_execution_run_id)))[-1] == "WORKFLOW_EXECUTION_TERMINATED"


async def test_a_history_comes_in_pages(client: Client) -> None:
    handle = await client.start_workflow(Forever.run, id="w", task_queue="q")
    for number in range(20):
        await handle.signal("anything", number)
    pages = handle.fetch_history_events(page_size=5)
    sizes = []
    while pages.current_page is None or pages.next_page_token:
        await pages.fetch_next_page()
        sizes.append(len(pages.current_page or ()))
    assert sizes == [5, 5, 5, 5, 2]


async def test_another_worker_goes_on_where_the_first_one_stopped(client: Client, worker: Workers) -> None:
    queue = str(uuid.uuid4())
    handle = await client.start_workflow(Basket.run, id="w", task_queue=queue)
    for thing in ("bread", "milk", "tea"):
        async with worker([Basket], task_queue=queue, identity=thing):
            await handle.signal(Basket.add, thing)
            while await handle.query(Basket.count) != ["bread", "milk", "tea"].index(thing) + 1:
                pass  # the next answer comes after the signal
    async with worker([Basket], task_queue=queue):
        await handle.signal(Basket.pay)
        assert await handle.result() == ["bread", "milk", "tea"]
    assert "WORKFLOW_TASK_TIMED_OUT" not in await history(handle)


@pytest.mark.parametrize("cached", [0, 100])
async def test_many_at_once_with_and_without_a_cache(client: Client, worker: Workers, cached: int) -> None:
    async with worker([Hello, Countdown], [greet], max_cached_workflows=cached) as running:
        queue = running.task_queue
        hellos = (client.execute_workflow(Hello.run, str(number), id=f"h{number}", task_queue=queue) for number in range(20))
        countdowns = (client.execute_workflow(Countdown.run, 2, id=f"c{number}", task_queue=queue) for number in range(5))
        results = await asyncio.gather(*hellos, *countdowns)
    assert results == [f"hello {number}" for number in range(20)] + ["lift-off"] * 5
