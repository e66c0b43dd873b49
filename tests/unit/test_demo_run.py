"""The demo as its user runs it: a real process, killed by SIGKILL, goes on; the README's program likewise."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from perdure import UsageError
from perdure.cli.main import run
from perdure.demo.command import run_demo
from perdure.demo.killing import DemoFailed, Work, count, import_with_a_kill, run_import_process
from perdure.demo.sample import write_sample_csv
from perdure.patterns.batch import ImportReport, Progress
from perdure.storage import storage_for_url
from perdure.testing import server

ROOT = Path(__file__).parents[2]


class Viewer:
    """Remembers what it was shown, and where the chunks stood at the kill."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.pids: list[int] = []
        self.kills: list[tuple[int, int]] = []
        self.under_way: list[int] = []
        self.seen: list[Progress] = []

    def started(self, pid: int) -> None:
        self.pids.append(pid)

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def done(self, report: ImportReport) -> None:
        self.report = report

    def killed(self, stored: int, next_row: int) -> None:
        self.kills.append((stored, next_row))
        query = "SELECT next_row FROM import_chunks WHERE first_row < next_row AND next_offset < end_offset ORDER BY 1"
        with closing(sqlite3.connect(self._work.database)) as database:
            self.under_way = [row for (row,) in database.execute(query)]


def work_in(folder: Path, rows: int) -> Work:
    write_sample_csv(folder / "users.csv", rows)
    return Work(f"sqlite:///{folder / 'engine.db'}", folder / "users.csv", folder / "users.db", "import-1", folder / "log")


def test_a_killed_import_loses_no_row_and_stores_none_twice(tmp_path: Path) -> None:
    work = work_in(tmp_path, 20_000)
    viewer = Viewer(work)
    outcome = import_with_a_kill(work, viewer, kill_at_percent=20)
    counts = count(work)
    assert outcome.kills == 1 and len(set(viewer.pids)) == 2
    ((stored, next_row),) = viewer.kills
    assert 0 < stored < counts.stored and next_row > 1
    assert counts.duplicated == 0
    assert (counts.in_file, counts.lost) == (outcome.report.total_items, 0)
    assert (counts.stored, counts.rejected) == (outcome.report.successful_items, outcome.report.failed_items)
    assert outcome.report.failed_chunks == 0
    assert set(viewer.under_way) <= set(outcome.report.resumed_from_rows)
    shown = [progress.processed_items for progress in viewer.seen]
    assert shown == sorted(shown), "what is done is not undone by a crash"
    assert {progress.current_stage for progress in viewer.seen} <= {"Initializing", "Processing batches", "Completed"}
    with closing(sqlite3.connect(work.database)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_figures_are_those_of_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    work = work_in(tmp_path, 12_000)
    for _ in range(2):  # it can be run twice without cleaning up
        assert run_demo(work.engine, work.csv, True) == 0
        printed = json.loads(capsys.readouterr().out)
        assert list(printed) == ["import", "orders", "engine", "seconds"]
        figures = printed["import"]
        assert list(figures) == [
            "rows_in_file",
            "rows_stored",
            "rows_rejected",
            "rows_duplicated",
            "rows_lost",
            "kills",
            "resumed_from_row",
            "seconds",
        ]
        assert figures["rows_in_file"] == figures["rows_stored"] + figures["rows_rejected"]
        assert (figures["rows_duplicated"], figures["rows_lost"]) == (0, 0)
        assert [(order["status"], order["compensated"]) for order in printed["orders"]] == [
            ("completed", []),
            ("payment_failed", ["reserve"]),
            ("out_of_stock", []),
        ]
        assert not list(tmp_path.glob("perdure-demo-*")), "who reads figures is not told of a folder to delete"


def test_a_file_that_cannot_be_imported_is_refused_in_one_sentence(tmp_path: Path) -> None:
    work = work_in(tmp_path, 1)
    work.csv.write_text("a,b\n1,2\n")
    with pytest.raises(DemoFailed, match=r"users.csv lacks the column email; it has a, b\."):
        import_with_a_kill(work, Viewer(work))


async def test_an_engine_that_is_taken_is_named(tmp_path: Path) -> None:
    work = work_in(tmp_path, 1)
    storage = storage_for_url(work.engine)
    storage.open()
    with closing(storage), pytest.raises(DemoFailed, match=r"engine\.db") as caught:
        await asyncio.to_thread(import_with_a_kill, work, Viewer(work))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("nonsense://x", "there is no engine for nonsense:// in this release"),
        ("sqlite:///", "'sqlite:///' names no file"),
        ("sqlite://orders.db", "'sqlite://orders.db' names a host"),
        ("perdure://host/path", "'perdure://host/path' is no address of a server"),
        ("perdure://host:7233?tsl=true", "'perdure://host:7233?tsl=true' has an option 'tsl'"),
    ],
)
def test_an_engine_that_does_not_exist_is_refused_before_anything_is_shown(
    capfd: pytest.CaptureFixture[str], engine: str, says: str
) -> None:
    assert run(["demo", "--engine", engine]) == 2
    said = capfd.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith(f"Error: {says}")


async def test_the_demo_runs_on_a_server_too(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    work = work_in(tmp_path, 100)
    async with server() as address:
        assert await asyncio.to_thread(run_demo, f"perdure://{address}", work.csv, False) == 0
    said = capfd.readouterr().out
    assert "the worker runs in process" in said and "engine and worker" not in said
    assert "stored twice: 0" in said and ": payment_failed, undone: reserve" in said


def test_an_engine_that_keeps_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="memory:// keeps nothing"):
        run_demo("memory://", None, True)


def program(source: str) -> str:
    """The program with a shorter wait."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".md"):
        found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
        assert found, "the README opens with a program"
        text = found[1]
    assert "seconds=20" in text
    return text.replace("seconds=20", "seconds=2")


@pytest.mark.parametrize("source", ["README.md", "examples/quickstart.py"])
def test_the_readmes_program_goes_on_where_it_was_killed(tmp_path: Path, source: str) -> None:
    (tmp_path / "orders.py").write_text(program(source), encoding="utf-8")
    command = [sys.executable, "-u", "orders.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.kill()
    assert lines == ["charging 42 € for A-17\n", "waiting for the warehouse\n"]
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert "charging" not in again.stdout and "shipping A-17\n" in again.stdout
    assert again.stdout.endswith("receipt-A-17, parcel-A-17\n")
    once_more = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True)
    assert once_more.stdout == "receipt-A-17, parcel-A-17\n"


def test_ctrl_c_ends_the_demo_and_its_process(tmp_path: Path) -> None:
    write_sample_csv(tmp_path / "users.csv", 30_000)
    command = [sys.executable, "-m", "perdure.cli", "demo", "--engine", "sqlite:///engine.db", "--csv", "users.csv"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        started = next(line for line in process.stdout if "run in process" in line)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        assert process.stderr.read().strip() == "Interrupted."
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.split()[-1]), 0)


def test_the_examples_run_as_they_stand(tmp_path: Path) -> None:
    write_sample_csv(tmp_path / "small.csv", 1_500)
    imported = run_example("import_users.py", "small.csv", folder=tmp_path)
    assert re.fullmatch(r"\d+ of 1\d+ rows stored in users.db, \d+ not\n", imported)
    assert (tmp_path / "rejects.csv").read_text(encoding="utf-8").startswith("id,name,email,born,country,joined,notes,reason\n")
    statuses = re.findall(r"status='(\w+)'", run_example("order.py", folder=tmp_path))
    assert statuses == ["completed", "payment_failed", "out_of_stock"]


def run_example(name: str, *arguments: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(5))
def test_an_import_survives_many_kills(tmp_path: Path, seed: int) -> None:
    """Each row is stored or rejected or, where a chunk's three attempts were all killed, reported as not read; never lost, never twice."""
    rng, work = random.Random(seed), work_in(tmp_path, 30_000)
    report = None
    for _ in range(8):
        report = run_import_process(work, Viewer(work), kill_at_percent=rng.uniform(0, 90))
        if report is not None:
            break
    report = report or run_import_process(work, Viewer(work), None)
    assert report is not None
    counts = count(work)
    assert counts.duplicated == 0
    assert (counts.stored, report.total_items) == (report.successful_items, counts.stored + report.failed_items)
    assert report.failed_items == counts.rejected or report.failed_chunks > 0
