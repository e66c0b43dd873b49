"""Proves which run of a chain is meant: by who cancels or terminates, by who signals, and by who reads its history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest, TerminateWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from by_hand import ByHand, execution

from perdure.engine.engine import Engine
from perdure.model.ids import new_run_id
from perdure.model.rpc import RpcError, StatusCode


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
