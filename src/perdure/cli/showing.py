"""How answers are printed: tables for people, protobuf's JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import Message

OUTPUTS = ("table", "json")


def show_json(value: Any) -> None:
    """Prints messages, or plain values with messages in them, as JSON."""
    click.echo(json.dumps(_jsonable(value), indent=2, ensure_ascii=False, default=str))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Message):
        return json_format.MessageToDict(value)
    if isinstance(value, Mapping):
        return {key: _jsonable(each) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under a header, each column as wide as it must be: nothing is cut off or wrapped, so that programs can read it too."""
    cells = [[text_of(cell) for cell in row] for row in rows]
    widths = [max([len(column), *(len(row[place]) for row in cells)]) for place, column in enumerate(columns)]
    for number, row in enumerate([list(columns), *cells]):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def show_facts(facts: Mapping[str, object]) -> None:
    """Prints name and value, one per line; what is empty is left out."""
    shown = {name: text_of(value) for name, value in facts.items() if value not in (None, "", [], {}, ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def text_of(value: object) -> str:
    """A value in one line."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, Message):
        return json.dumps(json_format.MessageToDict(value), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False, default=str)


def time_of(message: Message, field: str) -> datetime | None:
    """A time of a message, UTC; None if it is not set."""
    if not message.HasField(field):
        return None
    found: datetime = getattr(message, field).ToDatetime(tzinfo=UTC)
    return found
