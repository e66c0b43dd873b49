"""Proves that who waits for a run hears of it, and that what a run has to deliver is not forgotten, when commits fail just then.

The test decides, transaction by transaction, what is written and what the engine is told of it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from core_support import check_history
from scripted_family import Worker, kinds, start_request, stored

from perdure.engine import background, open_engine, transactions
from perdure.engine.between_runs import BetweenRuns
from perdure.engine.engine import Engine
from perdure.engine.transactions import StaleRun
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage
from perdure.storage.contract import Committed, Transaction


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.01)


@pytest.fixture
async def engine() -> AsyncGenerator[Engine]:
    engine = await open_engine(MemoryStorage())
    yield engine
    await engine.close()


class Held:
    """What the engine submits from now on, until the test answers it."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._storage = engine.storage
        self._entries: list[tuple[Transaction, Callable[[Committed], None]]] = []
        monkeypatch.setattr(engine.committer, "submit", lambda *entry: self._entries.append(entry))

    def __len__(self) -> int:
        return len(self._entries)

    def answer(self, told: Committed, *, written: bool) -> None:
        """Answers the first that is held."""
        transaction, done = self._entries.pop(0)
        if written:
            assert self._storage.commit([transaction]) == [Committed.YES]
        done(told)


async def turns(condition: Callable[[], Any]) -> None:
    """Lets the engine go on until something is so."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


def signal(workflow_id: str, request_id: str) -> SignalWorkflowExecutionRequest:
    request = SignalWorkflowExecutionRequest(namespace="default", signal_name="go", request_id=request_id)
    request.workflow_execution.workflow_id = workflow_id
    return request


def terminate(workflow_id: str) -> TerminateWorkflowExecutionRequest:
    request = TerminateWorkflowExecutionRequest(namespace="default")
    request.workflow_execution.workflow_id = workflow_id
    return request


async def poll(engine: Engine) -> PollWorkflowTaskQueueResponse:
    request = PollWorkflowTaskQueueRequest(namespace="default", identity="hand")
    request.task_queue.name = "queue"
    return await engine.frontend(in_process=True).poll_workflow_task_queue(request)


async def complete(engine: Engine, task: PollWorkflowTaskQueueResponse, *todo: Any) -> None:
    request = RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=todo)
    await engine.frontend(in_process=True).respond_workflow_task_completed(request)


async def send(engine: Engine, *todo: Any) -> None:
    """A run that has just asked for something to be done to others."""
    await engine.frontend(in_process=True).start_workflow_execution(start_request("Sender", "sender"))
    await complete(engine, await poll(engine), *todo)


class Gate:
    """Deliveries that wait, each until it is let go: the first of a run is number 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *gated: int) -> None:
        self._keys: list[int] = []
        self._gates = {number: asyncio.Event() for number in gated}
        honest = BetweenRuns.deliver

        async def deliver(between: BetweenRuns, run_id: str, key: int) -> bool:
            if key not in self._keys:
                self._keys.append(key)
            gate = self._gates.get(self._keys.index(key))
            if gate is not None:
                await gate.wait()
            return await honest(between, run_id, key)

        monkeypatch.setattr(BetweenRuns, "deliver", deliver)

    def open(self, number: int) -> None:
        self._gates[number].set()


async def test_who_waits_for_a_run_that_was_dropped_hears_when_its_last_transaction_is_answered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two transactions was written without the engine knowing; somebody begins to wait; the second one succeeds."""
    service = engine.frontend(in_process=True)
    await service.start_workflow_execution(start_request("Receiver", "receiver"))
    live = engine.runs.get_current("default", "receiver")
    assert live is not None
    with monkeypatch.context() as holding:
        held = Held(engine, holding)
        signals = [asyncio.ensure_future(service.signal_workflow_execution(signal("receiver", name))) for name in "ab"]
        await turns(lambda: len(held) == 2)
        held.answer(Committed.UNKNOWN, written=True)
        waiting = asyncio.ensure_future(engine.transactions.settled(live))
        await turns(lambda: live.waiting)
        held.answer(Committed.YES, written=True)
        async with asyncio.timeout(30):
            with pytest.raises(StaleRun):
                await waiting
    with pytest.raises(RpcError, match="may not be durable"):
        await signals[0]
    await signals[1]
    for name in "ab":  # as the message says, and as callers do who heard nothing
        await service.signal_workflow_execution(signal("receiver", name))
    assert kinds(stored(engine.storage)["receiver"][0])["WorkflowExecutionSignaled"] == 2


async def test_a_message_is_not_forgotten_because_its_sender_nearly_closed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that closes does not send any more. But that it has closed has to be durable; another of its messages is under way."""
    gate = Gate(monkeypatch, 0, 1)
    service = engine.frontend(in_process=True)
    await send(engine, commands.signal_external("receiver"), commands.signal_external("receiver"))
    await service.start_workflow_execution(start_request("Receiver", "receiver"))
    with monkeypatch.context() as holding:
        held = Held(engine, holding)
        terminated = asyncio.ensure_future(service.terminate_workflow_execution(terminate("sender")))
        await turns(lambda: len(held) == 1)
        gate.open(0)
        for _ in range(10):
            await asyncio.sleep(0)
        held.answer(Committed.FAILED, written=False)
    with pytest.raises(RpcError, match="could not be made durable"):
        await terminated
    await turns(lambda: not engine.background)  # the sender was read again, and what it names taken up
    gate.open(1)
    async with asyncio.timeout(30):
        while kinds(stored(engine.storage)["receiver"][0])["WorkflowExecutionSignaled"] < 2:
            await asyncio.sleep(0.01)
    assert kinds(stored(engine.storage)["sender"][0])["ExternalWorkflowExecutionSignaled"] == 2


async def test_a_child_tells_its_end_though_what_its_parent_was_reset_to_nearly_closed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nobody waits for a child any more has to be durable before it is left untold."""
    service = engine.frontend(in_process=True)
    await send(engine, commands.start_child("child"))
    tasks = {task.workflow_execution.workflow_id: task for task in [await poll(engine), await poll(engine)]}
    heard = tasks["sender"]
    await complete(engine, heard)
    reset = ResetWorkflowExecutionRequest(namespace="default", workflow_task_finish_event_id=heard.started_event_id + 1, request_id="reset")
    reset.workflow_execution.CopyFrom(heard.workflow_execution)
    await service.reset_workflow_execution(reset)
    with monkeypatch.context() as holding:
        held = Held(engine, holding)
        completed = asyncio.ensure_future(complete(engine, tasks["child"], commands.complete()))
        await turns(lambda: len(held) == 1)
        terminated = asyncio.ensure_future(service.terminate_workflow_execution(terminate("sender")))
        await turns(lambda: len(held) == 2)
        held.answer(Committed.YES, written=True)
        for _ in range(10):
            await asyncio.sleep(0)
        held.answer(Committed.FAILED, written=False)
        while held:
            held.answer(Committed.YES, written=True)
    await completed
    with pytest.raises(RpcError, match="could not be made durable"):
        await terminated
    async with asyncio.timeout(30):
        while not any(kinds(events)["ChildWorkflowExecutionCompleted"] for events in stored(engine.storage)["sender"]):
            await asyncio.sleep(0.01)


async def test_a_closed_sender_is_forgotten_though_it_had_something_that_waited(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal to a child that is not started yet waits for that; the sender is terminated before."""
    gate = Gate(monkeypatch, 0)
    await send(engine, commands.start_child("child"), commands.signal_external("child"))
    (sender,) = engine.deliveries._senders.values()
    await turns(lambda: sender.held)
    await engine.frontend(in_process=True).terminate_workflow_execution(terminate("sender"))
    gate.open(0)
    await turns(lambda: not sender.under_way)
    assert not engine.deliveries._senders
    assert set(stored(engine.storage)) == {"sender"}


async def test_the_scripted_worker_stops_though_its_poll_is_cancelled_too_late(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll in process that has its task gives it all the same; the worker of these tests does that one, and ends."""
    service = engine.frontend(in_process=True)
    worker = Worker(service, slots=1)
    await turns(lambda: any(queue.has_poller() for queue in engine.matching.queues()))
    with monkeypatch.context() as holding:
        held = Held(engine, holding)
        started = asyncio.ensure_future(service.start_workflow_execution(start_request("Child", "child")))
        await turns(lambda: len(held) == 1)
        held.answer(Committed.YES, written=True)  # the task is there, and the worker has not run yet
    async with asyncio.timeout(30) as limit:
        await worker.stop()
    assert not limit.expired()
    await started
    assert kinds(stored(engine.storage)["child"][0])["WorkflowExecutionCompleted"] == 1


@pytest.mark.parametrize("followed", [False, True], ids=["one run", "a run and its successor"])
async def test_what_cannot_be_put_into_rows_is_not_believed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, followed: bool
) -> None:
    """The core has changed the run in memory, and no row can say so: whoever comes next builds on what is stored."""
    await engine.frontend(in_process=True).start_workflow_execution(start_request("Receiver", "receiver"))
    task = await poll(engine)
    before = await engine.runs.find("default", "receiver", "")
    with monkeypatch.context() as planted, caplog.at_level("CRITICAL"), pytest.raises(RpcError) as refused:
        planted.setattr(transactions, "run_write", broken_rows)
        await complete(engine, task, commands.continue_as_new() if followed else commands.timer())
    assert refused.value.code is StatusCode.INTERNAL
    assert before.evicted
    assert await engine.runs.find("default", "receiver", "") is not before
    await complete(engine, task, commands.timer())
    ((*events,),) = stored(engine.storage)["receiver"]
    assert kinds(events)["TimerStarted"] == 1
    check_history(events)


def broken_rows(*told: Any) -> Any:
    raise OverflowError("planted: a value that no row takes")
