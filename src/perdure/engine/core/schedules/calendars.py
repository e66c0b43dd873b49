"""A calendar, ready to be asked: does it match this instant, and when does it next?

An instant matches when the clock of the zone shows a matching time at it, and nothing else is done about daylight saving: a
time that the clock skips never comes, one that it shows twice comes twice.

Easily got wrong: at such a change local time runs backwards, so the next matching local time need not be the next matching
instant. Whole days are skipped by local time, and the last stretch is searched by instants of one offset.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import date
from typing import Final

from temporalio.api.schedule.v1 import StructuredCalendarSpec

from perdure.engine.core.schedules import fields
from perdure.engine.core.schedules.zones import DAY, OFFSET_MAX, Zone

_EPOCH: Final = date(1970, 1, 1).toordinal()
_FIRST_DAY: Final = date(fields.YEAR_MIN, 1, 1).toordinal() - _EPOCH
_LAST_DAY: Final = date(fields.YEAR_MAX, 12, 31).toordinal() - _EPOCH
_BACK_MAX: Final = 26 * 3600
"""No clock is set back by more."""
_WINDOW: Final = 3 * DAY
"""Searched by instants around a local time that matches: longer than two offsets and a clock set back."""


class Calendar:
    """A `StructuredCalendarSpec` that has been checked, in a zone (None: UTC)."""

    def __init__(self, spec: StructuredCalendarSpec, zone: Zone | None) -> None:
        self._zone = zone
        self._seconds = fields.values(fields.SECOND, spec)
        self._minutes = fields.values(fields.MINUTE, spec)
        self._hours = fields.values(fields.HOUR, spec)
        self._days = fields.values(fields.DAY_OF_MONTH, spec)
        self._months = fields.values(fields.MONTH, spec)
        self._years = fields.values(fields.YEAR, spec)
        self._weekdays = frozenset(fields.values(fields.DAY_OF_WEEK, spec))
        self._empty = not (self._seconds and self._minutes and self._hours and self._days and self._months and self._weekdays)
        self._midnight = 0 if self._empty else self._hours[0] * 3600 + self._minutes[0] * 60 + self._seconds[0]
        """The first time of a day."""
        self._covers = (False, False, False)

    def exclude_from(self, calendars: Sequence[Calendar], intervals: bool) -> None:
        """Says among whose times this one is asked with `matched_until` (`intervals`: any second), so that it can tell more at once."""
        self._covers = (
            _covers(self._seconds, [each._seconds for each in calendars], 60 if intervals else 0),
            _covers(self._minutes, [each._minutes for each in calendars], 60 if intervals else 0),
            _covers(self._hours, [each._hours for each in calendars], 24 if intervals else 0),
        )

    # Instants.

    def next(self, after: int) -> int | None:
        """The first instant after `after` that matches; None if there is none."""
        at = after + 1
        zone = self._zone
        if zone is None:
            return self._next_local(at)
        while True:
            at = max(at, (_FIRST_DAY - 2) * DAY)
            if at > (_LAST_DAY + 2) * DAY:
                return None
            local = self._next_local(at + zone.offset(at) - _BACK_MAX)
            if local is None:
                return None
            at = max(at, local - OFFSET_MAX)
            for start, stop, offset in zone.stretches(at, at + _WINDOW):
                found = self._next_local(start + offset)
                if found is not None and found - offset < stop:
                    return found - offset
            at += _WINDOW

    def matched_until(self, at: int) -> int:
        """Up to which instant (excluded) all that are asked for match, from `at` on, as far as is quickly told; `at` if that does not."""
        offset = 0 if self._zone is None else self._zone.offset(at)
        local = at + offset
        if self._next_local(local) != local:
            return at
        until = self._run_end(local) - offset
        if self._zone is not None and self._zone.offset(until - 1) != offset:
            return at + 1
        return until

    def _run_end(self, local: int) -> int:
        time = local % DAY
        seconds, minutes, hours = self._covers
        if not seconds:
            return local - time % 60 + _end_of_run(self._seconds, time % 60)
        if not minutes:
            return local - time % 3600 + _end_of_run(self._minutes, time // 60 % 60) * 60
        if not hours:
            return local - time + _end_of_run(self._hours, time // 3600) * 3600
        return local - time + DAY

    # Local times.

    def _next_local(self, at: int) -> int | None:
        """The first local time from `at` on that matches."""
        if self._empty:
            return None
        day, time = divmod(at, DAY)
        found = self._next_day(day)
        if found == day:
            time_found = self._next_time(time)
            if time_found is not None:
                return day * DAY + time_found
            found = self._next_day(day + 1)
        return None if found is None else found * DAY + self._midnight

    def _next_time(self, time: int) -> int | None:
        """The first time of a day from `time` on."""
        hour, minute, second = time // 3600, time // 60 % 60, time % 60
        hours, minutes, seconds = self._hours, self._minutes, self._seconds
        h = bisect_left(hours, hour)
        if h < len(hours) and hours[h] == hour:
            m = bisect_left(minutes, minute)
            if m < len(minutes) and minutes[m] == minute:
                s = bisect_left(seconds, second)
                if s < len(seconds):
                    return hour * 3600 + minute * 60 + seconds[s]
                m += 1
            if m < len(minutes):
                return hour * 3600 + minutes[m] * 60 + seconds[0]
            h += 1
        return hours[h] * 3600 + minutes[0] * 60 + seconds[0] if h < len(hours) else None

    def _next_day(self, day: int) -> int | None:
        """The first day (since the epoch) from `day` on."""
        if day > _LAST_DAY:
            return None
        day = max(day, _FIRST_DAY)
        today = date.fromordinal(day + _EPOCH)
        year, month = today.year, today.month
        for y in self._years[bisect_left(self._years, year) :]:
            for m in self._months if y > year else self._months[bisect_left(self._months, month) :]:
                found = self._day_in_month(y, m, day)
                if found is not None:
                    return found
        return None

    def _day_in_month(self, year: int, month: int, day: int) -> int | None:
        first = date(year, month, 1).toordinal()
        following = date(year, month + 1, 1).toordinal() if month < 12 else date(year + 1, 1, 1).toordinal()
        days, weekdays = self._days, self._weekdays
        for d in days[bisect_left(days, day + _EPOCH - first + 1) :]:
            ordinal = first + d - 1
            if ordinal >= following:
                return None
            if ordinal % 7 in weekdays:  # a date's ordinal is a multiple of 7 on Sundays
                return ordinal - _EPOCH
        return None


def _covers(values: tuple[int, ...], asked: Sequence[tuple[int, ...]], all_below: int) -> bool:
    return set(range(all_below)).union(*asked) <= set(values)


def _end_of_run(values: tuple[int, ...], value: int) -> int:
    """The first number from `value` on that is not among the values."""
    at = bisect_left(values, value)
    while at < len(values) and values[at] == value:
        at += 1
        value += 1
    return value
