"""What every RPC on the engine has in common: how it fails, and how it finds the run that it is about."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, TypeVar

from temporalio.api.enums.v1 import NamespaceState, TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RecordActivityTaskHeartbeatRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
)

from perdure.engine.back_pressure import is_crowded, make_room
from perdure.engine.core import TaskKind, limits
from perdure.engine.core.state import BESIDE_MARKS
from perdure.engine.core.tokens import ACTIVITY, decode_token, names_run, token_run_id
from perdure.engine.core.versions import Version
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import QueueKey
from perdure.engine.transactions import StaleRun
from perdure.model.errors import StorageCorrupt, StorageError
from perdure.model.ids import uuid4_text
from perdure.model.rpc import RpcError, StatusCode, internal, invalid_argument, namespace_not_found, namespace_state, unavailable

if TYPE_CHECKING:
    from perdure.engine.engine import Engine

logger = logging.getLogger("perdure.engine")

Poll: TypeAlias = PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest | PollNexusTaskQueueRequest
Answering: TypeAlias = (
    RespondWorkflowTaskCompletedRequest
    | RespondWorkflowTaskFailedRequest
    | RespondActivityTaskCompletedRequest
    | RespondActivityTaskFailedRequest
    | RespondActivityTaskCanceledRequest
    | RecordActivityTaskHeartbeatRequest
)
"""What names its task by a token."""

_PLAIN_KINDS: Final = (TaskQueueKind.TASK_QUEUE_KIND_UNSPECIFIED, TaskQueueKind.TASK_QUEUE_KIND_NORMAL)
_KINDS: Final = {
    TaskKind.WORKFLOW: (*_PLAIN_KINDS, TaskQueueKind.TASK_QUEUE_KIND_STICKY),
    TaskKind.ACTIVITY: _PLAIN_KINDS,
    TaskKind.NEXUS: (*_PLAIN_KINDS, TaskQueueKind.TASK_QUEUE_KIND_WORKER_COMMANDS),
}
"""Of task queues that are polled for these tasks."""

STALE_MAX = 5
"""How often a request is decided anew because another process changed its run."""

Request = TypeVar("Request")
Response = TypeVar("Response")
Answer = Callable[[Any, Request], Coroutine[Any, Any, Response]]


def rpc(method: Callable[[Any, Request], Awaitable[Response]]) -> Answer[Request, Response]:
    """Makes a method answer as an RPC does: decided anew when stale, and failing with `RpcError` only.

    A method that only hands its request on is a plain function that returns what is to be awaited: one coroutine less.
    """

    @functools.wraps(method)
    async def answer(self: Any, request: Request) -> Response:
        if self.engine.closed:
            raise unavailable("the engine is closed")
        try:
            return await method(self, request)
        except RpcError:
            raise
        except Exception as error:
            raised = error
        for _ in range(STALE_MAX):
            if self.engine.closed and isinstance(raised, (StaleRun, StorageError)):
                raise unavailable("the engine is closing") from raised
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
    if isinstance(error, StorageCorrupt):
        logger.error("%s found something that cannot be read", method, exc_info=error)
        return RpcError(StatusCode.DATA_LOSS, str(error))
    if isinstance(error, StorageError):
        logger.warning("%s could not read the storage: %s", method, error)
        return unavailable(f"the storage could not be read: {error}")
    reference = uuid4_text()
    logger.error("%s failed; reference %s", method, reference, exc_info=error)
    return internal(f"{method} failed in the engine; its log says why under reference {reference}")


class Calls:
    """The engine, and what several RPCs need of it."""

    def __init__(self, engine: Engine, in_process: bool) -> None:
        self.engine = engine
        self._in_process = in_process
        self._namespaces = engine.namespaces.by_name
        self._deprecated = engine.namespaces.deprecated

    def _namespace(self, namespace: str) -> None:
        if namespace not in self._namespaces:
            if not namespace:
                raise invalid_argument("Namespace not set on request.")
            raise namespace_not_found(namespace)

    def _namespace_for_starts(self, namespace: str) -> None:
        self._namespace(namespace)
        if self._deprecated and namespace in self._deprecated:
            raise namespace_state(namespace, NamespaceState.NAMESPACE_STATE_DEPRECATED, [NamespaceState.NAMESPACE_STATE_REGISTERED])

    def _polled_queue(self, kind: TaskKind, namespace: str, name: str, identity: str = "") -> QueueKey:
        self._namespace(namespace)
        if not name:
            raise invalid_argument("TaskQueue is not set on request.")
        if limits.too_long(name):
            raise invalid_argument("TaskQueue length exceeds limit.")
        if name.startswith(limits.RESERVED_QUEUES):
            raise invalid_argument(f"TaskQueue name cannot start with the reserved prefix {limits.RESERVED_QUEUES}.")
        return QueueKey(kind, namespace, name)

    def _poll_key(self, kind: TaskKind, request: Poll) -> QueueKey:
        """The queue that a poll names."""
        queue = request.task_queue
        if queue.kind not in _KINDS[kind]:
            raise invalid_argument(f"A task queue of kind {queue.kind} is not polled for these tasks.")
        if limits.too_long(request.identity):
            raise invalid_argument("Identity length exceeds limit.")
        if request.HasField("deployment_options"):
            options = request.deployment_options
            if max(len(options.build_id.encode()), len(options.deployment_name.encode())) > limits.BUILD_ID_BYTES_MAX:
                raise invalid_argument(f"BuildId or DeploymentName length exceeds limit of {limits.BUILD_ID_BYTES_MAX} bytes.")
        return self._polled_queue(kind, request.namespace, queue.name)

    async def _versioned_queue(self, key: QueueKey, version: Version) -> str:
        """The queue that a version's worker polls in truth; what waits on the queue it names may be for it."""
        name = await self.engine.deployments.register(key.namespace, version, key.kind, key.name)
        waiting = self.engine.matching.find(key)
        if waiting is not None and (waiting.ready or waiting.remainder):
            self.engine.rerouting.reroute(key.namespace, {key.name})
        return name

    async def _find(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun:
        self._namespace(namespace)
        if not workflow_id:
            raise invalid_argument("WorkflowId is not set on request.")
        return await self.engine.runs.find(namespace, workflow_id, run_id)

    def _held(self, request: Answering) -> LiveRun | None:
        """The run that a token names, if it is in memory. (Whether the token is good in all else is for the core to say.)"""
        live = self.engine.runs.get(token_run_id(request.task_token))
        if live is None or not names_run(request.task_token, live.run):
            return None
        if request.namespace and request.namespace != live.run.queue_namespace:
            self._other_namespace(request.namespace)
        return live

    async def _of_token(self, request: Answering, kind: int) -> LiveRun:
        token = decode_token(request.task_token, kind)
        if request.namespace and request.namespace != token.namespace.rstrip(BESIDE_MARKS):
            self._other_namespace(request.namespace)
        return await self.engine.runs.find(token.namespace, token.workflow_id, token.run_id)

    def _other_namespace(self, namespace: str) -> NoReturn:
        """A token says of which namespace its task is; a request may say so too, and not otherwise."""
        self._namespace(namespace)
        raise invalid_argument("Operation requested with a token from a different namespace.")

    async def _of_ended_activity(self, request: Answering) -> LiveRun:
        live = await self._of_token(request, ACTIVITY)
        return await self._with_room(live) if is_crowded(live) else live

    async def _with_room(self, live: LiveRun) -> LiveRun:
        """The run, once it can take another event; another one in memory, perhaps."""
        run = live.run
        await make_room(live, self.engine.clock)
        return await self.engine.runs.find(run.namespace, run.workflow_id, run.run_id)
