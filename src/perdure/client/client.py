"""`WorkflowClient`: starting workflows, and speaking to those that run."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine, Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, overload

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest
from typing_extensions import TypeVar, TypeVarTuple, Unpack

from perdure.client.calls import Caller, checked_id
from perdure.client.descriptions import WorkflowDescription
from perdure.client.handle import WorkflowHandle, signal_payloads
from perdure.client.history import WorkflowHistory
from perdure.client.starting import Target, start_options, target_of, write_start
from perdure.model.clock import Clock, SystemClock
from perdure.model.conversion import DataConverter
from perdure.model.errors import UsageError, WorkflowAlreadyStarted
from perdure.model.messages import QueryDefinition, SignalDefinition
from perdure.model.options import (
    QueryRejectCondition,
    StartWorkflowOptions,
    StartWorkflowOptionsDict,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from perdure.model.suggestions import missing_attribute
from perdure.service.connect import Connection, connect
from perdure.service.contract import WorkflowService

if TYPE_CHECKING:
    from perdure.runtime.context import WorkflowContext

__all__ = ["WorkflowClass", "WorkflowClient"]

T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
D = TypeVar("D", default=Any)
Ts = TypeVarTuple("Ts")


class WorkflowClass(Protocol[Unpack[Ts], R_co]):
    """What type checkers see of a workflow class: its `run`."""

    def run(self, ctx: WorkflowContext, /, *args: Unpack[Ts]) -> Coroutine[Any, Any, R_co]: ...


class _Connecting:
    """What `connect` gives: awaited it is the client, entered with `async with` it is closed at the end."""

    def __init__(self, open_client: Callable[[], Coroutine[Any, Any, WorkflowClient]]) -> None:
        self._open = open_client
        self._client: WorkflowClient | None = None

    def __await__(self) -> Generator[Any, Any, WorkflowClient]:
        return self._open().__await__()

    async def __aenter__(self) -> WorkflowClient:
        self._client = await self._open()
        return self._client

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client is not None:
            await self._client.close()

    def __getattr__(self, name: str) -> Any:
        raise missing_attribute("what WorkflowClient.connect(…) returns", name, (), dict.fromkeys((name,), _CONNECT_FIRST))


_CONNECT_FIRST = "`async with WorkflowClient.connect(…) as client`, or `client = await WorkflowClient.connect(…)`, and use the client"


class WorkflowClient:
    """Starts workflows and speaks to them. Get one from `WorkflowClient.connect(url)`.

    `service`, `namespace`, `converter`, `identity` and `clock` are for workers and for those who build on the client.
    """

    def __init__(
        self,
        service: WorkflowService,
        *,
        namespace: str = "default",
        data_converter: DataConverter | None = None,
        identity: str | None = None,
        clock: Clock | None = None,
        connection: Connection | None = None,
    ) -> None:
        if isinstance(service, str):
            raise UsageError(f"say WorkflowClient.connect({service!r}), with `async with` or `await`")
        if data_converter is not None and not isinstance(data_converter, DataConverter):
            raise UsageError(f"data_converter is {data_converter!r}; give a perdure.DataConverter, as in DataConverter(payload_converter, codec=…)")
        self._caller = Caller(
            service,
            namespace,
            data_converter or DataConverter.default,
            identity or f"{os.getpid()}@{socket.gethostname()}",
            clock or SystemClock(),
        )
        self._connection = connection

    @staticmethod
    def connect(
        url: str | None = None,
        *,
        namespace: str = "default",
        data_converter: DataConverter | None = None,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> _Connecting:
        """A client of the engine at `url`: await it, or enter it with `async with`, which closes it at the end.

        The URL is that of the environment variable PERDURE_ENGINE, or `sqlite:///perdure.db`, when none is given. Clients and workers of
        one process that name the same URL share one engine. `identity` is shown in histories (process id and host unless given).

        Raises:
            UnknownEngine: the URL names no engine.
            StorageError: the storage cannot be opened (StorageLocked: another process has it open).
        """

        async def open_client() -> WorkflowClient:
            connection = await connect(url, clock=clock)
            try:
                client = WorkflowClient(
                    connection.service, namespace=namespace, data_converter=data_converter, identity=identity, clock=clock, connection=connection
                )
                await client._caller.call(connection.service.describe_namespace, DescribeNamespaceRequest(namespace=namespace))
            except BaseException:
                await connection.close()
                raise
            return client

        return _Connecting(open_client)

    @property
    def service(self) -> WorkflowService:
        return self._caller.service

    @property
    def namespace(self) -> str:
        return self._caller.namespace

    @property
    def converter(self) -> DataConverter:
        return self._caller.converter

    @property
    def identity(self) -> str:
        return self._caller.identity

    @property
    def clock(self) -> Clock:
        return self._caller.clock

    async def close(self) -> None:
        """Ends the connection; the engine goes with the last one. Safe to call twice."""
        self._caller.closed = True
        if self._connection is not None:
            await self._connection.close()

    async def __aenter__(self) -> WorkflowClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # --- starting ---------------------------------------------------------------------------------------------------

    @overload
    async def start_workflow(
        self,
        workflow: Callable[[WorkflowContext, Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: Unpack[Ts],
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def start_workflow(
        self,
        workflow: type[WorkflowClass[Unpack[Ts], R]],
        /,
        *args: Unpack[Ts],
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def start_workflow(  # pyright: ignore[reportInvalidTypeVarUse]
        self,
        workflow: str,
        /,
        *args: Any,
        id: str,
        result_type: type[D] = ...,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[D]: ...
    async def start_workflow(
        self, workflow: Any, /, *args: Any, id: Any = None, result_type: Any = None, options: StartWorkflowOptions | None = None, **given: Any
    ) -> WorkflowHandle[Any]:
        """Starts a workflow; it is durable when this returns.

        Temporal's defaults hold: an id whose workflow has ended may be used again, one that is running may not.

        Raises:
            WorkflowAlreadyStarted: the id is taken (`id_reuse_policy` and `id_conflict_policy` say otherwise).
        """
        target = target_of(workflow, args, result_type, self.converter)
        handle, _ = await self._start(target, id, start_options(options, given), "start_workflow")
        return handle

    async def _start(self, target: Target, id: Any, options: StartWorkflowOptions, where: str) -> tuple[WorkflowHandle[Any], bool]:
        """The handle, and whether this call started the run."""
        self._caller.check_open()
        request = StartWorkflowExecutionRequest()
        write_start(request, self._caller, target, id, options, where)
        response = await self._caller.call(self.service.start_workflow_execution, request, request.workflow_id)
        return WorkflowHandle(self._caller, request.workflow_id, first_run_id=response.run_id, result_type=target.result_type), response.started

    @overload
    async def execute_workflow(
        self,
        workflow: Callable[[WorkflowContext, Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: Unpack[Ts],
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> R: ...
    @overload
    async def execute_workflow(
        self,
        workflow: type[WorkflowClass[Unpack[Ts], R]],
        /,
        *args: Unpack[Ts],
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> R: ...
    @overload
    async def execute_workflow(  # pyright: ignore[reportInvalidTypeVarUse]
        self,
        workflow: str,
        /,
        *args: Any,
        id: str,
        result_type: type[D] = ...,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> D: ...
    async def execute_workflow(
        self, workflow: Any, /, *args: Any, id: Any = None, result_type: Any = None, options: StartWorkflowOptions | None = None, **given: Any
    ) -> Any:
        """Runs a workflow and gives its result. Safe to repeat, after a crash too: the id decides.

        A workflow with that id that is running is joined; one that completed gives its result; one that failed, timed out, was cancelled or
        terminated raises that. `id_reuse_policy` says otherwise (ALLOW_DUPLICATE: run again what has ended; ALLOW_DUPLICATE_FAILED_ONLY: run
        again what did not complete).

        Raises:
            WorkflowFailed: it failed; the cause says why.
            WorkflowCancelled, WorkflowTerminated, WorkflowTimedOut: it ended so.
            WorkflowAlreadyStarted: the id belongs to a workflow of another type.
        """
        chosen = start_options(options, given)
        if chosen.id_reuse_policy is None:
            given["id_reuse_policy"] = WorkflowIdReusePolicy.REJECT_DUPLICATE
        if chosen.id_conflict_policy is None and chosen.id_reuse_policy is not WorkflowIdReusePolicy.TERMINATE_IF_RUNNING:
            given["id_conflict_policy"] = WorkflowIdConflictPolicy.USE_EXISTING
        target = target_of(workflow, args, result_type, self.converter)
        try:
            handle, started = await self._start(target, id, start_options(options, given), "execute_workflow")
        except WorkflowAlreadyStarted as taken:
            if chosen.id_conflict_policy is WorkflowIdConflictPolicy.FAIL:
                raise
            handle, started = WorkflowHandle(self._caller, id, first_run_id=taken.run_id, result_type=target.result_type), False
        if not started:
            await self._check_type(handle, target.name)
        return await handle.result()

    async def _check_type(self, handle: WorkflowHandle[Any], wanted: str) -> None:
        found = (await handle.describe()).workflow_type
        if found != wanted:
            raise WorkflowAlreadyStarted(
                f"the id {handle.id!r} belongs to a workflow of type {found!r}, not {wanted!r}; take another id",
                workflow_id=handle.id,
                run_id=handle.first_run_id,
                workflow_type=found,
            )

    @overload
    async def signal_with_start(
        self,
        workflow: Callable[[WorkflowContext, Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: Unpack[Ts],
        id: str,
        signal: object,
        signal_args: Sequence[Any] = (),
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: type[WorkflowClass[Unpack[Ts], R]],
        /,
        *args: Unpack[Ts],
        id: str,
        signal: object,
        signal_args: Sequence[Any] = (),
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def signal_with_start(  # pyright: ignore[reportInvalidTypeVarUse]
        self,
        workflow: str,
        /,
        *args: Any,
        id: str,
        signal: object,
        signal_args: Sequence[Any] = (),
        result_type: type[D] = ...,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[D]: ...
    async def signal_with_start(
        self,
        workflow: Any,
        /,
        *args: Any,
        id: Any = None,
        signal: Any = None,
        signal_args: Sequence[Any] = (),
        result_type: Any = None,
        options: StartWorkflowOptions | None = None,
        **given: Any,
    ) -> WorkflowHandle[Any]:
        """Signals the workflow of that id, starting it first when it does not run, in one transaction.

        `signal` is an instance of a `@signal` class, or a name or `Signal` with `signal_args`.
        """
        self._caller.check_open()
        if signal is None:
            raise UsageError("signal_with_start needs signal=…: an instance of a @signal class, or a name with signal_args=[…]")
        target = target_of(workflow, args, result_type, self.converter)
        request = SignalWithStartWorkflowExecutionRequest()
        write_start(request, self._caller, target, id, start_options(options, given), "signal_with_start")
        request.signal_name, payloads = signal_payloads(signal, signal_args, self.converter)
        if payloads:
            request.signal_input.payloads.extend(payloads)
        response = await self._caller.call(self.service.signal_with_start_workflow_execution, request, request.workflow_id)
        return WorkflowHandle(self._caller, request.workflow_id, first_run_id=response.run_id, result_type=target.result_type)

    # --- by id ------------------------------------------------------------------------------------------------------

    def get_workflow_handle(self, id: str, *, run_id: str = "", result_type: type[D] = ...) -> WorkflowHandle[D]:  # type: ignore[assignment]  # pyright: ignore[reportInvalidTypeVarUse]
        """A handle on the workflow of that id (on one run of it when `run_id` is given); the engine is not asked."""
        return WorkflowHandle(
            self._caller, checked_id(id, "get_workflow_handle"), run_id=run_id, result_type=None if result_type is ... else result_type
        )

    @overload
    async def signal_workflow(self, id: str, signal: SignalDefinition[T] | Callable[[Any, T], object], arg: T, /) -> None: ...
    @overload
    async def signal_workflow(self, id: str, signal: str, /, *args: Any) -> None: ...
    @overload
    async def signal_workflow(self, id: str, signal: object, /) -> None: ...
    async def signal_workflow(self, id: str, signal: Any, /, *args: Any) -> None:
        """`WorkflowHandle.signal` by id."""
        await self.get_workflow_handle(id).signal(signal, *args)

    @overload
    async def query_workflow(
        self, id: str, query: QueryDefinition[T] | type[T], /, *args: Any, reject_condition: QueryRejectCondition | None = None
    ) -> T: ...
    @overload
    async def query_workflow(
        self, id: str, query: Callable[[Any, Unpack[Ts]], T], /, *args: Unpack[Ts], reject_condition: QueryRejectCondition | None = None
    ) -> T: ...
    @overload
    async def query_workflow(  # pyright: ignore[reportInvalidTypeVarUse]
        self, id: str, query: str, /, *args: Any, result_type: type[D] = ..., reject_condition: QueryRejectCondition | None = None
    ) -> D: ...
    async def query_workflow(
        self, id: str, query: Any, /, *args: Any, result_type: Any = None, reject_condition: QueryRejectCondition | None = None
    ) -> Any:
        """`WorkflowHandle.query` by id."""
        return await self.get_workflow_handle(id).query(query, *args, result_type=result_type, reject_condition=reject_condition)

    async def result(self, id: str, *, result_type: type[D] = ...) -> D:  # type: ignore[assignment]  # pyright: ignore[reportInvalidTypeVarUse]
        """`WorkflowHandle.result` by id."""
        return await self.get_workflow_handle(id, result_type=result_type).result()

    async def describe(self, id: str, *, run_id: str = "") -> WorkflowDescription:
        """`WorkflowHandle.describe` by id."""
        return await self.get_workflow_handle(id, run_id=run_id).describe()

    async def history(self, id: str, *, run_id: str = "") -> WorkflowHistory:
        """`WorkflowHandle.history` by id."""
        return await self.get_workflow_handle(id, run_id=run_id).history()

    async def cancel(self, id: str, reason: str = "") -> None:
        """`WorkflowHandle.cancel` by id."""
        await self.get_workflow_handle(id).cancel(reason)

    async def terminate(self, id: str, reason: str = "") -> None:
        """`WorkflowHandle.terminate` by id."""
        await self.get_workflow_handle(id).terminate(reason)

    def __getattr__(self, name: str) -> Any:
        raise missing_attribute("WorkflowClient", name, _NAMES, _FOREIGN)

    def __repr__(self) -> str:
        where = self._connection.url if self._connection is not None else repr(self._caller.service)
        return f"<WorkflowClient {where}{' closed' if self._caller.closed else ''}>"


_NAMES = (
    "start_workflow",
    "execute_workflow",
    "signal_with_start",
    "get_workflow_handle",
    "signal_workflow",
    "query_workflow",
    "result",
    "describe",
    "history",
    "cancel",
    "terminate",
    "close",
)
_FOREIGN = {
    "get_handle": "get_workflow_handle(id)",
    "handle": "get_workflow_handle(id)",
    "get_workflow_handle_for": "get_workflow_handle(id)",
    "describe_workflow": "describe(id)",
    "cancel_workflow": "cancel(id)",
    "terminate_workflow": "terminate(id)",
    "run_workflow": "execute_workflow(…)",
    "run": "execute_workflow(…)",
    "start": "start_workflow(…)",
    "execute": "execute_workflow(…)",
    "signal": "signal_workflow(id, …)",
    "query": "query_workflow(id, …)",
    "data_converter": "converter",
    "disconnect": "close()",
}
