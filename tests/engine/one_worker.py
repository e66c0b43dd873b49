"""A worker and a client of few words for one workflow, on an engine whose clock stands still unless it is told to go on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import QueryResultType, TaskQueueKind
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

from core_support import payloads, seconds

from perdure.engine.engine import Engine
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
