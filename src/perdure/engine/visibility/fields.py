"""What can be asked for, by name, and what each may be compared with; from a comparison to a test of the storage.

Decides which operators and values a type takes (5.3), and what a comparison means where it is not what stands in a row: a run's
root is the run itself unless it has a parent, a text is compared word by word, a whole number may be compared with 1.5.

Easily got wrong: what is `!=` needs a value where an attribute has one, and needs none where it is a list or a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from temporalio.api.enums.v1 import WorkflowExecutionStatus

from perdure.engine.core.search_attributes import (
    BOOL,
    DATETIME,
    DOUBLE,
    INT,
    KEYWORD,
    KEYWORD_LIST,
    PREDEFINED,
    RESERVED_PREFIX,
    SERVER_ONLY,
    SYSTEM,
    TEXT,
    Types,
    type_name,
)
from perdure.engine.indexing import PARENT_WORKFLOW, ROOT_RUN, ROOT_WORKFLOW, hexadecimal, stored_name, tokens
from perdure.engine.visibility.durations import duration_ns
from perdure.engine.visibility.syntax import BadQuery, Comparison, Literal
from perdure.model.timestamps import rfc3339_ns
from perdure.storage.run_queries import All, Attribute, Check, Column, Condition, Either, Field, Operator, Scalar, encoded

DIVISION: Final = "TemporalNamespaceDivision"

_COLUMNS: Final = {
    "WorkflowId": "workflow_id",
    "RunId": "run_hex",
    "WorkflowType": "workflow_type",
    "TaskQueue": "task_queue",
    "ExecutionStatus": "status",
    "StartTime": "start_time",
    "ExecutionTime": "execution_time",
    "CloseTime": "close_time",
    "HistoryLength": "history_length",
    "HistorySizeBytes": "history_bytes",
    "StateTransitionCount": "history_length",
    "ExecutionDuration": "duration",
}
_ROOTS: Final = {"RootWorkflowId": (ROOT_WORKFLOW, "WorkflowId"), "RootRunId": (ROOT_RUN, "RunId")}
_RUN_IDS: Final = frozenset(("RunId", "ParentRunId", "RootRunId"))
_NOT_GROUPED: Final = frozenset(("WorkflowId", "ParentWorkflowId", "RootWorkflowId", *_RUN_IDS))

_EQUAL: Final = frozenset(("=", "!=", "IN", "NOT IN"))
_ORDERED: Final = _EQUAL | {"<", "<=", ">", ">="}
_BETWEEN: Final = frozenset(("BETWEEN", "NOT BETWEEN"))
_NULLS: Final = frozenset(("IS NULL", "IS NOT NULL"))
_OPERATORS: Final[Mapping[int, frozenset[str]]] = {
    KEYWORD: _ORDERED | _BETWEEN | _NULLS | {"STARTS_WITH", "NOT STARTS_WITH"},
    KEYWORD_LIST: _EQUAL | _NULLS,
    TEXT: _NULLS | {"=", "!="},
    BOOL: _ORDERED | _NULLS,
    INT: _ORDERED | _BETWEEN | _NULLS,
    DOUBLE: _ORDERED | _BETWEEN | _NULLS,
    DATETIME: _ORDERED | _BETWEEN | _NULLS,
}
_OPPOSITE: Final = {"=": "!=", "<": ">=", ">": "<=", "IN": "NOT IN", "BETWEEN": "NOT BETWEEN", "STARTS_WITH": "NOT STARTS_WITH"} | {
    "IS NULL": "IS NOT NULL"
}
OPPOSITE: Final = _OPPOSITE | {opposite: operator for operator, opposite in _OPPOSITE.items()}
"""Of each operator the one that holds where it does not."""

_TESTS: Final = {
    "=": Operator.AMONG,
    "IN": Operator.AMONG,
    "!=": Operator.NOT_AMONG,
    "NOT IN": Operator.NOT_AMONG,
    "<": Operator.BELOW,
    "<=": Operator.AT_MOST,
    ">": Operator.ABOVE,
    ">=": Operator.AT_LEAST,
    "STARTS_WITH": Operator.STARTS_WITH,
    "NOT STARTS_WITH": Operator.NOT_STARTS_WITH,
}
_GO_TYPES: Final[Mapping[type, str]] = {bool: "bool", int: "int64", float: "float64", str: "string"}
_INT64: Final = range(-(2**63), 2**63)
_NEVER: Final = Either()

STATUS_NAMES: Final[Mapping[int, str]] = {
    number: "".join(word.capitalize() for word in name.removeprefix("WORKFLOW_EXECUTION_STATUS_").split("_"))
    for name, number in WorkflowExecutionStatus.items()
    if number
}
"""Of the numbers, as queries spell them: `ContinuedAsNew`."""
_STATUSES: Final[Mapping[str, int]] = {name: number for number, name in STATUS_NAMES.items()} | dict(WorkflowExecutionStatus.items())


class Known(NamedTuple):
    """Something that can be asked for."""

    name: str
    kind: int
    field: Field


def known(name: str, custom: Types) -> Known:
    """What a name means.

    Raises:
        BadQuery: nothing.
    """
    if name in custom:
        return Known(name, custom[name], Attribute(stored_name(name, custom[name])))
    for found in (name, RESERVED_PREFIX + name, name.removeprefix(RESERVED_PREFIX)):
        kind = SYSTEM.get(found) or PREDEFINED.get(found) or SERVER_ONLY.get(found)
        if kind is not None:
            column = _COLUMNS.get(found)
            return Known(found, kind, Column(column) if column else Attribute(stored_name(found, kind)))
    raise BadQuery(f"invalid search attribute: {name}")


def grouped(name: str, custom: Types) -> Known:
    """What runs can be counted by; raises as `known` does."""
    found = known(name, custom)
    if found.kind != KEYWORD or found.name in _NOT_GROUPED:
        raise BadQuery(f"operation is not supported: 'GROUP BY' clause is not supported for search attribute {name}")
    return found


def check_of(comparison: Comparison, negated: bool, custom: Types) -> Condition:
    """What a comparison, or its opposite, asks of the storage.

    Raises:
        BadQuery: there is no such attribute, or it is not compared in this way.
    """
    found = known(comparison.name, custom)
    _check_operator(found, comparison)
    operator = OPPOSITE[comparison.operator] if negated else comparison.operator
    values = [_value(found, comparison.name, literal) for literal in comparison.values]
    if found.name in _ROOTS:
        return _of_root(found, operator, values)
    return _condition(found, operator, values)


def _check_operator(found: Known, comparison: Comparison) -> None:
    allowed = _EQUAL | _NULLS if found.name == "ExecutionStatus" else _OPERATORS[found.kind]
    if comparison.operator in allowed:
        return
    if comparison.operator in _BETWEEN:
        raise BadQuery(
            f"invalid expression: cannot do range condition on search attribute '{comparison.name}' of type {type_name(found.kind)}"
        )
    where = f"{type_name(found.kind)} type search attribute '{comparison.name}'"
    raise BadQuery(f"operation is not supported: operator '{comparison.operator.lower()}' not supported for {where}")


def _condition(found: Known, operator: str, values: list[Literal]) -> Condition:
    if operator in _NULLS:
        return Check(found.field, Operator.ABSENT if operator == "IS NULL" else Operator.PRESENT)
    if operator == "BETWEEN":
        return All((_condition(found, ">=", values[:1]), _condition(found, "<=", values[1:])))
    if operator == "NOT BETWEEN":
        return Either((_condition(found, "<", values[:1]), _condition(found, ">", values[1:])))
    if found.kind in (TEXT, KEYWORD_LIST):
        which = Operator.AMONG if operator in ("=", "IN") else Operator.NONE_OF
        words = [word for value in values for word in tokens(str(value))] if found.kind == TEXT else values
        return Check(found.field, which, tuple(encoded(word) for word in dict.fromkeys(words)))
    if found.kind in (INT, DATETIME):
        return _of_numbers(found.field, _TESTS[operator], values)
    return _test(found.field, _TESTS[operator], values)


def _test(field: Field, operator: Operator, values: list[Literal]) -> Condition:
    stored: list[Scalar] = [encoded(value) for value in values] if isinstance(field, Attribute) else [_plain(value) for value in values]
    return Check(field, operator, tuple(dict.fromkeys(stored)))


def _plain(value: Literal) -> Scalar:
    assert not isinstance(value, float)
    return value


def _of_numbers(field: Field, operator: Operator, values: list[Literal]) -> Condition:
    """Numbers of 64 bits, compared with any number."""
    if operator in (Operator.AMONG, Operator.NOT_AMONG):
        fitting = [int(value) for value in values if _is_fitting(value)]
        if fitting:
            return _test(field, operator, [*fitting])
        return _NEVER if operator is Operator.AMONG else Check(field, Operator.PRESENT)
    value = float(values[0]) if isinstance(values[0], str) else values[0]
    upper = operator in (Operator.BELOW, Operator.AT_MOST)
    if _is_fitting(value):
        return _test(field, operator, [int(value)])
    if not math.isfinite(value) or math.floor(value) not in _INT64:
        return Check(field, Operator.PRESENT) if (value > 0) is upper else _NEVER
    return _test(field, Operator.AT_MOST, [math.floor(value)]) if upper else _test(field, Operator.AT_LEAST, [math.floor(value) + 1])


def _is_fitting(value: Literal) -> bool:
    if isinstance(value, float):
        return value.is_integer() and int(value) in _INT64
    return isinstance(value, int) and value in _INT64


def _of_root(found: Known, operator: str, values: list[Literal]) -> Condition:
    if operator in _NULLS:
        return All() if operator == "IS NOT NULL" else _NEVER
    stored, own_name = _ROOTS[found.name]
    of_child = _condition(found._replace(field=Attribute(stored)), operator, values)
    own = _condition(found._replace(name=own_name, field=Column(_COLUMNS[own_name])), operator, values)
    return Either((of_child, All((Check(Attribute(PARENT_WORKFLOW), Operator.ABSENT), own))))


# --- values


def _value(found: Known, name: str, literal: Literal) -> Literal:
    if found.name == "ExecutionStatus":
        return _status(literal)
    if found.name == "ExecutionDuration":
        return _duration(literal)
    if found.kind == DATETIME and not isinstance(literal, bool):
        return _datetime(found, name, literal)
    if found.kind in (INT, DOUBLE):
        if isinstance(literal, (int, float)) and not isinstance(literal, bool):
            return float(literal) if found.kind == DOUBLE else literal
    elif found.kind == BOOL:
        if isinstance(literal, bool):
            return literal
    elif isinstance(literal, str):
        return _text(found, name, literal)
    raise _wrong_type(found, name, literal)


def _wrong_type(found: Known, name: str, literal: Literal) -> BadQuery:
    kind = _GO_TYPES[type(literal)]
    return BadQuery(
        f"invalid expression: invalid value type for search attribute {name} of type {type_name(found.kind)}: {literal!r} (type: {kind})"
    )


def _text(found: Known, name: str, literal: str) -> str:
    try:
        literal.encode()
    except UnicodeEncodeError:
        raise BadQuery(f"invalid expression: unable to parse value {literal!r}") from None
    if found.kind == TEXT and not tokens(literal):
        raise BadQuery(f"invalid expression: no tokens found filtering on Text type search attribute {name}")
    return hexadecimal(literal) if found.name in _RUN_IDS else literal


def _status(literal: Literal) -> int:
    number = _STATUSES.get(literal) if isinstance(literal, str) else literal
    if isinstance(number, int) and not isinstance(literal, bool) and number in _STATUSES.values():
        return number
    raise BadQuery(f"invalid expression: invalid ExecutionStatus value {literal!r}")


def _duration(literal: Literal) -> int:
    if isinstance(literal, int) and not isinstance(literal, bool):
        return literal
    try:
        return duration_ns(literal if isinstance(literal, str) else "")
    except ValueError:
        raise BadQuery(f"invalid expression: invalid duration value for search attribute ExecutionDuration: {literal}") from None


def _datetime(found: Known, name: str, literal: str | float) -> int:
    if isinstance(literal, int):
        return literal
    if isinstance(literal, float):
        raise _wrong_type(found, name, literal)
    return parse_datetime(literal)


def parse_datetime(literal: str) -> int:
    """The time that a query names, in nanoseconds: a number of them, or as RFC 3339 says.

    Raises:
        BadQuery: it is neither.
    """
    if re.fullmatch(r"[+-]?\d+", literal):
        return int(literal)
    try:
        return rfc3339_ns(literal)
    except ValueError:
        raise BadQuery(f"invalid expression: unable to parse datetime '{literal}'") from None
