"""A schedule's spec: its canonical form, and the times that it names (6.1).

What is kept and shown has structured calendars and intervals alone; texts are read when a schedule is created or updated. A
nominal time is a whole second that a calendar or an interval names, within start and end, and that no exclusion names. The action
comes at the nominal time plus a jitter, which the same schedule always gives the same time.

Easily got wrong: jitter never reaches the next nominal time, so that actions keep their order; and a search among excluded
times must end, so it goes on by whole stretches that are excluded, and gives up after a stated number of them.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from google.protobuf.duration_pb2 import Duration
from temporalio.api.schedule.v1 import IntervalSpec, ScheduleSpec

from perdure.engine.core.schedules.calendars import Calendar
from perdure.engine.core.schedules.cron import parse_cron
from perdure.engine.core.schedules.fields import InvalidSpec, check, structured
from perdure.engine.core.schedules.zones import find_zone
from perdure.engine.core.times import to_ns

EXCLUDED_STRETCHES_MAX: Final = 20_000
"""Excluded stretches (as a rule days) that a search passes, in less than a second. Then there is no next time."""
_SECOND: Final = 1_000_000_000
_MILLISECOND: Final = 1_000_000
_TIME_MAX: Final = 253_402_300_799
"""The last second of the year 9999, and of what a timestamp can say."""


def canonical(spec: ScheduleSpec) -> ScheduleSpec:
    """The same spec in structured calendars and intervals alone.

    Raises:
        InvalidSpec: it says nothing, or contradicts itself.
    """
    result = ScheduleSpec()
    result.CopyFrom(spec)
    for name in ("calendar", "cron_string", "exclude_calendar"):
        result.ClearField(name)
    result.structured_calendar.extend(structured(calendar) for calendar in spec.calendar)
    result.exclude_structured_calendar.extend(structured(calendar) for calendar in spec.exclude_calendar)
    crons = [parse_cron(text) for text in spec.cron_string]
    if len({cron.zone for cron in crons}) > 1:
        raise InvalidSpec("conflicting timezone names in cron strings")
    for cron in crons:
        if cron.zone and result.timezone_name not in ("", cron.zone):
            raise InvalidSpec(f"conflicting timezone names: {result.timezone_name} and {cron.zone}")
        result.timezone_name = cron.zone or result.timezone_name
        if cron.calendar is not None:
            result.structured_calendar.append(cron.calendar)
        if cron.interval is not None:
            result.interval.append(cron.interval)
    for calendar in (*result.structured_calendar, *result.exclude_structured_calendar):
        check(calendar)
    for interval in result.interval:
        _interval(interval)
    if _negative(spec.jitter):
        raise InvalidSpec("jitter is negative")
    find_zone(result.timezone_name, result.timezone_data)
    return result


def _interval(spec: IntervalSpec) -> tuple[int, int]:
    """Interval and phase in whole seconds."""
    interval, phase = to_ns(spec.interval) // _SECOND, to_ns(spec.phase) // _SECOND
    if _negative(spec.interval) or interval < 1:
        raise InvalidSpec("interval is too small")
    if _negative(spec.phase):
        raise InvalidSpec("phase is negative")
    if phase >= interval:
        raise InvalidSpec("phase cannot be greater than Interval")
    return interval, phase


def _negative(duration: Duration) -> bool:
    return duration.seconds < 0 or duration.nanos < 0


class ActionTime(NamedTuple):
    """When an action is due, in nanoseconds since the epoch."""

    nominal: int
    """The time that the spec names."""
    actual: int
    """With jitter."""


class CompiledSpec:
    """A canonical spec, ready to be asked."""

    def __init__(self, spec: ScheduleSpec) -> None:
        zone = find_zone(spec.timezone_name, spec.timezone_data)
        self._calendars = [Calendar(calendar, zone) for calendar in spec.structured_calendar]
        self._excluded = [Calendar(calendar, zone) for calendar in spec.exclude_structured_calendar]
        self._intervals = [_interval(interval) for interval in spec.interval]
        for calendar in self._excluded:
            calendar.exclude_from(self._calendars, bool(self._intervals))
        self._first = -(-to_ns(spec.start_time) // _SECOND) if spec.HasField("start_time") else 0
        self._last = to_ns(spec.end_time) // _SECOND if spec.HasField("end_time") else _TIME_MAX
        self._jitter = to_ns(spec.jitter)
        self._asked: tuple[int, int] = (0, 0)
        """The last answer, and from where on it is the same."""
        self._none_after = _TIME_MAX
        """From where on there is no time any more, as far as is known."""

    def next(self, after: int, seed: str) -> ActionTime | None:
        """The first action whose nominal time is after `after` (nanoseconds), with the jitter that `seed` gives; None if there is none."""
        second = self.next_second(after // _SECOND)
        if second is None:
            return None
        nominal = second * _SECOND
        return ActionTime(nominal, nominal + (self._jitter_of(second, seed) if self._jitter else 0))

    def next_second(self, after: int) -> int | None:
        """The first nominal time after `after`, both in seconds."""
        begin, answer = self._asked
        if begin <= after < answer:
            return answer
        found = self._search(after) if after < self._none_after else None
        if found is None:
            self._none_after = min(self._none_after, after)
        else:
            self._asked = after, found
        return found

    def _search(self, after: int) -> int | None:
        after = max(after, self._first - 1)
        for _ in range(EXCLUDED_STRETCHES_MAX):
            found = self._next_included(after)
            if found is None or found > self._last:
                return None
            until = max((calendar.matched_until(found) for calendar in self._excluded), default=found)
            if until == found:
                return found
            after = until - 1
        return None

    def _next_included(self, after: int) -> int | None:
        """Before exclusions and bounds."""
        found = _TIME_MAX + 1
        for interval, phase in self._intervals:
            found = min(found, ((after - phase) // interval + 1) * interval + phase)
        for calendar in self._calendars:
            at = calendar.next(after)
            if at is not None and at < found:
                found = at
        return None if found > _TIME_MAX else found

    def _jitter_of(self, second: int, seed: str) -> int:
        """Whole milliseconds, in nanoseconds: less than the jitter, and less than the gap to the next nominal time."""
        jitter = self._jitter
        following = self._next_included(second)
        if following is not None:
            jitter = min(jitter, (following - second) * _SECOND)
        share = int.from_bytes(blake2b(f"{second}-{seed}".encode(), digest_size=8).digest())
        return (jitter // _MILLISECOND * share >> 64) * _MILLISECOND


@lru_cache(maxsize=256)
def compiled(spec: bytes) -> CompiledSpec:
    """Of a serialised canonical spec."""
    return CompiledSpec(ScheduleSpec.FromString(spec))
