"""Cron strings, as calendars or intervals with a time zone (6.1).

Five fields (minute, hour, day of month, month, day of week), six (with the year) or seven (with the second before them); the names
`@hourly` … `@yearly`; `@every duration[/phase]`; before them `TZ=zone` or `CRON_TZ=zone`, after them `# comment`.

Easily got wrong: where a day of the month and a weekday are both given, both must match; the classic cron asks for either.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

from temporalio.api.schedule.v1 import CalendarSpec, IntervalSpec, StructuredCalendarSpec

from perdure.engine.core.schedules.fields import InvalidSpec, structured
from perdure.engine.core.times import SECOND, set_ns

_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ZONE: Final = re.compile(r"(?:CRON_)?TZ=(\S*)\s*")
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(ns|us|µs|ms|s|m|h|d)")
_UNITS: Final = {"s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND, "d": 86_400 * SECOND, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}


class Cron(NamedTuple):
    """What a cron string says: a calendar or an interval, and in which zone."""

    calendar: StructuredCalendarSpec | None
    interval: IntervalSpec | None
    zone: str


def parse_cron(text: str) -> Cron:
    """Reads a cron string.

    Raises:
        InvalidSpec: it cannot be read.
    """
    body, _, comment = text.strip().partition("#")
    zone = ""
    if match := _ZONE.match(body):
        zone, body = match[1], body[match.end() :]
    body = body.strip()
    every, _, duration = body.partition(" ")
    if every == "@every":
        return Cron(None, _every(text, duration), zone)
    words = _NAMED.get(body.lower(), body).split()
    if len(words) not in (5, 6, 7):
        raise InvalidSpec(f"cron string {text!r} does not have 5-7 fields")
    second = words.pop(0) if len(words) == 7 else "0"
    year = words.pop() if len(words) == 6 else "*"
    minute, hour, day, month, weekday = words
    calendar = CalendarSpec(
        second=second, minute=minute, hour=hour, day_of_month=day, month=month, day_of_week=weekday, year=year, comment=comment.strip()
    )
    return Cron(structured(calendar), None, zone)


def _every(text: str, duration: str) -> IntervalSpec:
    every, slash, phase = duration.strip().partition("/")
    spec = IntervalSpec()
    set_ns(spec.interval, _span(text, every))
    if slash:
        set_ns(spec.phase, _span(text, phase))
    return spec


def _span(text: str, duration: str) -> int:
    """Nanoseconds."""
    total, at = Fraction(), 0
    while match := _DURATION.match(duration, at):
        total += Fraction(f"0{match[1]}".rstrip(".")) * _UNITS[match[2]]
        at = match.end()
    if at != len(duration) or not duration:
        raise InvalidSpec(f"cron string {text!r} has no duration such as 1h30m or 1.5d after @every")
    return int(total)
