"""What is typed on the command line, as values: durations, times, JSON, `NAME=JSON`, choices of Temporal's enums."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from temporalio.api.common.v1 import Payload, Payloads

DURATION_SECONDS_MAX = 315_576_000_000
"""Ten thousand years: protobuf's longest."""
_WORDS = re.compile(r"[^\W\d][^\"'\n]{0,40}")
"""What was probably meant as a text."""
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(text: str) -> timedelta:
    """`90`, `90s`, `1h30m`, `7d`. Raises click.BadParameter when it is none of this kind, or too long for the protocol."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    elif text and not _DURATION.sub("", text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
    else:
        raise click.BadParameter(f"{text!r} is not a duration; write it like 90s, 1h30m or 7d.")
    if seconds > DURATION_SECONDS_MAX:
        raise click.BadParameter(f"{text!r} is too long; {DURATION_SECONDS_MAX // 86400}d is the longest there is.")
    return timedelta(seconds=seconds)


def time(text: str) -> datetime:
    """A time in UTC; without a zone it is taken for UTC. Raises click.BadParameter when it is none."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is not a time; write it like 2030-01-31T08:00:00Z.") from None


def json_of(text: str, option: str, *, in_a_pair: str = "") -> Any:
    """The value that JSON text stands for. Raises click.UsageError when it is none: NaN and Infinity, too, are not JSON."""
    try:
        return json.loads(text, parse_constant=_not_json, parse_float=_finite)
    except RecursionError:
        raise click.UsageError(f"{option} is nested too deeply; store it elsewhere and pass its key.") from None
    except ValueError as error:
        hint = f" A text needs quotes of its own, as in {option} '{in_a_pair}\"{text}\"'." if _WORDS.fullmatch(text) else ""
        raise click.UsageError(f"{option} is not JSON: {error}.{hint}") from error


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is no number there")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _not_json(text)


def pair_of(text: str, option: str) -> tuple[str, Any]:
    """Name and value of `NAME=JSON`."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.UsageError(f"{option} is {text!r}; write it as NAME=JSON.")
    return name, json_of(value, option, in_a_pair=f"{name}=")


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
    target.payloads.extend(payload_of(_json_in(path)) for path in files)


def _json_in(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--input-file {path} is not UTF-8: {error.reason} at byte {error.start}.") from error
    return json_of(text, f"--input-file {path}")


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
