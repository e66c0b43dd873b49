"""Which runs somebody asks for: a small tree of tests on what lists show, which every storage answers in its own way.

There is no NOT: who makes a query turns each test around instead. So a test is true or false, and a run that lacks what a test
asks for fails it, but for ABSENT and NONE_OF. Texts compare by code point. Values of search attributes stand as bytes that compare
as the values do (`encoded`), so that a storage need not know their types.

`holds` is the meaning: what a database makes of a query must come to the same.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

Scalar: TypeAlias = str | int | bytes

COLUMNS = (
    "run_id",
    "run_hex",
    "workflow_id",
    "workflow_type",
    "task_queue",
    "status",
    "start_time",
    "execution_time",
    "close_time",
    "history_length",
    "history_bytes",
    "duration",
)
"""What can be asked of a run besides its search attributes, by the names of `VisibilityRow`.

`run_hex` is the run id as 32 hexadecimal digits, `duration` the time from execution to close; this and the history's size are absent
while the run is open."""


class Operator(Enum):
    """What a test compares, with how many values."""

    AMONG = "among"
    """One or several: it is one of them; of many values, any is."""
    NOT_AMONG = "not among"
    """It is there and is none of them."""
    NONE_OF = "none of"
    """No value is one of them; there may be no value at all."""
    BELOW = "<"
    AT_MOST = "<="
    ABOVE = ">"
    AT_LEAST = ">="
    STARTS_WITH = "starts with"
    NOT_STARTS_WITH = "not starts with"
    PRESENT = "present"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Column:
    """One of `COLUMNS`."""

    name: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """A search attribute, by the name under which its values are stored."""

    name: str


Field: TypeAlias = Column | Attribute


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison."""

    field: Field
    operator: Operator
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; of no parts: always."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Either:
    """Some part holds; of no parts: never."""

    parts: tuple[Condition, ...] = ()


Condition: TypeAlias = Check | All | Either

EVERYTHING = All()


class SearchValue(NamedTuple):
    """A value of a search attribute of a run, as queries find it."""

    name: str
    value: bytes
    """As `encoded` makes it."""


class RunQuery(NamedTuple):
    """Runs of a namespace."""

    namespace: str
    condition: Condition = EVERYTHING
    as_of: int = 2**63 - 1
    """Runs that closed later count as open in the order: so a run keeps its place while somebody turns the pages."""


class Place(NamedTuple):
    """Where a run stands in a list: after it comes what is next."""

    close_time: int | None
    """None while it counts as open."""
    start_time: int
    run_id: bytes


def encoded(value: str | float | bool) -> bytes:
    """A value as bytes that compare as the values of its type do."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"\x01" if value else b"\x00"
    if isinstance(value, int):
        return (value + 2**63).to_bytes(8, "big")
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))  # which makes -0.0 to 0.0
    return ((bits ^ 0xFFFF_FFFF_FFFF_FFFF) if bits >> 63 else (bits | 1 << 63)).to_bytes(8, "big")  # type: ignore[no-any-return]


def after_prefix(prefix: str | bytes) -> str | bytes | None:
    """The least text that is greater than all that begin with `prefix`; None if there is none."""
    if isinstance(prefix, bytes):
        head = prefix.rstrip(b"\xff")
        return head[:-1] + bytes([head[-1] + 1]) if head else None
    text = prefix.rstrip("\U0010ffff")
    if not text:
        return None
    code = ord(text[-1]) + 1
    return text[:-1] + chr(0xE000 if code == 0xD800 else code)


def holds(condition: Condition, values: Callable[[Field], Sequence[Scalar]]) -> bool:
    """Whether a condition is true of what has these values; `values` gives those of a field, none where it is absent."""
    if isinstance(condition, Check):
        return _TESTS[condition.operator](values(condition.field), condition.values)
    if isinstance(condition, All):
        return all(holds(part, values) for part in condition.parts)
    return any(holds(part, values) for part in condition.parts)


Found: TypeAlias = Sequence[Scalar]

_TESTS: dict[Operator, Callable[[Found, Found], bool]] = {
    Operator.AMONG: lambda found, wanted: any(value in wanted for value in found),
    Operator.NOT_AMONG: lambda found, wanted: any(value not in wanted for value in found),
    Operator.NONE_OF: lambda found, wanted: all(value not in wanted for value in found),
    Operator.BELOW: lambda found, wanted: any(value < wanted[0] for value in found),  # type: ignore[operator]
    Operator.AT_MOST: lambda found, wanted: any(value <= wanted[0] for value in found),  # type: ignore[operator]
    Operator.ABOVE: lambda found, wanted: any(value > wanted[0] for value in found),  # type: ignore[operator]
    Operator.AT_LEAST: lambda found, wanted: any(value >= wanted[0] for value in found),  # type: ignore[operator]
    Operator.STARTS_WITH: lambda found, wanted: any(value.startswith(wanted[0]) for value in found),  # type: ignore[union-attr,arg-type]
    Operator.NOT_STARTS_WITH: lambda found, wanted: any(not value.startswith(wanted[0]) for value in found),  # type: ignore[union-attr,arg-type]
    Operator.PRESENT: lambda found, _: bool(found),
    Operator.ABSENT: lambda found, _: not found,
}
