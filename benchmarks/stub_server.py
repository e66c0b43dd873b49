"""A server that knows one workflow by heart: what `official_sdk.py` measures `perdure server` against.

It answers the calls of a workflow with one activity with canned messages, in which only the ids change. Nothing is kept but what the next
answer needs: three queues of ids, and who waits for which result. The gRPC library is the one under `perdure server`.
"""

from __future__ import annotations

import asyncio
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc import aio
from temporalio.api.enums.v1 import CommandType, EventType, NamespaceState
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import request_response_pb2 as api
from temporalio.api.workflowservice.v1 import service_pb2

PREFIX = "/temporal.api.workflowservice.v1.WorkflowService/"
POLL_SECONDS = 60
SERVICE = service_pb2.DESCRIPTOR.services_by_name["WorkflowService"]

Handler = Callable[[Any], Awaitable[Any]]


class Stub:
    """One workflow type with one activity; a token is a run's number and the step it is at."""

    def __init__(self) -> None:
        self.starts: dict[int, api.StartWorkflowExecutionRequest] = {}
        self.tasks: dict[str, asyncio.Queue[tuple[int, int]]] = defaultdict(asyncio.Queue)
        self.activities: asyncio.Queue[int] = asyncio.Queue()
        self.waiting: dict[str, asyncio.Future[HistoryEvent]] = {}
        self.sticky: dict[int, str] = {}
        self.results: dict[int, Any] = {}

    async def get_system_info(self, _: Any) -> Any:
        response = api.GetSystemInfoResponse(server_version="1.0.0")
        response.capabilities.sdk_metadata = True
        response.capabilities.internal_error_differentiation = True
        response.capabilities.signal_and_query_header = True
        response.capabilities.encoded_failure_attributes = True
        response.capabilities.activity_failure_include_heartbeat = True
        return response

    async def describe_namespace(self, request: Any) -> Any:
        response = api.DescribeNamespaceResponse()
        response.namespace_info.name = request.namespace
        response.namespace_info.state = NamespaceState.NAMESPACE_STATE_REGISTERED
        return response

    async def shutdown_worker(self, _: Any) -> Any:
        return api.ShutdownWorkerResponse()

    async def start_workflow_execution(self, request: Any) -> Any:
        number = len(self.starts)
        self.starts[number] = request
        run_id = run_id_of(number)
        self.waiting[run_id] = asyncio.get_running_loop().create_future()
        self.tasks[request.task_queue.name].put_nowait((number, 1))
        return api.StartWorkflowExecutionResponse(run_id=run_id, started=True)

    async def get_workflow_execution_history(self, request: Any) -> Any:
        event = await self.waiting[request.execution.run_id]
        return api.GetWorkflowExecutionHistoryResponse(history=History(events=[event]))

    async def poll_workflow_task_queue(self, request: Any) -> Any:
        try:
            number, step = await asyncio.wait_for(self.tasks[request.task_queue.name].get(), POLL_SECONDS)
        except TimeoutError:
            return api.PollWorkflowTaskQueueResponse()
        start = self.starts[number]
        response = api.PollWorkflowTaskQueueResponse(task_token=f"{number}/{step}".encode(), attempt=1)
        response.workflow_execution.workflow_id = start.workflow_id
        response.workflow_execution.run_id = run_id_of(number)
        response.workflow_type.name = start.workflow_type.name
        response.workflow_execution_task_queue.name = start.task_queue.name
        response.previous_started_event_id, response.started_event_id = (0, 3) if step == 1 else (3, 9)
        response.history.CopyFrom(self._first(start, number) if step == 1 else self._second(number))
        return response

    def _first(self, start: Any, number: int) -> History:
        started = HistoryEvent(event_id=1, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
        attributes = started.workflow_execution_started_event_attributes
        attributes.workflow_type.CopyFrom(start.workflow_type)
        attributes.task_queue.CopyFrom(start.task_queue)
        attributes.input.CopyFrom(start.input)
        attributes.original_execution_run_id = attributes.first_execution_run_id = run_id_of(number)
        attributes.workflow_id = start.workflow_id
        attributes.workflow_task_timeout.seconds = 10
        attributes.attempt = 1
        return History(events=[started, *task_events(2)])

    def _second(self, number: int) -> History:
        completed = HistoryEvent(event_id=4, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        completed.workflow_task_completed_event_attributes.scheduled_event_id = 2
        completed.workflow_task_completed_event_attributes.started_event_id = 3
        scheduled = HistoryEvent(event_id=5, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
        scheduled.activity_task_scheduled_event_attributes.activity_id = "1"
        scheduled.activity_task_scheduled_event_attributes.activity_type.name = "greet"
        scheduled.activity_task_scheduled_event_attributes.workflow_task_completed_event_id = 4
        began = HistoryEvent(event_id=6, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
        began.activity_task_started_event_attributes.scheduled_event_id = 5
        ended = HistoryEvent(event_id=7, event_type=EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
        ended.activity_task_completed_event_attributes.scheduled_event_id = 5
        ended.activity_task_completed_event_attributes.started_event_id = 6
        ended.activity_task_completed_event_attributes.result.CopyFrom(self.results.pop(number))
        return History(events=[completed, scheduled, began, ended, *task_events(8)])

    async def respond_workflow_task_completed(self, request: Any) -> Any:
        number, step = map(int, request.task_token.split(b"/"))
        if step == 1:
            self.sticky[number] = request.sticky_attributes.worker_task_queue.name or self.starts[number].task_queue.name
            self.activities.put_nowait(number)
        else:
            self._close(number, request)
        return api.RespondWorkflowTaskCompletedResponse()

    def _close(self, number: int, request: Any) -> None:
        event = HistoryEvent(event_id=11, event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
        for command in request.commands:
            if command.command_type == CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION:
                result = command.complete_workflow_execution_command_attributes.result
                event.workflow_execution_completed_event_attributes.result.CopyFrom(result)
        self.waiting[run_id_of(number)].set_result(event)

    async def poll_activity_task_queue(self, _: Any) -> Any:
        try:
            number = await asyncio.wait_for(self.activities.get(), POLL_SECONDS)
        except TimeoutError:
            return api.PollActivityTaskQueueResponse()
        start = self.starts[number]
        response = api.PollActivityTaskQueueResponse(task_token=str(number).encode(), activity_id="1", attempt=1)
        response.workflow_namespace = "default"
        response.workflow_execution.workflow_id = start.workflow_id
        response.workflow_execution.run_id = run_id_of(number)
        response.workflow_type.name = start.workflow_type.name
        response.activity_type.name = "greet"
        response.input.CopyFrom(start.input)
        response.start_to_close_timeout.seconds = 60
        for stamp in (response.scheduled_time, response.started_time, response.current_attempt_scheduled_time):
            stamp.GetCurrentTime()
        return response

    async def respond_activity_task_completed(self, request: Any) -> Any:
        number = int(request.task_token)
        self.results[number] = request.result
        self.tasks[self.sticky[number]].put_nowait((number, 2))
        return api.RespondActivityTaskCompletedResponse()


def run_id_of(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012x}"


def task_events(first: int) -> list[HistoryEvent]:
    scheduled = HistoryEvent(event_id=first, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
    scheduled.workflow_task_scheduled_event_attributes.attempt = 1
    scheduled.workflow_task_scheduled_event_attributes.start_to_close_timeout.seconds = 10
    started = HistoryEvent(event_id=first + 1, event_type=EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
    started.workflow_task_started_event_attributes.scheduled_event_id = first
    started.event_time.GetCurrentTime()
    return [scheduled, started]


class Handlers(grpc.GenericRpcHandler):
    """By path, to the stub's methods."""

    def __init__(self, stub: Stub) -> None:
        self._handlers: dict[str, Any] = {}
        for method in SERVICE.methods:
            name = "".join("_" + letter.lower() if letter.isupper() else letter for letter in method.name).lstrip("_")
            answer = getattr(stub, name, None)
            if answer is not None:
                self._handlers[PREFIX + method.name] = self._handler(answer, getattr(api, method.input_type.name))

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)

    def _handler(self, answer: Handler, request: Any) -> Any:
        async def behaviour(body: bytes, _: Any) -> bytes:
            encoded: bytes = (await answer(request.FromString(body))).SerializeToString()
            return encoded

        return grpc.unary_unary_rpc_method_handler(behaviour)


async def serve_stub() -> None:
    """Serves on a free port, which it prints, until SIGTERM."""
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Handlers(Stub()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"stub on 127.0.0.1:{port}", flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await server.stop(0)
