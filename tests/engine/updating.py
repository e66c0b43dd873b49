"""An engine with one workflow, and a worker made by hand: it answers updates as a test says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType, UpdateWorkflowExecutionLifecycleStage
from temporalio.api.protocol.v1 import Message
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from core_updates import update_request

from perdure.engine.engine import Engine

ADMITTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def start_request(**fields: Any) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id="wf", request_id="start")
    request.workflow_type.name, request.task_queue.name = "Flow", "queue"
    request.MergeFrom(StartWorkflowExecutionRequest(**fields))
    return request


class Hand:
    """Client and worker of one engine. As a client it waits in the background; as a worker it does one thing at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.service = engine.frontend(in_process=False)

    async def start(self, **fields: Any) -> str:
        return (await self.service.start_workflow_execution(start_request(**fields))).run_id

    async def idle(self) -> None:
        """The first workflow task is done."""
        await self.complete(await self.poll())

    def update(self, update_id: str, stage: Any = 0, **fields: Any) -> asyncio.Task[UpdateWorkflowExecutionResponse]:
        request = update_request(update_id, namespace="default", wait_policy={"lifecycle_stage": stage}, **fields)
        return asyncio.ensure_future(self.service.update_workflow_execution(request))

    async def ask(self, update_id: str, stage: Any = 0, **fields: Any) -> asyncio.Task[UpdateWorkflowExecutionResponse]:
        """An update that has been admitted when this returns."""
        asked = self.update(update_id, stage, **fields)
        await self.admitted(update_id, asked)
        return asked

    async def admitted(self, update_id: str, asked: asyncio.Future[Any]) -> None:
        """Returns when the update can be found, or its caller has an answer."""
        while True:
            found = await asyncio.gather(self.look(update_id), return_exceptions=True)
            if asked.done() or not isinstance(found[0], BaseException):
                return
            await asyncio.sleep(0)

    async def look(self, update_id: str, stage: Any = 0) -> PollWorkflowExecutionUpdateResponse:
        request = PollWorkflowExecutionUpdateRequest(namespace="default", wait_policy={"lifecycle_stage": stage})
        request.update_ref.update_id = update_id
        request.update_ref.workflow_execution.workflow_id = "wf"
        return await self.service.poll_workflow_execution_update(request)

    async def signal(self, name: str = "go") -> None:
        request = SignalWorkflowExecutionRequest(namespace="default", signal_name=name)
        request.workflow_execution.workflow_id = "wf"
        await self.service.signal_workflow_execution(request)

    def polling(self) -> asyncio.Task[PollWorkflowTaskQueueResponse]:
        request = PollWorkflowTaskQueueRequest(namespace="default", identity="hand")
        request.task_queue.name = "queue"
        return asyncio.ensure_future(self.service.poll_workflow_task_queue(request))

    async def poll(self) -> PollWorkflowTaskQueueResponse:
        return await asyncio.wait_for(self.polling(), 30)

    async def complete(self, task: PollWorkflowTaskQueueResponse, *messages: Message, commands: list[Command] | None = None) -> Any:
        request = RespondWorkflowTaskCompletedRequest(
            namespace="default", task_token=task.task_token, identity="hand", messages=messages, commands=commands or []
        )
        return await self.service.respond_workflow_task_completed(request)

    async def kinds(self, run_id: str = "") -> list[str]:
        """The event types of the durable history, short."""
        request = GetWorkflowExecutionHistoryRequest(namespace="default")
        request.execution.workflow_id, request.execution.run_id = "wf", run_id
        events = (await self.service.get_workflow_execution_history(request)).history.events
        return [EventType.Name(e.event_type).removeprefix("EVENT_TYPE_").replace("_", " ").title().replace(" ", "") for e in events]


def said(payloads: Payloads) -> str:
    return payloads.payloads[0].data.decode().strip('"')
