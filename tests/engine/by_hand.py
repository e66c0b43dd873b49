"""Client and worker of one engine, by hand: each workflow has the queue of its name, and its worker does what a test says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ResetWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands

from perdure.engine.engine import Engine


def execution(workflow_id: str, run_id: str = "") -> WorkflowExecution:
    return WorkflowExecution(workflow_id=workflow_id, run_id=run_id)


def kinds(events: Any) -> list[str]:
    """Event types, short: `WorkflowTaskStarted`."""
    return [E.Name(event.event_type).removeprefix("EVENT_TYPE_").title().replace("_", "") for event in events]


def child(workflow_id: str, **fields: Any) -> Command:
    """Starts a child on the queue of its name."""
    return commands.start_child(workflow_id, task_queue={"name": workflow_id}, **fields)


class ByHand:
    """What clients and workers ask of the engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.service = engine.frontend(in_process=False)

    async def start(self, workflow_id: str, **fields: Any) -> str:
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id)
        request.workflow_type.name, request.task_queue.name = "Flow", workflow_id
        request.MergeFrom(StartWorkflowExecutionRequest(**fields))
        return (await self.service.start_workflow_execution(request)).run_id

    async def poll(self, workflow_id: str) -> PollWorkflowTaskQueueResponse:
        request = PollWorkflowTaskQueueRequest(namespace="default", identity="by hand")
        request.task_queue.name = workflow_id
        async with asyncio.timeout(30):
            return await self.service.poll_workflow_task_queue(request)

    async def complete(self, task: PollWorkflowTaskQueueResponse, *todo: Command, **fields: Any) -> None:
        request = RespondWorkflowTaskCompletedRequest(
            namespace="default", task_token=task.task_token, identity="by hand", commands=todo, **fields
        )
        await self.service.respond_workflow_task_completed(request)

    async def step(self, workflow_id: str, *todo: Command) -> list[str]:
        """Its next workflow task, which does this; gives the kinds of the events that it saw."""
        task = await self.poll(workflow_id)
        await self.complete(task, *todo)
        return kinds(task.history.events)

    async def signal(self, workflow_id: str, name: str = "go", **fields: Any) -> None:
        request = SignalWorkflowExecutionRequest(namespace="default", workflow_execution=execution(workflow_id), signal_name=name, **fields)
        await self.service.signal_workflow_execution(request)

    async def terminate(self, workflow_id: str, run_id: str = "") -> None:
        request = TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=execution(workflow_id, run_id))
        await self.service.terminate_workflow_execution(request)

    async def delete(self, workflow_id: str, run_id: str = "") -> None:
        request = DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=execution(workflow_id, run_id))
        await self.service.delete_workflow_execution(request)

    async def reset(self, workflow_id: str, point: int, run_id: str = "", **fields: Any) -> str:
        request = ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=execution(workflow_id, run_id),
            workflow_task_finish_event_id=point,
            reason="again",
            **fields,
        )
        return (await self.service.reset_workflow_execution(request)).run_id

    async def events(self, workflow_id: str, run_id: str = "") -> list[HistoryEvent]:
        request = GetWorkflowExecutionHistoryRequest(namespace="default", execution=execution(workflow_id, run_id))
        return list((await self.service.get_workflow_execution_history(request)).history.events)

    async def kinds(self, workflow_id: str, run_id: str = "") -> list[str]:
        return kinds(await self.events(workflow_id, run_id))

    async def until(self, workflow_id: str, kind: str, run_id: str = "") -> HistoryEvent:
        """The first event of a kind, as soon as it is durable."""
        request = GetWorkflowExecutionHistoryRequest(namespace="default", execution=execution(workflow_id, run_id), wait_new_event=True)
        async with asyncio.timeout(30):
            while True:
                page = await self.service.get_workflow_execution_history(request)
                for event in page.history.events:
                    if kinds([event]) == [kind]:
                        return event
                assert page.next_page_token, f"{workflow_id} ended without {kind}"
                request.next_page_token = page.next_page_token

    async def status(self, workflow_id: str, run_id: str = "") -> int:
        request = DescribeWorkflowExecutionRequest(namespace="default", execution=execution(workflow_id, run_id))
        return (await self.service.describe_workflow_execution(request)).workflow_execution_info.status
