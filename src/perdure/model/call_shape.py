"""What a callable takes and gives, as far as sending a call needs it: names, types, whether it wants the context.

Types are resolved at first use, not at decoration: annotations may name classes that are defined further down.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from perdure.model.errors import DefinitionError, UsageError

__all__ = ["CONTEXT_MARK", "CallShape"]

CONTEXT_MARK = "__perdure_context__"
"""The attribute by which the context classes of the floors above are known: "workflow" or "activity"."""

_CONTEXT_NAMES = {"workflow": "WorkflowContext", "activity": "ActivityContext"}


class CallShape:
    """A callable's parameters without `self` and context. `context` names the kind of context that it may take, None for none."""

    def __init__(self, fn: Callable[..., Any], where: str, *, skip_self: bool, context: str | None, first_is_ctx: bool = False) -> None:
        self.fn = fn
        self.where = where
        parameters = list(inspect.signature(fn).parameters.values())[1 if skip_self else 0 :]
        self.takes_ctx = context is not None and _wants_context(parameters, context, first_is_ctx)
        if self.takes_ctx:
            parameters = parameters[1:]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.arg_names = tuple(p.name for p in positional)
        self.required = sum(p.default is p.empty for p in positional)
        for p in parameters:
            if p.kind is p.KEYWORD_ONLY and p.default is p.empty:
                raise DefinitionError(
                    f"{where} has the keyword-only parameter {p.name!r}, and calls are sent by position; make it positional, or better "
                    "take one dataclass"
                )

    @cached_property
    def arg_types(self) -> list[Any]:
        """The annotation of each parameter; None where there is none."""
        hints = self.hints
        return [hints.get(name) for name in self.arg_names]

    @cached_property
    def result_type(self) -> Any:
        """The annotation of the result; None where there is none."""
        return self.hints.get("return")

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        return _resolve(self.fn, self.where)

    def check_count(self, count: int) -> None:
        """UsageError when that many arguments cannot be right."""
        if self.required <= count and (count <= len(self.arg_names) or self.variadic):
            return
        names = ", ".join(self.arg_names)
        wanted = "no arguments" if not names else f"{len(self.arg_names)} argument{'s' * (len(self.arg_names) > 1)} ({names})"
        if self.required != len(self.arg_names):
            wanted += f", of which {self.required} must be given"
        raise UsageError(f"{self.where} takes {wanted}, and {count} {'was' if count == 1 else 'were'} given")

    def positional(self, args: Sequence[Any], given: Mapping[str, Any]) -> Sequence[Any]:
        """Arguments by position; UsageError for a name that is not a parameter or leaves a gap before it."""
        if given:
            args = self._place(args, given)
        self.check_count(len(args))
        return args

    def _place(self, args: Sequence[Any], given: Mapping[str, Any]) -> Sequence[Any]:
        placed = list(args)
        left = dict(given)
        for name in self.arg_names[len(args) :]:
            if name not in left:
                break
            placed.append(left.pop(name))
        if left:
            names = ", ".join(self.arg_names) or "none"
            raise UsageError(f"{self.where} cannot be given {next(iter(left))!r} by name; its arguments are, in this order: {names}")
        return placed


def _wants_context(parameters: Sequence[inspect.Parameter], context: str, first_is_ctx: bool) -> bool:
    """Whether the first parameter is the context: by its annotation, or by its name when it has none."""
    if not parameters or parameters[0].kind not in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
        return False
    first = parameters[0]
    if first.annotation is first.empty:
        return first_is_ctx or first.name == "ctx"
    if isinstance(first.annotation, str):
        return first.annotation.split("[")[0].rpartition(".")[2] == _CONTEXT_NAMES[context]
    return getattr(first.annotation, CONTEXT_MARK, None) == context or getattr(first.annotation, "__name__", "") == _CONTEXT_NAMES[context]


def _resolve(fn: Callable[..., Any], where: str) -> Mapping[str, Any]:
    """The type hints; the context's annotation may be importable by type checkers only, and is not needed."""
    target = inspect.unwrap(getattr(fn, "__func__", fn))
    if not hasattr(target, "__annotations__"):
        target = getattr(target, "__call__", target)  # noqa: B004 - an object with a typed __call__
    try:
        return typing.get_type_hints(target)
    except NameError:
        return _resolve_one_by_one(target, where)


def _resolve_one_by_one(target: Callable[..., Any], where: str) -> Mapping[str, Any]:
    hints: dict[str, Any] = {}
    scope = {**vars(typing), **getattr(target, "__globals__", {})}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        try:
            hints[name] = typing.get_type_hints(_Carrier(name, annotation), scope)[name]
        except NameError as error:
            if str(annotation).split("[")[0].rpartition(".")[2] in _CONTEXT_NAMES.values():
                continue
            raise DefinitionError(
                f"the annotation of {name!r} in {where} cannot be resolved: {error}; define or import that name in the module itself "
                "(not in a function, not under TYPE_CHECKING)"
            ) from error
    return hints


class _Carrier:
    """Something for `get_type_hints` to read one annotation from."""

    def __init__(self, name: str, annotation: Any) -> None:
        self.__annotations__ = {name: annotation}
