"""Proves that every workload runs, in small, and prints the lines and fields of the contract."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.main import run

EXPECTED = {
    "hello": ([1, 200], set[str]()),
    "chain": ([1, 50], set[str]()),
    "fanout": ([50], set[str]()),
    "hello-beside-cpu": ([1], set[str]()),
    "signals": ([1, 50], set[str]()),
    "sleepers": ([200], {"rss_bytes_each", "disk_bytes_each"}),
    "recovery": ([200], {"first_signal_s", "all_done_s"}),
    "replay": ([1], set[str]()),
    "import": ([10], {"rss_peak_bytes", "history_events_max"}),
}


@pytest.fixture(autouse=True)
def restored_interpreter() -> Iterator[None]:
    """Puts back what `tune()` sets for its whole process."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("workload", EXPECTED)
def test_workload(workload: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    concurrency, extra = EXPECTED[workload]
    assert run(["bench", workload, "--smoke", "--json", "--dir", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["concurrency"] for line in lines] == concurrency
    assert all(line["workload"] == workload and line["per_second"] > 0 and line["engine"] == "sqlite" for line in lines)
    assert all("synchronous=FULL" in line["durability"] and extra <= set(line) for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_a_concurrency_asked_for_prints_that_line_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "hello", "--smoke", "--json", "--concurrency", "3", "--count", "7", "--engine", "memory://"]) == 0
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (line["count"], line["concurrency"], line["engine"], line["durability"]) == (7, 3, "memory", "nothing is kept")


def test_several_workloads_run_in_processes_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "floor", "fanout", "--smoke", "--dir", str(tmp_path)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["workload", "floor", "fanout"]


def test_recovery_needs_an_engine_that_keeps_something(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "recovery", "--smoke", "--engine", "memory://"]) == 2
    assert "memory:// keeps nothing" in capsys.readouterr().err
