"""Signals and queries as typed definitions: a class that is both name and payload, or a name with a type.

@signal
class Approval:
    by: str

await ctx.await_signal(Approval)                       # in the workflow
await client.signal_workflow(id, Approval(by="ann"))   # outside

Retries = Signal("retries", int)
Progress = Query("progress", float)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeGuard, TypeVar, cast, overload

from typing_extensions import dataclass_transform

from perdure.model.errors import DefinitionError, UsageError

__all__ = [
    "Query",
    "QueryDefinition",
    "Signal",
    "SignalDefinition",
    "is_query",
    "is_signal",
    "query",
    "query_name",
    "query_type",
    "signal",
    "signal_name",
    "signal_type",
]

T = TypeVar("T")
C = TypeVar("C", bound=type)

SIGNAL_MARK = "__perdure_signal__"
QUERY_MARK = "__perdure_query__"


class _NamedType(Generic[T]):
    """A name and the type that travels under it; None when nothing does."""

    __slots__ = ("name", "type")
    _kind = ""

    def __init__(self, name: str, type: type[T] | None = None) -> None:
        if not _is_name(name):
            raise DefinitionError(f"a {self._kind} needs a name; say {self._kind.capitalize()}('approved', bool)")
        self.name = name
        self.type = type

    def __repr__(self) -> str:
        shown = "" if self.type is None else f", {getattr(self.type, '__name__', self.type)}"
        return f"{self._kind.capitalize()}({self.name!r}{shown})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.name, other.type) == (self.name, self.type)

    def __hash__(self) -> int:
        return hash((self._kind, self.name))


class SignalDefinition(_NamedType[T]):
    """A signal by name: `Signal("retries", int)`."""

    __slots__ = ()
    _kind = "signal"


class QueryDefinition(_NamedType[T]):
    """A query by name, with the type of its answer: `Query("progress", float)`."""

    __slots__ = ()
    _kind = "query"


Signal = SignalDefinition
Query = QueryDefinition


def _is_name(given: Any) -> bool:
    return isinstance(given, str) and bool(given)


def _as_payload(cls: type[Any]) -> None:
    """Makes a bare annotated class a dataclass, so that it can be built and sent."""
    if (
        "__annotations__" in vars(cls)
        and not dataclasses.is_dataclass(cls)
        and "__init__" not in vars(cls)
        and not hasattr(cls, "model_fields")
    ):
        dataclasses.dataclass(cls)


def _mark(cls: Any, mark: str, name: str | None, kind: str) -> Any:
    if not isinstance(cls, type):
        raise DefinitionError(
            f"@{kind} goes on a class (its name is the {kind}'s, its fields the payload); for a method of a workflow class say "
            f"@workflow.{kind}"
        )
    _as_payload(cast("type[Any]", cls))
    setattr(cls, mark, name or cls.__name__)
    return cls


@overload
def signal(cls: C, /) -> C: ...
@overload
def signal(*, name: str | None = None) -> Callable[[C], C]: ...
@dataclass_transform()
def signal(cls: Any = None, /, *, name: str | None = None) -> Any:
    """Makes a class a signal: its name (or `name`) is the signal's, an instance is the payload. A bare class becomes a dataclass."""
    if cls is None:
        return partial(_mark, mark=SIGNAL_MARK, name=name, kind="signal")
    return _mark(cls, SIGNAL_MARK, name, "signal")


@overload
def query(cls: C, /) -> C: ...
@overload
def query(*, name: str | None = None) -> Callable[[C], C]: ...
@dataclass_transform()
def query(cls: Any = None, /, *, name: str | None = None) -> Any:
    """Makes a class a query: its name (or `name`) is the query's, an instance is the answer. A bare class becomes a dataclass."""
    if cls is None:
        return partial(_mark, mark=QUERY_MARK, name=name, kind="query")
    return _mark(cls, QUERY_MARK, name, "query")


def _own_name(of: Any, mark: str) -> str | None:
    found = getattr(of, mark, None)
    return found if isinstance(found, str) else None


def is_signal(of: Any) -> bool:
    """Whether `of` names a signal: a definition, a signal class or an instance of one, a `@workflow.signal` method."""
    return isinstance(of, SignalDefinition) or _own_name(of, SIGNAL_MARK) is not None


def is_query(of: Any) -> bool:
    """Whether `of` names a query."""
    return isinstance(of, QueryDefinition) or _own_name(of, QUERY_MARK) is not None


def signal_name(of: Any) -> str:
    """The name of the signal that `of` is: a string, a `Signal`, a signal class, an instance of one, or a `@workflow.signal` method."""
    name = of if isinstance(of, str) else of.name if isinstance(of, SignalDefinition) else _own_name(of, SIGNAL_MARK)
    if not name:
        raise UsageError(f"{_shown(of)} is no signal; put @signal on its class, or say Signal('name', type)")
    return name


def query_name(of: Any) -> str:
    """The name of the query that `of` is: a string, a `Query`, a query class, or a `@workflow.query` method."""
    name = of if isinstance(of, str) else of.name if isinstance(of, QueryDefinition) else _own_name(of, QUERY_MARK)
    if not name:
        raise UsageError(f"{_shown(of)} is no query; put @query on its class, or say Query('name', type)")
    return name


def _is_definition(of: Any) -> TypeGuard[_NamedType[Any]]:
    return isinstance(of, _NamedType)


def signal_type(of: Any) -> Any:
    """The type of a signal's payload; None when it is not known or there is none."""
    if _is_definition(of):
        return of.type
    return of if isinstance(of, type) else None


def query_type(of: Any) -> Any:
    """The type of a query's answer; None when it is not known."""
    if _is_definition(of):
        return of.type
    return of if isinstance(of, type) else None


def _shown(of: Any) -> str:
    return of.__qualname__ if isinstance(of, type) or callable(of) else f"{of!r}"
