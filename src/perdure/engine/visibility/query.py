"""A query's text, with a namespace's attributes, as what a storage is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, NamedTuple

from perdure.engine.core.search_attributes import Types
from perdure.engine.visibility.fields import DIVISION, Known, check_of, grouped, known
from perdure.engine.visibility.syntax import And, BadQuery, Comparison, Not, Syntax, parse
from perdure.model.rpc import invalid_argument
from perdure.storage.run_queries import All, Check, Condition, Either, Operator

_NO_ALIASES: Final[Mapping[str, str]] = MappingProxyType({})


class Wanted(NamedTuple):
    """What a query asks for."""

    condition: Condition
    group_by: Known | None


def read_query(text: str, custom: Types, *, grouping: bool = False, aliases: Mapping[str, str] = _NO_ALIASES) -> Wanted:
    """A query of workflows; one that does not name the namespace's division means those without one.

    `aliases`: other names of attributes, for queries of what is kept as workflows are.

    Raises:
        RpcError: INVALID_ARGUMENT, in the words of Temporal's server where it has some.
    """
    try:
        parsed = parse(text)
        names: set[str] = set()
        condition = All() if parsed.where is None else _condition(_renamed(parsed.where, aliases), False, custom, names)
        if parsed.order_by:
            raise BadQuery("operation is not supported: 'ORDER BY' clause")
        if parsed.group_by and not grouping:
            raise BadQuery("operation is not supported: 'GROUP BY' clause is for counting")
        if len(parsed.group_by) > 1:
            raise BadQuery("operation is not supported: 'GROUP BY' clause supports only a single field")
        by = [aliases.get(name, name) for name in parsed.group_by]
        group_by = grouped(by[0], custom) if by else None
        names.update(known(name, custom).name for name in by)
    except BadQuery as error:
        raise invalid_argument(f"invalid query: {error}") from None
    if DIVISION not in names:
        condition = joined(condition, Check(known(DIVISION, {}).field, Operator.ABSENT))
    return Wanted(condition, group_by)


def _renamed(syntax: Syntax, aliases: Mapping[str, str]) -> Syntax:
    if not aliases:
        return syntax
    if isinstance(syntax, Comparison):
        return replace(syntax, name=aliases.get(syntax.name, syntax.name))
    if isinstance(syntax, Not):
        return Not(_renamed(syntax.part, aliases))
    return type(syntax)(tuple(_renamed(part, aliases) for part in syntax.parts))


def joined(*parts: Condition) -> Condition:
    """All of them, without needless levels."""
    flat: list[Condition] = []
    for part in parts:
        flat += part.parts if isinstance(part, All) else (part,)
    return flat[0] if len(flat) == 1 else All(tuple(flat))


def _either(*parts: Condition) -> Condition:
    flat: list[Condition] = []
    for part in parts:
        flat += part.parts if isinstance(part, Either) else (part,)
    return flat[0] if len(flat) == 1 else Either(tuple(flat))


def _condition(syntax: Syntax, negated: bool, custom: Types, names: set[str]) -> Condition:
    if isinstance(syntax, Comparison):
        names.add(known(syntax.name, custom).name)
        return check_of(syntax, negated, custom)
    if isinstance(syntax, Not):
        return _condition(syntax.part, not negated, custom, names)
    parts = (_condition(part, negated, custom, names) for part in syntax.parts)
    return joined(*parts) if isinstance(syntax, And) is not negated else _either(*parts)
