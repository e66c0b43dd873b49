"""`perdure demo`: the import, killed and resumed; the orders; the figures. What it shows is done by the modules beside it."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from perdure import UsageError
from perdure.demo.killing import Counts, Outcome, Work, count, import_with_a_kill
from perdure.demo.ordering import HistoryLine, Ordered, run_orders
from perdure.demo.sample import sample_csv
from perdure.patterns.batch import COMPLETED, ImportReport, Progress
from perdure.service.connect import check_engine_url, is_remote

HOW_ONCE = """\
   How is a row not stored twice? Every 200 rows are stored in one SQLite transaction
   together with the line "this chunk has come to row n". The process that was killed
   left both or neither, and the next attempt goes on from that line, even where the
   heartbeat that the engine saw last is older. An attempt that was given up and still
   runs is refused: the line has moved on without it. The row's number is the table's
   primary key, so that a mistake in this would be an error, not a second row.
"""

TO_READ = ("demo/import_users.py", "demo/order.py", "patterns/batch.py")


def run_demo(engine: str, csv: Path | None, as_json: bool) -> int:
    """Show the demo, or print its figures as one JSON object; the command's exit code."""
    if engine.startswith("memory:"):
        raise UsageError("memory:// keeps nothing when its process is killed, which the demo does: give --engine sqlite:///FILE.")
    check_engine_url(engine)
    console = Console(stderr=as_json, quiet=as_json, highlight=False, soft_wrap=True)
    logger = logging.getLogger("perdure")
    level = logger.level
    logger.setLevel(logging.ERROR)  # a payment that fails is no news here
    try:
        return _Demo(console, engine, csv, as_json).run()
    finally:
        logger.setLevel(level)


@dataclass
class _Demo:
    console: Console
    engine: str
    csv: Path | None
    as_json: bool

    def run(self) -> int:
        folder = Path(tempfile.mkdtemp(prefix="perdure-demo-"))
        try:
            return self._run_in(folder)
        finally:
            if self.as_json:  # nobody is told where it is
                shutil.rmtree(folder, ignore_errors=True)

    def _run_in(self, folder: Path) -> int:
        began = time.monotonic()
        name = folder.name.removeprefix("perdure-demo-")
        work = Work(self.engine, self.csv or sample_csv(folder), folder / "users.db", f"import-users-{name}", folder / "importer.log")
        outcome, counts = self._import(work)
        ordered = self._order(name)
        if self.as_json:
            print(json.dumps(_figures(work, outcome, counts, ordered, time.monotonic() - began)))
        else:
            self._close(folder)
        return 0 if counts.lost == counts.duplicated == 0 else 1

    def _import(self, work: Work) -> tuple[Outcome, Counts]:
        say = self.console.print
        say(f"[bold]1. An import[/bold] of {work.csv}")
        say(f"   into the table users of {work.database}, by the engine {work.engine}")
        say("   At most 10 chunks of 1,000 rows at once; the bar shows the workflow's own query `progress`.\n")
        with _Viewer(self.console, "the worker runs" if is_remote(work.engine) else "engine and worker run") as viewer:
            outcome = import_with_a_kill(work, viewer)
        counts = count(work)
        say(f"\n   {counts.in_file:,} rows in the file: {counts.stored:,} stored, {counts.rejected:,} rejected, {counts.lost:,} lost")
        say(f"   stored twice: {counts.duplicated:,}; killed: {outcome.kills}; {outcome.seconds:.1f} s; all counted in file and tables")
        if outcome.report.resumed_from_rows:
            say(f"   chunks that were under way went on at row {', '.join(f'{row:,}' for row in sorted(outcome.report.resumed_from_rows))}")
        for failure in outcome.report.failures:
            say(f"   failed: {failure}", markup=False)
        say("\n" + HOW_ONCE)
        return outcome, counts

    def _order(self, name: str) -> list[Ordered]:
        say = self.console.print
        ordered = asyncio.run(run_orders(self.engine, name))
        say("[bold]2. Orders[/bold]: validate, reserve, charge, ship, notify; what was done is undone when a step fails\n")
        for order in ordered:
            undone = f", undone: {', '.join(order.result.compensated)}" if order.result.compensated else ""
            say(f"   {order.result.order_id}: {order.result.status}{undone}")
        shown = next(order for order in ordered if order.result.compensated)
        say(f"\n   The history of {shown.result.order_id}, event by event:\n")
        for line in shown.history:
            say(_history_line(line), no_wrap=True, overflow="ellipsis", crop=True, soft_wrap=False)
        return ordered

    def _close(self, folder: Path) -> None:
        say = self.console.print
        say("\n[bold]3. Open next[/bold]\n")
        package = Path(__file__).parent.parent
        for file in TO_READ:
            say(f"   {package / file}")
        say(f"\n   All of it stands in {folder}: delete that when you have seen enough.")


class _Viewer:
    """Draws what the importing process says."""

    def __init__(self, console: Console, what_runs: str) -> None:
        self.console = console
        self.what_runs = what_runs
        columns = (TextColumn("   {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Bar(*columns, console=console)
        self.task = self.bar.add_task("Starting", total=None)
        self.pid = 0

    def __enter__(self) -> _Viewer:
        self.bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.bar.stop()

    def started(self, pid: int) -> None:
        self.pid = pid
        self.console.print(f"   {self.what_runs} in process {pid}")

    def progress(self, progress: Progress) -> None:
        done, total = progress.processed_items, progress.total_items or None
        self.bar.update(self.task, description=progress.current_stage, completed=done, total=total)

    def done(self, report: ImportReport) -> None:
        self.bar.update(self.task, description=COMPLETED, completed=report.total_items, total=report.total_items)

    def killed(self, stored: int, next_row: int) -> None:
        self.console.print(f"   [red]kill -9 {self.pid}[/red]: the table holds {stored:,} rows, the first one missing is row {next_row:,}")


def _history_line(line: HistoryLine) -> str:
    return f"   {line.event_id:>4}  {line.milliseconds:>6,.0f} ms  {line.event_type:<26}  [dim]{line.summary}[/dim]"


def _figures(work: Work, outcome: Outcome, counts: Counts, ordered: list[Ordered], seconds: float) -> dict[str, Any]:
    return {
        "import": {
            "rows_in_file": counts.in_file,
            "rows_stored": counts.stored,
            "rows_rejected": counts.rejected,
            "rows_duplicated": counts.duplicated,
            "rows_lost": counts.lost,
            "kills": outcome.kills,
            "resumed_from_row": outcome.resumed_from_row,
            "seconds": round(outcome.seconds, 3),
        },
        "orders": [asdict(order.result) for order in ordered],
        "engine": work.engine,
        "seconds": round(seconds, 3),
    }
