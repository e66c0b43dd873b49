"""A handle on one workflow: everything that can be asked of it and told to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, overload

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)
from typing_extensions import TypeVar, TypeVarTuple, Unpack

from perdure.client.calls import Caller
from perdure.client.descriptions import WorkflowDescription, WorkflowStatus, describe
from perdure.client.history import WorkflowHistory, fetch_history
from perdure.client.results import wait_result
from perdure.model.conversion import DataConverter
from perdure.model.errors import QueryRejected, UsageError
from perdure.model.ids import uuid4_text
from perdure.model.messages import QueryDefinition, SignalDefinition, is_signal, query_name, query_type, signal_name, signal_type
from perdure.model.options import QueryRejectCondition
from perdure.model.suggestions import missing_attribute

__all__ = ["WorkflowHandle", "signal_payloads"]

T = TypeVar("T")
R = TypeVar("R", default=Any)
D = TypeVar("D", default=Any)
Ts = TypeVarTuple("Ts")

_METADATA = "__temporal_workflow_metadata"


class WorkflowHandle(Generic[R]):
    """A workflow by its id. `R` is the type of its result.

    Signals, queries and the like go to the current run, unless `run_id` was given to `get_workflow_handle`; `first_run_id` is the run
    that `start_workflow` began (or found), from which `result()` follows retries and continue-as-new.
    """

    def __init__(self, caller: Caller, workflow_id: str, *, run_id: str = "", first_run_id: str = "", result_type: Any = None) -> None:
        self._caller = caller
        self.id = workflow_id
        self.run_id = run_id
        self.first_run_id = first_run_id
        self.result_type = result_type

    async def result(self, *, follow_runs: bool = True) -> R:
        """Waits for the end and gives the result. `asyncio.timeout` bounds the wait; the workflow goes on.

        Raises:
            WorkflowFailed: it failed; the cause says why.
            WorkflowCancelled, WorkflowTerminated, WorkflowTimedOut: it ended so.
        """
        value: R = await wait_result(self._caller, self.id, self.run_id or self.first_run_id, self.result_type, follow_runs)
        return value

    @overload
    async def signal(
        self, signal: SignalDefinition[T] | Callable[[Any, T], object], arg: T, /, *, request_id: str | None = None
    ) -> None: ...
    @overload
    async def signal(self, signal: str, /, *args: Any, request_id: str | None = None) -> None: ...
    @overload
    async def signal(self, signal: object, /, *, request_id: str | None = None) -> None: ...
    async def signal(self, signal: Any, /, *args: Any, request_id: str | None = None) -> None:
        """Sends a signal: an instance of a `@signal` class, or a name, `Signal` or handler method with its arguments. Durable on return.

        Sent again with the same `request_id` it is the same signal.
        """
        caller = self._caller
        caller.check_open()
        request = SignalWorkflowExecutionRequest()
        request.namespace = caller.namespace
        request.identity = caller.identity
        request.request_id = request_id or uuid4_text()
        execution = request.workflow_execution
        execution.workflow_id = self.id
        if self.run_id:
            execution.run_id = self.run_id
        request.signal_name, encoded = signal_payloads(signal, args, caller.converter)
        if encoded:
            request.input.MergeFromString(encoded)
        await caller.call(caller.service.signal_workflow_execution, request, self.id)

    @overload
    async def query(
        self, query: QueryDefinition[T] | type[T], /, *args: Any, reject_condition: QueryRejectCondition | None = None
    ) -> T: ...
    @overload
    async def query(
        self, query: Callable[[Any, Unpack[Ts]], T], /, *args: *Ts, reject_condition: QueryRejectCondition | None = None
    ) -> T: ...
    @overload
    async def query(
        self,
        query: str,
        /,
        *args: Any,
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
        reject_condition: QueryRejectCondition | None = None,
    ) -> D: ...
    async def query(self, query: Any, /, *args: Any, result_type: Any = None, reject_condition: QueryRejectCondition | None = None) -> Any:  # type: ignore[misc]  # mypy does not match *Ts with *args: Any
        """Asks the workflow's code, which must be on a worker that polls; nothing is recorded.

        Raises:
            QueryFailed: there is no such handler, or it raised.
            QueryRejected: the workflow's status is one that `reject_condition` excludes.
        """
        self._caller.check_open()
        request = QueryWorkflowRequest()
        request.namespace = self._caller.namespace
        request.execution.workflow_id = self.id
        request.execution.run_id = self.run_id
        request.query.query_type = query_name(query)
        if args:
            request.query.query_args.payloads.extend(self._caller.converter.encode_values(args, (), f"query {request.query.query_type}"))
        if reject_condition is not None:
            request.query_reject_condition = int(reject_condition)  # type: ignore[assignment]
        response = await self._caller.call(self._caller.service.query_workflow, request, self.id)
        if response.HasField("query_rejected"):
            status = WorkflowStatus(response.query_rejected.status).name
            raise QueryRejected(
                f"workflow {self.id!r} is {status}; leave out reject_condition to query it all the same", workflow_status=status
            )
        payloads = response.query_result.payloads
        return self._caller.converter.from_payload(payloads[0], result_type or _answer_type(query)) if payloads else None

    async def progress(self) -> str:
        """What the workflow last said with `ctx.record_heartbeat`; empty when it said nothing."""
        metadata: WorkflowMetadata = await self.query(_METADATA)
        return metadata.current_details

    async def describe(self) -> WorkflowDescription:
        """Status, times, sizes, and what is pending."""
        self._caller.check_open()
        request = DescribeWorkflowExecutionRequest()
        request.namespace = self._caller.namespace
        request.execution.workflow_id = self.id
        request.execution.run_id = self.run_id
        response = await self._caller.call(self._caller.service.describe_workflow_execution, request, self.id)
        return describe(response, self._caller.converter)

    async def history(self) -> WorkflowHistory:
        """All events of the run, `to_json()` for export."""
        return await fetch_history(self._caller, self.id, self.run_id)

    async def cancel(self, reason: str = "") -> None:
        """Asks the workflow to end: its code gets `asyncio.CancelledError` and may clean up, or go on."""
        self._caller.check_open()
        request = RequestCancelWorkflowExecutionRequest()
        request.namespace = self._caller.namespace
        request.workflow_execution.workflow_id = self.id
        request.workflow_execution.run_id = self.run_id
        request.identity = self._caller.identity
        request.request_id = uuid4_text()
        request.reason = reason
        await self._caller.call(self._caller.service.request_cancel_workflow_execution, request, self.id)

    async def terminate(self, reason: str = "", *details: Any) -> None:
        """Ends the workflow at once: its code is not asked and cannot clean up."""
        self._caller.check_open()
        request = TerminateWorkflowExecutionRequest()
        request.namespace = self._caller.namespace
        request.workflow_execution.workflow_id = self.id
        request.workflow_execution.run_id = self.run_id
        request.identity = self._caller.identity
        request.reason = reason
        if details:
            request.details.payloads.extend(self._caller.converter.encode_values(details, (), "terminate"))
        await self._caller.call(self._caller.service.terminate_workflow_execution, request, self.id)

    def __getattr__(self, name: str) -> Any:
        raise missing_attribute("WorkflowHandle", name, _NAMES, _FOREIGN)

    def __repr__(self) -> str:
        return f"<WorkflowHandle {self.id}{f' run {self.run_id}' if self.run_id else ''}>"


_NAMES = ("id", "run_id", "first_run_id", "result", "signal", "query", "progress", "describe", "history", "cancel", "terminate")
_FOREIGN = {
    "fetch_history": "history()",
    "get_result": "result()",
    "status": "(await handle.describe()).status",
    "workflow_id": "id",
    "result_run_id": "first_run_id",
    "first_execution_run_id": "first_run_id",
    "get_status": "(await handle.describe()).status",
    "wait": "result()",
    "execute_update": "signal(…), and query(…) for the answer: handles have no updates yet",
    "start_update": "signal(…), and query(…) for the answer: handles have no updates yet",
    "update": "signal(…), and query(…) for the answer: handles have no updates yet",
    "reset": "perdure workflow reset on the command line: handles do not reset yet",
    "delete": "perdure workflow delete on the command line: handles do not delete yet",
}


def _answer_type(query: Any) -> Any:
    """The type of a query's answer: of its definition, or the annotation of its handler."""
    if callable(query) and not isinstance(query, type):
        from perdure.model.definitions import HandlerDefinition

        return HandlerDefinition(None, query, skip_self=True).result_type
    return query_type(query)


def signal_payloads(signal: Any, args: Sequence[Any], converter: DataConverter) -> tuple[str, bytes]:
    """A signal's name and its arguments as an encoded `Payloads`; UsageError when they do not fit."""
    if isinstance(signal, str):
        return signal_name(signal), converter.encode_arguments(args, (), f"signal {signal}") if args else b""
    name = signal_name(signal)
    values: Sequence[Any] = args
    if isinstance(signal, type):
        raise UsageError(f"{signal.__name__} is the signal's class; send an instance: {signal.__name__}(…)")
    if isinstance(signal, SignalDefinition):
        wanted = 0 if signal_type(signal) is None else 1
        if len(args) != wanted:
            raise UsageError(f"signal {name} takes {wanted or 'no'} argument{'' if wanted == 1 else 's'}, and {len(args)} were given")
    elif is_signal(type(signal)):
        if args:
            raise UsageError(f"an instance of {type(signal).__name__} is the whole signal; put what else you send into its fields")
        values = [signal]
    return name, converter.encode_arguments(values, (), f"signal {name}") if values else b""
