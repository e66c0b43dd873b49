"""What every RPC on the engine has in common: how it fails, and how it finds the run that it is about."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from temporalio.api.enums.v1 import NamespaceState

from perdure.engine.back_pressure import is_crowded, make_room
from perdure.engine.core import TaskKind
from perdure.engine.core.limits import too_long
from perdure.engine.core.tokens import ACTIVITY, decode_token, names_run, token_run_id
from perdure.engine.core.versions import Version
from perdure.engine.live_runs import LiveRun
from perdure.engine.matching import QueueKey
from perdure.engine.transactions import StaleRun
from perdure.model.errors import StorageError
from perdure.model.ids import uuid4_text
from perdure.model.rpc import RpcError, internal, invalid_argument, namespace_not_found, namespace_state, unavailable

if TYPE_CHECKING:
    from perdure.engine.engine import Engine

logger = logging.getLogger("perdure.engine")

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


class WithToken(Protocol):
    """What a worker says of a task."""

    task_token: bytes
    namespace: str
    """Of its client; empty: that of the task."""


def _check_namespace(request: WithToken, live: LiveRun) -> None:
    if request.namespace and request.namespace != live.run.queue_namespace:
        raise invalid_argument("Operation requested with a token from a different namespace.")


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
        if too_long(name) or too_long(identity):
            raise invalid_argument("TaskQueue or Identity length exceeds limit.")
        return QueueKey(kind, namespace, name)

    async def _versioned_queue(self, key: QueueKey, version: Version) -> str:
        """The queue that a version's worker polls in truth; what waits on the queue it names may be for it."""
        name = await self.engine.deployments.register(key.namespace, version, key.kind, key.name)
        waiting = self.engine.matching.find(key)
        if waiting is not None and (waiting.ready or waiting.overflowed):
            self.engine.rerouting.reroute(key.namespace, {key.name})
        return name

    async def _find(self, namespace: str, workflow_id: str, run_id: str) -> LiveRun:
        self._namespace(namespace)
        if not workflow_id:
            raise invalid_argument("WorkflowId is not set on request.")
        return await self.engine.runs.find(namespace, workflow_id, run_id)

    def _held(self, request: WithToken) -> LiveRun | None:
        """The run that a token names, if it is in memory. (Whether the token is good in all else is for the core to say.)"""
        task_token = request.task_token
        live = self.engine.runs.get(token_run_id(task_token))
        if live is None or not names_run(task_token, live.run):
            return None
        _check_namespace(request, live)
        return live

    async def _of_token(self, request: WithToken, kind: int) -> LiveRun:
        token = decode_token(request.task_token, kind)
        live = await self.engine.runs.find(token.namespace, token.workflow_id, token.run_id)
        _check_namespace(request, live)
        return live

    async def _of_ended_activity(self, request: WithToken) -> LiveRun:
        live = await self._of_token(request, ACTIVITY)
        return await self._with_room(live) if is_crowded(live) else live

    async def _with_room(self, live: LiveRun) -> LiveRun:
        """The run, once it can take another event; another one in memory, perhaps."""
        run = live.run
        await make_room(live, self.engine.clock)
        return await self.engine.runs.find(run.namespace, run.workflow_id, run.run_id)
