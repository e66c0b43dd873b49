"""Proves that long polls end in time, that a worker's good-bye ends its own, and that no task is lost to a poll that was cancelled."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator
from typing import Any

import grpc
import pytest
from grpc import aio
from temporalio.api.enums.v1 import CommandType, HistoryEventFilterType, TaskQueueKind, WorkerVersioningMode
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService"
Code = grpc.StatusCode
COMPLETE = CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
CLOSE_EVENT = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


class Raw:
    """A client that is nothing but gRPC."""

    def __init__(self, channel: aio.Channel) -> None:
        def method(name: str, request: Any, response: Any) -> Any:
            return channel.unary_unary(
                f"{SERVICE}/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
            )

        self.start = method("StartWorkflowExecution", StartWorkflowExecutionRequest, StartWorkflowExecutionResponse)
        self.poll = method("PollWorkflowTaskQueue", PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse)
        self.poll_activity = method("PollActivityTaskQueue", PollActivityTaskQueueRequest, PollActivityTaskQueueResponse)
        self.complete = method("RespondWorkflowTaskCompleted", RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse)
        self.shutdown = method("ShutdownWorker", ShutdownWorkerRequest, ShutdownWorkerResponse)
        self.describe = method("DescribeTaskQueue", DescribeTaskQueueRequest, DescribeTaskQueueResponse)
        self.history = method("GetWorkflowExecutionHistory", GetWorkflowExecutionHistoryRequest, GetWorkflowExecutionHistoryResponse)


@pytest.fixture
async def raw(server: str) -> AsyncGenerator[Raw]:
    async with aio.insecure_channel(server) as channel:
        yield Raw(channel)


def poll_request(queue: str = "q", worker: str = "", identity: str = "") -> PollWorkflowTaskQueueRequest:
    request = PollWorkflowTaskQueueRequest(namespace="default", worker_instance_key=worker, identity=identity)
    request.task_queue.name = queue
    return request


def describe_request(queue: str) -> DescribeTaskQueueRequest:
    request = DescribeTaskQueueRequest(namespace="default")
    request.task_queue.name = queue
    return request


def start_request(workflow_id: str, queue: str = "q") -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=str(uuid.uuid4()))
    request.workflow_type.name, request.task_queue.name = "t", queue
    return request


async def test_polls_and_waits_for_history_are_answered_before_their_deadline(raw: Raw) -> None:
    """A second before: the least deadline for which that is so."""
    await raw.start(start_request("w", "another"))
    activity = PollActivityTaskQueueRequest(namespace="default")
    activity.task_queue.name = "q"
    history = GetWorkflowExecutionHistoryRequest(namespace="default", wait_new_event=True, history_event_filter_type=CLOSE_EVENT)
    history.execution.workflow_id = "w"
    answers = await asyncio.gather(
        raw.poll(poll_request(), timeout=10), raw.poll_activity(activity, timeout=10), raw.history(history, timeout=10)
    )
    assert [answers[0].task_token, answers[1].task_token] == [b"", b""]
    assert answers[2].next_page_token and not answers[2].history.events


async def test_a_good_bye_ends_the_polls_of_that_worker_and_no_others(raw: Raw) -> None:
    sticky = poll_request("mine", "one")
    sticky.task_queue.kind, sticky.task_queue.normal_name = TaskQueueKind.TASK_QUEUE_KIND_STICKY, "q"
    activity = PollActivityTaskQueueRequest(namespace="default", worker_instance_key="one")
    activity.task_queue.name = "q"
    mine = [raw.poll(poll_request("q", "one")), raw.poll(sticky), raw.poll_activity(activity)]
    other = raw.poll(poll_request("q", "two"))
    answers = asyncio.gather(*mine)
    # The good-bye overtakes none of them: what comes after it is answered as well.
    await raw.shutdown(ShutdownWorkerRequest(namespace="default", worker_instance_key="one", task_queue="q", sticky_task_queue="mine"))
    assert [reply.task_token for reply in (await answers)[::2]] == [b"", b""]
    await raw.start(start_request("w"))
    assert (await other).workflow_execution.workflow_id == "w"
    mine[1].cancel()


async def test_a_good_bye_of_a_versions_worker_ends_its_polls(raw: Raw) -> None:
    polls = [poll_request("q", "one"), PollActivityTaskQueueRequest(namespace="default", worker_instance_key="one")]
    for poll in polls:
        poll.task_queue.name = "q"
        poll.deployment_options.deployment_name, poll.deployment_options.build_id = "d", "1"
        poll.deployment_options.worker_versioning_mode = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    answers = asyncio.gather(raw.poll(polls[0]), raw.poll_activity(polls[1]))
    while len((await raw.describe(describe_request("q"))).pollers) < 1:
        pass  # it has come: a good-bye that overtakes it is another matter
    await raw.shutdown(ShutdownWorkerRequest(namespace="default", worker_instance_key="one", task_queue="q"))
    assert [reply.task_token for reply in await asyncio.wait_for(answers, 20)] == [b"", b""]


async def test_no_task_is_lost_to_cancelled_polls(raw: Raw) -> None:
    """Polls are cancelled while starts arrive that could go to them: each first task goes to a poll that lives, and none times out."""
    for number in range(20):
        queue = f"q{number}"
        cancelled = [raw.poll(poll_request(queue, identity=f"p{index}")) for index in range(5)]
        waiting = [asyncio.ensure_future(call.code()) for call in cancelled]
        while len((await raw.describe(describe_request(queue))).pollers) < 5:
            pass  # they are on their way
        for call in cancelled:
            call.cancel()
        workflow_ids = {f"w{number}-{index}" for index in range(5)}
        await asyncio.gather(*(raw.start(start_request(workflow_id, queue)) for workflow_id in workflow_ids))
        tasks = [await raw.poll(poll_request(queue), timeout=30) for _ in workflow_ids]
        assert {task.workflow_execution.workflow_id for task in tasks} == workflow_ids
        assert {task.attempt for task in tasks} == {1}
        assert set(await asyncio.gather(*waiting)) == {Code.CANCELLED}


@pytest.mark.parametrize("field", ["queue", "identity"])
async def test_names_are_as_long_here_as_anywhere(raw: Raw, field: str) -> None:
    for kind in ("poll", "poll_activity"):
        request = PollWorkflowTaskQueueRequest if kind == "poll" else PollActivityTaskQueueRequest
        asked = request(namespace="default", identity="x" * 1001 if field == "identity" else "x")
        asked.task_queue.name = "x" * 1001 if field == "queue" else "x"
        with pytest.raises(grpc.RpcError) as refused:
            await getattr(raw, kind)(asked, timeout=5)
        assert refused.value.code() is Code.INVALID_ARGUMENT and "length exceeds limit" in refused.value.details()
