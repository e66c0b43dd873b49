"""The statements that answer a `RunQuery`, made for each query: its literals are parameters with their values.

A test of a search attribute is a look-up of run ids by value where the value decides, and a look-up by run where its absence does.

The rule a newcomer would get wrong: three selects make a list (open runs, those that closed since it was begun, the others), so that
each is read in the order of an index, and a page costs as much as it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, and_, bindparam, case, exists, false, func, literal, or_, select, true, tuple_
from sqlalchemy.sql.elements import ColumnElement

from perdure.storage.dialect import AnySelect, SqlSeam
from perdure.storage.run_queries import All, Check, Column, Condition, Field, Operator, RunQuery, Scalar, after_prefix
from perdure.storage.tables import search_values, visibility

_Sql = ColumnElement[Any]


def opened(seam: SqlSeam, query: RunQuery) -> AnySelect:
    """Those that are open."""
    return _counting_as_open(seam, query, visibility.c.close_time.is_(None))


def closed_since(seam: SqlSeam, query: RunQuery) -> AnySelect:
    """Those that have closed since the list was begun: they count as open."""
    return _counting_as_open(seam, query, and_(visibility.c.close_time.is_not(None), visibility.c.close_time > _bind("as_of")))


def _counting_as_open(seam: SqlSeam, query: RunQuery, which: _Sql) -> AnySelect:
    table = visibility.c
    after = tuple_(table.start_time, table.run_id) < tuple_(_bind("after_start"), _bind("after_run", LargeBinary()))
    found = select(visibility).where(which, *_wanted(seam, query), after)
    return found.order_by(table.start_time.desc(), table.run_id.desc()).limit(_bind("limit"))


def closed_before(seam: SqlSeam, query: RunQuery) -> AnySelect:
    """Those that had closed when the list was begun."""
    table = visibility.c
    key = table.close_time, table.start_time, table.run_id
    after = tuple_(*key) < tuple_(_bind("after_close"), _bind("after_start"), _bind("after_run", LargeBinary()))
    found = select(visibility).where(table.close_time.is_not(None), table.close_time <= _bind("as_of"), *_wanted(seam, query), after)
    return found.order_by(*(column.desc() for column in key)).limit(_bind("limit"))


def counted(seam: SqlSeam, query: RunQuery, group_by: Field | None) -> AnySelect:
    """How many there are, by the values of a field; bytes as hexadecimal digits."""
    value: _Sql
    if group_by is None:
        value = literal(None)
    elif isinstance(group_by, Column):
        value = _column(seam, group_by)
    else:
        mine = search_values.c.run_id == visibility.c.run_id, search_values.c.name == literal(group_by.name)
        least = func.min(search_values.c.value)
        shown = case((least.is_not(None), seam.hexadecimal(least)))
        value = select(shown).where(*mine).correlate(visibility).scalar_subquery()
    found = select(value.label("value"), func.count().label("runs")).select_from(visibility).where(*_wanted(seam, query))
    return found if group_by is None else found.group_by("value")


def _bind(name: str, kind: LargeBinary | BigInteger | None = None) -> _Sql:
    return bindparam(name, None, type_=kind or BigInteger())


def _wanted(seam: SqlSeam, query: RunQuery) -> tuple[_Sql, _Sql]:
    return visibility.c.namespace == literal(query.namespace), _condition(seam, query.condition, query.namespace)


def _condition(seam: SqlSeam, condition: Condition, namespace: str) -> _Sql:
    if isinstance(condition, Check):
        field = condition.field
        return _compared(_column(seam, field), condition) if isinstance(field, Column) else _of_attribute(field.name, condition, namespace)
    parts = (_condition(seam, part, namespace) for part in condition.parts)
    return and_(true(), *parts) if isinstance(condition, All) else or_(false(), *parts)


def _column(seam: SqlSeam, field: Column) -> _Sql:
    table = visibility.c
    if field.name == "run_hex":
        return seam.hexadecimal(table.run_id)
    if field.name == "duration":
        duration: _Sql = table.close_time - table.execution_time
        return duration
    column: _Sql = table[field.name]
    if field.name in ("history_length", "history_bytes"):
        return case((table.close_time.is_not(None), column))
    return column


def _of_attribute(name: str, test: Check, namespace: str) -> _Sql:
    table = search_values.c
    if test.operator in (Operator.ABSENT, Operator.NONE_OF):
        mine = table.run_id == visibility.c.run_id, table.name == literal(name)
        which = () if test.operator is Operator.ABSENT else (table.value.in_(test.values),)
        missing: _Sql = ~exists(select(literal(1)).select_from(search_values).where(*mine, *which).correlate(visibility))
        return missing
    compared = true() if test.operator is Operator.PRESENT else _compared(table.value, test)
    found: _Sql = visibility.c.run_id.in_(
        select(table.run_id).where(table.namespace == literal(namespace), table.name == literal(name), compared)
    )
    return found


def _compared(value: _Sql, test: Check) -> _Sql:
    return _COMPARISONS[test.operator](value, test.values)


def _starts(value: _Sql, wanted: tuple[Scalar, ...]) -> _Sql:
    prefix = wanted[0]
    if isinstance(prefix, int):
        return false()
    end = after_prefix(prefix)
    return value >= prefix if end is None else and_(value >= prefix, value < end)


def _starts_not(value: _Sql, wanted: tuple[Scalar, ...]) -> _Sql:
    prefix = wanted[0]
    if isinstance(prefix, int):
        return value.is_not(None)
    end = after_prefix(prefix)
    return value < prefix if end is None else or_(value < prefix, value >= end)


_COMPARISONS: dict[Operator, Callable[[_Sql, tuple[Scalar, ...]], _Sql]] = {
    Operator.AMONG: lambda value, wanted: value == wanted[0] if len(wanted) == 1 else value.in_(wanted),
    Operator.NOT_AMONG: lambda value, wanted: value != wanted[0] if len(wanted) == 1 else value.not_in(wanted),
    Operator.NONE_OF: lambda value, wanted: or_(value.is_(None), value.not_in(wanted)),
    Operator.BELOW: lambda value, wanted: value < wanted[0],
    Operator.AT_MOST: lambda value, wanted: value <= wanted[0],
    Operator.ABOVE: lambda value, wanted: value > wanted[0],
    Operator.AT_LEAST: lambda value, wanted: value >= wanted[0],
    Operator.STARTS_WITH: _starts,
    Operator.NOT_STARTS_WITH: _starts_not,
    Operator.PRESENT: lambda value, _: value.is_not(None),
    Operator.ABSENT: lambda value, _: value.is_(None),
}
