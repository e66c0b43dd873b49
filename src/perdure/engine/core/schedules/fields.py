"""The fields of a calendar: from text to ranges, and from ranges to the values that match (6.1).

Text is read once, when a schedule is created or updated; what is kept and shown is the ranges. A field takes `*`, `n`, `a-b`,
`a-b/step`, `a/step` (to the field's end), lists of these, and names of months and weekdays from their first three letters on.

Easily got wrong: weekday 7 is Sunday in text, so a range that ends there is two ranges; a year that is not given matches every
year, while any other field without a range matches nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from temporalio.api.schedule.v1 import CalendarSpec, Range, StructuredCalendarSpec

COMMENT_BYTES_MAX: Final = 200
YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2100

_MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_NAME_LETTERS_MIN: Final = 3


class InvalidSpec(ValueError):
    """A schedule's spec that says nothing or contradicts itself; the text says what and where."""


class Field(NamedTuple):
    """One field of a calendar."""

    name: str
    """In `CalendarSpec` and `StructuredCalendarSpec`."""
    title: str
    low: int
    high: int
    default: str
    """What an empty text means."""
    names: tuple[str, ...] = ()
    """Names of the values, from `low` on."""


SECOND: Final = Field("second", "Second", 0, 59, "0")
MINUTE: Final = Field("minute", "Minute", 0, 59, "0")
HOUR: Final = Field("hour", "Hour", 0, 23, "0")
DAY_OF_MONTH: Final = Field("day_of_month", "DayOfMonth", 1, 31, "*")
MONTH: Final = Field("month", "Month", 1, 12, "*", _MONTHS)
YEAR: Final = Field("year", "Year", YEAR_MIN, YEAR_MAX, "*")
DAY_OF_WEEK: Final = Field("day_of_week", "DayOfWeek", 0, 6, "*", _WEEKDAYS)
FIELDS: Final = (SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, YEAR, DAY_OF_WEEK)


# From text.


def structured(calendar: CalendarSpec) -> StructuredCalendarSpec:
    """A calendar of texts as one of ranges.

    Raises:
        InvalidSpec: a field cannot be read.
    """
    result = StructuredCalendarSpec(comment=calendar.comment)
    for field in FIELDS:
        getattr(result, field.name).extend(_ranges(field, getattr(calendar, field.name)))
    return result


def _ranges(field: Field, text: str) -> list[Range]:
    text = text.strip() or field.default
    if text == "*":
        return [] if field is YEAR else [Range(start=field.low, end=field.high)]
    ranges: list[Range] = []
    for part in text.split(","):
        ranges.extend(_part(field, part.strip()))
    return ranges


def _part(field: Field, part: str) -> Iterable[Range]:
    span, slash, step_text = part.partition("/")
    step = _number(field, part, step_text) if slash else 1
    if step < 1:
        raise _malformed(field, part)
    high = 7 if field is DAY_OF_WEEK else field.high
    if span == "*":
        start, end = field.low, high
    else:
        first, dash, last = span.partition("-")
        start = _value(field, part, first, high)
        end = _value(field, part, last, high) if dash else (high if slash else start)
    if end < start:
        raise _malformed(field, part)
    return _sunday_twice(start, end, step) if end > field.high else [_range(start, end, step)]


def _sunday_twice(start: int, end: int, step: int) -> Iterable[Range]:
    """A range of weekdays that ends on 7, the other name of 0."""
    if start and (end - start) % step == 0:
        yield Range()
    if start < end:
        yield _range(start, end - 1, step)


def _range(start: int, end: int, step: int) -> Range:
    return Range(start=start, end=0 if end == start else end, step=0 if step == 1 else step)


def _value(field: Field, part: str, text: str, high: int) -> int:
    lower = text.strip().lower()
    if len(lower) >= _NAME_LETTERS_MIN:
        for value, name in enumerate(field.names, field.low):
            if name.startswith(lower):
                return value
    value = _number(field, part, lower)
    if not field.low <= value <= high:
        raise InvalidSpec(f"{field.title}: {part!r} is not within {field.low}-{high}")
    return value


def _number(field: Field, part: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise _malformed(field, part)
    return int(text)


def _malformed(field: Field, part: str) -> InvalidSpec:
    return InvalidSpec(f"{field.title}: {part!r} is malformed")


# From ranges.


def check(calendar: StructuredCalendarSpec) -> None:
    """Refuses a calendar with a range that no value can be in.

    Raises:
        InvalidSpec: it says which.
    """
    if len(calendar.comment.encode()) > COMMENT_BYTES_MAX:
        raise InvalidSpec("comment is too long")
    for field in FIELDS:
        for each in getattr(calendar, field.name):
            if not field.low <= each.start <= field.high:
                raise InvalidSpec(f"{field.title} Start is not in range [{field.low}-{field.high}]")
            if each.end > field.high:
                raise InvalidSpec(f"{field.title} End is not in range [{field.low}-{field.high}]")
            if each.step < 0:
                raise InvalidSpec(f"{field.title} has invalid Step")


def values(field: Field, calendar: StructuredCalendarSpec) -> tuple[int, ...]:
    """The values of a field that match, rising."""
    ranges = getattr(calendar, field.name)
    if field is YEAR and not ranges:
        return tuple(range(YEAR_MIN, YEAR_MAX + 1))
    found: set[int] = set()
    for each in ranges:
        found.update(range(each.start, max(each.end, each.start) + 1, each.step or 1))
    return tuple(sorted(found))
