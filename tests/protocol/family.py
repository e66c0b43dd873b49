"""Workflows for the tests of what one run does to another, and the story that a history tells."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.common import Priority, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, ChildWorkflowError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

STARTED = ["WorkflowExecutionStarted"]
TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
INITIATED = ["StartChildWorkflowExecutionInitiated"]
CHILD_RUNS = ["ChildWorkflowExecutionStarted"]
END = "WorkflowExecutionCompleted"


@workflow.defn
class Child:
    """Ends as it is told to; waits otherwise."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, how: str) -> str:
        if how == "fail":
            raise ApplicationError("the child failed", type="Bad", non_retryable=True)
        if how == "retry":
            if workflow.info().attempt < 3:
                raise ApplicationError(f"attempt {workflow.info().attempt}")
            return "third time lucky"
        if how == "continue":
            workflow.continue_as_new("complete")
        if how == "wait":
            await workflow.wait_condition(lambda: bool(self.told))
        if how == "stubborn":
            try:
                await workflow.wait_condition(lambda: False)
            except asyncio.CancelledError:
                await workflow.sleep(0.01)
                return "cleaned up"
        return ",".join(self.told) or "done"

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)


@workflow.defn
class Parent:
    """Runs one child and says how it ended."""

    @workflow.run
    async def run(self, how: str, options: dict[str, Any]) -> str:
        made: dict[str, Any] = {"id": f"{workflow.info().workflow_id}-child", **options}
        if "run_timeout" in made:
            made["run_timeout"] = timedelta(seconds=made["run_timeout"])
        if "attempts" in made:
            made["retry_policy"] = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=made.pop("attempts"))
        if "reuse" in made:
            made["id_reuse_policy"] = WorkflowIDReusePolicy(made.pop("reuse"))
        if "priority" in made:
            made["priority"] = Priority(priority_key=made["priority"])
        try:
            return await workflow.execute_child_workflow(Child.run, how, **made)
        except ChildWorkflowError as error:
            return f"{type(error.cause).__name__} {error.retry_state.name if error.retry_state else ''}".strip()


@workflow.defn
class Leaver:
    """Starts a child and ends in some way, with the child still open."""

    def __init__(self) -> None:
        self.may_go = False

    @workflow.run
    async def run(self, policy: int, way: str) -> str:
        if way == "again":
            return "second run"
        await workflow.start_child_workflow(
            Child.run, "wait", id=f"{workflow.info().workflow_id}-child", parent_close_policy=ParentClosePolicy(policy)
        )
        await workflow.wait_condition(lambda: self.may_go)
        if way == "fail":
            raise ApplicationError("the parent failed", non_retryable=True)
        if way == "continue":
            workflow.continue_as_new(args=[policy, "again"])
        return "left"

    @workflow.signal
    def go(self) -> None:
        self.may_go = True


@workflow.defn
class Canceller:
    """Cancels its child, and says what it heard of that, and when."""

    @workflow.run
    async def run(self, how: str, cancellation: int) -> list[str]:
        child = await workflow.start_child_workflow(
            Child.run, how, id=f"{workflow.info().workflow_id}-child", cancellation_type=ChildWorkflowCancellationType(cancellation)
        )
        await workflow.sleep(0.01)
        child.cancel()
        try:
            return [await child]
        except ChildWorkflowError as error:
            return [type(error).__name__, type(error.cause).__name__]
        except asyncio.CancelledError:
            return ["CancelledError"]


@workflow.defn
class Sender:
    """Signals or cancels another workflow."""

    @workflow.run
    async def run(self, what: str, workflow_id: str, run_id: str | None = None) -> str:
        target = workflow.get_external_workflow_handle(workflow_id, run_id=run_id)
        try:
            if what == "signal":
                await target.signal(Child.tell, "hello")
            else:
                await target.cancel()
        except ApplicationError as error:
            return f"{error.type or ''} {error.message}".strip()
        return "sent"

    @workflow.signal
    def tell(self, text: str) -> None:
        """For a workflow that signals itself."""


@workflow.defn
class Flock:
    """Many children at once."""

    @workflow.run
    async def run(self, count: int) -> int:
        handles = [
            workflow.execute_child_workflow(Child.run, "complete", id=f"{workflow.info().workflow_id}-{number}") for number in range(count)
        ]
        return len([result for result in await asyncio.gather(*handles) if result == "done"])


@workflow.defn
class Grandparent:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_child_workflow(Parent.run, args=["complete", {}], id=f"{workflow.info().workflow_id}-child")


@workflow.defn
class Ticker:
    """One run of a schedule."""

    @workflow.run
    async def run(self, fails: list[int]) -> int:
        number = (workflow.get_last_completion_result(int) or 0) + 1
        failure = workflow.get_last_failure()
        if number in fails and failure is None:
            raise ApplicationError(f"run {number} fails", non_retryable=True)
        return number + (100 if failure is not None else 0)


WORKFLOWS = [Child, Parent, Leaver, Canceller, Sender, Flock, Grandparent, Ticker]


async def events(handle: WorkflowHandle[Any, Any]) -> list[HistoryEvent]:
    return [event async for event in handle.fetch_history_events()]


def names(history: list[HistoryEvent]) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").title().replace("_", "") for event in history]


async def story(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The types of a history's events, in order."""
    return names(await events(handle))


async def find(handle: WorkflowHandle[Any, Any], name: str) -> Any:
    """The attributes of the first event of a type."""
    event = next(event for event in await events(handle) if names([event]) == [name])
    return getattr(event, event.WhichOneof("attributes"))


async def until(handle: WorkflowHandle[Any, Any], name: str) -> None:
    """Returns when an event of a type is in the history."""
    async for event in handle.fetch_history_events(wait_new_event=True):
        if names([event]) == [name]:
            return
    raise AssertionError(f"{handle.id} ended without {name}")


def child_of(client: Client, parent: WorkflowHandle[Any, Any]) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(f"{parent.id}-child")
