"""Time zones: how far local clocks are from UTC, and when that changes.

Times are whole seconds since the epoch; a local time is the same count as its clock shows.

Easily got wrong: an offset must be asked at the instant, not at the local time, which may not exist or exist twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo
from io import BytesIO
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from perdure.engine.core.schedules.fields import InvalidSpec

DAY: Final = 86_400
OFFSET_MAX: Final = 16 * 3600
"""No clock is farther from UTC."""


class Zone:
    """A time zone with more than one offset, or one that is not 0."""

    __slots__ = ("_tzinfo",)

    def __init__(self, tzinfo: tzinfo) -> None:
        self._tzinfo = tzinfo

    def offset(self, at: int) -> int:
        """Seconds that clocks are ahead of UTC at an instant."""
        ahead = datetime.fromtimestamp(at, self._tzinfo).utcoffset()
        return 0 if ahead is None else ahead.days * DAY + ahead.seconds

    def stretches(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """`start` to `end` (excluded) in pieces of one offset, at most a day each: first instant, the one after the last, offset."""
        while start < end:
            stop, offset = min(start + DAY, end), self.offset(start)
            if self.offset(stop) != offset:
                stop = self._change(start, stop, offset)
            yield start, stop, offset
            start = stop

    def _change(self, low: int, high: int, offset: int) -> int:
        """The first instant after `low` with another offset than `offset`, which `high` has not."""
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset(middle) == offset:
                low = middle
            else:
                high = middle
        return high


def find_zone(name: str, data: bytes) -> Zone | None:
    """A zone by its IANA name or, if there is any, from TZif data; None for UTC.

    Raises:
        InvalidSpec: there is no such zone, or the data is none.
    """
    if data:
        try:
            return Zone(ZoneInfo.from_file(BytesIO(data), key=name or None))
        except (ValueError, IndexError, OverflowError, MemoryError) as error:
            raise InvalidSpec(f"timezone data cannot be read: {error}") from None
    if name in ("", "UTC", "Etc/UTC"):
        return None
    try:
        return Zone(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSpec(f"unknown time zone {name}") from None
