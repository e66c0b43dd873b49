"""A worker's life on a real engine: start, work, health, stop; what is cancelled is taken over; what cannot work says so."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from perdure import (
    ActivityContext,
    ConfigError,
    DefinitionError,
    RetryPolicy,
    ShutdownFailed,
    StartFailed,
    UsageError,
    WorkerConfig,
    WorkflowClient,
    WorkflowContext,
    WorkflowWorker,
    activity,
    workflow,
)
from perdure.worker.watchdog import logger as watchdog_logger

QUICK = RetryPolicy(initial_interval=0.01)  # type: ignore[arg-type]


@pytest.fixture
async def client() -> AsyncIterator[WorkflowClient]:
    async with WorkflowClient.connect("memory://") as connected:
        yield connected


@activity
async def hello(name: str) -> str:
    return f"hello {name}"


@workflow
async def greet(ctx: WorkflowContext, name: str) -> str:
    return await hello(name)


begun: asyncio.Event
release: asyncio.Event


@activity(retry_policy=QUICK)
async def holds(ctx: ActivityContext) -> str:
    begun.set()
    await release.wait()
    return f"attempt {ctx.attempt}, stopping {ctx.is_worker_stopping}"


@workflow
async def hold(ctx: WorkflowContext) -> str:
    return await holds()


stuck = threading.Event()


@activity
def never_ends() -> None:
    stuck.wait(20)


@workflow
async def get_stuck(ctx: WorkflowContext) -> None:
    await never_ends()


@workflow
async def wait_for_go(ctx: WorkflowContext) -> str:
    from perdure import Signal

    return await ctx.await_signal(Signal("go", str))


@pytest.fixture(autouse=True)
def events() -> None:
    global begun, release
    begun, release = asyncio.Event(), asyncio.Event()
    stuck.clear()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_work_and_health(client: WorkflowClient) -> None:
    worker = WorkflowWorker(client, workflows=[greet], activities=[hello])
    assert (worker.health_check().is_healthy, worker.health_check().state) == (False, "new")
    async with worker:
        assert await client.execute_workflow(greet, "you", id="greet") == "hello you"
        health = worker.health_check()
        assert health.is_healthy and health.reason == "" and health.last_poll_time is not None
        assert health.activity_tasks_in_progress == 0
    health = worker.health_check()
    assert (health.is_healthy, health.state, health.reason) == (False, "stopped", "the worker is stopped")
    await worker.stop()  # again: nothing happens


async def test_running_activities_are_seen_and_finish_before_the_worker_stops(client: WorkflowClient) -> None:
    worker = WorkflowWorker(client, workflows=[hold], activities=[holds])
    await worker.start()
    handle = await client.start_workflow(hold, id="hold")
    await begun.wait()
    assert worker.health_check().activity_tasks_in_progress == 1
    assert "1 running" in repr(worker)
    stopping = asyncio.ensure_future(worker.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done() and worker.health_check().state == "stopping"
    release.set()
    await stopping
    async with WorkflowWorker(client, workflows=[hold], activities=[holds]):
        assert await handle.result() == "attempt 1, stopping True"


async def test_what_is_cancelled_at_the_end_is_taken_over_by_another_worker(client: WorkflowClient) -> None:
    worker = WorkflowWorker(client, workflows=[hold], activities=[holds], graceful_shutdown_timeout=0.05)
    await worker.start()
    handle = await client.start_workflow(hold, id="hold")
    await begun.wait()
    await worker.stop()
    release.set()
    async with WorkflowWorker(client, workflows=[hold], activities=[holds]):
        assert await handle.result() == "attempt 2, stopping False"


async def test_an_activity_that_does_not_end_is_named(client: WorkflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.worker.worker.CANCEL_SECONDS", 0.1)
    worker = WorkflowWorker(client, workflows=[get_stuck], activities=[never_ends], graceful_shutdown_timeout=0)
    await worker.start()
    await client.start_workflow(get_stuck, id="stuck")
    await until(lambda: worker.health_check().activity_tasks_in_progress == 1)
    with pytest.raises(ShutdownFailed, match="never_ends"):
        await worker.stop()
    stuck.set()


async def test_several_workers_and_an_activity_only_one(client: WorkflowClient) -> None:
    @workflow
    async def route(ctx: WorkflowContext) -> str:
        return await ctx.execute_activity(hello, "there", task_queue="other")

    workflows_only = WorkflowWorker(client, workflows=[route])
    activities_only = WorkflowWorker(client, "other", activities=[hello], max_concurrent_workflow_tasks=0)
    async with workflows_only, activities_only:
        assert await client.execute_workflow(route, id="route") == "hello there"


async def test_run_ends_with_a_signal(client: WorkflowClient) -> None:
    worker = WorkflowWorker(client, workflows=[greet], activities=[hello])
    before = signal.getsignal(signal.SIGTERM)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: worker.is_running)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, 30)
    assert worker.health_check().state == "stopped"
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_second_signal_does_not_wait(client: WorkflowClient) -> None:
    worker = WorkflowWorker(client, workflows=[hold], activities=[holds], graceful_shutdown_timeout=600)
    running = asyncio.ensure_future(worker.run())
    await until(lambda: worker.is_running)
    await client.start_workflow(hold, id="hold")
    await begun.wait()
    os.kill(os.getpid(), signal.SIGINT)
    await until(lambda: worker.health_check().state == "stopping")
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.wait_for(running, 30)


@pytest.mark.parametrize("size", [0, 1, 1000])
async def test_the_cache_is_bounded_and_nothing_depends_on_it(client: WorkflowClient, size: int) -> None:
    async with WorkflowWorker(client, workflows=[wait_for_go], max_cached_workflows=size) as worker:
        handles = [await client.start_workflow(wait_for_go, id=f"w{number}") for number in range(5)]
        for number, handle in enumerate(handles):
            await asyncio.sleep(0.01)
            assert worker.health_check().cached_workflows <= size
            await client.signal_workflow(f"w{number}", "go", f"now {number}")
            assert await handle.result() == f"now {number}"


async def test_one_workflow_slot_is_enough(client: WorkflowClient) -> None:
    async with WorkflowWorker(
        client, workflows=[greet], activities=[hello], max_concurrent_workflow_tasks=1, max_concurrent_activity_tasks=1
    ):
        results = await asyncio.gather(*(client.execute_workflow(greet, str(n), id=str(n)) for n in range(10)))
    assert results == [f"hello {n}" for n in range(10)]


async def test_an_unknown_workflow_says_which_are_known_and_goes_on_with_a_worker_that_knows_it(
    client: WorkflowClient, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await client.start_workflow(greet, "you", id="greet")
    async with WorkflowWorker(client, workflows=[hold], activities=[holds]):
        await until(lambda: "is not registered" in caplog.text)
    assert '"greet"' in caplog.text and "which has: hold" in caplog.text and "workflows=[…]" in caplog.text
    async with WorkflowWorker(client, workflows=[greet], activities=[hello]):
        assert await asyncio.wait_for(handle.result(), 30) == "hello you"


async def test_a_workflow_that_raises_by_mistake_is_logged_with_its_line(client: WorkflowClient, caplog: pytest.LogCaptureFixture) -> None:
    @workflow
    async def mistaken(ctx: WorkflowContext) -> int:
        return len(None)  # type: ignore[arg-type]  # the mistake

    async with WorkflowWorker(client, workflows=[mistaken]):
        handle = await client.start_workflow(mistaken, id="mistaken")
        await until(lambda: "cannot go on" in caplog.text)
        assert "test_worker_lifecycle.py" in caplog.text and "# the mistake" in caplog.text
        await handle.terminate("enough")


async def test_replaying_after_every_task_finds_what_is_not_deterministic(client: WorkflowClient) -> None:
    calls = []

    @workflow
    async def fickle(ctx: WorkflowContext) -> None:
        calls.append(1)
        if len(calls) % 2:
            await ctx.sleep(0.01)
        else:
            await hello("you")

    worker = WorkflowWorker(client, workflows=[fickle], activities=[hello], replay_after_every_task=True)
    await worker.start()
    await client.start_workflow(fickle, id="fickle")
    await until(lambda: len(calls) > 1)
    with pytest.raises(Exception, match=r"(?i)timer|activity"):
        await worker.stop()


@pytest.mark.parametrize("seconds", [1.2, pytest.param(5.0, marks=pytest.mark.long)])
async def test_a_blocking_call_is_named_and_nothing_times_out_for_it(
    client: WorkflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    attempts = []
    reported = threading.Event()

    class Reports(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reported.set()

    monkeypatch.setattr(watchdog_logger, "handlers", [Reports()])

    @activity(start_to_close_timeout=0.5, heartbeat_timeout=0.3, retry_policy=QUICK)
    async def blocks(ctx: ActivityContext) -> str:
        attempts.append(ctx.attempt)
        reported.wait(30)  # the line to be named
        time.sleep(seconds)
        return "done"

    @activity(start_to_close_timeout=0.8, retry_policy=QUICK)
    async def beside(ctx: ActivityContext) -> str:
        attempts.append(ctx.attempt)
        await asyncio.sleep(0.05)
        return "done"

    @workflow
    async def both(ctx: WorkflowContext) -> list[str]:
        return list(await asyncio.gather(beside(), blocks()))

    async with WorkflowWorker(client, workflows=[both], activities=[blocks, beside], stall_threshold=0.2) as worker:
        assert await client.execute_workflow(both, id="both") == ["done", "done"]
        await until(lambda: "runs again" in caplog.text)
        stall = worker.health_check().last_stall
    assert attempts == [1, 1]
    assert stall is not None and stall.text == "reported.wait(30)  # the line to be named" and not stall.in_workflow


async def test_a_workflow_that_blocks_is_told_to_use_an_activity(
    client: WorkflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = threading.Event()

    class Reports(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reported.set()

    monkeypatch.setattr(watchdog_logger, "handlers", [Reports()])

    @workflow
    async def computes(ctx: WorkflowContext) -> bool:
        return reported.wait(30)

    async with WorkflowWorker(client, workflows=[computes], stall_threshold=0.2) as worker:
        assert await client.execute_workflow(computes, id="computes")
        stall = worker.health_check().last_stall
    assert stall is not None and stall.in_workflow and stall.text == "return reported.wait(30)"
    assert "that line of a workflow. Move the work into an activity" in caplog.text
    assert "Write the activity as a plain" not in caplog.text


@activity
async def sleeps() -> None:
    await asyncio.sleep(60)


@activity
def sleeps_in_thread(ctx: ActivityContext) -> None:
    while not ctx.is_cancelled:
        stuck.wait(0.05)
        if stuck.is_set():
            return


@workflow
async def sleeper(ctx: WorkflowContext) -> None:
    await asyncio.gather(sleeps(), sleeps_in_thread())


def test_a_program_that_forgets_to_stop_its_worker_ends_all_the_same() -> None:
    async def forgetful() -> None:
        client = await WorkflowClient.connect("memory://")
        worker = WorkflowWorker(client, workflows=[sleeper], activities=[sleeps, sleeps_in_thread])
        await worker.start()
        await client.start_workflow(sleeper, id="sleeper")
        await until(lambda: worker.health_check().activity_tasks_in_progress == 2)

    begun_at = time.monotonic()
    threading.Timer(0.5, stuck.set).start()
    asyncio.run(forgetful())
    assert time.monotonic() - begun_at < 50  # it did not wait for `sleeps`


# --- what cannot work ------------------------------------------------------------------------------------------------------


@activity(name="hello")
async def other_hello(name: str) -> str:
    return name


def not_connected() -> Any:
    return "sqlite:///orders.db"


WRONG: list[tuple[Callable[[WorkflowClient], Any], type[Exception], str]] = [
    (lambda c: WorkflowWorker(not_connected(), workflows=[greet]), UsageError, "WorkflowClient.connect"),
    (lambda c: WorkflowWorker(c, workflows=greet), DefinitionError, r"workflows=\[greet\]"),  # type: ignore[arg-type]
    (lambda c: WorkflowWorker(c, activities=hello), DefinitionError, r"activities=\[hello\]"),  # type: ignore[arg-type]
    (lambda c: WorkflowWorker(c, workflows=[hello]), DefinitionError, "activity"),  # type: ignore[list-item]
    (lambda c: WorkflowWorker(c, activities=[greet]), DefinitionError, "workflow"),
    (lambda c: WorkflowWorker(c, activities=[hello, hello]), DefinitionError, "registered twice"),
    (lambda c: WorkflowWorker(c, workflows=[greet, greet]), DefinitionError, "registered twice"),
    (lambda c: WorkflowWorker(c, activities=[hello, other_hello]), DefinitionError, "another name"),
    (lambda c: WorkflowWorker(c, activities=[len]), DefinitionError, "@activity"),
    (lambda c: WorkflowWorker(c, workflows=[greet], max_concurrent_activities=5), ConfigError, "max_concurrent_activity_tasks"),  # type: ignore[call-arg]
    (lambda c: WorkflowWorker(c, workflows=[greet], config={}), ConfigError, "WorkerConfig"),  # type: ignore[arg-type]
    (lambda c: WorkflowWorker(c, task_queue=""), ConfigError, "task_queue"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
async def test_wrong_uses_say_what_to_type(client: WorkflowClient, case: int) -> None:
    make, error, says = WRONG[case]
    with pytest.raises(error, match=says):
        make(client)


async def test_keywords_win_over_the_configuration(client: WorkflowClient) -> None:
    config = WorkerConfig(task_queue="a", max_cached_workflows=3)
    worker = WorkflowWorker(client, "b", config=config, max_concurrent_workflow_tasks=4)
    assert (worker.task_queue, worker.config.max_cached_workflows, worker.config.max_concurrent_workflow_tasks) == ("b", 3, 4)
    assert WorkflowWorker(client, config=config).task_queue == "a"


async def test_a_worker_starts_once_and_with_something_to_do(client: WorkflowClient) -> None:
    with pytest.raises(StartFailed, match="nothing to run"):
        await WorkflowWorker(client).start()
    with pytest.raises(StartFailed, match="no slots"):
        await WorkflowWorker(client, workflows=[greet], max_concurrent_workflow_tasks=0).start()
    worker = WorkflowWorker(client)
    worker.register_workflow(greet)
    worker.register_activity(hello)
    await worker.start()
    with pytest.raises(UsageError, match="before start"):
        worker.register_activity(holds)
    with pytest.raises(StartFailed, match="running"):
        await worker.start()
    await worker.stop()
    with pytest.raises(StartFailed, match="stopped"):
        await worker.start()


async def test_a_worker_says_when_it_cannot_reach_its_namespace(client: WorkflowClient) -> None:
    class Elsewhere:
        service, converter, identity, clock, namespace = client.service, client.converter, client.identity, client.clock, "nowhere"

    with pytest.raises(StartFailed, match="nowhere"):
        await WorkflowWorker(Elsewhere(), workflows=[greet]).start()


async def test_an_error_in_the_block_is_not_hidden_by_the_shutdown(client: WorkflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(self: WorkflowWorker) -> None:
        raise ShutdownFailed("too")

    with pytest.raises(ValueError, match="mine"):
        async with WorkflowWorker(client, workflows=[greet]) as worker:
            stop = worker.stop
            monkeypatch.setattr(WorkflowWorker, "stop", fails)
            raise ValueError("mine")
    await stop()


def test_logging_is_quiet_by_default() -> None:
    assert not logging.getLogger("perdure.worker").handlers
