"""Proves which run of a chain is meant: by who cancels or terminates, by who signals, and by who reads its history."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy as Conflict
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from by_hand import ByHand, execution

from perdure.engine import live_runs, open_engine
from perdure.engine.back_pressure import WAITING_EVENTS_MAX
from perdure.engine.engine import Engine
from perdure.model.ids import new_run_id
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage
from perdure.testing import ManualClock


@pytest.fixture
def hand(engine: Engine) -> ByHand:
    return ByHand(engine)


async def cancel(hand: ByHand, run_id: str, chain: str) -> None:
    request = RequestCancelWorkflowExecutionRequest(
        namespace="default", workflow_execution=execution("wf", run_id), first_execution_run_id=chain
    )
    await hand.service.request_cancel_workflow_execution(request)


async def terminate(hand: ByHand, run_id: str, chain: str) -> None:
    request = TerminateWorkflowExecutionRequest(
        namespace="default", workflow_execution=execution("wf", run_id), first_execution_run_id=chain
    )
    await hand.service.terminate_workflow_execution(request)


ENDS = pytest.mark.parametrize(("end", "kind"), [(cancel, "WorkflowExecutionCancelRequested"), (terminate, "WorkflowExecutionTerminated")])


@ENDS
async def test_who_names_the_chain_means_its_current_run_whatever_run_is_named_beside(hand: ByHand, end: Any, kind: str) -> None:
    first = await hand.start("wf")
    await hand.step("wf", commands.continue_as_new())
    await end(hand, first, first)
    assert (await hand.kinds("wf"))[-1 if kind.endswith("Terminated") else 1] == kind


@ENDS
async def test_an_open_run_of_another_chain_is_left_alone(hand: ByHand, end: Any, kind: str) -> None:
    first = await hand.start("wf")
    await hand.step("wf", commands.complete())
    second = await hand.start("wf")
    with pytest.raises(RpcError) as refused:
        await end(hand, second, first)
    assert refused.value.code is StatusCode.NOT_FOUND
    assert kind not in await hand.kinds("wf")


async def test_cancelling_what_has_closed_is_done_whatever_chain_is_named(hand: ByHand) -> None:
    await hand.start("wf")
    await hand.step("wf", commands.complete())
    await cancel(hand, "", new_run_id())
    assert (await hand.kinds("wf"))[-1] == "WorkflowExecutionCompleted"


async def crowd(hand: ByHand, **fields: Any) -> str:
    """A run with as many events as may wait for its workflow task; its id."""
    run_id = await hand.start("wf", **fields)
    await hand.poll("wf")
    for _ in range(WAITING_EVENTS_MAX):
        await hand.signal("wf")
    return run_id


async def until_it_waits(hand: ByHand, run_id: str) -> None:
    while not (live := hand.engine.runs.get(run_id)) or not live.drained:
        await asyncio.sleep(0)


async def test_a_signal_that_waits_for_room_goes_to_the_run_that_follows() -> None:
    """The run times out before it has taken its events, and is tried again."""
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    hand = ByHand(engine)
    first = await crowd(hand, workflow_run_timeout={"seconds": 5}, retry_policy={"maximum_attempts": 2})
    waits = asyncio.ensure_future(hand.signal("wf", "late"))
    await until_it_waits(hand, first)
    await clock.advance(5)
    await asyncio.wait_for(waits, 30)
    assert (await hand.kinds("wf", first))[-1] == "WorkflowExecutionTimedOut"
    assert await hand.kinds("wf") == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled"]
    await engine.close()


async def test_a_signal_with_start_that_waits_for_room_starts_another_run_when_this_one_ends(hand: ByHand) -> None:
    """The workflow ends before it has taken its events, so its policy is asked again."""
    first = await crowd(hand)
    waits = asyncio.ensure_future(hand.service.signal_with_start_workflow_execution(signal_with_start()))
    await until_it_waits(hand, first)
    await hand.terminate("wf")
    answer = await asyncio.wait_for(waits, 30)
    assert answer.started and answer.run_id != first
    assert await hand.kinds("wf", answer.run_id) == ["WorkflowExecutionStarted", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]


def signal_with_start() -> SignalWithStartWorkflowExecutionRequest:
    request = SignalWithStartWorkflowExecutionRequest(namespace="default", workflow_id="wf", signal_name="late", request_id="late")
    request.workflow_type.name, request.task_queue.name = "Flow", "wf"
    return request


async def test_a_run_that_another_replaces_is_not_dropped_for_lack_of_room(hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has room for one: the new run, and the one that it ends is needed until that is on its way."""
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 1)
    first = await hand.start("wf")
    second = await hand.start("wf", workflow_id_conflict_policy=Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING)
    while (await hand.poll("wf")).workflow_execution.run_id != second:
        pass
    third = await hand.reset("wf", 3)
    request = signal_with_start()
    request.workflow_id_conflict_policy = Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    fourth = (await hand.service.signal_with_start_workflow_execution(request)).run_id
    assert [await hand.status("wf", run_id) for run_id in (first, second, third, fourth)] == [5, 5, 5, 1]
