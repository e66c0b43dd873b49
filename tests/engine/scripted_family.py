"""A worker without an SDK: it decides from the whole history what a workflow does next, so that it can be stopped anywhere.

`Parent` starts children, signals one receiver and asks another to cancel itself; when all has been answered it says what it heard.
`Child` completes at once. `Receiver` waits for ever, unless it is asked to cancel itself. `Leaver` starts children and leaves them open.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands

from perdure.model.rpc import RpcError

CHILDREN = 12
SIGNALS = 5
ANSWERED = 2 * CHILDREN + SIGNALS + 1


def start_request(workflow_type: str, workflow_id: str) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=f"start {workflow_id}")
    request.workflow_type.name = workflow_type
    request.task_queue.name = "queue"
    request.workflow_task_timeout.seconds = 1
    return request


def kinds(events: Sequence[HistoryEvent]) -> Counter[str]:
    return Counter(E.Name(event.event_type).removeprefix("EVENT_TYPE_").title().replace("_", "") for event in events)


def decide(workflow_type: str, workflow_id: str, events: Sequence[HistoryEvent]) -> list[Command]:
    """The commands of a workflow that has seen these events."""
    seen = kinds(events)
    if workflow_type == "Child":
        return [commands.complete("child")]
    if workflow_type == "Receiver":
        return [commands.cancel()] if seen["WorkflowExecutionCancelRequested"] else []
    children = [commands.start_child(f"{workflow_id}-{number}", workflow_task_timeout={"seconds": 1}) for number in range(CHILDREN)]
    if workflow_type == "Leaver":
        if not seen["StartChildWorkflowExecutionInitiated"]:
            for number, child in enumerate(children):
                child.start_child_workflow_execution_command_attributes.workflow_type.name = "Receiver"
                child.start_child_workflow_execution_command_attributes.parent_close_policy = (1, 3, 2)[number % 3]  # type: ignore[assignment]
            return children
        return [commands.complete("left")] if seen["ChildWorkflowExecutionStarted"] == CHILDREN else []
    if not seen["StartChildWorkflowExecutionInitiated"]:
        return [*children, *(commands.signal_external("receiver") for _ in range(SIGNALS)), commands.cancel_external("quitter")]
    heard = (
        seen["ChildWorkflowExecutionStarted"]
        + seen["ChildWorkflowExecutionCompleted"]
        + seen["ExternalWorkflowExecutionSignaled"]
        + seen["ExternalWorkflowExecutionCancelRequested"]
    )
    return [commands.complete("heard all")] if heard == ANSWERED else []


class Worker:
    """Polls until it is stopped; what is refused is asked again by the engine."""

    def __init__(self, service: Any, slots: int = 4) -> None:
        self._service = service
        self._tasks = [asyncio.get_running_loop().create_task(self._work()) for _ in range(slots)]

    async def _work(self) -> None:
        poll = PollWorkflowTaskQueueRequest(namespace="default", identity="scripted")
        poll.task_queue.name = "queue"
        while True:
            try:
                task = await self._service.poll_workflow_task_queue(poll)
                if not task.task_token:
                    await asyncio.sleep(0)
                    continue
                todo = decide(task.workflow_type.name, task.workflow_execution.workflow_id, task.history.events)
                await self._service.respond_workflow_task_completed(
                    RespondWorkflowTaskCompletedRequest(task_token=task.task_token, identity="scripted", commands=todo)
                )
            except RpcError:
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
