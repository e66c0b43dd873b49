"""What workflows and activities are to the rest of perdure: a name, a callable, the types of what goes in and out.

The decorators that make them stand in `decorators`. A workflow function *becomes* its definition; a workflow class stays the class that
the user wrote and carries its definition (`workflow_definition(cls)`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeGuard, TypeVar, cast, overload

from typing_extensions import Unpack

from perdure.model.call_shape import CallShape
from perdure.model.errors import DefinitionError, UsageError
from perdure.model.options import ActivityOptions, ActivityOptionsDict

if TYPE_CHECKING:
    from perdure.runtime.context import WorkflowContext
    from perdure.worker.activity_context import ActivityContext

__all__ = [
    "ACTIVITY_MARK",
    "WORKFLOW_MARK",
    "ActivityDefinition",
    "HandlerDefinition",
    "WorkflowDefinition",
    "WorkflowHook",
    "activity_definition",
    "activity_definitions",
    "current_workflow",
    "is_activity",
    "is_workflow",
    "workflow_definition",
]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

WORKFLOW_MARK = "__perdure_workflow__"
ACTIVITY_MARK = "__perdure_activity__"


class WorkflowHook(Protocol):
    """What stands behind `await charge(order)` in workflow code."""

    def execute_activity(
        self, definition: ActivityDefinition[Any, Any], args: Sequence[Any], options: ActivityOptions
    ) -> Coroutine[Any, Any, Any]:
        """Schedules the activity when awaited, and gives its result."""
        ...


current_workflow: ContextVar[WorkflowHook | None] = ContextVar("perdure_current_workflow", default=None)
"""The workflow whose code is running; the runtime sets it."""


class ActivityDefinition(Generic[P, R]):
    """An activity. Called inside a workflow it is the durable call, with `default_options`; elsewhere it is the plain function."""

    def __init__(
        self, fn: Callable[..., Any], *, name: str | None = None, cpu_bound: bool = False, options: ActivityOptions | None = None
    ) -> None:
        self.fn = fn
        self.name: str = name or str(getattr(fn, "__name__", type(fn).__name__))
        self.is_async = inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
        self.cpu_bound = cpu_bound
        self.default_options = options or ActivityOptions()
        self.bound = not inspect.isfunction(fn)
        self._is_method = False
        self.__name__ = self.name
        self.__qualname__: str = getattr(fn, "__qualname__", self.name)
        self.__module__ = getattr(fn, "__module__", __name__)
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__wrapped__ = fn

    def __set_name__(self, owner: type, name: str) -> None:
        self._is_method = getattr(self.fn, "__qualname__", "").rpartition(".")[0] == owner.__qualname__
        self.__dict__.pop("shape", None)

    @cached_property
    def shape(self) -> CallShape:
        """The parameters, without `self` and context."""
        return CallShape(self.fn, f"activity {self.name}", skip_self=self._is_method, context="activity")

    @property
    def takes_ctx(self) -> bool:
        """Whether the first argument is the ActivityContext."""
        return self.shape.takes_ctx

    @property
    def arg_names(self) -> tuple[str, ...]:
        return self.shape.arg_names

    @property
    def arg_types(self) -> list[Any]:
        """One for each of `arg_names`; None where there is no annotation."""
        return self.shape.arg_types

    @property
    def result_type(self) -> Any:
        return self.shape.result_type

    @property
    def needs_instance(self) -> bool:
        """A method seen on its class: it has no object to run on, though workflows may call it by this."""
        return self._is_method

    @overload
    def __call__(
        self: ActivityDefinition[Concatenate[ActivityContext, Q], R], *args: Q.args, **kwargs: Q.kwargs
    ) -> Coroutine[None, None, R]: ...
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]: ...  # mypy takes gather of two with Any in for Any
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        hook = current_workflow.get()
        if hook is None:
            return self.fn(*args, **kwargs)
        return hook.execute_activity(self, self.shape.positional(args, kwargs), self.default_options)

    def __get__(self: ActivityDefinition[Concatenate[Any, Q], R], instance: Any, owner: type | None = None) -> ActivityDefinition[Q, R]:
        if instance is None or not self._is_method:
            return self  # type: ignore[return-value]  # pyright: ignore[reportReturnType]  # typed without its `self`: see needs_instance
        return self._copy(MethodType(self.fn, instance), self.default_options)  # type: ignore[return-value]

    def options(self, **options: Unpack[ActivityOptionsDict]) -> ActivityDefinition[P, R]:
        """The same activity with other options: `await charge.options(task_queue="gpu")(order)`."""
        copy = self._copy(self.fn, self.default_options.merged(options))
        copy._is_method = self._is_method
        return copy

    def _copy(self, fn: Callable[..., Any], options: ActivityOptions) -> ActivityDefinition[P, R]:
        return ActivityDefinition(fn, name=self.name, cpu_bound=self.cpu_bound, options=options)

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self.bound or "<locals>" in self.__qualname__:
            return super().__reduce__()
        return self.__qualname__  # found again in its module, as functions are

    def __repr__(self) -> str:
        return f"<activity {self.name}>"


class HandlerDefinition:
    """A workflow's handler of a signal or a query; the name None stands for every name that has no handler of its own.

    A dynamic handler takes the name first, then the arguments as they come: as `*args`, or as one list.
    """

    __slots__ = ("fn", "is_async", "name", "shape")

    def __init__(self, name: str | None, fn: Callable[..., Any], *, skip_self: bool = False) -> None:
        self.name = name
        self.fn = fn
        self.is_async = inspect.iscoroutinefunction(fn)
        self.shape = CallShape(fn, f"handler {name or getattr(fn, '__name__', fn)}", skip_self=skip_self, context=None)

    @property
    def arg_names(self) -> tuple[str, ...]:
        return self.shape.arg_names

    @property
    def arg_types(self) -> list[Any]:
        return self.shape.arg_types

    @property
    def result_type(self) -> Any:
        return self.shape.result_type

    def __repr__(self) -> str:
        return f"<handler {self.name or 'of any name'}>"


class WorkflowDefinition(Generic[P, R]):
    """A workflow: its type's name, its run function (`run`: the function, or the class's method), its handlers by name."""

    def __init__(
        self,
        run: Callable[..., Any],
        *,
        name: str,
        cls: type | None = None,
        signals: Mapping[str | None, HandlerDefinition] | None = None,
        queries: Mapping[str | None, HandlerDefinition] | None = None,
    ) -> None:
        self.run = run
        self.name = name
        self.cls = cls
        self.signals = dict(signals or {})
        self.queries = dict(queries or {})
        self.shape = CallShape(run, f"workflow {name}", skip_self=cls is not None, context="workflow", first_is_ctx=True)
        self.takes_ctx = self.shape.takes_ctx
        """Whether the first argument (after `self`) is the WorkflowContext."""
        self.arg_names = self.shape.arg_names
        self.__name__ = name
        self.__qualname__: str = getattr(run, "__qualname__", name)
        self.__module__ = getattr(run, "__module__", __name__)
        self.__doc__ = getattr(run, "__doc__", None)
        self.__wrapped__ = run

    @property
    def arg_types(self) -> list[Any]:
        """One for each of `arg_names`; None where there is no annotation."""
        return self.shape.arg_types

    @property
    def result_type(self) -> Any:
        return self.shape.result_type

    def create(self) -> Any:
        """A new instance of the workflow's class; None for a function."""
        return None if self.cls is None else self.cls()

    def __call__(self, ctx: WorkflowContext, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        if current_workflow.get() is None:
            raise UsageError(f"{self.name} is a workflow; run it with client.execute_workflow({self.name}, …, id=…)")
        called: Coroutine[Any, Any, R] = self.run(ctx, *args, **kwargs)
        return called

    def __reduce__(self) -> str | tuple[Any, ...]:
        return super().__reduce__() if "<locals>" in self.__qualname__ else self.__qualname__

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


def is_workflow(of: Any) -> TypeGuard[WorkflowDefinition[Any, Any]]:
    return isinstance(of, WorkflowDefinition)


def is_activity(of: Any) -> TypeGuard[ActivityDefinition[Any, Any]]:
    return isinstance(of, ActivityDefinition)


def workflow_definition(of: Any) -> WorkflowDefinition[Any, Any]:
    """The definition of a workflow function or class; DefinitionError, with what to type, for anything else."""
    if is_workflow(of):
        return of
    found: Any = vars(of).get(WORKFLOW_MARK) if isinstance(of, type) else getattr(of, WORKFLOW_MARK, None)
    if is_workflow(found):
        return found
    raise DefinitionError(_no_workflow(of))


def _no_workflow(of: Any) -> str:
    name = getattr(of, "__name__", None) or repr(of)
    if owner := _class_of_run(of):
        return f"{owner}.run is a method; pass its class: {owner}"
    if isinstance(of, ActivityDefinition):
        return f"{name} is an activity, not a workflow; call it from a workflow, with await {name}(…)"
    if inspect.iscoroutine(of):
        of.close()
        return f"{of.__name__}(…) was called; pass the workflow itself and its arguments after it: execute_workflow({of.__name__}, …, id=…)"
    if hasattr(of, "__temporal_workflow_definition"):
        return f"{name} is defined with temporalio's @workflow.defn; define it with perdure's @workflow"
    if isinstance(of, type) and any(WORKFLOW_MARK in vars(base) for base in of.__mro__[1:]):
        return f"{name} is a subclass of a workflow; put @workflow on it too"
    return (
        f"{name} is not a workflow; put @workflow on it"
        if callable(of)
        else f"{of!r} is not a workflow; pass the function or class under @workflow"
    )


def _class_of_run(of: Any) -> str:
    """The name of the class whose `run` this is; empty for anything else."""
    path = str(getattr(of, "__qualname__", "")).split(".")
    return path[-2] if inspect.isfunction(of) and path[-1] == "run" and len(path) > 1 and path[-2] != "<locals>" else ""


def activity_definition(of: Any) -> ActivityDefinition[Any, Any]:
    """The definition of an activity function, method or class; DefinitionError, with what to type, for anything else."""
    if is_activity(of):
        return of
    found: Any = getattr(of, ACTIVITY_MARK, None)
    if is_activity(found):
        return found
    name = getattr(of, "__name__", None) or repr(of)
    if isinstance(of, WorkflowDefinition) or hasattr(of, WORKFLOW_MARK):
        raise DefinitionError(
            f"{name} is a workflow, not an activity; start it from an activity, with client.start_workflow({name}, …, id=…)"
        )
    if inspect.iscoroutine(of):
        of.close()
        name = "charge" if of.__name__ == "execute_activity" else of.__name__
        raise DefinitionError(
            f"an activity was called; pass the activity itself and its arguments after it: ctx.execute_activity({name}, …)"
        )
    if hasattr(of, "__temporal_activity_definition"):
        raise DefinitionError(f"{name} is defined with temporalio's @activity.defn; define it with perdure's @activity")
    if owner := _class_of_run(of):
        raise DefinitionError(f"{owner}.run is a method; pass its class: {owner}")
    raise DefinitionError(f"{name} is not an activity; put @activity on it")


def activity_definitions(of: Any) -> list[ActivityDefinition[Any, Any]]:
    """What a worker can run of `of`: an activity function; an object whose class, or whose methods, are activities; such a class."""
    if is_activity(of):
        return [_with_instance(of)]
    instance: Any = _instantiate(cast("type[Any]", of)) if isinstance(of, type) else of
    cls: type = type(instance)  # pyright: ignore[reportUnknownVariableType]
    found: list[ActivityDefinition[Any, Any]] = [getattr(instance, name) for name in _activity_methods(cls)]
    own: Any = getattr(cls, ACTIVITY_MARK, None)
    if is_activity(own):
        found.append(own._copy(MethodType(own.fn, instance), own.default_options))
    if not found:
        return [activity_definition(of)]
    return found


def _with_instance(definition: ActivityDefinition[Any, Any]) -> ActivityDefinition[Any, Any]:
    if definition.needs_instance:
        owner = definition.__qualname__.rpartition(".")[0]
        raise DefinitionError(f"activity {definition.name} is a method; register an object that has it: activities=[{owner}(…)]")
    return definition


def _activity_methods(cls: type) -> list[str]:
    return [name for name in dir(cls) if name != ACTIVITY_MARK and isinstance(inspect.getattr_static(cls, name), ActivityDefinition)]


def _instantiate(cls: type) -> Any:
    if not _activity_methods(cls) and not hasattr(cls, ACTIVITY_MARK):
        return activity_definition(cls)  # raises, with what to type
    try:
        return cls()
    except TypeError as error:
        raise DefinitionError(
            f"{cls.__name__} cannot be created without arguments; register an object: activities=[{cls.__name__}(…)]"
        ) from error
