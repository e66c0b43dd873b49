"""How answers are printed: tables for people, protobuf's JSON for programs."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from google.protobuf import json_format
from google.protobuf.message import Message

OUTPUTS = ("table", "json")
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
"""What steers a terminal, or turns the direction of what follows; without tab and newline."""
_STEERING = re.compile(f"[{_CONTROLS}]")
_NOT_IN_A_LINE = re.compile(f"[{_CONTROLS}\t\n]")


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
    cells = [[in_a_line(cell) for cell in row] for row in rows]
    widths = [max([len(column), *(_columns_of(row[place]) for row in cells)]) for place, column in enumerate(columns)]
    for number, row in enumerate([list(columns), *cells]):
        line = "  ".join(cell + " " * (width - _columns_of(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo(click.style(line, bold=True) if number == 0 else line)


def show_facts(facts: Mapping[str, object]) -> None:
    """Prints name and value, one per line; what is empty is left out."""
    shown = {name: in_a_line(value) for name, value in facts.items() if value not in (None, "", [], {}, ())}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def harmless(text: str) -> str:
    """Text from elsewhere, of one line or several, with what would steer the terminal written out: `\\x1b`."""
    return _STEERING.sub(_written_out, text)


def in_a_line(value: object) -> str:
    """A value in one line of harmless text: a newline in it is written out too."""
    return _NOT_IN_A_LINE.sub(_written_out, text_of(value))


def _written_out(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def _columns_of(text: str) -> int:
    """How many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def text_of(value: object) -> str:
    """A value as text; only a text of several lines has several."""
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
