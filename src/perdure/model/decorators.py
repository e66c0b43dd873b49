"""The decorators that users type: `activity`, and `workflow` with its `signal` and `query`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from typing_extensions import Unpack

from perdure.model.definitions import (
    ACTIVITY_MARK,
    WORKFLOW_MARK,
    ActivityDefinition,
    HandlerDefinition,
    WorkflowDefinition,
)
from perdure.model.determinism import check_determinism
from perdure.model.errors import DefinitionError
from perdure.model.messages import QUERY_MARK, SIGNAL_MARK, is_query, is_signal, query_name, signal_name
from perdure.model.names import check_name
from perdure.model.options import ActivityOptions, ActivityOptionsDict, check_names
from perdure.model.suggestions import missing_attribute, unknown_option

if TYPE_CHECKING:
    from perdure.runtime.context import WorkflowContext

__all__ = ["activity", "workflow"]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_DYNAMIC = "__perdure_dynamic__"


class ActivityDecorator(Protocol):
    """`@activity(…)`."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...


class WorkflowDecorator(Protocol):
    """`@workflow(…)`."""

    @overload
    def __call__(self, fn: C, /) -> C: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...


# --- activities ------------------------------------------------------------------------------------------------------


class _Activity:
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(
        self, /, *, name: str | None = None, cpu_bound: bool = False, **options: Unpack[ActivityOptionsDict]
    ) -> ActivityDecorator: ...
    def __call__(self, fn: Any = None, /, *, name: str | None = None, cpu_bound: bool = False, **options: Any) -> Any:
        """Makes a function, a method or a class with a `run` method an activity: code that may do anything, run at least once.

        `async def` runs in the worker's event loop, `def` in a thread, `cpu_bound=True` (a module-level `def`) in a process. The first
        parameter may be an ActivityContext. The options hold for every call that does not say otherwise.
        """
        check_names("@activity", options, ActivityOptions, also=frozenset({"name", "cpu_bound"}))
        if name is not None:
            check_name(name, "the activity's name", '@activity(name="charge")')
        made = ActivityOptions(**options)
        if fn is None:
            return partial(_define_activity, name=name, cpu_bound=cpu_bound, options=made)
        if isinstance(fn, str):
            raise DefinitionError(f"say @activity(name={fn!r})")
        return _define_activity(fn, name, cpu_bound, made)

    def __getattr__(self, attribute: str) -> Any:
        raise missing_attribute("perdure's activity", attribute, (), _ACTIVITY_ATTRIBUTES)

    def __repr__(self) -> str:
        return "<decorator activity>"


_ACTIVITY_ATTRIBUTES = {
    "defn": "@activity, without .defn",
    "method": "@activity, without .method",
    "heartbeat": "ctx.heartbeat(…) on the ActivityContext: make the first parameter `ctx: ActivityContext`",
    "info": "ctx.info on the ActivityContext: make the first parameter `ctx: ActivityContext`",
    "logger": "ctx.logger on the ActivityContext: make the first parameter `ctx: ActivityContext`",
}

activity = _Activity()


def _define_activity(fn: Any, name: str | None, cpu_bound: bool, options: ActivityOptions) -> Any:
    if isinstance(fn, type):
        return _define_activity_class(fn, name, cpu_bound, options)
    kind: str = type(fn).__name__
    if kind in ("staticmethod", "classmethod"):
        raise DefinitionError(f"put @{kind} above @activity, not below it")
    if isinstance(fn, ActivityDefinition | WorkflowDefinition):
        raise DefinitionError(
            f"{fn.name} is already {'a workflow' if isinstance(fn, WorkflowDefinition) else 'an activity'}; use one decorator"
        )
    if not callable(fn):
        raise DefinitionError(f"@activity goes on a function, a method or a class, not on {fn!r}")
    _check_activity(fn, name, cpu_bound)
    definition: ActivityDefinition[Any, Any] = ActivityDefinition(fn, name=name, cpu_bound=cpu_bound, options=options)
    return definition


def _check_activity(fn: Any, name: str | None, cpu_bound: bool) -> None:
    label = getattr(fn, "__name__", type(fn).__name__)
    if label == "<lambda>" and name is None:
        raise DefinitionError("a lambda needs a name to be an activity; define a function, or say activity(name=…)(lambda …)")
    if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
        raise DefinitionError(f"activity {label} is a generator (it has a yield); return a list, or report progress with ctx.heartbeat(…)")
    if not cpu_bound:
        return
    if inspect.iscoroutinefunction(fn):
        raise DefinitionError(f"activity {label} is cpu_bound and async; a process runs it from start to end, so make it a plain def")
    if "." in getattr(fn, "__qualname__", "."):
        raise DefinitionError(
            f"activity {label} is cpu_bound and not at the top of its module; move it there, so that a process can import it"
        )


def _define_activity_class(cls: type, name: str | None, cpu_bound: bool, options: ActivityOptions) -> type:
    run = inspect.getattr_static(cls, "run", None)
    if not inspect.isfunction(run):
        raise DefinitionError(f"the activity class {cls.__name__} has no method `run`; add it, or put @activity on its methods instead")
    definition: ActivityDefinition[Any, Any] = ActivityDefinition(run, name=name or cls.__name__, cpu_bound=cpu_bound, options=options)
    definition._is_method = True
    setattr(cls, ACTIVITY_MARK, definition)
    return cls


# --- workflows -------------------------------------------------------------------------------------------------------


class _Workflow:
    @overload
    def __call__(self, fn: C, /) -> C: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[WorkflowContext, P], Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...
    @overload
    def __call__(self, /, *, name: str | None = None) -> WorkflowDecorator: ...
    def __call__(self, fn: Any = None, /, *, name: str | None = None, **unknown: Any) -> Any:
        """Makes an `async def (ctx, …)`, or a class with an async `run(self, ctx, …)`, a workflow: code that is replayed after a crash.

        It must do the same when it is replayed: time, randomness and everything outside come from `ctx` and from activities. The type's
        name is the Python name unless `name` is given. DeterminismViolation names the line of a call that cannot work.
        """
        if unknown:
            raise unknown_option("@workflow", unknown, ("name",), "workflow")
        if name is not None:
            check_name(name, "the workflow's name", '@workflow(name="order")')
        if fn is None:
            return partial(_define_workflow, name=name)
        if isinstance(fn, str):
            raise DefinitionError(f"say @workflow(name={fn!r})")
        return _define_workflow(fn, name)

    @overload
    def signal(self, of: type, /) -> Callable[[F], F]: ...
    @overload
    def signal(self, fn: F, /) -> F: ...
    @overload
    def signal(self, of: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Callable[[F], F]: ...
    def signal(self, of: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Any:
        """Makes a method the handler of a signal, of the method's name unless a name, a `Signal` or a signal class is given.

        `dynamic=True` takes every signal that has no handler: `(self, name, *args)`, or `(self, name, values)` with a list.
        """
        return _handler(of, name, dynamic, SIGNAL_MARK)

    @overload
    def query(self, of: type, /) -> Callable[[F], F]: ...
    @overload
    def query(self, fn: F, /) -> F: ...
    @overload
    def query(self, of: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Callable[[F], F]: ...
    def query(self, of: Any = None, /, *, name: str | None = None, dynamic: bool = False) -> Any:
        """Makes a method the handler of a query, of the method's name unless a name, a `Query` or a query class is given. It only reads.

        `dynamic=True` takes every query that has no handler: `(self, name, *args)`, or `(self, name, values)` with a list.
        """
        return _handler(of, name, dynamic, QUERY_MARK)

    def __getattr__(self, attribute: str) -> Any:
        raise missing_attribute("perdure's workflow", attribute, ("signal", "query"), _WORKFLOW_ATTRIBUTES)

    def __repr__(self) -> str:
        return "<decorator workflow>"


_CTX = "on the WorkflowContext, the first parameter of the workflow"
_WORKFLOW_ATTRIBUTES: Mapping[str, str] = {
    "defn": "@workflow, without .defn",
    "run": "leave it out: the method that is named `run` is the one that runs",
    "init": "leave it out: the class is created without arguments, and `run` gets them",
    "execute_activity": f"await the activity itself, or ctx.execute_activity(…) {_CTX}",
    "start_activity": f"ctx.start_activity(…) {_CTX}",
    "execute_local_activity": f"ctx.execute_activity(…) {_CTX}",
    "sleep": f"ctx.sleep(…) {_CTX}, or asyncio.sleep(…)",
    "now": f"ctx.now() {_CTX}",
    "uuid4": f"ctx.uuid4() {_CTX}",
    "random": f"ctx.random() {_CTX}",
    "info": f"ctx.workflow_id, ctx.run_id and the like {_CTX}",
    "logger": f"ctx.logger {_CTX}",
    "wait_condition": f"ctx.wait_condition(…) {_CTX}",
    "continue_as_new": f"ctx.continue_as_new(…) {_CTX}",
    "update": "@workflow.signal, and @workflow.query for the answer: there are no updates yet",
    "execute_child_workflow": "client.execute_workflow(…) in an activity: WorkflowContext has no child workflows yet",
    "unsafe": "plain imports: perdure has no sandbox, modules are imported once",
}

workflow = _Workflow()


def _define_workflow(fn: Any, name: str | None) -> Any:
    if isinstance(fn, type):
        return _define_workflow_class(fn, name)
    if isinstance(fn, ActivityDefinition | WorkflowDefinition):
        raise DefinitionError(
            f"{fn.name} is already {'an activity' if isinstance(fn, ActivityDefinition) else 'a workflow'}; use one decorator"
        )
    label = getattr(fn, "__name__", repr(fn))
    if inspect.isasyncgenfunction(fn):
        raise DefinitionError(
            f"workflow {label} is a generator (it has a yield); return a value, and show progress with ctx.set_query_handler"
        )
    if not inspect.iscoroutinefunction(fn):
        raise DefinitionError(f"workflow {label} must be an `async def`; write `async def {label}(ctx, …)`, or a class with an async `run`")
    check_determinism(fn)
    definition: WorkflowDefinition[Any, Any] = WorkflowDefinition(fn, name=name or label)
    if not definition.takes_ctx:
        raise DefinitionError(f"workflow {label} must take the WorkflowContext first; write `async def {label}(ctx: WorkflowContext, …)`")
    return definition


def _define_workflow_class(cls: type, name: str | None) -> type:
    run = inspect.getattr_static(cls, "run", None)
    if run is None:
        raise DefinitionError(f"workflow class {cls.__name__} has no method `run`; name its main method so: `async def run(self, ctx, …)`")
    if not inspect.iscoroutinefunction(run):
        raise DefinitionError(f"{cls.__name__}.run must be an `async def`; write `async def run(self, ctx, …)`")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise DefinitionError(
            f"workflow class {cls.__name__} is created without arguments, and its __init__ needs some; take them in `run`"
        ) from error
    signals, queries = _handlers(cls, SIGNAL_MARK, "signal"), _handlers(cls, QUERY_MARK, "query")
    for handler in queries.values():
        if handler.is_async:
            raise DefinitionError(f"query handler {handler.fn.__qualname__} is async; a query only reads, so make it a plain def")
    for _, each in inspect.getmembers_static(cls, inspect.isfunction):
        check_determinism(each)
    definition: WorkflowDefinition[Any, Any] = WorkflowDefinition(run, name=name or cls.__name__, cls=cls, signals=signals, queries=queries)
    if not definition.takes_ctx:
        raise DefinitionError(
            f"{cls.__name__}.run must take the WorkflowContext first; write `async def run(self, ctx: WorkflowContext, …)`"
        )
    setattr(cls, WORKFLOW_MARK, definition)
    return cls


def _handlers(cls: type, mark: str, kind: str) -> dict[str | None, HandlerDefinition]:
    """The methods marked so, by name; None for the dynamic one."""
    found: dict[str | None, HandlerDefinition] = {}
    for _, fn in inspect.getmembers_static(cls, inspect.isfunction):
        if not hasattr(fn, mark):
            continue
        name = None if hasattr(fn, _DYNAMIC) else _handler_name(fn, mark)
        if name in found:
            raise DefinitionError(f"{cls.__name__} has two handlers of the {kind} {name or 'of any name'}; keep one")
        handler = HandlerDefinition(name, fn, skip_self=True)
        if name is not None and name.startswith("__"):
            raise DefinitionError(f"{kind} name {name!r}: names that begin with two underscores are the engine's; choose another")
        found[name] = handler
    return found


def _handler_name(fn: Callable[..., Any], mark: str) -> str:
    """What was given, or the class of the only argument when that is a signal's, or the method's own name."""
    given: str = getattr(fn, mark)
    if given:
        return given
    name = fn.__name__
    if mark == SIGNAL_MARK:
        types = HandlerDefinition(name, fn, skip_self=True)
        annotated = types.arg_types if len(types.arg_names) == 1 else []
        if annotated and isinstance(annotated[0], type) and is_signal(annotated[0]):
            name = signal_name(annotated[0])
    setattr(fn, mark, name)
    return name


def _handler(of: Any, name: str | None, dynamic: bool, mark: str) -> Any:
    if inspect.isfunction(of):
        return _mark_handler(of, name, dynamic, mark)
    kind, known, named = ("signal", is_signal, signal_name) if mark == SIGNAL_MARK else ("query", is_query, query_name)
    if of is not None and not isinstance(of, str) and not known(of):
        raise DefinitionError(f"@workflow.{kind} goes on a method, and takes a name, a {kind.capitalize()} or a {kind} class, not {of!r}")
    wanted = name if of is None else named(of)
    return partial(_mark_handler, name=wanted, dynamic=dynamic, mark=mark)


def _mark_handler(fn: Any, name: str | None, dynamic: bool, mark: str) -> Any:
    setattr(fn, mark, name or "")
    if dynamic:
        setattr(fn, _DYNAMIC, True)
    return fn
