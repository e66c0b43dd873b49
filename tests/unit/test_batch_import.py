"""The import as a workflow, on a real engine: chunks fail alone, histories stay short, the query tells, a second import mends the first."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from perdure import ActivityContext, WorkflowClient, WorkflowContext, WorkflowFailed, WorkflowWorker, activity, workflow
from perdure.patterns import batch
from perdure.patterns.batch import (
    IMPORT_ACTIVITIES,
    PROGRESS,
    Chunk,
    ChunkResult,
    CsvFile,
    Database,
    ImportJob,
    ImportReport,
    Progress,
    Row,
    SqliteSink,
    ValidationError,
    import_chunk,
    innermost,
    run_import,
)

SCHEMA = "CREATE TABLE IF NOT EXISTS numbers (row INTEGER PRIMARY KEY, value INTEGER NOT NULL)"

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

attempts: Counter[int] = Counter()
mended: set[str] = set()
gate = asyncio.Event()
reached: asyncio.Queue[int] = asyncio.Queue()


def store(db: sqlite3.Connection, rows: Sequence[tuple[int, int]]) -> Mapping[int, str]:
    db.executemany("INSERT INTO numbers VALUES (?, ?)", rows)
    return {}


def validate(row: Row) -> None:
    if row["value"] == "bad":
        raise ValidationError("is bad")


def transform(row: Row) -> int:
    if row["value"] == "bug" and "bug" not in mended:
        raise KeyError("a mistake")
    return 0 if row["value"] == "bug" else int(row["value"])


@activity
def number_chunk(ctx: ActivityContext, chunk: Chunk) -> ChunkResult:
    attempts[chunk.range.first_row] += not chunk.give_up
    sink = SqliteSink(chunk.target, schema=SCHEMA, store=store)
    return import_chunk(ctx, chunk, validate=validate, transform=transform, sink=sink)


@activity
async def waiting_chunk(ctx: ActivityContext, chunk: Chunk) -> ChunkResult:
    reached.put_nowait(chunk.range.first_row)
    if chunk.range.first_row > 20:
        await gate.wait()
    return ChunkResult(chunk.range.rows, 0)


@workflow
class Numbers:
    async def run(self, ctx: WorkflowContext, job: ImportJob) -> ImportReport:
        return await run_import(ctx, job, number_chunk)


@workflow
class Waiting:
    async def run(self, ctx: WorkflowContext, job: ImportJob) -> ImportReport:
        return await run_import(ctx, job, waiting_chunk)


@pytest.fixture
async def client() -> AsyncIterator[WorkflowClient]:
    attempts.clear()
    mended.clear()
    async with WorkflowClient.connect("memory://") as client:
        workflows, activities = [Numbers, Waiting], [*IMPORT_ACTIVITIES, number_chunk, waiting_chunk]
        async with WorkflowWorker(client, workflows=workflows, activities=activities, replay_after_every_task=True):
            yield client


def job_in(folder: Path, values: Sequence[object], *, chunk_size: int = 10, max_in_flight: int = 10) -> ImportJob:
    (folder / "numbers.csv").write_text("value\n" + "".join(f"{value}\n" for value in values))
    source = CsvFile(str(folder / "numbers.csv"))
    target = str(folder / "numbers.db")
    return ImportJob(source, target, "numbers", ("value",), chunk_size=chunk_size, max_in_flight=max_in_flight, retry_seconds=0.01)


def stored(job: ImportJob) -> list[int]:
    Database.close_at(job.target)
    with closing(sqlite3.connect(job.target)) as database:
        return [row for (row,) in database.execute("SELECT row FROM numbers ORDER BY row")]


async def test_every_record_is_stored_or_rejected(client: WorkflowClient, tmp_path: Path) -> None:
    job = job_in(tmp_path, [*range(30), "bad", *range(24)])
    report = await client.execute_workflow(Numbers, job, id="a")
    assert report == ImportReport(total_items=55, successful_items=54, failed_items=1)
    assert stored(job) == [*range(1, 31), *range(32, 56)]
    progress = await client.query_workflow("a", PROGRESS)
    assert progress == Progress(55, 55, 54, 1, "Completed", 100.0)


async def test_a_chunk_that_fails_is_tried_three_times_and_the_others_go_on(client: WorkflowClient, tmp_path: Path) -> None:
    job = job_in(tmp_path, [*range(15), "bug", *range(14)])
    report = await client.execute_workflow(Numbers, job, id="a")
    assert report == ImportReport(30, 20, 10, failed_chunks=1, failures=["rows 11 to 20: KeyError: 'a mistake'"])
    assert attempts == {1: 1, 11: 3, 21: 1}
    mended.add("bug")
    again = await client.execute_workflow(Numbers, job, id="b")
    assert (again.successful_items, again.failed_items, again.failed_chunks) == (30, 0, 0)
    assert stored(job) == list(range(1, 31))


async def test_an_error_of_validation_is_not_retried(client: WorkflowClient, tmp_path: Path) -> None:
    job = replace(job_in(tmp_path, [1]), required=("amount",))
    with pytest.raises(WorkflowFailed) as caught:
        await client.execute_workflow(Numbers, job, id="a")
    assert str(innermost(caught.value)) == "numbers.csv lacks the column amount; it has value."
    history = await client.history("a")
    assert [event.attributes["attempt"] for event in history.events if event.type == "ActivityTaskStarted"] == [1]


async def test_no_history_gets_longer_than_the_limit(client: WorkflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "HISTORY_EVENTS_MAX", 200)
    job = job_in(tmp_path, range(600), chunk_size=5, max_in_flight=3)
    handle = await client.start_workflow(Numbers, job, id="a")
    report = await handle.result()
    assert report == ImportReport(600, 600, 0)
    lengths: list[int] = []
    run_id = handle.first_run_id
    while run_id:
        history = await client.history("a", run_id=run_id)
        lengths.append(len(history.events))
        run_id = history.events[-1].attributes.get("new_execution_run_id", "")
    assert len(lengths) > 2 and max(lengths) <= 200
    assert stored(job) == list(range(1, 601))


async def test_at_most_so_many_chunks_are_in_flight_and_the_query_tells_how_far_it_is(client: WorkflowClient, tmp_path: Path) -> None:
    job = job_in(tmp_path, range(80), max_in_flight=3)
    handle = await client.start_workflow(Waiting, job, id="a")
    assert sorted([await reached.get() for _ in range(5)]) == [1, 11, 21, 31, 41]  # two are done, three wait
    progress = await client.query_workflow("a", PROGRESS)
    assert progress == Progress(80, 20, 20, 0, "Processing batches", 25.0)
    assert json.loads(await handle.progress())["processed_items"] == 20  # what the dashboard shows, without knowing the query
    assert reached.empty()
    gate.set()
    assert (await handle.result()).successful_items == 80


async def test_a_file_with_a_header_only_is_imported_at_once(client: WorkflowClient, tmp_path: Path) -> None:
    assert await client.execute_workflow(Numbers, job_in(tmp_path, []), id="a") == ImportReport(0, 0, 0)
    assert (await client.query_workflow("a", PROGRESS)).progress_percentage == 100.0


@pytest.mark.parametrize(("name", "value"), [("chunk_size", 0), ("max_in_flight", 0), ("max_in_flight", 201), ("chunk_attempts", -1)])
def test_a_job_that_makes_no_sense_is_refused(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} is at (least|most)"):
        replace(job_in(tmp_path, []), **{name: value})
