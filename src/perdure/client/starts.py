"""Starting workflows: start, execute, signal with start, typed by the workflow's own signature.

Type checkers see three forms of each: a workflow function (by its `__call__`), a workflow class (by its `run`), a type's name.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from typing_extensions import TypeVar, TypeVarTuple, Unpack

from perdure.client.calls import Caller
from perdure.client.handle import WorkflowHandle, signal_payloads
from perdure.client.results import wait_result
from perdure.client.starting import Target, Template, Templates, fill, target_of
from perdure.model.errors import UsageError, WorkflowAlreadyStarted
from perdure.model.options import StartWorkflowOptions, StartWorkflowOptionsDict, WorkflowIdConflictPolicy

if TYPE_CHECKING:
    from perdure.runtime.context import WorkflowContext

__all__ = ["Starts", "WorkflowClass"]

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
D = TypeVar("D", default=Any)
Ts = TypeVarTuple("Ts")


class WorkflowClass(Protocol[*Ts, R_co]):
    """What type checkers see of a workflow class: its `run`."""

    def run(self, ctx: WorkflowContext, /, *args: *Ts) -> Coroutine[Any, Any, R_co]: ...


class Starts:
    """The part of the client that starts workflows."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._templates = Templates(caller)

    @overload
    async def start_workflow(
        self,
        workflow: Callable[[WorkflowContext, Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def start_workflow(
        self,
        workflow: type[WorkflowClass[*Ts, R]],
        /,
        *args: *Ts,
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def start_workflow(
        self,
        workflow: str,
        /,
        *args: Any,
        id: str,
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[D]: ...
    async def start_workflow(  # type: ignore[misc]  # mypy does not match *Ts with *args: Any
        self,
        workflow: Any,
        /,
        *args: Any,
        id: Any = None,
        result_type: Any = None,
        options: StartWorkflowOptions | None = None,
        **given: Any,
    ) -> WorkflowHandle[Any]:
        """Starts a workflow; it is durable when this returns.

        Temporal's defaults hold: an id whose workflow has ended may be used again, one that is running may not.

        Raises:
            WorkflowAlreadyStarted: the id is taken (`id_reuse_policy` and `id_conflict_policy` say otherwise).
        """
        template = self._templates.of(StartWorkflowExecutionRequest, options, given)
        target = target_of(workflow, args, result_type, self._caller.converter)
        response = await self._start(template, target, id, "start_workflow")
        return WorkflowHandle(self._caller, id, first_run_id=response.run_id, result_type=target.result_type)

    def _start(self, template: Template, target: Target, id: Any, where: str) -> Coroutine[Any, Any, StartWorkflowExecutionResponse]:
        caller = self._caller
        caller.check_open()
        request = StartWorkflowExecutionRequest()
        workflow_id = fill(request, template, target, id, where)
        return caller.call(caller.service.start_workflow_execution, request, workflow_id)

    @overload
    async def execute_workflow(
        self,
        workflow: Callable[[WorkflowContext, Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> R: ...
    @overload
    async def execute_workflow(
        self,
        workflow: type[WorkflowClass[*Ts, R]],
        /,
        *args: *Ts,
        id: str,
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> R: ...
    @overload
    async def execute_workflow(
        self,
        workflow: str,
        /,
        *args: Any,
        id: str,
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> D: ...
    async def execute_workflow(  # type: ignore[misc]  # mypy does not match *Ts with *args: Any
        self,
        workflow: Any,
        /,
        *args: Any,
        id: Any = None,
        result_type: Any = None,
        options: StartWorkflowOptions | None = None,
        **given: Any,
    ) -> Any:
        """Runs a workflow and gives its result. Safe to repeat, after a crash too: the id decides.

        A workflow of that id that runs is joined; one that completed gives its result; one that failed, timed out, was cancelled or
        terminated raises that. `id_reuse_policy` says otherwise (ALLOW_DUPLICATE: run again what has ended;
        ALLOW_DUPLICATE_FAILED_ONLY: run again what did not complete).

        Raises:
            WorkflowFailed: it failed; the cause says why.
            WorkflowCancelled, WorkflowTerminated, WorkflowTimedOut: it ended so.
            WorkflowAlreadyStarted: the id belongs to a workflow of another type.
        """
        template = self._templates.of(StartWorkflowExecutionRequest, options, given, joining=True)
        target = target_of(workflow, args, result_type, self._caller.converter)
        try:
            response = await self._start(template, target, id, "execute_workflow")
            run_id, started = response.run_id, response.started
        except WorkflowAlreadyStarted as taken:
            if template.options.id_conflict_policy is WorkflowIdConflictPolicy.FAIL:
                raise
            run_id, started = taken.run_id, False
        if not started:
            await self._check_type(id, run_id, target.name)
        return await wait_result(self._caller, id, run_id, target.result_type)

    async def _check_type(self, id: str, run_id: str, wanted: str) -> None:
        found = (await WorkflowHandle[Any](self._caller, id).describe()).workflow_type
        if found != wanted:
            raise WorkflowAlreadyStarted(
                f"the id {id!r} belongs to a workflow of type {found!r}, not {wanted!r}; take another id",
                workflow_id=id,
                run_id=run_id,
                workflow_type=found,
            )

    @overload
    async def signal_with_start(
        self,
        workflow: Callable[[WorkflowContext, Unpack[Ts]], Coroutine[Any, Any, R]],
        /,
        *args: *Ts,
        id: str,
        signal: object,
        signal_args: Sequence[Any] = (),
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: type[WorkflowClass[*Ts, R]],
        /,
        *args: *Ts,
        id: str,
        signal: object,
        signal_args: Sequence[Any] = (),
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[R]: ...
    @overload
    async def signal_with_start(
        self,
        workflow: str,
        /,
        *args: Any,
        id: str,
        signal: object,
        signal_args: Sequence[Any] = (),
        result_type: type[D] | None = None,  # pyright: ignore[reportInvalidTypeVarUse]
        options: StartWorkflowOptions | None = None,
        **given: Unpack[StartWorkflowOptionsDict],
    ) -> WorkflowHandle[D]: ...
    async def signal_with_start(  # type: ignore[misc]  # mypy does not match *Ts with *args: Any
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
        template = self._templates.of(SignalWithStartWorkflowExecutionRequest, options, given)
        target = target_of(workflow, args, result_type, self._caller.converter)
        request = SignalWithStartWorkflowExecutionRequest()
        workflow_id = fill(request, template, target, id, "signal_with_start")
        request.signal_name, encoded = signal_payloads(signal, signal_args, self._caller.converter)
        if encoded:
            request.signal_input.MergeFromString(encoded)
        response = await self._caller.call(self._caller.service.signal_with_start_workflow_execution, request, workflow_id)
        return WorkflowHandle(self._caller, workflow_id, first_run_id=response.run_id, result_type=target.result_type)
