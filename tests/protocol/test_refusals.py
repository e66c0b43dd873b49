"""Proves what the official SDK hears when it is refused: codes with their typed details, and words that are too long for a trailer."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio import workflow
from temporalio.api.common.v1 import Link, WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, NotFoundFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeScheduleRequest,
    DescribeWorkflowExecutionRequest,
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RegisterNamespaceRequest,
    RequestCancelWorkflowExecutionRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondNexusTaskCompletedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateTaskQueueConfigRequest,
)
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers


@workflow.defn
class Talkative:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return "done"

    @workflow.signal
    def end(self) -> None:
        self.done = True

    @workflow.query
    def complain(self, letter: str, times: int) -> None:
        raise ApplicationError(letter * times)


@pytest.mark.parametrize("letter", ["x", "ü"])
async def test_long_words_end_the_call_and_not_the_connection(client: Client, worker: Workers, letter: str) -> None:
    """Trailers beyond what a client takes end its connection, with every poll on it; SDKs then try the call again and again."""
    async with worker([Talkative]) as running:
        handle = await client.start_workflow(Talkative.run, id=str(uuid.uuid4()), task_queue=running.task_queue)
        for times in (10, 5_000, 20_000, 200_000):
            with pytest.raises(WorkflowQueryFailedError) as failed:
                await asyncio.wait_for(handle.query(Talkative.complain, args=[letter, times]), 20)
            assert str(failed.value).startswith(letter * 10)
        await handle.signal(Talkative.end)
        assert await handle.result() == "done"
    for times in (100, 6_000, 60_000):
        count = CountWorkflowExecutionsRequest(namespace="default", query=letter * times + " = 1")
        with pytest.raises(RPCError, match="invalid search attribute") as refused:
            await client.workflow_service.count_workflow_executions(count)
        assert refused.value.status is RPCStatusCode.INVALID_ARGUMENT


async def refusal(client: Client, method: str, request: Message) -> RPCError:
    with pytest.raises(RPCError) as refused:
        await getattr(client.workflow_service, method)(request, timeout=timedelta(seconds=20))
    return refused.value


def start(workflow_id: str = "w", **fields: Any) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=workflow_id)
    request.workflow_type.name, request.task_queue.name = "W", "q"
    request.MergeFrom(StartWorkflowExecutionRequest(**fields))
    return request


NEW = {"workflow_id": "v", "workflow_type": {"name": "W"}, "task_queue": {"name": "q"}}
EXECUTION = WorkflowExecution(workflow_id="w")
MANY = [Link(workflow_event=Link.WorkflowEvent(namespace="n", workflow_id="w"))] * 11
LARGE = [Link(workflow_event=Link.WorkflowEvent(namespace="n", workflow_id="w" * 4_000))]


@pytest.mark.parametrize("links", [MANY, LARGE], ids=["many", "large"])
@pytest.mark.parametrize(
    ("method", "request_type", "fields"),
    [
        ("start_workflow_execution", StartWorkflowExecutionRequest, NEW),
        ("signal_workflow_execution", SignalWorkflowExecutionRequest, {"workflow_execution": EXECUTION, "signal_name": "s"}),
        ("request_cancel_workflow_execution", RequestCancelWorkflowExecutionRequest, {"workflow_execution": EXECUTION}),
        ("terminate_workflow_execution", TerminateWorkflowExecutionRequest, {"workflow_execution": EXECUTION}),
    ],
    ids=["start", "signal", "cancel", "terminate"],
)
async def test_links(client: Client, method: str, request_type: Any, fields: dict[str, Any], links: list[Link]) -> None:
    await client.workflow_service.start_workflow_execution(start())
    refused = await refusal(client, method, request_type(namespace="default", links=links, **fields))
    assert refused.status is RPCStatusCode.INVALID_ARGUMENT and "link" in refused.message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"priority": {"priority_key": -1}}, "priority key"),
        ({"priority": {"fairness_key": "ü" * 33}}, "fairness key length"),
        ({"priority": {"fairness_weight": -1}}, "fairness weight"),
        ({"task_queue": {"name": "/_sys/q"}}, "reserved prefix"),
    ],
)
async def test_starts(client: Client, fields: dict[str, Any], words: str) -> None:
    refused = await refusal(client, "start_workflow_execution", start(**fields))
    assert refused.status is RPCStatusCode.INVALID_ARGUMENT and words in refused.message
    await client.workflow_service.start_workflow_execution(
        start(priority={"priority_key": 9, "fairness_key": "ü" * 32, "fairness_weight": 0.5})
    )


STICKY, UNKNOWN = TaskQueueKind.TASK_QUEUE_KIND_STICKY, 99


@pytest.mark.parametrize(
    ("method", "request_type", "kinds"),
    [
        ("poll_workflow_task_queue", PollWorkflowTaskQueueRequest, [UNKNOWN]),
        ("poll_activity_task_queue", PollActivityTaskQueueRequest, [STICKY, UNKNOWN]),
        ("poll_nexus_task_queue", PollNexusTaskQueueRequest, [STICKY, UNKNOWN]),
    ],
)
async def test_polls(client: Client, method: str, request_type: Any, kinds: list[Any]) -> None:
    wrong = [
        *(request_type(task_queue=TaskQueue(name="q", kind=kind)) for kind in kinds),
        request_type(task_queue=TaskQueue(name="")),
        request_type(task_queue=TaskQueue(name="q" * 1_001)),
        request_type(task_queue=TaskQueue(name="/_sys/q")),
        request_type(task_queue=TaskQueue(name="q"), identity="i" * 1_001),
        request_type(task_queue=TaskQueue(name="q"), deployment_options={"deployment_name": "d", "build_id": "b" * 256}),
    ]
    for request in wrong:
        request.namespace = "default"
        assert (await refusal(client, method, request)).status is RPCStatusCode.INVALID_ARGUMENT, request


async def test_a_fairness_key_of_a_queue_is_not_too_long(client: Client) -> None:
    request = UpdateTaskQueueConfigRequest(namespace="default", task_queue="q")
    request.set_fairness_weight_overrides["k" * 65] = 2.0
    assert (await refusal(client, "update_task_queue_config", request)).status is RPCStatusCode.INVALID_ARGUMENT


TOKENS = [
    ("respond_workflow_task_completed", RespondWorkflowTaskCompletedRequest),
    ("respond_workflow_task_failed", RespondWorkflowTaskFailedRequest),
    ("respond_activity_task_completed", RespondActivityTaskCompletedRequest),
    ("respond_activity_task_failed", RespondActivityTaskFailedRequest),
    ("respond_query_task_completed", RespondQueryTaskCompletedRequest),
    ("respond_nexus_task_completed", RespondNexusTaskCompletedRequest),
]


@pytest.mark.parametrize(("method", "request_type"), TOKENS)
async def test_what_is_no_token(client: Client, method: str, request_type: Any) -> None:
    for token in (b"", b"garbage", b"\x01" * 200):
        refused = await refusal(client, method, request_type(namespace="default", task_token=token))
        assert refused.status is RPCStatusCode.INVALID_ARGUMENT and "oken" in refused.message


async def test_a_token_is_of_one_namespace(client: Client) -> None:
    """So that who may do something in one namespace does nothing in another."""
    service = client.workflow_service
    retention = {"seconds": 86_400}
    await service.register_namespace(RegisterNamespaceRequest(namespace="other", workflow_execution_retention_period=retention))  # type: ignore[arg-type]
    await service.start_workflow_execution(start())
    poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), identity="me")
    token = (await service.poll_workflow_task_queue(poll)).task_token
    for method, request_type in TOKENS[:2]:
        refused = await refusal(client, method, request_type(namespace="other", task_token=token))
        assert refused.status is RPCStatusCode.INVALID_ARGUMENT and "different namespace" in refused.message
        unknown = await refusal(client, method, request_type(namespace="nowhere", task_token=token))
        assert unknown.status is RPCStatusCode.NOT_FOUND and unknown.grpc_status.details[0].Is(NamespaceNotFoundFailure.DESCRIPTOR)
    await service.respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest(task_token=token))  # the token says which


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("describe_workflow_execution", DescribeWorkflowExecutionRequest(namespace="default", execution=EXECUTION)),
        ("signal_workflow_execution", SignalWorkflowExecutionRequest(namespace="default", workflow_execution=EXECUTION, signal_name="s")),
        ("describe_schedule", DescribeScheduleRequest(namespace="default", schedule_id="s")),
    ],
)
async def test_what_is_not_found_says_so_in_a_detail(client: Client, method: str, request_: Message) -> None:
    refused = await refusal(client, method, request_)
    assert refused.status is RPCStatusCode.NOT_FOUND and refused.grpc_status.details[0].Is(NotFoundFailure.DESCRIPTOR)
