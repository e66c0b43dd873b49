"""What a workload reports: one `Measurement` per line of output, and the arithmetic behind it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(slots=True, kw_only=True)
class Measurement:
    """One measured line. `per_second` counts what the workload is about (workflows, steps, signals, rows, events), not requests."""

    workload: str
    engine: str
    durability: str
    count: int
    concurrency: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def fields(self) -> dict[str, Any]:
        """The fields of the JSON line, in the order in which they are printed."""
        own = {name: getattr(self, name) for name in _OWN}
        return {name: _short(value) for name, value in (own | self.extra).items()}

    @classmethod
    def from_fields(cls, values: dict[str, Any]) -> Measurement:
        """The reverse of `fields`."""
        return cls(**{name: values[name] for name in _OWN}, extra={name: value for name, value in values.items() if name not in _OWN})

    def json_line(self) -> str:
        return json.dumps(self.fields())


_OWN = [each.name for each in fields(Measurement) if each.name != "extra"]


def _short(value: Any) -> Any:
    """Five significant digits: more would claim a precision that no run on a shared machine has."""
    if not isinstance(value, float) or not value or not math.isfinite(value):
        return value
    return round(value, 4 - math.floor(math.log10(abs(value))))


def percentile(values: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile; 0.0 for no values at all."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(fraction * len(ordered)) - 1)]


@dataclass(slots=True)
class Stopwatch:
    """Wall and CPU seconds of a `with timed()` block, final once it is left; CPU counts ended child processes too."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def timed() -> Generator[Stopwatch, None, None]:
    watch = Stopwatch()
    cpu, start = _cpu_seconds(), time.perf_counter()
    try:
        yield watch
    finally:
        watch.seconds = time.perf_counter() - start
        watch.cpu_seconds = _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
