"""Durations as users write them (seconds or `timedelta`) and as the engine counts them (int nanoseconds)."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration as DurationMessage

from perdure.model.errors import UsageError

__all__ = ["Duration", "set_duration", "to_ns", "to_seconds", "to_timedelta"]

Duration: TypeAlias = float | timedelta
"""Seconds (an int or a float) or a timedelta."""

_MAX_SECONDS = 315_576_000_000  # of google.protobuf.Duration: 10,000 years


def to_ns(duration: Duration, name: str = "duration") -> int:
    """Whole nanoseconds; UsageError naming `name` when it is no duration, negative or endless."""
    if isinstance(duration, timedelta):
        ns = ((duration.days * 86_400 + duration.seconds) * 1_000_000 + duration.microseconds) * 1000
    else:
        ns = _number_to_ns(duration, name)
    if ns < 0:
        raise UsageError(f"{name} is {duration!r}; a duration cannot be negative")
    return ns


def _number_to_ns(duration: Any, name: str) -> int:
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise UsageError(f"{name} is {duration!r}; give seconds as a number, or a timedelta")
    if not math.isfinite(duration) or duration > _MAX_SECONDS:
        raise UsageError(f"{name} is {duration!r}; leave it out for no limit")
    return duration * 1_000_000_000 if isinstance(duration, int) else round(duration * 1e9)


def to_seconds(duration: Duration, name: str = "duration") -> float:
    return to_ns(duration, name) / 1e9


def to_timedelta(duration: Duration, name: str = "duration") -> timedelta:
    """A timedelta (its resolution is the microsecond)."""
    ns = to_ns(duration, name)
    return duration if isinstance(duration, timedelta) else timedelta(microseconds=ns // 1000)


def set_duration(target: DurationMessage, duration: Duration, name: str = "duration") -> None:
    """Writes a duration into a message; two attributes, since `FromNanoseconds` is Python code and slow."""
    ns = to_ns(duration, name)
    target.seconds = ns // 1_000_000_000
    target.nanos = ns % 1_000_000_000
