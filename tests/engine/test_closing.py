"""Proves that an engine which closes answers every call under way, with what was done or with UNAVAILABLE: none hangs, none breaks."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from by_hand import ByHand
from core_updates import update_request

from perdure.engine import live_runs, open_engine
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import SQLiteStorage

WORKFLOWS = 40
CALLS = 300
BROKEN = (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS, StatusCode.DEADLINE_EXCEEDED)


def call(service: Any, roll: random.Random, number: int) -> Awaitable[Any]:
    """Some call that concerns some workflow."""
    execution = WorkflowExecution(workflow_id=f"wf{roll.randrange(WORKFLOWS)}")
    update = update_request(f"u{number}", namespace="default")
    update.workflow_execution.CopyFrom(execution)
    query = QueryWorkflowRequest(namespace="default", execution=execution)
    query.query.query_type = "anything"
    calls = (
        (service.signal_workflow_execution, SignalWorkflowExecutionRequest(workflow_execution=execution, signal_name="s")),
        (service.describe_workflow_execution, DescribeWorkflowExecutionRequest(execution=execution)),
        (service.get_workflow_execution_history, GetWorkflowExecutionHistoryRequest(execution=execution)),
        (service.get_workflow_execution_history, GetWorkflowExecutionHistoryRequest(execution=execution, wait_new_event=True)),
        (service.request_cancel_workflow_execution, RequestCancelWorkflowExecutionRequest(workflow_execution=execution)),
        (service.terminate_workflow_execution, TerminateWorkflowExecutionRequest(workflow_execution=execution)),
        (service.delete_workflow_execution, DeleteWorkflowExecutionRequest(workflow_execution=execution)),
        (
            service.reset_workflow_execution,
            ResetWorkflowExecutionRequest(workflow_execution=execution, workflow_task_finish_event_id=3, request_id=f"r{number}"),
        ),
        (service.update_workflow_execution, update),
        (service.query_workflow, query),
    )
    method, request = roll.choice(calls)
    request.namespace = "default"
    return method(request)


@pytest.mark.parametrize("seed", range(6))
async def test_every_call_under_way_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Most of them wait for a read, since memory holds few of the runs; and half of them begin when the engine is closing."""
    print(f"seed {seed}")
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 8)
    roll = random.Random(seed)
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    hand = ByHand(engine)
    for number in range(WORKFLOWS):
        await hand.start(f"wf{number}")
        await hand.poll(f"wf{number}")
    calls = [asyncio.ensure_future(call(hand.service, roll, number)) for number in range(CALLS // 2)]
    for _ in range(roll.randrange(20)):
        await asyncio.sleep(0)
    closing = asyncio.ensure_future(engine.close())
    for number in range(CALLS // 2, CALLS):
        calls.append(asyncio.ensure_future(call(hand.service, roll, number)))
        if number % 50 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await closing
    broken = [each for each in answers if isinstance(each, BaseException) and not (isinstance(each, RpcError) and each.code not in BROKEN)]
    assert broken == []
    assert any(isinstance(each, RpcError) and each.code is StatusCode.UNAVAILABLE for each in answers)
