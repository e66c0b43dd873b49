"""The import of the demo, killed half way and started again."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from perdure import PerdureError
from perdure.demo.import_users import SCHEMA
from perdure.patterns.batch import IMPORT_SCHEMA, CsvFile, ImportReport, Progress, count_rows, open_csv


class DemoFailed(PerdureError, code="demo_failed"):
    """The process that imports ended before its work was done."""

    def __init__(self, message: str = "", returncode: int = 1) -> None:
        super().__init__(message)
        self.returncode = returncode

    @property
    def exit_code(self) -> int:
        """What the process ended with; 1 when a signal ended it."""
        return max(self.returncode, 1)


class Viewer(Protocol):
    """Who looks on."""

    def started(self, pid: int) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def done(self, report: ImportReport) -> None: ...
    def killed(self, stored: int, next_row: int) -> None: ...


@dataclass(frozen=True)
class Work:
    """What is imported, and where it all stands."""

    engine: str
    csv: Path
    database: Path
    import_id: str
    log: Path


@dataclass(frozen=True)
class Outcome:
    report: ImportReport
    kills: int
    resumed_from_row: int
    seconds: float


@dataclass(frozen=True)
class Counts:
    """What the file and the tables themselves say."""

    in_file: int
    stored: int
    duplicated: int
    rejected: int

    @property
    def lost(self) -> int:
        return self.in_file - self.stored - self.rejected


def import_with_a_kill(work: Work, viewer: Viewer, kill_at_percent: float = 50.0) -> Outcome:
    """Run the import in a process of its own, kill that with SIGKILL when it has come to `kill_at_percent`, and start it again."""
    began, kills, next_row = time.monotonic(), 0, 0
    report = run_import_process(work, viewer, kill_at_percent)
    if report is None:
        kills, next_row = 1, first_missing_row(work)
        viewer.killed(count(work).stored, next_row)
        report = run_import_process(work, viewer, None)
    assert report is not None  # it is killed once
    viewer.done(report)
    return Outcome(report, kills, min(report.resumed_from_rows, default=next_row), time.monotonic() - began)


def run_import_process(work: Work, viewer: Viewer, kill_at_percent: float | None) -> ImportReport | None:
    """Run the process until it is done, or until it is killed (None)."""
    with _process(work) as process:
        viewer.started(process.pid)
        for message in _messages(process):
            if "report" in message:
                process.wait(timeout=30)
                return ImportReport(**message["report"])
            progress = Progress(**message["progress"])
            viewer.progress(progress)
            if kill_at_percent is not None and kill_at_percent <= progress.progress_percentage < 100:
                process.kill()  # SIGKILL: nothing can be caught, flushed or said good-bye to
                return None
    raise DemoFailed(_last_words(work, process.returncode), process.returncode)


@contextmanager
def _process(work: Work) -> Generator[subprocess.Popen[str]]:
    """The importing process: it does not outlive the block, and the terminal's Ctrl-C does not reach it."""
    command = [sys.executable, "-m", "perdure.demo.importer", work.engine, str(work.csv), str(work.database), work.import_id]
    with work.log.open("a") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _messages(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def _last_words(work: Work, returncode: int) -> str:
    lines = [line for line in work.log.read_text(errors="replace").splitlines() if line.strip()]
    how = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
    return lines[-1] if lines else f"The importing process ended ({how}) and said nothing."


def count(work: Work) -> Counts:
    """Count in the file and in the tables; nothing that the workflow says is believed here."""
    in_file = count_rows(open_csv(CsvFile(str(work.csv))))
    with closing(sqlite3.connect(work.database)) as database:
        database.executescript(SCHEMA + ";" + IMPORT_SCHEMA)  # a file without records has made no table
        stored, distinct = database.execute("SELECT COUNT(*), COUNT(DISTINCT row) FROM users").fetchone()
        query = "SELECT COUNT(*) FROM import_rejects WHERE import_id = ?"
        (rejected,) = database.execute(query, (work.import_id,)).fetchone()
    return Counts(in_file, stored, stored - distinct, rejected)


def first_missing_row(work: Work) -> int:
    """The first row that is not stored yet, as the table says."""
    query = "SELECT MIN(CASE WHEN next_offset < end_offset THEN next_row END), MAX(next_row) FROM import_chunks WHERE import_id = ?"
    with closing(sqlite3.connect(work.database)) as database:
        unfinished, last = database.execute(query, (work.import_id,)).fetchone()
        return int(unfinished or last or 1)
