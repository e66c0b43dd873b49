"""Payload conversion: the bytes of temporalio's default converter, in and out, by a faster way; refusals that name the parameter."""

from __future__ import annotations

import dataclasses
import enum
import re
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import pytest
import temporalio.converter
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.common import RawValue

from perdure.model.conversion import DataConverter
from perdure.model.errors import InvalidInput, UsageError

THEIRS = temporalio.converter.DataConverter.default.payload_converter
OURS = DataConverter.default


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Point(NamedTuple):
    x: int
    y: float


class Card(TypedDict):
    number: str


Cents = NewType("Cents", int)


@dataclass
class Leaf:
    name: str
    weight: float = 1.5
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    leaf: Leaf
    leaves: list[Leaf]
    by_name: dict[str, Leaf]
    maybe: Leaf | None = None
    either: int | str = 0
    when: datetime | None = None
    level: Level = Level.LOW
    mode: Mode = Mode.FAST
    pair: tuple[int, str] = (1, "a")
    unique: set[int] = field(default_factory=set)
    anything: Any = None
    key: uuid.UUID | None = None
    cents: Cents = Cents(0)
    children: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    total: int = field(init=False)
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.parts))


@dataclass
class Wide(Leaf):
    extra: Optional[list[Union[int, Leaf]]] = None  # noqa: UP007, UP045 - the old spelling must work too


class Holder(list):  # type: ignore[type-arg]
    """A list subclass."""


def assert_same_bytes(value: Any) -> None:
    try:
        expected = THEIRS.to_payloads([value])[0]
    except Exception:
        with pytest.raises(InvalidInput):
            OURS.to_payload(value)
        return
    assert OURS.to_payload(value) == expected


def assert_same_value(payload: Payload, hint: Any) -> None:
    try:
        expected = THEIRS.from_payloads([payload], None if hint is None else [hint])[0]
    except Exception:
        with pytest.raises(InvalidInput):
            OURS.from_payload(payload, hint)
        return
    found = OURS.from_payload(payload, hint)
    assert type(found) is type(expected)
    assert found == expected or found != found


leaves = st.builds(Leaf, st.text(max_size=5), st.floats(allow_nan=False), st.lists(st.text(max_size=3), max_size=2))
trees = st.builds(
    Tree,
    leaf=leaves,
    leaves=st.lists(leaves, max_size=2),
    by_name=st.dictionaries(st.text(max_size=3), leaves, max_size=2),
    maybe=st.none() | leaves,
    either=st.integers() | st.text(max_size=3),
    when=st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    level=st.sampled_from(Level),
    mode=st.sampled_from(Mode),
    pair=st.tuples(st.integers(), st.text(max_size=3)),
    unique=st.sets(st.integers(), max_size=1),
    key=st.none() | st.uuids(),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
values = (
    plain
    | leaves
    | trees
    | st.binary(max_size=10)
    | st.lists(leaves, max_size=2)
    | st.dictionaries(st.integers(), leaves, max_size=2)
    | st.builds(Frozen, parts=st.tuples(st.integers()))
    | st.builds(Wide, st.text(max_size=3), extra=st.none() | st.lists(st.integers() | leaves, max_size=2))
    | st.builds(Point, st.integers(), st.floats(allow_nan=False))
    | st.builds(WorkflowExecution, workflow_id=st.text(max_size=4))
    | st.datetimes()
    | st.uuids()
    | st.sampled_from(
        [Colour.RED, Level.HIGH, Mode.FAST, Cents(3), {1}, frozenset({2}), deque([1, 2]), Holder([1]), object(), 1 + 2j, date(2026, 1, 1)]
    )
)
hints = st.sampled_from(
    [
        None,
        Any,
        str,
        int,
        float,
        bool,
        bytes,
        type(None),
        list,
        dict,
        list[int],
        list[Leaf],
        dict[str, int],
        dict[int, Leaf],
        dict[str, Leaf],
        tuple[int, str],
        tuple[int, ...],
        set[int],
        deque[int],
        Leaf,
        Tree,
        Frozen,
        Wide,
        Point,
        Card,
        Cents,
        Level,
        Mode,
        Colour,
        datetime,
        uuid.UUID,
        Literal["a", 1],
        Optional[Leaf],  # noqa: UP045
        Leaf | None,
        int | str,
        str | int,
        Leaf | Wide,
        Wide | Leaf,
        list[int | None],
        list[list[Leaf]],
        RawValue,
        WorkflowExecution,
    ]
)


@settings(max_examples=300, deadline=None)
@given(values)
def test_values_give_the_bytes_of_temporalios_converter(value: Any) -> None:
    assert_same_bytes(value)


@settings(max_examples=600, deadline=None)
@given(values, hints)
def test_payloads_give_the_values_of_temporalios_converter(value: Any, hint: Any) -> None:
    try:
        payload = THEIRS.to_payloads([value])[0]
    except Exception:
        return
    assert_same_value(payload, hint)


@pytest.mark.parametrize("value", [None, b"x", 1, Leaf("a"), WorkflowExecution(workflow_id="w")])
def test_a_raw_value_is_the_payload_whatever_it_holds(value: Any) -> None:
    payload = THEIRS.to_payloads([value])[0]
    assert_same_value(payload, RawValue)
    assert [value.payload for value in OURS.decode_args([payload], [RawValue])] == [payload]


@settings(max_examples=100, deadline=None)
@given(trees)
def test_a_tree_of_dataclasses_comes_back_as_it_was(tree: Tree) -> None:
    assert OURS.from_payload(OURS.to_payload(tree), Tree) == tree


@pytest.mark.parametrize(
    "value",
    [
        [Leaf("a")],
        {"k": Leaf("a")},
        [Point(1, 2.0)],
        [{1, 2}],
        [datetime(2026, 1, 1)],  # noqa: DTZ001
        [uuid.UUID(int=1)],
        (Leaf("a"), 1),
        RawValue(Payload(data=b"x")),
    ],
)
def test_containers_of_rare_things_too(value: Any) -> None:
    assert_same_bytes(value)


def test_a_dataclass_that_nests_itself_through_every_container() -> None:
    assert_same_bytes(
        Tree(
            Leaf("a"),
            [Leaf("b")],
            {"c": Leaf("d")},
            children=[Tree(Leaf("e"), [], {}, anything=(Leaf("f"), Point(1, 2.0), Holder([Leaf("g")])))],
        )
    )


@pytest.mark.parametrize(
    "data", [b"", b" 1 ", b"1 2", b"1\x00", b'"\xed\xa0\x80"', "\ufeff1".encode(), '"ä"'.encode("utf-16"), b"[1,", b"NaN", b"\xff"]
)
@pytest.mark.parametrize("hint", [None, int, str, list[int]])
def test_json_of_other_writers_too(data: bytes, hint: Any) -> None:
    assert_same_value(Payload(metadata={"encoding": b"json/plain"}, data=data), hint)


@dataclass
class Loose:
    anything: object
    named: dict[str, object]


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (object, {"a": [1, None]}),
        (list[object], [1, "x", None]),
        (dict[str, object], {"a": 1, "b": [2]}),
        (Mapping[str, object], {"a": {"b": 1}}),
        (object | None, 3),
        (Optional[object], None),  # noqa: UP045
        (Optional[list[object]], [1]),  # noqa: UP045
        (tuple[object, ...], (1, "x")),
        (list[dict[str, object]], [{"a": 1}]),
        (Loose, Loose({"x": 1}, {"y": [2]})),
        (list[Loose], [Loose(1, {})]),
        (Literal["object"], "object"),
    ],
)
def test_object_is_what_any_is(hint: Any, value: Any) -> None:
    found = OURS.from_payload(OURS.to_payload(value), hint)
    assert found == value and type(found) is type(value)


def test_malformed_json_is_invalid_input() -> None:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"{")
    with pytest.raises(InvalidInput, match="the value"):
        OURS.from_payload(payload, Leaf)


def test_an_argument_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(
        InvalidInput, match=r"argument 'order' of activity charge \(of type Lock\) cannot be converted to JSON: .*; pass a dataclass"
    ):
        OURS.encode_values([1, Lock()], ["count", "order"], "activity charge")


class Lock:
    pass


@dataclass
class Shelf:
    label: str
    things: list[Any]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Shelf("top", [1, {"colour": Colour.RED}]), r"things[1]['colour']: Object of type Colour .*(make it a StrEnum or an IntEnum"),
        ([Shelf("top", [Decimal("1.5")])], r"[0].things[0]: Object of type Decimal .*(pass its str, or put it into a pydantic model)"),
        ({"when": date(2026, 1, 1)}, "['when']: Object of type date .*(pass a datetime, or put it into a pydantic model)"),
        (timedelta(days=1), "to JSON: Object of type timedelta .*(pass its total_seconds(), or put it into a pydantic model)"),
        ((Path("/x"),), "[0]: Object of type PosixPath .*(pass its str)"),
        ({(1, 2): "key"}, "to JSON: keys must be str"),
    ],
)
def test_the_part_that_cannot_be_sent_is_found_and_a_way_to_send_it_said(value: Any, says: str) -> None:
    pattern = re.escape(says).replace(r"\.\*", ".*")
    with pytest.raises(InvalidInput, match=pattern):
        OURS.to_payload(value)


def test_a_circle_is_refused_and_not_followed() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidInput, match="Circular reference detected"):
        OURS.to_payload(circle)


def test_an_argument_that_cannot_be_read_is_named() -> None:
    payloads = [OURS.to_payload(1), OURS.to_payload("three")]
    with pytest.raises(
        InvalidInput, match=r"argument 'amount' of workflow fulfil \(json/plain\) is not of type int: .*; send what the annotation says"
    ) as caught:
        OURS.decode_args(payloads, [int, int], ["number", "amount"], "workflow fulfil")
    assert caught.value.non_retryable
    assert caught.value.__cause__ is not None


def test_arguments_without_a_type_come_as_json_has_them() -> None:
    payloads = OURS.encode_values([Leaf("a"), None, b"x"])
    assert OURS.decode_args(payloads, [None]) == [{"name": "a", "weight": 1.5, "tags": []}, None, b"x"]


def test_a_custom_payload_converter_replaces_the_fast_way() -> None:
    class Reversing(temporalio.converter.DefaultPayloadConverter):
        def to_payloads(self, values: Any) -> list[Payload]:
            return super().to_payloads([value[::-1] for value in values])

    converter = DataConverter(Reversing())
    assert converter.encode_values(["abc"])[0].data == b'"cba"'
    assert converter.from_payload(converter.to_payload("abc"), str) == "cba"
    assert repr(converter) == "<DataConverter Reversing>"
    with pytest.raises(UsageError, match="give an instance"):
        DataConverter(Reversing)  # type: ignore[arg-type]


def test_hints_that_cannot_be_hashed_work() -> None:
    payload = OURS.to_payload(1)
    with pytest.raises(InvalidInput):
        OURS.from_payload(payload, Literal[[]])  # type: ignore[valid-type]


def test_a_field_added_with_a_default_reads_old_payloads() -> None:
    assert OURS.from_payload(OURS.to_payload({"name": "a", "gone": 1}), Leaf) == Leaf("a")
    with pytest.raises(InvalidInput, match="missing 1 required positional argument: 'name'"):
        OURS.from_payload(OURS.to_payload({}), Leaf)


def test_durations_are_not_json() -> None:
    assert_same_bytes(timedelta(seconds=1))


def test_dataclasses_are_not_copied_deeply() -> None:
    class Uncopyable(str):
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("copied")

    assert OURS.to_payload(dataclasses.replace(Leaf("a"), name=Uncopyable("b"))).data == b'{"name":"b","tags":[],"weight":1.5}'
