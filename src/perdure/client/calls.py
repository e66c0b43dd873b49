"""One call to the service: tried again while the engine is busy or away, and answered in our own errors.

A request carries its request id from the first attempt on, so that an attempt whose answer was lost is not done twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, QueryFailedFailure, WorkflowExecutionAlreadyStartedFailure

from perdure.model import payload_codec
from perdure.model.clock import Clock
from perdure.model.conversion import DataConverter
from perdure.model.definitions import current_workflow
from perdure.model.errors import (
    ClientError,
    DeterminismViolation,
    EngineUnavailable,
    QueryFailed,
    RequestRefused,
    UsageError,
    WorkflowAlreadyStarted,
    WorkflowClosed,
    WorkflowNotFound,
)
from perdure.model.names import check_name
from perdure.model.rpc import RpcError, StatusCode
from perdure.service.contract import WorkflowService

__all__ = ["Caller", "check_not_in_workflow", "checked_id"]

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Method = Callable[[Request], Awaitable[Response]]

RETRY_SECONDS = 10.0
"""How long a call is tried again, in all; then the error is the caller's."""
RETRY_FIRST_SECONDS = 0.02
RETRY_PAUSE_MAX_SECONDS = 1.0
_AGAIN = frozenset((StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.ABORTED))


class Caller:
    """A service with what every request needs: namespace, identity, converter, clock. `loop` is the only event loop that can use it, if
    there is only one.
    """

    __slots__ = ("clock", "closed", "converter", "identity", "loop", "namespace", "service")

    def __init__(
        self,
        service: WorkflowService,
        namespace: str,
        converter: DataConverter,
        identity: str,
        clock: Clock,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = loop
        self.service = service
        self.namespace = namespace
        self.converter = converter
        self.identity = identity
        self.clock = clock
        self.closed = False

    async def call(self, method: Method[Request, Response], request: Request, workflow_id: str = "") -> Response:
        """The answer, payloads decoded by the codec if there is one; ClientError when the service refuses."""
        codec = self.converter.codec
        if codec is not None:
            await payload_codec.encode(request, codec)
        try:
            response = await method(request)
        except RpcError as error:
            response = await self.again(method, request, error, workflow_id)
        if codec is not None:
            await payload_codec.decode(response, codec)
        return response

    async def again(self, method: Method[Request, Response], request: Request, error: RpcError, workflow_id: str) -> Response:
        """Tries again with growing pauses while that can help; raises the translated error when it cannot."""
        end = self.clock.now() + int(RETRY_SECONDS * 1e9)
        pause = RETRY_FIRST_SECONDS
        while error.code in _AGAIN and not _too_large(error) and not self.closed and self.clock.now() < end:
            await self.clock.sleep_until(self.clock.now() + int(pause * random.uniform(0.5, 1.0) * 1e9))
            pause = min(pause * 2, RETRY_PAUSE_MAX_SECONDS)
            try:
                return await method(request)
            except RpcError as next_error:
                error = next_error
        refused = await self.translated(error, workflow_id, _run_id_of(request))
        raise refused from refused.__cause__ or error

    def check_open(self) -> None:
        if self.closed:
            raise EngineUnavailable("the client is closed; use it inside `async with WorkflowClient.connect(…) as client`")
        self.check_loop()

    def check_loop(self) -> None:
        """UsageError in another event loop than the client's, where calls would wait for ever."""
        running = asyncio._get_running_loop()
        if running is self.loop or running is None or self.loop is None:
            return
        check_not_in_workflow()
        raise UsageError(
            "this client belongs to another event loop (each asyncio.run makes one): connect a client in this one, or hand the call to "
            "the client's loop with asyncio.run_coroutine_threadsafe(…, loop)"
        )

    async def translated(self, error: RpcError, workflow_id: str, run_id: str = "") -> ClientError:
        """The error that users see for a refusal."""
        detail = error.detail
        if isinstance(detail, NamespaceNotFoundFailure):
            return RequestRefused(f"there is no namespace {self.namespace!r}; connect with namespace='default'", rpc_status=error.code)
        if isinstance(detail, QueryFailedFailure):
            return await self._query_failed(error, detail, workflow_id)
        if error.code is StatusCode.NOT_FOUND:
            return _not_found(error, workflow_id, run_id)
        translate = _TRANSLATIONS.get(error.code)
        return translate(error, workflow_id) if translate else RequestRefused(_sentence(error), rpc_status=error.code)

    async def _query_failed(self, error: RpcError, detail: QueryFailedFailure, workflow_id: str) -> QueryFailed:
        failed = QueryFailed(f"workflow {workflow_id!r} did not answer the query: {error.message}")
        if detail.HasField("failure"):
            if self.converter.codec is not None:
                await payload_codec.decode(detail, self.converter.codec)
            failed.__cause__ = self.converter.from_failure(detail.failure)
        return failed


def check_not_in_workflow() -> None:
    """DeterminismViolation in workflow code."""
    if current_workflow.get() is not None:
        raise DeterminismViolation("workflow code cannot use a client: it would not do the same on replay. Use it in an activity.")


_STORE = "store large data elsewhere and pass its key: 2 MiB are allowed"
_REMEDIES = {
    "Workflow input exceeds size limit.": f"the workflow's arguments are too large; {_STORE}",
    "Signal input exceeds size limit.": f"the signal's arguments are too large; {_STORE}",
    "Invalid RunId.": "that is not the id of a run; client.describe(id) gives one as run_id",
}


_NO_ATTRIBUTE = "has no mapping defined for search attribute"
_ADD_IT = (
    'add it to the namespace first: await client.add_search_attributes(SearchAttributeKey.for_keyword("NAME")), or '
    "perdure operator search-attribute create --name NAME --type Keyword"
)


def _sentence(error: RpcError) -> str:
    if _NO_ATTRIBUTE in error.message:
        return f"{error.message}; {_ADD_IT}"
    return _REMEDIES.get(error.message) or error.message or error.code.name


def _run_id_of(request: Message) -> str:
    """Of the run that a request names; empty if it names none."""
    execution = getattr(request, "workflow_execution", None) or getattr(request, "execution", None)
    return str(getattr(execution, "run_id", ""))


def _not_found(error: RpcError, workflow_id: str, run_id: str) -> ClientError:
    if "completed" in error.message.lower():
        return WorkflowClosed(
            f"workflow {workflow_id!r} has already ended; start it again, or read its result", workflow_id=workflow_id, run_id=run_id
        )
    if run_id:
        return WorkflowNotFound(
            f"workflow {workflow_id!r} has no run {run_id!r}; leave the run out to get the current one, or look at both ids again",
            workflow_id=workflow_id,
            run_id=run_id,
        )
    return WorkflowNotFound(f"no workflow has the id {workflow_id!r}; start it first, or look at the id again", workflow_id=workflow_id)


def _already_exists(error: RpcError, workflow_id: str) -> ClientError:
    started = error.detail if isinstance(error.detail, WorkflowExecutionAlreadyStartedFailure) else None
    if started is None and not workflow_id:
        return RequestRefused(_sentence(error), rpc_status=error.code)  # it is something else than a workflow that exists
    return WorkflowAlreadyStarted(
        f"a workflow with the id {workflow_id!r} exists already; take another id, join it with execute_workflow, or give id_reuse_policy "
        "or id_conflict_policy",
        workflow_id=workflow_id,
        run_id=started.run_id if started is not None else "",
    )


def _unavailable(error: RpcError, workflow_id: str) -> ClientError:
    return EngineUnavailable(f"the engine does not answer ({_sentence(error)}); try again, and look at its log if that does not help")


def _too_large(error: RpcError) -> bool:
    """gRPC calls it RESOURCE_EXHAUSTED that a message is too large, which the next attempt would not mend."""
    return error.code is StatusCode.RESOURCE_EXHAUSTED and "larger than max" in error.message


def _busy(error: RpcError, workflow_id: str) -> ClientError:
    if _too_large(error):
        return RequestRefused(f"the request is too large ({error.message}); {_STORE}", rpc_status=error.code)
    return EngineUnavailable(f"the engine is too busy ({_sentence(error)}); try again later, or send less at once")


def _no_answer(error: RpcError, workflow_id: str) -> ClientError:
    return EngineUnavailable(f"no answer in time ({_sentence(error)}); does a worker run that has this workflow and polls its task queue?")


_TRANSLATIONS: dict[StatusCode, Callable[[RpcError, str], ClientError]] = {
    StatusCode.ALREADY_EXISTS: _already_exists,
    StatusCode.UNAVAILABLE: _unavailable,
    StatusCode.ABORTED: _unavailable,
    StatusCode.RESOURCE_EXHAUSTED: _busy,
    StatusCode.DEADLINE_EXCEEDED: _no_answer,
}


def checked_id(workflow_id: Any, where: str) -> str:
    """The id; UsageError when it cannot be one."""
    if workflow_id is None:
        raise UsageError(f"{where} needs an id: the name of what the workflow is about, as in id=order.id")
    return check_name(workflow_id, f"{where}: the id", "id=str(order.id)")
