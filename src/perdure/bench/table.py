"""The readable form of a measurement: one aligned row, the workload's own fields behind it."""

from __future__ import annotations

from typing import Any

from perdure.bench.measurement import Measurement

COLUMNS = {
    "workload": -17,
    "engine": -7,
    "count": 9,
    "concurrency": 12,
    "seconds": 9,
    "per_second": 11,
    "p50_ms": 9,
    "p99_ms": 9,
    "cpu_seconds": 12,
}
"""Widths; negative ones are set to the left."""
UNSAID = {"loop", "python", "gc_threshold", "switch_interval_ms"}
"""The same on every line: only JSON repeats them."""


def header() -> str:
    return "".join(_cell(name, width) for name, width in COLUMNS.items())


def row(measurement: Measurement) -> str:
    fields = measurement.fields()
    own = "  ".join(f"{name}={_text(value)}" for name, value in fields.items() if name in measurement.extra and name not in UNSAID)
    return "".join(_cell(_text(fields[name]), width) for name, width in COLUMNS.items()) + (f"  {own}" if own else "")


def _cell(text: str, width: int) -> str:
    return f"{text:<{-width}} " if width < 0 else f"{text:>{width}} "


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
