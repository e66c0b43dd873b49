"""Times of the core: whole nanoseconds since the epoch (UTC) for instants, whole nanoseconds for spans.

Decides how those integers become protobuf messages and back. Knows no clock. Easily got wrong: `FromNanoseconds` and
`ToNanoseconds` are Python code and cost more than the whole event; only `.seconds` and `.nanos` are used here.
"""

from __future__ import annotations

from typing import Final, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

SECOND: Final = 1_000_000_000
HUNDRED_YEARS: Final = 3_153_600_000 * SECOND
"""The longest span: longer ones are cut to it (section 9)."""


class SecondsNanos(Protocol):
    """A Timestamp or a Duration."""

    seconds: int
    nanos: int


def to_ns(message: SecondsNanos) -> int:
    """Nanoseconds of a Timestamp or Duration; unset is 0."""
    return message.seconds * SECOND + message.nanos


def set_ns(message: SecondsNanos, ns: int) -> None:
    """Writes `ns` (not negative) into a Timestamp or Duration in place."""
    message.seconds, message.nanos = divmod(ns, SECOND)


def timestamp(ns: int) -> Timestamp:
    """A Timestamp of `ns`."""
    message = Timestamp()
    message.seconds, message.nanos = divmod(ns, SECOND)
    return message


def duration(ns: int) -> Duration:
    """A Duration of `ns`."""
    seconds, nanos = divmod(ns, SECOND)
    return Duration(seconds=seconds, nanos=nanos)


def earliest(left: int, right: int) -> int:
    """The smaller of two limits where 0 means that there is none."""
    if not left:
        return right
    return min(left, right) if right else left
