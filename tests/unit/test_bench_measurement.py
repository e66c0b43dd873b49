"""Proves the arithmetic of the benchmarks and the shape of their lines, which scripts rely on."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.bench.catalog import WORKLOADS
from perdure.bench.measurement import Measurement, Stopwatch, percentile
from perdure.bench.setting import Setting
from perdure.bench.table import header, row
from perdure.cli.main import run

FIELDS = ["workload", "engine", "durability", "count", "concurrency", "seconds", "per_second", "p50_ms", "p99_ms", "cpu_seconds"]
FLOOR = ["fsync_p50_ms", "fsync_p99_ms", "sqlite_full_commits_per_s", "sqlite_full_rows_per_s", "events_built_per_s"]
INTERPRETER = ["loop", "python", "gc_threshold", "switch_interval_ms"]


@pytest.fixture
def restored_interpreter() -> Iterator[None]:
    """Puts back what `tune()` sets for its whole process."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([], 0.5, 0.0),
        ([7.0], 0.99, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([1.0, 2.0], 0.5, 1.0),
    ],
)
def test_percentile_is_nearest_rank(values: list[float], fraction: float, expected: float) -> None:
    assert percentile(values, fraction) == expected


def reported(**changes: object) -> Measurement:
    lines: list[Measurement] = []
    setting = Setting(folder=Path("/nowhere"), interpreter={"loop": "uvloop"}, write=lines.append)
    setting.report("hello", Stopwatch(2.0, 1.5), count=3000, concurrency=200, times=[1.0, 2.0, 3.0], **changes)  # type: ignore[arg-type]
    return lines[0]


def test_a_line_has_the_contracts_fields_in_order_and_survives_the_way_from_a_child() -> None:
    measurement = reported(workflows=50)
    fields = json.loads(measurement.json_line())
    assert list(fields)[: len(FIELDS)] == FIELDS
    assert (fields["per_second"], fields["p50_ms"], fields["workflows"], fields["loop"]) == (1500.0, 2.0, 50, "uvloop")
    assert Measurement.from_fields(fields) == measurement


def test_figures_have_five_digits_at_most() -> None:
    fields = reported(x=123456.789, y=0.000123456789, z=0.0).fields()
    assert (fields["x"], fields["y"], fields["z"]) == (123460.0, 0.00012346, 0.0)


def test_the_table_lines_up_and_leaves_out_what_every_line_repeats() -> None:
    line = row(reported(rss_bytes_each=250))
    assert line.startswith("hello ") and line.endswith("rss_bytes_each=250")
    assert "loop" not in line and header().split()[0] == "workload"


def test_floor_prints_the_machine_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], restored_interpreter: None
) -> None:
    assert run(["bench", "floor", "--smoke", "--json", "--dir", str(tmp_path)]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert all(fields[name] > 0 for name in FLOOR)
    assert set(FIELDS + FLOOR + INTERPRETER) <= set(fields)
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_names_the_contracts_workloads() -> None:
    assert list(WORKLOADS) == [
        "floor",
        "hello",
        "chain",
        "fanout",
        "hello-beside-cpu",
        "signals",
        "sleepers",
        "recovery",
        "replay",
        "import",
    ]
