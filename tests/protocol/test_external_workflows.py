"""Proves signals and cancel requests from one workflow to another with the official SDK: those that arrive and those that cannot."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from tests.protocol.conftest import Workers
from tests.protocol.family import END, STARTED, TASK, WORKFLOWS, Child, Sender, find, story

SIGNAL = "SignalExternalWorkflowExecutionInitiated"
CANCEL = "RequestCancelExternalWorkflowExecutionInitiated"


@pytest.fixture
async def queue(worker: Workers) -> AsyncGenerator[str]:
    async with worker(WORKFLOWS) as running:
        yield running.task_queue


async def send(client: Client, queue: str, what: str, *target: str) -> WorkflowHandle[Any, Any]:
    sender = await client.start_workflow(Sender.run, args=[what, *target], id="sender", task_queue=queue)
    await sender.result()
    return sender


def told(*middle: str) -> list[str]:
    return [*STARTED, *TASK, *middle, *TASK, END]


async def test_a_signal_arrives(client: Client, queue: str) -> None:
    receiver = await client.start_workflow(Child.run, "wait", id="receiver", task_queue=queue)
    sender = await send(client, queue, "signal", "receiver")
    assert await receiver.result() == "hello"
    assert await story(sender) == told(SIGNAL, "ExternalWorkflowExecutionSignaled")
    assert await story(receiver) == [*STARTED, *TASK, "WorkflowExecutionSignaled", *TASK, END]
    signaled = await find(receiver, "WorkflowExecutionSignaled")
    assert (signaled.signal_name, signaled.identity) == ("tell", "history-service")
    assert signaled.external_workflow_execution.workflow_id == "sender"
    answer = await find(sender, "ExternalWorkflowExecutionSignaled")
    assert (answer.initiated_event_id, answer.workflow_execution.workflow_id) == (5, "receiver")


async def test_a_signal_to_a_run(client: Client, queue: str) -> None:
    receiver = await client.start_workflow(Child.run, "wait", id="receiver", task_queue=queue)
    assert receiver.first_execution_run_id is not None
    await send(client, queue, "signal", "receiver", receiver.first_execution_run_id)
    assert await receiver.result() == "hello"


@pytest.mark.parametrize("why", ["unknown", "closed", "itself"])
async def test_a_signal_that_cannot_arrive(client: Client, queue: str, why: str) -> None:
    await client.execute_workflow(Child.run, "complete", id="closed", task_queue=queue)
    sender = await send(client, queue, "signal", "sender" if why == "itself" else why)
    assert "not found" in (await sender.result()).lower()
    assert await story(sender) == told(SIGNAL, "SignalExternalWorkflowExecutionFailed")
    failed = await find(sender, "SignalExternalWorkflowExecutionFailed")
    assert (failed.cause, failed.initiated_event_id) == (1, 5)


async def test_a_cancel_request_arrives(client: Client, queue: str) -> None:
    receiver = await client.start_workflow(Child.run, "wait", id="receiver", task_queue=queue)
    sender = await send(client, queue, "cancel", "receiver")
    with pytest.raises(WorkflowFailureError):
        await receiver.result()
    assert await story(sender) == told(CANCEL, "ExternalWorkflowExecutionCancelRequested")
    assert await story(receiver) == [*STARTED, *TASK, "WorkflowExecutionCancelRequested", *TASK, "WorkflowExecutionCanceled"]
    asked = await find(receiver, "WorkflowExecutionCancelRequested")
    assert (asked.external_initiated_event_id, asked.external_workflow_execution.workflow_id) == (5, "sender")


async def test_cancelling_a_workflow_that_has_ended_is_a_success(client: Client, queue: str) -> None:
    receiver = await client.start_workflow(Child.run, "complete", id="closed", task_queue=queue)
    await receiver.result()
    sender = await send(client, queue, "cancel", "closed")
    assert await sender.result() == "sent"
    assert await story(sender) == told(CANCEL, "ExternalWorkflowExecutionCancelRequested")
    assert (await receiver.describe()).status == WorkflowExecutionStatus.COMPLETED


@pytest.mark.parametrize("target", ["unknown", "sender"])
async def test_a_cancel_request_that_cannot_arrive(client: Client, queue: str, target: str) -> None:
    sender = await send(client, queue, "cancel", target)
    assert "not found" in (await sender.result()).lower()
    assert await story(sender) == told(CANCEL, "RequestCancelExternalWorkflowExecutionFailed")
    assert (await find(sender, "RequestCancelExternalWorkflowExecutionFailed")).cause == 1
