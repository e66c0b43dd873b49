"""Proves child workflows with the official SDK: every end, chains, close policies, cancellation types, ids, and what a child is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import Priority
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy
from tests.protocol.conftest import Workers
from tests.protocol.family import (
    CHILD_RUNS,
    END,
    INITIATED,
    STARTED,
    TASK,
    WORKFLOWS,
    Canceller,
    Child,
    Flock,
    Grandparent,
    Leaver,
    Parent,
    child_of,
    find,
    story,
    until,
)

Handle = WorkflowHandle[Any, Any]
S = WorkflowExecutionStatus


@pytest.fixture
async def queue(worker: Workers) -> AsyncGenerator[str]:
    async with worker(WORKFLOWS) as running:
        yield running.task_queue


async def start_parent(client: Client, queue: str, how: str, **options: Any) -> Handle:
    return await client.start_workflow(Parent.run, args=[how, options], id="parent", task_queue=queue)


def told(name: str) -> list[str]:
    """The whole story of a parent that runs one child and then ends."""
    return [*STARTED, *TASK, *INITIATED, *CHILD_RUNS, *TASK, f"ChildWorkflowExecution{name}", *TASK, END]


# Every end.


async def test_a_child_completes(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "complete")
    assert await parent.result() == "done"
    assert await story(parent) == told("Completed")
    assert await story(child_of(client, parent)) == [*STARTED, *TASK, END]
    initiated = await find(parent, "StartChildWorkflowExecutionInitiated")
    assert (initiated.workflow_id, initiated.workflow_type.name, initiated.task_queue.name) == ("parent-child", "Child", queue)
    assert (initiated.parent_close_policy, initiated.workflow_id_reuse_policy) == (1, 1)
    assert initiated.workflow_task_completed_event_id == 4 and initiated.workflow_task_timeout.seconds == 10
    started = await find(parent, "ChildWorkflowExecutionStarted")
    completed = await find(parent, "ChildWorkflowExecutionCompleted")
    assert (started.initiated_event_id, completed.initiated_event_id, completed.started_event_id) == (5, 5, 6)
    assert started.workflow_execution == completed.workflow_execution and completed.result.payloads[0].data == b'"done"'


async def test_a_child_fails(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "fail")
    assert await parent.result() == "ApplicationError RETRY_POLICY_NOT_SET"
    assert await story(parent) == told("Failed")
    failed = await find(parent, "ChildWorkflowExecutionFailed")
    assert (failed.failure.message, failed.failure.application_failure_info.type) == ("the child failed", "Bad")


async def test_a_child_times_out(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "wait", run_timeout=5)
    assert await parent.result() == "TimeoutError RETRY_POLICY_NOT_SET"
    assert await story(parent) == told("TimedOut")


async def test_a_child_is_cancelled_from_outside(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "wait")
    await until(parent, "ChildWorkflowExecutionStarted")
    await child_of(client, parent).cancel()
    assert (await parent.result()).startswith("CancelledError")
    assert await story(parent) == told("Canceled")


async def test_a_child_is_terminated_from_outside(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "wait")
    await until(parent, "ChildWorkflowExecutionStarted")
    await child_of(client, parent).terminate("enough")
    assert (await parent.result()).startswith("TerminatedError")
    assert await story(parent) == told("Terminated")


# Chains: only their end is told.


async def test_a_child_that_continues_as_new(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "continue")
    assert await parent.result() == "done"
    assert await story(parent) == told("Completed")
    first = (await find(parent, "ChildWorkflowExecutionStarted")).workflow_execution.run_id
    last = (await find(parent, "ChildWorkflowExecutionCompleted")).workflow_execution.run_id
    assert first != last
    begun: WorkflowExecutionStartedEventAttributes = await find(client.get_workflow_handle("parent-child", run_id=last), STARTED[0])
    assert begun.parent_workflow_execution.workflow_id == "parent" and begun.first_execution_run_id == first
    assert begun.root_workflow_execution == begun.parent_workflow_execution


async def test_a_child_that_is_tried_again(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "retry", attempts=5)
    assert await parent.result() == "third time lucky"
    assert await story(parent) == told("Completed")


async def test_a_child_whose_attempts_are_used_up(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "retry", attempts=2)
    assert await parent.result() == "ApplicationError MAXIMUM_ATTEMPTS_REACHED"
    assert await story(parent) == told("Failed")


async def test_a_child_on_a_schedule_runs_until_it_is_terminated(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "complete", cron_schedule="@every 1s")
    await until(parent, "ChildWorkflowExecutionStarted")
    child = child_of(client, parent)
    first = await child.describe()
    await until(client.get_workflow_handle(child.id, run_id=first.run_id), END)
    second = await child.describe()
    assert second.run_id != first.run_id and second.status == S.RUNNING and second.parent_id == "parent"
    await child.terminate()
    assert (await parent.result()).startswith("TerminatedError")
    assert await story(parent) == told("Terminated")


# Close policies.


async def leave(client: Client, queue: str, policy: ParentClosePolicy, way: str) -> tuple[Handle, Handle]:
    """A parent that has ended in some way; and its child, which was open then."""
    parent = await client.start_workflow(Leaver.run, args=[int(policy), way], id="leaver", task_queue=queue)
    await until(parent, "ChildWorkflowExecutionStarted")
    if way == "terminate":
        await parent.terminate()
    elif way == "cancel":
        await parent.cancel()
    else:
        await parent.signal(Leaver.go)
    if way in ("terminate", "cancel", "fail"):
        with pytest.raises(WorkflowFailureError):
            await parent.result()
    else:
        await parent.result()
    return parent, child_of(client, parent)


@pytest.mark.parametrize("way", ["complete", "fail", "cancel", "terminate", "continue"])
async def test_a_child_ends_with_its_parent_however_that_ends(client: Client, queue: str, way: str) -> None:
    _, child = await leave(client, queue, ParentClosePolicy.TERMINATE, way)
    with pytest.raises(WorkflowFailureError):
        await child.result()
    ended = await find(child, "WorkflowExecutionTerminated")
    assert (ended.reason, ended.identity) == ("by parent close policy", "history-service")


async def test_a_child_ends_with_a_parent_that_times_out(client: Client, queue: str) -> None:
    parent = await client.start_workflow(Leaver.run, args=[1, "never"], id="leaver", task_queue=queue, run_timeout=timedelta(seconds=6))
    with pytest.raises(WorkflowFailureError):
        await parent.result()
    with pytest.raises(WorkflowFailureError):
        await child_of(client, parent).result()
    assert (await child_of(client, parent).describe()).status == S.TERMINATED


async def test_a_child_is_asked_to_cancel_itself_when_its_parent_ends(client: Client, queue: str) -> None:
    parent, child = await leave(client, queue, ParentClosePolicy.REQUEST_CANCEL, "complete")
    with pytest.raises(WorkflowFailureError):
        await child.result()
    assert (await child.describe()).status == S.CANCELED
    asked = await find(child, "WorkflowExecutionCancelRequested")
    assert asked.external_workflow_execution.workflow_id == parent.id and asked.identity == "history-service"


@pytest.mark.parametrize("way", ["complete", "continue", "terminate"])
async def test_an_abandoned_child_lives_on(client: Client, queue: str, way: str) -> None:
    _, child = await leave(client, queue, ParentClosePolicy.ABANDON, way)
    assert (await child.describe()).status == S.RUNNING
    await child.signal(Child.tell, "alone")
    assert await child.result() == "alone"


# Cancellation from the parent's code.

REQUESTED = ["RequestCancelExternalWorkflowExecutionInitiated", "ExternalWorkflowExecutionCancelRequested"]


async def cancelled(client: Client, queue: str, how: str, cancellation: ChildWorkflowCancellationType) -> tuple[Handle, Any]:
    parent = await client.start_workflow(Canceller.run, args=[how, int(cancellation)], id="parent", task_queue=queue)
    return parent, await parent.result()


async def test_waiting_until_a_cancelled_child_has_ended(client: Client, queue: str) -> None:
    parent, heard = await cancelled(client, queue, "stubborn", ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED)
    assert heard == ["cleaned up"]
    kinds = await story(parent)
    assert [kind for kind in kinds if kind in (*REQUESTED, "ChildWorkflowExecutionCompleted")] == [
        *REQUESTED,
        "ChildWorkflowExecutionCompleted",
    ]


async def test_waiting_until_a_child_was_asked_to_cancel_itself(client: Client, queue: str) -> None:
    """(The official SDK's core goes on waiting until the child has ended.)"""
    parent, heard = await cancelled(client, queue, "stubborn", ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED)
    assert heard == ["cleaned up"]
    assert [kind for kind in await story(parent) if kind in REQUESTED] == REQUESTED


async def test_trying_to_cancel_a_child(client: Client, queue: str) -> None:
    parent, heard = await cancelled(client, queue, "wait", ChildWorkflowCancellationType.TRY_CANCEL)
    assert heard[-1] == "CancelledError"
    assert REQUESTED[0] in await story(parent)


async def test_abandoning_a_child_asks_it_nothing(client: Client, queue: str) -> None:
    parent, heard = await cancelled(client, queue, "wait", ChildWorkflowCancellationType.ABANDON)
    assert heard[-1] == "CancelledError"
    assert REQUESTED[0] not in await story(parent)


async def test_a_cancelled_parent_passes_it_on(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "wait")
    await until(parent, "ChildWorkflowExecutionStarted")
    await parent.cancel()
    assert (await parent.result()).startswith("CancelledError")
    assert (await child_of(client, parent).describe()).status == S.CANCELED
    asked = await find(child_of(client, parent), "WorkflowExecutionCancelRequested")
    assert asked.external_workflow_execution.workflow_id == "parent" and asked.external_initiated_event_id > 0


# Workflow ids.


async def refused(client: Client, parent: Handle) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await parent.result()
    assert isinstance(caught.value.cause, WorkflowAlreadyStartedError) or "already" in str(caught.value.cause)
    assert await story(parent) == [*STARTED, *TASK, *INITIATED, "StartChildWorkflowExecutionFailed", *TASK, "WorkflowExecutionFailed"]
    failed = await find(parent, "StartChildWorkflowExecutionFailed")
    assert (failed.cause, failed.initiated_event_id, failed.workflow_id) == (1, 5, "parent-child")


async def test_a_child_whose_id_is_taken(client: Client, queue: str) -> None:
    other = await client.start_workflow(Child.run, "wait", id="parent-child", task_queue=queue)
    await refused(client, await start_parent(client, queue, "complete"))
    assert (await other.describe()).status == S.RUNNING


async def test_a_child_whose_id_was_used(client: Client, queue: str) -> None:
    await client.execute_workflow(Child.run, "complete", id="parent-child", task_queue=queue)
    await refused(client, await start_parent(client, queue, "complete", reuse=3))


async def test_a_child_may_take_an_id_that_was_used(client: Client, queue: str) -> None:
    await client.execute_workflow(Child.run, "complete", id="parent-child", task_queue=queue)
    assert await (await start_parent(client, queue, "complete")).result() == "done"


async def test_a_child_may_end_who_has_its_id(client: Client, queue: str) -> None:
    other = await client.start_workflow(Child.run, "wait", id="parent-child", task_queue=queue)
    parent = await start_parent(client, queue, "complete", reuse=4)
    assert await parent.result() == "done"
    ended = client.get_workflow_handle("parent-child", run_id=other.first_execution_run_id)
    assert (await ended.describe()).status == S.TERMINATED
    assert await story(parent) == told("Completed")


# What a child is given, and what is seen of it.


async def test_what_a_child_is_given(client: Client, queue: str) -> None:
    parent = await start_parent(
        client, queue, "wait", memo={"m": 1}, static_summary="summary", priority=2, cron_schedule="", run_timeout=60
    )
    await until(parent, "ChildWorkflowExecutionStarted")
    child = child_of(client, parent)
    described = await child.describe()
    assert await described.memo() == {"m": 1} and await described.static_summary() == "summary"
    assert (described.parent_id, described.root_id) == ("parent", "parent")
    begun = await find(child, STARTED[0])
    assert begun.workflow_run_timeout.seconds == 60 and begun.priority == Priority(priority_key=2)._to_proto()
    assert begun.parent_workflow_namespace == "default" and begun.parent_initiated_event_id == 5
    (pending,) = (await parent.describe()).raw_description.pending_children
    assert (pending.workflow_id, pending.workflow_type_name, pending.initiated_id) == ("parent-child", "Child", 5)
    assert (pending.run_id, pending.parent_close_policy) == (described.run_id, 1)
    await child.signal(Child.tell, "bye")
    assert await parent.result() == "bye"
    assert not (await parent.describe()).raw_description.pending_children


async def test_a_grandchild_knows_the_root(client: Client, queue: str) -> None:
    top = await client.start_workflow(Grandparent.run, id="top", task_queue=queue)
    assert await top.result() == "done"
    begun = await find(client.get_workflow_handle("top-child-child"), STARTED[0])
    assert begun.root_workflow_execution.workflow_id == "top" and begun.root_workflow_execution.run_id == top.first_execution_run_id
    assert begun.parent_workflow_execution.workflow_id == "top-child"


async def test_a_flock_of_children(client: Client, queue: str) -> None:
    """More answers than may wait for one workflow task: they wait for their turn, and no task fails for them."""
    parent = await client.start_workflow(Flock.run, 300, id="flock", task_queue=queue)
    assert await asyncio.wait_for(parent.result(), 40) == 300
    kinds = await story(parent)
    assert "WorkflowTaskFailed" not in kinds and kinds.count("ChildWorkflowExecutionCompleted") == 300


async def test_a_parent_that_is_reset_keeps_its_child(client: Client, queue: str) -> None:
    parent = await start_parent(client, queue, "wait")
    await until(parent, "ChildWorkflowExecutionStarted")
    child = await child_of(client, parent).describe()
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id="parent"),
            workflow_task_finish_event_id=8,
            request_id="again",
            reason="once more",
        )
    )
    again = client.get_workflow_handle("parent")
    assert (await child_of(client, parent).describe()).status == S.RUNNING
    await child_of(client, parent).signal(Child.tell, "still here")
    assert await again.result() == "still here"
    assert (await child_of(client, parent).describe()).run_id == child.run_id
