"""Spans as queries spell them: `1h30m`, `1.5s`, `2d`, `01:30:00`, or whole nanoseconds."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_SECOND: Final = 1_000_000_000
_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": _SECOND,
    "m": 60 * _SECOND,
    "h": 3_600 * _SECOND,
    "d": 86_400 * _SECOND,
}
_PART: Final = re.compile(r"(\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(ns|us|µs|μs|ms|s|m|h|d)")
_CLOCK: Final = re.compile(r"(\d{1,9}):([0-5]\d):([0-5]\d)")
_WHOLE: Final = re.compile(r"[+-]?\d{1,18}")


def duration_ns(text: str) -> int:
    """Nanoseconds.

    Raises:
        ValueError: it is no span.
    """
    if _WHOLE.fullmatch(text):
        return int(text)
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        hours, minutes, seconds = map(int, clock.groups())
        return ((hours * 60 + minutes) * 60 + seconds) * _SECOND
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f"{text!r} is no span of time")
    return sign * int(sum(Fraction(f"0{number}".rstrip(".")) * _UNITS[unit] for number, unit in parts))
