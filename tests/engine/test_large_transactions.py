"""Proves that a transaction that is too large is not written: the run ends without it, and whoever asked is told."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from perdure.engine import open_engine
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage


def marker(size: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_RECORD_MARKER)
    command.record_marker_command_attributes.marker_name = "m"
    command.record_marker_command_attributes.details["d"].payloads.add().data = bytes(size)
    return command


async def test_a_worker_that_asks_for_too_much_at_once_ends_its_run() -> None:
    engine = await open_engine(MemoryStorage())
    service = engine.frontend(in_process=True)
    try:
        start = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="r")
        start.workflow_type.name, start.task_queue.name = "t", "q"
        await service.start_workflow_execution(start)
        poll = PollWorkflowTaskQueueRequest(namespace="default", identity="worker")
        poll.task_queue.name = "q"
        task = await service.poll_workflow_task_queue(poll)
        completed = RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=[marker(1_500_000)] * 3)
        signal = SignalWorkflowExecutionRequest(namespace="default", signal_name="s")
        signal.workflow_execution.workflow_id = "w"
        signaled = asyncio.ensure_future(service.signal_workflow_execution(signal))
        await asyncio.sleep(0)  # it is under way, and not durable, when the worker answers
        with pytest.raises(RpcError, match="Transaction size exceeds limit") as refused:
            await service.respond_workflow_task_completed(completed)
        assert refused.value.code is StatusCode.INVALID_ARGUMENT
        await signaled
        read = GetWorkflowExecutionHistoryRequest(namespace="default", execution=WorkflowExecution(workflow_id="w"))
        events = (await service.get_workflow_execution_history(read)).history.events
        assert [event.event_type for event in events] == [
            E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
            E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
            E.EVENT_TYPE_WORKFLOW_TASK_STARTED,
            E.EVENT_TYPE_WORKFLOW_TASK_FAILED,
            E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
            E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        ]
        ended = events[-1].workflow_execution_terminated_event_attributes
        assert (ended.reason, ended.identity) == ("Transaction size exceeds limit.", "history-service")
    finally:
        await engine.close()
