"""Proves that Nexus operations survive the engine: what a crash leaves unasked, unanswered or untold is found again, and done once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Callback, Payload
from temporalio.api.enums.v1 import CallbackState, CommandType, EventType, NexusOperationWaitStage
from temporalio.api.nexus.v1 import EndpointSpec, StartOperationRequest
from temporalio.api.protocol.v1 import Message
from temporalio.api.workflowservice.v1 import (
    DescribeActivityExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollNexusOperationExecutionRequest,
    PollNexusTaskQueueRequest,
    PollNexusTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    RequestCancelNexusOperationExecutionRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondNexusTaskCompletedRequest,
    RespondNexusTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartActivityExecutionRequest,
    StartNexusOperationExecutionRequest,
    StartWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
sys.path.insert(0, str(Path(__file__).parent))

from core_updates import acceptance, response, waiting_request
from updating import ACCEPTED

from perdure.engine import open_engine
from perdure.engine.engine import Engine
from perdure.engine.nexus import operations as operations_module
from perdure.model.errors import StorageError
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import SQLiteStorage, WorkflowStorage
from perdure.storage.contract import Committed, Transaction

TOLD = CallbackState.CALLBACK_STATE_SUCCEEDED
OUT = Payload(metadata={"encoding": b"json/plain"}, data=b'"out"')


class Cut:
    """A storage that loses its power when it is told to: nothing is written any more."""

    def __init__(self, inner: WorkflowStorage) -> None:
        self.inner = inner
        self.dark = False
        self.asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        if self.dark:
            self._loop.call_soon_threadsafe(self.asked.set)
            raise StorageError("the power is gone")
        return self.inner.commit(group)

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed]:
        return self.commit(group)


class Scene:
    """An engine with an endpoint, and what its workers do."""

    def __init__(self, engine: Engine, storage: Cut) -> None:
        self.engine = engine
        self.storage = storage
        self.service = engine.frontend(in_process=False)

    async def start(self, workflow_id: str, callbacks: Sequence[Callback] = ()) -> None:
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id=workflow_id, request_id=workflow_id)
        request.workflow_type.name, request.task_queue.name = "W", "queue"
        request.completion_callbacks.extend(callbacks)
        await self.service.start_workflow_execution(request)

    async def complete_task(self, *commands: Command, messages: Sequence[Message] = ()) -> None:
        poll = PollWorkflowTaskQueueRequest(namespace="default")
        poll.task_queue.name = "queue"
        task = await self.service.poll_workflow_task_queue(poll)
        await self.service.respond_workflow_task_completed(
            RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=commands, messages=messages)
        )

    async def schedule(self) -> None:
        """A caller with an operation."""
        await self.start("caller")
        command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION)
        a = command.schedule_nexus_operation_command_attributes
        a.endpoint, a.service, a.operation = "desk", "Desk", "do"
        await self.complete_task(command)

    async def handler_task(self) -> PollNexusTaskQueueResponse:
        poll = PollNexusTaskQueueRequest(namespace="default")
        poll.task_queue.name = "handlers"
        return await self.service.poll_nexus_task_queue(poll)

    async def answer(self, task: PollNexusTaskQueueResponse, *, token: str = "") -> None:
        answer = RespondNexusTaskCompletedRequest(namespace="default", task_token=task.task_token)
        if token:
            answer.response.start_operation.async_success.operation_token = token
        else:
            answer.response.start_operation.sync_success.payload.CopyFrom(OUT)
        await self.service.respond_nexus_task_completed(answer)

    async def kinds(self) -> list[str]:
        request = GetWorkflowExecutionHistoryRequest(namespace="default")
        request.execution.workflow_id = "caller"
        history = (await self.service.get_workflow_execution_history(request)).history
        return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_NEXUS_OPERATION_") for event in history.events]

    async def until(self, kind: str) -> list[str]:
        async with asyncio.timeout(50):
            while kind not in (kinds := await self.kinds()):
                await asyncio.sleep(0.01)
            return kinds


Scenes = Callable[[], Any]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scenes:
    """`async with scene() as it:` opens the engine, again after the first time."""
    monkeypatch.setattr(operations_module, "BACKOFF_FIRST_SECONDS", 0.05)
    monkeypatch.setattr(operations_module, "RETRY_SECONDS", 0.02)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[Scene]:
        storage = Cut(SQLiteStorage(tmp_path / "runs.db"))
        engine = await open_engine(storage)
        if "desk" not in engine.endpoints.by_name:
            spec = EndpointSpec(name="desk")
            spec.target.worker.namespace, spec.target.worker.task_queue = "default", "handlers"
            await engine.endpoints.create(spec)
        try:
            yield Scene(engine, storage)
        finally:
            await engine.close()

    return opened


def asked(task: PollNexusTaskQueueResponse) -> StartOperationRequest:
    assert task.request.HasField("start_operation")
    return task.request.start_operation


async def test_a_request_that_nobody_took_is_found_again(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
    async with scene() as it:
        await it.answer(await it.handler_task())
        assert (await it.until("COMPLETED")).count("COMPLETED") == 1


async def test_an_answer_that_was_lost_is_asked_for_again(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
        first = await it.handler_task()
        it.storage.dark = True
        await it.answer(first)
        await it.storage.asked.wait()
    async with scene() as it:
        second = await it.handler_task()
        assert asked(second).request_id == asked(first).request_id
        await it.answer(second)
        assert (await it.until("COMPLETED")).count("COMPLETED") == 1


async def test_an_answer_whose_commit_failed_is_recorded_later(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
        task = await it.handler_task()
        it.storage.dark = True
        await it.answer(task)
        await it.storage.asked.wait()
        it.storage.dark = False
        assert (await it.until("COMPLETED")).count("COMPLETED") == 1


async def test_the_end_of_a_backing_workflow_is_told_after_a_crash(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
        task = await it.handler_task()
        start = asked(task)
        callback = Callback()
        callback.nexus.url = start.callback
        callback.nexus.header.update(start.callback_header)
        callback.nexus.header["nexus-operation-token"] = "token"
        await it.start("backing", [callback])
        it.engine.operations._closed = True  # nobody hears the answer to the start
        command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
        command.complete_workflow_execution_command_attributes.result.payloads.append(OUT)
        commit = it.storage.inner.commit

        def last(group: Sequence[Transaction]) -> list[Committed]:
            it.storage.dark = True
            return commit(group)

        poll = PollWorkflowTaskQueueRequest(namespace="default")
        poll.task_queue.name = "queue"
        task = await it.service.poll_workflow_task_queue(poll)
        it.storage.inner.commit = last
        await it.service.respond_workflow_task_completed(
            RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=[command])
        )
        await it.storage.asked.wait()
        assert "STARTED" not in await it.kinds()
    async with scene() as it:
        kinds = await it.until("COMPLETED")
        assert (kinds.count("STARTED"), kinds.count("COMPLETED")) == (1, 1)
        describe = DescribeWorkflowExecutionRequest(namespace="default")
        describe.execution.workflow_id = "caller"
        assert not (await it.service.describe_workflow_execution(describe)).pending_nexus_operations


async def test_an_answer_of_yesterdays_workers(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
        for kind in ("INTERNAL", "BAD_REQUEST"):
            task = await it.handler_task()
            failed = RespondNexusTaskFailedRequest(namespace="default", task_token=task.task_token)
            failed.error.error_type = kind
            failed.error.failure.message = "wrong"
            await it.service.respond_nexus_task_failed(failed)
        await it.until("FAILED")
        with pytest.raises(RpcError) as late:
            await it.answer(task)
        assert late.value.code is StatusCode.NOT_FOUND


async def test_an_endpoint_that_was_deleted_meanwhile_ends_its_operations(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
        task = await it.handler_task()
        known = it.engine.endpoints.by_name["desk"]
        await it.engine.endpoints.delete(known.id, known.version)
        failed = RespondNexusTaskFailedRequest(namespace="default", task_token=task.task_token)
        failed.error.error_type = "UNAVAILABLE"
        await it.service.respond_nexus_task_failed(failed)
        assert (await it.until("FAILED")).count("FAILED") == 1


async def test_an_operation_without_a_workflow_survives_the_engine(scene: Scenes) -> None:
    poll = PollNexusOperationExecutionRequest(namespace="default", operation_id="lone")
    async with scene() as it:
        start = StartNexusOperationExecutionRequest(namespace="default", operation_id="lone", request_id="r")
        start.endpoint, start.service, start.operation = "desk", "Desk", "do"
        run_id = (await it.service.start_nexus_operation_execution(start)).run_id
        first = await it.handler_task()
        it.storage.dark = True
        await it.answer(first, token="token")
        await it.storage.asked.wait()
    async with scene() as it:
        assert (await it.service.start_nexus_operation_execution(start)).run_id == run_id
        second = await it.handler_task()
        assert asked(second).request_id == asked(first).request_id
        await it.answer(second, token="token")
        poll.wait_stage = NexusOperationWaitStage.NEXUS_OPERATION_WAIT_STAGE_STARTED
        assert (await it.service.poll_nexus_operation_execution(poll)).operation_token == "token"
        cancel = RequestCancelNexusOperationExecutionRequest(namespace="default", operation_id="lone", reason="enough")
        await it.service.request_cancel_nexus_operation_execution(cancel)
        assert (await it.handler_task()).request.cancel_operation.operation_token == "token"
    async with scene() as it:
        assert (await it.handler_task()).request.cancel_operation.operation_token == "token"
        callback = Callback()
        callback.nexus.url = asked(first).callback
        callback.nexus.header.update(asked(first).callback_header)
        await it.start("backing", [callback])
        command = Command(command_type=CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION)
        await it.complete_task(command)
        poll.ClearField("wait_stage")
        told = await it.service.poll_nexus_operation_execution(poll)
        assert told.failure.HasField("canceled_failure_info") and told.run_id == run_id


async def test_the_end_of_an_activity_is_told_after_a_crash(scene: Scenes) -> None:
    start = StartActivityExecutionRequest(namespace="default", activity_id="behind", request_id="r")
    start.activity_type.name, start.task_queue.name, start.start_to_close_timeout.seconds = "A", "queue", 60
    async with scene() as it:
        await it.schedule()
        task = await it.handler_task()
        callback = start.completion_callbacks.add().nexus
        callback.url = asked(task).callback
        callback.header.update(asked(task).callback_header)
        await it.service.start_activity_execution(start)
        await it.answer(task, token="token")
        await it.until("STARTED")
        commit = it.storage.inner.commit

        def last(group: Sequence[Transaction]) -> list[Committed]:
            it.storage.dark = True
            return commit(group)

        it.storage.inner.commit = last
        done = RespondActivityTaskCompletedByIdRequest(namespace="default", activity_id="behind")
        done.result.payloads.append(OUT)
        await it.service.respond_activity_task_completed_by_id(done)
        await it.storage.asked.wait()
        assert "COMPLETED" not in await it.kinds()
    async with scene() as it:
        assert (await it.until("COMPLETED")).count("COMPLETED") == 1
        describe = DescribeActivityExecutionRequest(namespace="default", activity_id="behind")
        async with asyncio.timeout(20):
            while (await it.service.describe_activity_execution(describe)).callbacks[0].info.state != TOLD:
                await asyncio.sleep(0.01)
        start.request_id = "another"
        assert (await it.service.start_activity_execution(start)).started, "its end was told, and it may begin anew"


async def test_the_end_of_an_update_is_told_after_a_crash(scene: Scenes) -> None:
    async with scene() as it:
        await it.schedule()
        task = await it.handler_task()
        await it.start("ledger")
        await it.complete_task()
        request = waiting_request("u", "r", namespace="default")
        request.workflow_execution.workflow_id, request.wait_policy.lifecycle_stage = "ledger", ACCEPTED
        callback = request.request.completion_callbacks[0].nexus
        callback.header.clear()
        callback.header.update(asked(task).callback_header)
        waiting = asyncio.create_task(it.service.update_workflow_execution(request))
        await it.complete_task(messages=[acceptance("u")])
        await waiting
        await it.answer(task, token="token")
        await it.until("STARTED")
        await it.complete_task()  # the caller's
        await it.service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(namespace="default", workflow_execution=request.workflow_execution, signal_name="go")
        )
        commit = it.storage.inner.commit

        def last(group: Sequence[Transaction]) -> list[Committed]:
            answers = commit(group)
            it.storage.dark = it.storage.dark or any(write.row.next_event_id > 12 for each in group for write in each.writes)
            return answers

        it.storage.inner.commit = last
        await it.complete_task(messages=[response("u")])
        await it.storage.asked.wait()
        assert "COMPLETED" not in await it.kinds()
    async with scene() as it:
        assert (await it.until("COMPLETED")).count("COMPLETED") == 1
        describe = DescribeWorkflowExecutionRequest(namespace="default")
        describe.execution.workflow_id = "ledger"
        async with asyncio.timeout(20):
            while (await it.service.describe_workflow_execution(describe)).callbacks:
                await asyncio.sleep(0.01)
