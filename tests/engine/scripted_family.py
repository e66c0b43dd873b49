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
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from core_support import check_history

from perdure.model.rpc import RpcError
from perdure.storage import SQLiteStorage, WorkflowStorage
from perdure.storage.contract import join_history

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


RUNNING, COMPLETED, CANCELED, TERMINATED = 1, 2, 4, 5
LEFT = {"leaver": COMPLETED} | {f"leaver-{n}": (TERMINATED, CANCELED, RUNNING)[n % 3] for n in range(CHILDREN)}
"""How the leaver's family stands when all is done: one third ended, one third cancelled itself, one third was abandoned."""
EVERYBODY = (("Receiver", "receiver"), ("Receiver", "quitter"), ("Parent", "parent"), ("Leaver", "leaver"))
ALL_DONE = {"parent": COMPLETED, "quitter": CANCELED, "receiver": RUNNING, **LEFT, **{f"parent-{n}": COMPLETED for n in range(CHILDREN)}}


class Worker:
    """Polls until it is stopped; what is refused is asked again by the engine.

    A poll in process that is cancelled when its task has come gives the task all the same (see `Matching.poll`): so a slot is told to
    end as well, else it would poll once more and wait for a minute.
    """

    def __init__(self, service: Any, slots: int = 4) -> None:
        self._service = service
        self._ends = False
        self._tasks = [asyncio.get_running_loop().create_task(self._work()) for _ in range(slots)]

    async def _work(self) -> None:
        poll = PollWorkflowTaskQueueRequest(namespace="default", identity="scripted")
        poll.task_queue.name = "queue"
        while not self._ends:
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
        self._ends = True
        for task in self._tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)


Histories = dict[str, list[list[HistoryEvent]]]


def stored(storage: WorkflowStorage) -> Histories:
    """Every history by workflow id, in the order of the runs."""
    found: Histories = {}
    for shown in storage.list_runs("default", None, 1000):
        run = storage.load_run(shown.run_id)
        assert run is not None
        found.setdefault(shown.workflow_id, []).append(list(History.FromString(join_history(run.history)).events))
    return found


async def start_all(service: Any) -> None:
    """Starts those that are not started by others, as often as it takes."""
    for workflow_type, workflow_id in EVERYBODY:
        while True:
            try:
                await service.start_workflow_execution(start_request(workflow_type, workflow_id))
                break
            except RpcError as error:
                if error.code.name != "UNAVAILABLE":
                    raise
                await asyncio.sleep(0.01)


def all_stand(storage: WorkflowStorage, wanted: dict[str, int]) -> bool:
    """Whether lists show these workflows with these statuses, nothing is due at once any more, and what came is in the histories.

    An event that comes while a workflow task is out is buffered until that ends; and it may be out for long after its worker was lost.
    """
    runs = storage.list_runs("default", None, 1000)
    if {each.workflow_id: each.status for each in runs} != wanted or storage.due_runs(1, 1):
        return False
    return not any(run is None or run.buffered for run in storage.load_runs([each.run_id for each in runs]))


def check_once(histories: Histories) -> None:
    """Each thing happened once, and its sender heard of it once."""
    assert {workflow_id: len(runs) for workflow_id, runs in histories.items()} == dict.fromkeys(ALL_DONE, 1)
    for runs in histories.values():
        check_history(runs[0])
    parent = kinds(histories["parent"][0])
    assert parent["ChildWorkflowExecutionStarted"] == parent["ChildWorkflowExecutionCompleted"] == CHILDREN
    assert parent["ExternalWorkflowExecutionSignaled"] == SIGNALS and parent["ExternalWorkflowExecutionCancelRequested"] == 1
    assert kinds(histories["receiver"][0])["WorkflowExecutionSignaled"] == SIGNALS
    assert kinds(histories["quitter"][0])["WorkflowExecutionCancelRequested"] == 1
    started = [event for event in histories["parent"][0] if event.HasField("child_workflow_execution_started_event_attributes")]
    for event in started:
        execution = event.child_workflow_execution_started_event_attributes.workflow_execution
        begun = histories[execution.workflow_id][0][0].workflow_execution_started_event_attributes
        assert begun.original_execution_run_id == execution.run_id


def check_stored_once(path: Path) -> None:
    """As `check_once`, of what a file holds."""
    storage = SQLiteStorage(path)
    storage.open()
    try:
        check_once(stored(storage))
    finally:
        storage.close()
