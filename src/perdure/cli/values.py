"""What is typed on the command line, as values: durations, times, JSON, `NAME=JSON`, choices of Temporal's enums."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from temporalio.api.common.v1 import Payload, Payloads

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: str) -> timedelta:
    """`90`, `90s`, `1h30m`, `7d`. Raises click.BadParameter when it is none of this kind."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return timedelta(seconds=float(text))
    if not text or _DURATION.sub("", text):
        raise click.BadParameter(f"{text!r} is not a duration; write it like 90s, 1h30m or 7d.")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text)))


def time(text: str) -> datetime:
    """A time in UTC; without a zone it is taken for UTC. Raises click.BadParameter when it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time; write it like 2030-01-31T08:00:00Z.") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def json_of(text: str, option: str) -> Any:
    """The value that JSON text stands for. Raises click.UsageError when it is none."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{option} is not JSON: {error}. A text needs quotes of its own, as in {option} '\"{text}\"'.") from error


def pair_of(text: str, option: str) -> tuple[str, Any]:
    """Name and value of `NAME=JSON`."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.UsageError(f"{option} is {text!r}; write it as NAME=JSON.")
    return name, json_of(value, f"{option} {name}=")


def payload_of(value: Any) -> Payload:
    """A value as the SDKs of every language read it: json/plain."""
    from perdure.model.conversion import DataConverter

    return DataConverter.default.to_payload(value)


def values_of(payloads: Payloads) -> list[Any]:
    """The values in payloads; what cannot be read is described."""
    from perdure.client.readable import plain_payload
    from perdure.model.conversion import DataConverter

    return [plain_payload(each, DataConverter.default) for each in payloads.payloads]


def add_inputs(target: Payloads, inputs: Sequence[str], files: Sequence[Path]) -> None:
    """Adds --input and --input-file, in this order, as arguments."""
    target.payloads.extend(payload_of(json_of(text, "--input")) for text in inputs)
    target.payloads.extend(payload_of(json_of(path.read_text(encoding="utf-8"), "--input-file")) for path in files)


def enum_of(enum: Any, prefix: str, text: str, option: str) -> int:
    """The number of an enum's value by its name, however that is written: `AllowDuplicate`, `allow_duplicate`."""
    wanted = re.sub(r"[^a-z0-9]", "", text.lower())
    names = {name.removeprefix(prefix): number for name, number in enum.items() if number}
    for name, number in names.items():
        if name.replace("_", "").lower() == wanted:
            return int(number)
    known = ", ".join("".join(word.capitalize() for word in name.split("_")) for name in names)
    raise click.UsageError(f"{option} is {text!r}; choose one of {known}.")


def name_of(enum: Any, prefix: str, number: int) -> str:
    """`WORKFLOW_EXECUTION_STATUS_TIMED_OUT` as `TimedOut`."""
    text = enum.Name(number).removeprefix(prefix) if number in enum.values() else str(number)
    return "".join(word.capitalize() for word in text.split("_"))
