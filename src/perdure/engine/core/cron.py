"""Cron schedules: five fields as cron has them, and `@every` (4.4). When a schedule is next due, and how long to wait until then.

`minute hour day-of-month month day-of-week`, each a list of `*`, `?`, numbers or names, ranges and steps; the names `@hourly`,
`@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually`; `@every 1h30m`. A time zone may stand before it:
`CRON_TZ=Europe/Berlin` or `TZ=…`; without one it is UTC.

Easily got wrong: a day matches if day of month *and* day of week do, but where both are restricted, if either does. And a wall clock
that is put forward skips the times in between; one that is put back has them twice, and the schedule is due at both.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from perdure.engine.core.times import SECOND

YEARS_MAX: Final = 5
"""How far the next time is looked for: 29 February comes at least every eight years, but what is not due within five never is."""
_MONTHS: Final = {name: n for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}
_DAYS: Final = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNITS: Final = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}
_SPAN: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")


class _Field(NamedTuple):
    values: frozenset[int]
    open: bool
    """It was given as `*` or `?`."""


class _Every(NamedTuple):
    """A fixed interval."""

    seconds: int


class _Calendar(NamedTuple):
    """The five fields, and where they hold."""

    minute: _Field
    hour: _Field
    day: _Field
    month: _Field
    weekday: _Field
    zone: ZoneInfo | None


class _Wrong(ValueError):
    """What is said is no schedule."""


def complaint(schedule: str) -> str:
    """What is wrong with a schedule; empty if nothing is."""
    try:
        parsed = _parse(schedule)
    except _Wrong as wrong:
        return f"Invalid CronSchedule: {wrong}."
    if isinstance(parsed, _Calendar) and _next(parsed, datetime(2024, 1, 1, tzinfo=UTC)) is None:
        return "Invalid CronSchedule, no time can be found to satisfy the schedule."
    return ""


def backoff(schedule: str, last: int, now: int) -> int | None:
    """How long from `now` until the schedule is due next after `last`, the time at which it was due before; None: never.

    All in nanoseconds, the answer in whole seconds. Times that have passed meanwhile are skipped.
    """
    if now < last:
        return _rounded_up(last - now)
    parsed = _parse(schedule)
    if isinstance(parsed, _Every):
        step = parsed.seconds * SECOND
        due = last // SECOND * SECOND + step
        if due < now:
            due += -((due - now) // step) * step
        return _rounded_up(due - now)
    after = datetime.fromtimestamp(max(last, now - SECOND) // SECOND, UTC)
    due_time = _next(parsed, after)
    while due_time is not None and int(due_time.timestamp()) * SECOND < now:
        due_time = _next(parsed, due_time)
    return None if due_time is None else _rounded_up(int(due_time.timestamp()) * SECOND - now)


def _rounded_up(span: int) -> int:
    return -(-span // SECOND) * SECOND


# Reading a schedule.


@lru_cache(maxsize=256)
def _parse(schedule: str) -> _Every | _Calendar:
    text, zone = schedule.strip(), None
    if text.startswith(("CRON_TZ=", "TZ=")):
        named, _, text = text.partition(" ")
        zone = _zone(named.partition("=")[2])
        text = text.strip()
    if text.startswith("@every "):
        return _Every(_interval(text.removeprefix("@every ").strip()))
    if text.startswith("@"):
        if text not in _NAMED:
            raise _Wrong(f"unrecognised descriptor {text!r}")
        text = _NAMED[text]
    fields = text.split()
    if len(fields) != 5:
        raise _Wrong(f"expected exactly 5 fields, found {len(fields)}: {text!r}")
    minute, hour, day, month, weekday = fields
    return _Calendar(
        _field(minute, 0, 59, {}),
        _field(hour, 0, 23, {}),
        _field(day, 1, 31, {}),
        _field(month, 1, 12, _MONTHS),
        _field(weekday, 0, 6, _DAYS),
        zone,
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _Wrong(f"unknown time zone {name!r}") from None


def _interval(text: str) -> int:
    """The whole seconds of a span as Go writes one: `1h30m`."""
    total, at = 0.0, 0
    for part in _SPAN.finditer(text):
        if part.start() != at:
            break
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    if not text or at != len(text):
        raise _Wrong(f"cannot read the interval {text!r}")
    return max(1, int(total / SECOND))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> _Field:
    values: set[int] = set()
    is_open = False
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, {}) if slash else 1
        if step < 1:
            raise _Wrong(f"a step must be at least 1: {part!r}")
        if span in ("*", "?"):
            first, last = low, high
            is_open = is_open or step == 1
        else:
            begin, dash, end = span.partition("-")
            first = _number(begin, names)
            last = _number(end, names) if dash else (high if slash else first)
        if not low <= first <= last <= high:
            raise _Wrong(f"{part!r} is not within {low}-{high}")
        values.update(range(first, last + 1, step))
    return _Field(frozenset(values), is_open)


def _number(text: str, names: dict[str, int]) -> int:
    named = names.get(text.lower())
    if named is not None:
        return named
    if not (text.isascii() and text.isdigit()):
        raise _Wrong(f"{text!r} is no number")
    return int(text)


# Finding the next time.


def _next(calendar: _Calendar, after: datetime) -> datetime | None:
    """The first whole minute later than `after` (UTC) at which the schedule is due, in UTC; None: never."""
    zone = calendar.zone or UTC
    local = after.astimezone(zone)
    day = local.date()
    last_day = day + timedelta(days=366 * YEARS_MAX)
    while day <= last_day:
        if day.month not in calendar.month.values:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            continue
        if _matches_day(calendar, day.day, (day.weekday() + 1) % 7):
            found = _first_of_day(calendar, datetime(day.year, day.month, day.day, tzinfo=zone), after)
            if found is not None:
                return found
        day += timedelta(days=1)
    return None


def _matches_day(calendar: _Calendar, day: int, weekday: int) -> bool:
    by_day, by_weekday = day in calendar.day.values, weekday in calendar.weekday.values
    if calendar.day.open or calendar.weekday.open:
        return by_day and by_weekday
    return by_day or by_weekday


def _first_of_day(calendar: _Calendar, midnight: datetime, after: datetime) -> datetime | None:
    """Of the day's times in UTC that match, the first one later than `after`."""
    start = midnight.astimezone(UTC)
    end = (midnight + timedelta(days=1)).astimezone(UTC)
    quarter = max(start, after.replace(minute=0, second=0, microsecond=0))
    while quarter < end:
        # Offsets from UTC are whole quarters of an hour today: within one the local hour is the same.
        local = quarter.astimezone(midnight.tzinfo)
        if local.hour in calendar.hour.values:
            for minute in range(15):
                at = quarter + timedelta(minutes=minute)
                if at > after and at < end and local.minute + minute in calendar.minute.values:
                    return at
        quarter += timedelta(minutes=15)
    return None
