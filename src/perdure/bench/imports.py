"""`import`: the demo's import on a generated file of any length: how fast, in how much memory, with how long a history."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from perdure import WorkflowClient, WorkflowWorker
from perdure.bench.load import RUN
from perdure.bench.measurement import timed
from perdure.bench.memory import forget_peak, resident_bytes, resident_peak_bytes
from perdure.bench.setting import Setting
from perdure.demo.import_users import ACTIVITIES, ImportUsers, import_csv
from perdure.demo.sample import write_sample_csv

ROWS, ROWS_SMOKE = 1_000_000, 2_000


async def imports(setting: Setting) -> None:
    """One line; `per_second` counts rows of the file. Peak memory is that of this process from the start of the import on."""
    rows = setting.amount(ROWS, ROWS_SMOKE)
    file, table = setting.folder / "users.csv", setting.folder / "users.db"
    write_sample_csv(file, rows)
    async with (
        WorkflowClient.connect(setting.url("import")) as client,
        WorkflowWorker(client, workflows=[ImportUsers], activities=ACTIVITIES),
    ):
        before = resident_bytes()
        forget_peak()
        with timed() as watch:
            report = await import_csv(client, file, table, f"import-{RUN}")
        peak = resident_peak_bytes()
        lengths = await history_lengths(client, f"import-{RUN}")
    setting.report(
        "import",
        watch,
        count=rows,
        concurrency=10,
        rss_start_bytes=before,
        rss_peak_bytes=peak,
        history_events_max=max(lengths),
        runs=len(lengths),
        rows_stored=stored_rows(table),
        rows_rejected=report.failed_items,
    )


async def history_lengths(client: WorkflowClient, workflow_id: str) -> list[int]:
    """Events of each run of the import, the last one first."""
    lengths, run_id = list[int](), ""
    while True:
        history = await client.history(workflow_id, run_id=run_id)
        lengths.append(len(history))
        run_id = history[0].message.workflow_execution_started_event_attributes.continued_execution_run_id
        if not run_id:
            return lengths


def stored_rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM users").fetchone()[0])
