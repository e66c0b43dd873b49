"""`WorkflowClient`: starting workflows, and speaking to those that run."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Any, overload

import temporalio.converter
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from typing_extensions import TypeVar, TypeVarTuple

from perdure.client.calls import Caller, check_not_in_workflow, checked_id
from perdure.client.connecting import Connecting
from perdure.client.descriptions import WorkflowDescription
from perdure.client.handle import WorkflowHandle
from perdure.client.history import WorkflowHistory
from perdure.client.starts import Starts
from perdure.model.clock import Clock, SystemClock
from perdure.model.conversion import DataConverter
from perdure.model.errors import UsageError
from perdure.model.messages import QueryDefinition, SignalDefinition
from perdure.model.options import QueryRejectCondition, SearchAttributeKey
from perdure.model.suggestions import missing_attribute
from perdure.service.connect import Connection, connect, namespace_of
from perdure.service.contract import WorkflowService

__all__ = ["WorkflowClient"]

T = TypeVar("T")
D = TypeVar("D", default=Any)
Ts = TypeVarTuple("Ts")


class WorkflowClient(Starts):
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
        converter = _checked_converter(data_converter)
        identity = identity or f"{os.getpid()}@{socket.gethostname()}"
        loop = None if connection is None else connection.loop
        super().__init__(Caller(service, namespace, converter, identity, clock or SystemClock(), loop))
        self._connection = connection

    @staticmethod
    def connect(
        url: str | None = None,
        *,
        namespace: str | None = None,
        data_converter: DataConverter | None = None,
        identity: str | None = None,
        clock: Clock | None = None,
    ) -> Connecting:
        """A client of the engine at `url`: await it, or enter it with `async with`, which closes it at the end.

        The URL is that of the environment variable PERDURE_ENGINE, or `sqlite:///perdure.db`, when none is given. Clients and workers of
        one process that name the same URL share one engine. The namespace is that of the URL (`perdure://host:7233?namespace=orders`), or
        `default`, unless given. `identity` is shown in histories (process id and host unless given).

        Raises:
            UnknownEngine: the URL names no engine.
            StorageError: the storage cannot be opened (StorageLocked: another process has it open, and it cannot be joined).
        """

        async def open_client() -> WorkflowClient:
            check_not_in_workflow()
            connection = await connect(url, clock=clock)
            chosen = namespace or namespace_of(url) or "default"
            try:
                client = WorkflowClient(
                    connection.service,
                    namespace=chosen,
                    data_converter=data_converter,
                    identity=identity,
                    clock=clock,
                    connection=connection,
                )
                await client._caller.call(connection.service.describe_namespace, DescribeNamespaceRequest(namespace=chosen))
            except BaseException:
                await connection.close()
                raise
            return client

        return Connecting(open_client)

    @property
    def service(self) -> WorkflowService:
        self._caller.check_loop()
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

    # --- by id ------------------------------------------------------------------------------------------------------

    def get_workflow_handle(
        self,
        id: str,
        *,
        run_id: str = "",
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
    ) -> WorkflowHandle[D]:
        """A handle on the workflow of that id (on one run of it when `run_id` is given); the engine is not asked."""
        return WorkflowHandle(self._caller, checked_id(id, "get_workflow_handle"), run_id=run_id, result_type=result_type)

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
        self, id: str, query: Callable[[Any, *Ts], T], /, *args: *Ts, reject_condition: QueryRejectCondition | None = None
    ) -> T: ...
    @overload
    async def query_workflow(
        self,
        id: str,
        query: str,
        /,
        *args: Any,
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
        reject_condition: QueryRejectCondition | None = None,
    ) -> D: ...
    async def query_workflow(  # type: ignore[misc]  # mypy does not match *Ts with *args: Any
        self, id: str, query: Any, /, *args: Any, result_type: Any = None, reject_condition: QueryRejectCondition | None = None
    ) -> Any:
        """`WorkflowHandle.query` by id."""
        return await self.get_workflow_handle(id).query(query, *args, result_type=result_type, reject_condition=reject_condition)

    async def result(
        self,
        id: str,
        *,
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
    ) -> D:
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

    # --- of the namespace -------------------------------------------------------------------------------------------

    async def add_search_attributes(self, *keys: SearchAttributeKey[Any]) -> None:
        """Lets workflows of this namespace be found by attributes such as `SearchAttributeKey.for_keyword("customer")`; usable, and
        durable, when it returns. Those that the namespace has already stay, so a program may say this whenever it starts.

        Raises:
            RequestRefused: the namespace has one of that name with another type, or the name cannot be one.
        """
        from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest  # here, for few programs need it

        request = AddSearchAttributesRequest(namespace=self.namespace)
        for key in keys:
            if not isinstance(key, SearchAttributeKey):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(f'{key!r} is no search attribute; give SearchAttributeKey.for_keyword("customer"), or for_int, for_text …')
            request.search_attributes[key.name] = int(key.indexed_value_type)  # type: ignore[assignment]  # enum number
        if keys:
            await self._caller.call(self.service.add_search_attributes, request)

    def __getattr__(self, name: str) -> Any:
        raise missing_attribute("WorkflowClient", name, _NAMES, _FOREIGN)

    def __repr__(self) -> str:
        where = self._connection.url if self._connection is not None else repr(self._caller.service)
        return f"<WorkflowClient {where}{' closed' if self._caller.closed else ''}>"


def _checked_converter(given: Any) -> DataConverter:
    if given is None:
        return DataConverter.default
    if isinstance(given, temporalio.converter.DataConverter):
        raise UsageError("data_converter is temporalio's; say perdure.DataConverter(theirs.payload_converter, codec=theirs.payload_codec)")
    if not isinstance(given, DataConverter):
        raise UsageError(f"data_converter is {given!r}; give a perdure.DataConverter, as in DataConverter(payload_converter, codec=…)")
    return given


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
    "add_search_attributes",
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
    "list": "perdure workflow list on the command line: the client has no lists yet",
    "list_workflows": "perdure workflow list on the command line: the client has no lists yet",
    "count": "perdure workflow count on the command line: the client has no counts yet",
    "count_workflows": "perdure workflow count on the command line: the client has no counts yet",
    "create_schedule": "perdure schedule create on the command line: the client has no schedules yet",
    "update": "signal_workflow(id, …), and query_workflow(id, …) for the answer: the client has no updates yet",
    "update_workflow": "signal_workflow(id, …), and query_workflow(id, …) for the answer: the client has no updates yet",
    "reset": "perdure workflow reset on the command line: the client does not reset yet",
    "delete": "perdure workflow delete on the command line: the client does not delete yet",
}
