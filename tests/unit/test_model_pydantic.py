"""Pydantic models, when pydantic is there: written and read as temporalio's own pydantic converter does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from perdure.model.conversion import DataConverter
from perdure.model.errors import InvalidInput

pydantic = pytest.importorskip("pydantic", reason="pydantic is not installed")
contrib = pytest.importorskip("temporalio.contrib.pydantic")

OURS = DataConverter.default
THEIRS = contrib.pydantic_data_converter.payload_converter


class Item(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    name: str
    price: float = 1.0


class Basket(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    items: list[Item]
    at: datetime
    note: str | None = None


@dataclass
class Wrapper:
    basket: Any


@dataclass
class Typed:
    basket: Basket
    items: list[Item]


BASKET = Basket(items=[Item(name="a")], at=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_model_has_the_bytes_of_temporalios_pydantic_converter() -> None:
    assert OURS.to_payload(BASKET) == THEIRS.to_payloads([BASKET])[0]


@pytest.mark.parametrize(
    ("value", "hint"), [(BASKET, Basket), ([BASKET], list[Basket]), (BASKET, Basket | None), ({"k": BASKET}, dict[str, Basket])]
)
def test_models_come_back_from_both_writers(value: Any, hint: Any) -> None:
    assert OURS.from_payload(OURS.to_payload(value), hint) == value
    assert OURS.from_payload(THEIRS.to_payloads([value])[0], hint) == value


def test_a_model_inside_a_dataclass_is_written() -> None:
    assert OURS.from_payload(OURS.to_payload(Wrapper(Item(name="a")))) == {"basket": {"name": "a", "price": 1.0}}


def test_a_model_inside_a_dataclass_is_read() -> None:
    typed = Typed(BASKET, [Item(name="b")])
    assert OURS.from_payload(OURS.to_payload(typed), Typed) == typed


def test_what_the_model_refuses_is_invalid_input() -> None:
    with pytest.raises(InvalidInput, match=r"argument 'basket' of workflow shop .* is not of type Basket"):
        OURS.decode_args([OURS.to_payload({"items": 3})], [Basket], ["basket"], "workflow shop")
