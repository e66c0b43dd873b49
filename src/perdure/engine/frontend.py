"""The engine as a `WorkflowService`: one method per RPC, each as short as its rule.

Decides nothing about runs. It finds the run that a request names, hands the request on and waits for durability; what the
storage refuses as stale is decided anew on the fresh state. Every error that leaves here is an `RpcError`: what nobody
expected is logged with a reference and answered as INTERNAL.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

from temporalio.api.enums.v1 import NamespaceState, TaskQueueKind, TaskQueueType
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

from perdure.engine.back_pressure import is_crowded, make_room
from perdure.engine.core import Outcome, TaskKind, WorkflowTaskStarted, describe
from perdure.engine.core.tokens import ACTIVITY, WORKFLOW, decode_token, names_run, token_run_id
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import QueueKey
from perdure.engine.transactions import StaleRun
from perdure.model.errors import StorageError
from perdure.model.ids import uuid4_text
from perdure.model.rpc import (
    RpcError,
    internal,
    invalid_argument,
    namespace_not_found,
    unavailable,
)

if TYPE_CHECKING:
    from perdure.engine.engine import Engine

logger = logging.getLogger("perdure.engine")

_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
STALE_MAX = 5
"""How often a request is decided anew because another process changed its run."""
SERVER_VERSION = "1.32.0"
"""Of Temporal's server, whose behaviour this engine follows."""

Request = TypeVar("Request")
Response = TypeVar("Response")
Answer = Callable[["Frontend", Request], Coroutine[Any, Any, Response]]


def rpc(method: Callable[[Frontend, Request], Awaitable[Response]]) -> Answer[Request, Response]:
    """Makes a method answer as an RPC does: decided anew when stale, and failing with `RpcError` only.

    A method that only hands its request on is a plain function that returns what is to be awaited: one coroutine less.
    """

    @functools.wraps(method)
    async def answer(self: Frontend, request: Request) -> Response:
        if self.engine.closed:
            raise unavailable("the engine is closed")
        try:
            return await method(self, request)
        except RpcError:
            raise
        except Exception as error:
            raised = error
        for _ in range(STALE_MAX):
            if not isinstance(raised, StaleRun):
                raise _refusal(method.__name__, raised) from raised
            try:
                return await method(self, request)
            except RpcError:
                raise
            except Exception as error:
                raised = error
        raise unavailable("the workflow is being changed by others all the time; try again")

    return answer


def _refusal(method: str, error: Exception) -> RpcError:
    """What to answer when a method raised something else than a refusal."""
    if isinstance(error, StorageError):
        logger.warning("%s could not read the storage: %s", method, error)
        return unavailable(f"the storage could not be read: {error}")
    reference = uuid4_text()
    logger.error("%s failed; reference %s", method, reference, exc_info=error)
    return internal(f"{method} failed in the engine; its log says why under reference {reference}")


class Frontend:
    """`WorkflowService` on an embedded engine."""

    def __init__(self, engine: Engine, in_process: bool) -> None:
        self.engine = engine
        self._in_process = in_process

    def __repr__(self) -> str:
        return f"<Frontend of {self.engine!r}>"

    # The service itself.

    @rpc
    async def get_system_info(self, request: GetSystemInfoRequest) -> GetSystemInfoResponse:
        """What this engine can do: flags say only what is true."""
        response = GetSystemInfoResponse(server_version=SERVER_VERSION)
        able = response.capabilities
        able.signal_and_query_header = True
        able.internal_error_differentiation = True
        able.activity_failure_include_heartbeat = True
        able.encoded_failure_attributes = True
        able.upsert_memo = True
        able.sdk_metadata = True
        return response

    @rpc
    async def describe_namespace(self, request: DescribeNamespaceRequest) -> DescribeNamespaceResponse:
        """A namespace's settings."""
        self._namespace(request.namespace)
        response = DescribeNamespaceResponse()
        response.namespace_info.name = request.namespace
        response.namespace_info.state = NamespaceState.NAMESPACE_STATE_REGISTERED
        return response

    # Clients.

    @rpc
    def start_workflow_execution(self, request: StartWorkflowExecutionRequest) -> Awaitable[StartWorkflowExecutionResponse]:
        """Starts a workflow; durable when it returns."""
        self._namespace(request.namespace)
        return cast(Awaitable[StartWorkflowExecutionResponse], self.engine.starts.start(request))

    @rpc
    def signal_with_start_workflow_execution(
        self, request: SignalWithStartWorkflowExecutionRequest
    ) -> Awaitable[SignalWithStartWorkflowExecutionResponse]:
        """Signals the running workflow of this id, or starts one that begins with the signal."""
        self._namespace(request.namespace)
        return cast(Awaitable[SignalWithStartWorkflowExecutionResponse], self.engine.starts.start(request))

    @rpc
    async def signal_workflow_execution(self, request: SignalWorkflowExecutionRequest) -> SignalWorkflowExecutionResponse:
        """Sends a signal; durable when it returns."""
        execution = request.workflow_execution
        self._namespace(request.namespace)
        live = self.engine.runs.known(request.namespace, execution.workflow_id, execution.run_id)
        if live is None:
            live = await self._find(request.namespace, execution.workflow_id, execution.run_id)
        if is_crowded(live):
            live = await self._with_room(live)
        await self.engine.transactions.run(live, request)
        return SignalWorkflowExecutionResponse()

    @rpc
    def query_workflow(self, request: QueryWorkflowRequest) -> Awaitable[QueryWorkflowResponse]:
        """Asks a workflow's code; records nothing."""
        self._namespace(request.namespace)
        return self.engine.queries.ask(request)

    @rpc
    async def request_cancel_workflow_execution(
        self, request: RequestCancelWorkflowExecutionRequest
    ) -> RequestCancelWorkflowExecutionResponse:
        """Asks a workflow to cancel itself."""
        live = await self._find(request.namespace, request.workflow_execution.workflow_id, request.workflow_execution.run_id)
        await self.engine.transactions.run(live, request)
        return RequestCancelWorkflowExecutionResponse()

    @rpc
    async def terminate_workflow_execution(self, request: TerminateWorkflowExecutionRequest) -> TerminateWorkflowExecutionResponse:
        """Ends a workflow at once."""
        live = await self._find(request.namespace, request.workflow_execution.workflow_id, request.workflow_execution.run_id)
        await self.engine.transactions.run(live, request)
        return TerminateWorkflowExecutionResponse()

    @rpc
    async def describe_workflow_execution(self, request: DescribeWorkflowExecutionRequest) -> DescribeWorkflowExecutionResponse:
        """A run's state, as it is durable now."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        response = describe(live.run)
        await self.engine.transactions.settled(live)  # of what the response shows; what comes meanwhile is not in it
        return response

    @rpc
    def get_workflow_execution_history(self, request: GetWorkflowExecutionHistoryRequest) -> Awaitable[GetWorkflowExecutionHistoryResponse]:
        """Events, or the close event, or a wait for what comes next."""
        self._namespace(request.namespace)
        return self.engine.history.get(request)

    # Workers: workflow tasks.

    @rpc
    def poll_workflow_task_queue(self, request: PollWorkflowTaskQueueRequest) -> Awaitable[PollWorkflowTaskQueueResponse]:
        """Waits for a workflow task; an empty message when there was none for a minute."""
        queue = request.task_queue
        key = self._polled_queue(TaskKind.WORKFLOW, request.namespace, queue.name)
        normal_name = queue.normal_name or queue.name if queue.kind == _STICKY else None
        return self.engine.matching.poll(key, request.identity, self._in_process, normal_name, PollWorkflowTaskQueueResponse)

    @rpc
    async def respond_workflow_task_completed(self, request: RespondWorkflowTaskCompletedRequest) -> RespondWorkflowTaskCompletedResponse:
        """Takes a worker's commands."""
        live = self._held(request.task_token) or await self._of_token(request.task_token, WORKFLOW)
        outcome = await self.engine.transactions.run(live, request)
        self.engine.queries.completed(live, request.query_results)
        response = outcome.reply
        if not isinstance(response, RespondWorkflowTaskCompletedResponse):
            response = RespondWorkflowTaskCompletedResponse()
        if request.return_new_workflow_task:
            await self._add_inline_task(outcome, response)
        return response

    async def _add_inline_task(self, outcome: Outcome, response: RespondWorkflowTaskCompletedResponse) -> None:
        for effect in outcome.effects:
            if isinstance(effect, WorkflowTaskStarted) and effect.reservation is None:
                response.workflow_task.CopyFrom(await self.engine.dispatch.inline_task(effect.task))

    @rpc
    async def respond_workflow_task_failed(self, request: RespondWorkflowTaskFailedRequest) -> RespondWorkflowTaskFailedResponse:
        """A worker could not process a workflow task."""
        live = self._held(request.task_token) or await self._of_token(request.task_token, WORKFLOW)
        await self.engine.transactions.run(live, request)
        return RespondWorkflowTaskFailedResponse()

    @rpc
    async def respond_query_task_completed(self, request: RespondQueryTaskCompletedRequest) -> RespondQueryTaskCompletedResponse:
        """A worker answers a query."""
        self.engine.queries.answer(request)
        return RespondQueryTaskCompletedResponse()

    @rpc
    async def reset_sticky_task_queue(self, request: ResetStickyTaskQueueRequest) -> ResetStickyTaskQueueResponse:
        """A worker has forgotten a run: its next workflow task goes to the normal queue."""
        live = await self._find(request.namespace, request.execution.workflow_id, request.execution.run_id)
        await self.engine.transactions.run(live, request)
        return ResetStickyTaskQueueResponse()

    @rpc
    async def shutdown_worker(self, request: ShutdownWorkerRequest) -> ShutdownWorkerResponse:
        """A worker says good-bye: what waits on its sticky queue goes to the normal one."""
        self._namespace(request.namespace)
        if request.sticky_task_queue:
            self.engine.drop_sticky_queue(request.namespace, request.sticky_task_queue)
        return ShutdownWorkerResponse()

    # Workers: activities.

    @rpc
    def poll_activity_task_queue(self, request: PollActivityTaskQueueRequest) -> Awaitable[PollActivityTaskQueueResponse]:
        """Waits for an activity; an empty message when there was none for a minute."""
        key = self._polled_queue(TaskKind.ACTIVITY, request.namespace, request.task_queue.name)
        return self.engine.matching.poll(key, request.identity, self._in_process, None, PollActivityTaskQueueResponse)

    @rpc
    async def respond_activity_task_completed(self, request: RespondActivityTaskCompletedRequest) -> RespondActivityTaskCompletedResponse:
        """An activity's result."""
        live = self._held(request.task_token)
        if live is None or is_crowded(live):
            live = await self._of_ended_activity(request.task_token)
        await self.engine.transactions.run(live, request)
        return RespondActivityTaskCompletedResponse()

    @rpc
    async def respond_activity_task_failed(self, request: RespondActivityTaskFailedRequest) -> RespondActivityTaskFailedResponse:
        """An activity's failure; the engine decides whether it is tried again."""
        outcome = await self.engine.transactions.run(await self._of_ended_activity(request.task_token), request)
        reply = outcome.reply
        return reply if isinstance(reply, RespondActivityTaskFailedResponse) else RespondActivityTaskFailedResponse()

    @rpc
    async def respond_activity_task_canceled(self, request: RespondActivityTaskCanceledRequest) -> RespondActivityTaskCanceledResponse:
        """An activity ended because its cancellation was requested."""
        await self.engine.transactions.run(await self._of_ended_activity(request.task_token), request)
        return RespondActivityTaskCanceledResponse()

    @rpc
    async def record_activity_task_heartbeat(self, request: RecordActivityTaskHeartbeatRequest) -> RecordActivityTaskHeartbeatResponse:
        """An activity is alive; its details are durable when this returns."""
        live = self._held(request.task_token) or await self._of_token(request.task_token, ACTIVITY)
        outcome = await self.engine.transactions.run(live, request)
        reply = outcome.reply
        return reply if isinstance(reply, RecordActivityTaskHeartbeatResponse) else RecordActivityTaskHeartbeatResponse()

    # Queues.

    @rpc
    async def describe_task_queue(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        """Who polls a queue now."""
        kind = TaskKind.ACTIVITY if request.task_queue_type == TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY else TaskKind.WORKFLOW
        queue = self.engine.matching.find(self._polled_queue(kind, request.namespace, request.task_queue.name))
        response = DescribeTaskQueueResponse()
        if queue is not None:
            for identity in dict.fromkeys(poller.identity for poller in queue.pollers if not poller.future.done()):
                response.pollers.add(identity=identity)
        return response

    # What several methods need.

    def _namespace(self, namespace: str) -> None:
        if namespace not in self.engine.namespaces:
            if not namespace:
                raise invalid_argument("Namespace not set on request.")
            raise namespace_not_found(namespace)

    def _polled_queue(self, kind: TaskKind, namespace: str, name: str) -> QueueKey:
        self._namespace(namespace)
        if not name:
            raise invalid_argument("TaskQueue is not set on request.")
        return QueueKey(kind, namespace, name)

    async def _find(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun:
        self._namespace(namespace)
        if not workflow_id:
            raise invalid_argument("WorkflowId is not set on request.")
        return await self.engine.runs.find(namespace, workflow_id, run_id)

    def _held(self, task_token: bytes) -> LiveRun | None:
        """The run that a token names, if it is in memory. (Whether the token is good in all else is for the core to say.)"""
        live = self.engine.runs.get(token_run_id(task_token))
        return live if live is not None and names_run(task_token, live.run) else None

    async def _of_token(self, task_token: bytes, kind: int) -> LiveRun:
        token = decode_token(task_token, kind)
        return await self.engine.runs.find(token.namespace, token.workflow_id, token.run_id)

    async def _of_ended_activity(self, task_token: bytes) -> LiveRun:
        live = await self._of_token(task_token, ACTIVITY)
        return await self._with_room(live) if is_crowded(live) else live

    async def _with_room(self, live: LiveRun) -> LiveRun:
        """The run, once it can take another event; another one in memory, perhaps."""
        run = live.run
        await make_room(live, self.engine.clock)
        return await self.engine.runs.find(run.namespace, run.workflow_id, run.run_id)
