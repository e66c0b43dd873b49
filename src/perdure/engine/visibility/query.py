"""A query's text, with a namespace's attributes, as what a storage is asked."""

from __future__ import annotations

from typing import NamedTuple

from perdure.engine.core.search_attributes import Types
from perdure.engine.visibility.fields import DIVISION, Known, check_of, grouped, known
from perdure.engine.visibility.syntax import And, BadQuery, Comparison, Not, Syntax, parse
from perdure.model.rpc import invalid_argument
from perdure.storage.run_queries import All, Check, Condition, Either, Operator


class Wanted(NamedTuple):
    """What a query asks for."""

    condition: Condition
    group_by: Known | None


def read_query(text: str, custom: Types, *, grouping: bool = False) -> Wanted:
    """A query of workflows; one that does not name the namespace's division means those without one.

    Raises:
        RpcError: INVALID_ARGUMENT, in the words of Temporal's server where it has some.
    """
    try:
        parsed = parse(text)
        names: set[str] = set()
        condition = All() if parsed.where is None else _condition(parsed.where, False, custom, names)
        if parsed.order_by:
            raise BadQuery("operation is not supported: 'ORDER BY' clause")
        if parsed.group_by and not grouping:
            raise BadQuery("operation is not supported: 'GROUP BY' clause is for counting")
        if len(parsed.group_by) > 1:
            raise BadQuery("operation is not supported: 'GROUP BY' clause supports only a single field")
        group_by = grouped(parsed.group_by[0], custom) if parsed.group_by else None
        names.update(known(name, custom).name for name in parsed.group_by)
    except BadQuery as error:
        raise invalid_argument(f"invalid query: {error}") from None
    if DIVISION not in names:
        condition = joined(condition, Check(known(DIVISION, {}).field, Operator.ABSENT))
    return Wanted(condition, group_by)


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
