"""Batch import: a file of any length through validate → transform → store, in chunks, some of them at once.

You write the activity that imports one chunk (see `import_chunk`) and the workflow, which calls `run_import`:

    @activity
    def import_users_chunk(ctx: ActivityContext, chunk: Chunk) -> ChunkResult:
        sink = SqliteSink(chunk.target, schema=SCHEMA, store=store)
        return import_chunk(ctx, chunk, validate=validate, transform=transform, sink=sink)

    @workflow
    class ImportUsers:
        async def run(self, ctx: WorkflowContext, job: ImportJob) -> ImportReport:
            return await run_import(ctx, job, import_users_chunk)

and register IMPORT_ACTIVITIES with your own. The workflow holds counts, never rows: histories stay below HISTORY_EVENTS_MAX by
continuing as new, and memory does not grow with the file. A chunk that fails is counted and reported, the others go on; an import
that is started again with the same `import_id` skips what is stored and tries the failed chunks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from perdure import (
    ActivityContext,
    ActivityError,
    ActivityOptionsDict,
    ApplicationError,
    Query,
    RetryPolicy,
    WorkflowContext,
    WorkflowError,
    activity,
)
from perdure.patterns.batch_chunk import Row, import_chunk
from perdure.patterns.batch_csv import CsvFile, Range, ValidationError, count_rows, open_csv, plan_ranges
from perdure.patterns.batch_rows import Chunk, ChunkResult, Position, Rejected, Sink, SupersededError
from perdure.patterns.batch_sqlite import IMPORT_SCHEMA, Database, SqliteSink, write_rejects

__all__ = [
    "COMPLETED",
    "HISTORY_EVENTS_MAX",
    "IMPORT_ACTIVITIES",
    "IMPORT_SCHEMA",
    "INITIALIZING",
    "PROCESSING",
    "PROGRESS",
    "Chunk",
    "ChunkResult",
    "CsvFile",
    "Database",
    "ImportJob",
    "ImportReport",
    "Position",
    "Progress",
    "Range",
    "Rejected",
    "Row",
    "Sink",
    "SqliteSink",
    "SupersededError",
    "ValidationError",
    "count_rows",
    "import_chunk",
    "innermost",
    "open_csv",
    "run_import",
    "write_rejects",
]

HISTORY_EVENTS_MAX = 4_096
"""No history of an import gets longer."""

_EVENTS_PER_CHUNK = 12  # scheduled, started, completed and a workflow task, twice: a failed chunk is recorded by a second activity
_PLANNED_CHUNKS_MAX = 200  # bounds the payload of one plan
_PLANNED_ROWS_MAX = 200_000  # bounds the time until the first chunk starts
_FAILURES_KEPT = 20  # reasons in the report; all of them are in the sink
_RESUMED_KEPT = 100

INITIALIZING, PROCESSING, COMPLETED = "Initializing", "Processing batches", "Completed"


@dataclass(frozen=True)
class Progress:
    """What the query `progress` answers."""

    total_items: int = 0
    processed_items: int = 0
    successful_items: int = 0
    failed_items: int = 0
    current_stage: str = INITIALIZING
    progress_percentage: float = 0.0


PROGRESS = Query("progress", Progress)


@dataclass(frozen=True)
class ImportReport:
    """How an import ended."""

    total_items: int
    successful_items: int
    failed_items: int
    """Rejected records, and the unread rows of failed chunks."""
    failed_chunks: int = 0
    failures: list[str] = field(default_factory=list[str])
    """The first reasons of failed chunks."""
    resumed_from_rows: list[int] = field(default_factory=list[int])
    """Where chunks went on after a crash: the first rows that were not yet stored."""


@dataclass
class ImportState:
    """Where an import is; what one run of the workflow hands to the next."""

    source: CsvFile
    total: int
    next_offset: int
    next_row: int = 1
    stored: int = 0
    rejected: int = 0
    unread: int = 0
    failed_chunks: int = 0
    failures: list[str] = field(default_factory=list[str])
    resumed: list[int] = field(default_factory=list[int])


@dataclass(frozen=True)
class ImportJob:
    """What to import, and how. The defaults are the contract of perdure's batch imports."""

    source: CsvFile
    target: str
    import_id: str
    required: tuple[str, ...] = ()
    """Columns without which nothing is imported."""
    chunk_size: int = 1_000
    max_in_flight: int = 10
    chunk_timeout_seconds: float = 300.0
    heartbeat_timeout_seconds: float = 30.0
    chunk_attempts: int = 3
    retry_seconds: float = 1.0
    """From a chunk's first attempt to its second; doubled for the third."""
    heartbeat_every: int = 10
    store_every: int = 200
    state: ImportState | None = None
    """Filled in when the workflow continues as new."""

    def __post_init__(self) -> None:
        for name in ("chunk_size", "max_in_flight", "chunk_attempts", "heartbeat_every", "store_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}.")
        if self.max_in_flight > 200:
            raise ValueError(f"max_in_flight is at most 200, not {self.max_in_flight}: the history of one run could not hold more.")


@dataclass(frozen=True)
class Survey:
    """What is known of a file before its rows are imported."""

    source: CsvFile
    total: int


@activity
def survey_file(ctx: ActivityContext, source: CsvFile, required: tuple[str, ...]) -> Survey:
    """Check the header and count the rows."""
    opened = open_csv(source, required)
    return Survey(opened, count_rows(opened, ctx.heartbeat))


@activity
def plan_chunks(ctx: ActivityContext, source: CsvFile, offset: int, row: int, chunk_size: int) -> list[Range]:
    """The next chunks, from a byte on."""
    chunks = max(1, min(_PLANNED_CHUNKS_MAX, _PLANNED_ROWS_MAX // chunk_size))
    return plan_ranges(source, offset, row, chunk_size, chunks, ctx.heartbeat)


IMPORT_ACTIVITIES = (survey_file, plan_chunks)

ChunkActivity = Callable[[Chunk], Coroutine[Any, Any, ChunkResult]]
"""An activity for one chunk, as workflow code sees it: without its context, to be awaited."""


async def run_import(ctx: WorkflowContext, job: ImportJob, chunk_activity: ChunkActivity) -> ImportReport:
    """Import the file of the job; called by your workflow, with your activity for one chunk."""
    return await _Import(ctx, job, chunk_activity).run()


class _Import:
    """One run of the workflow: a window of `max_in_flight` chunks that slides over the file."""

    def __init__(self, ctx: WorkflowContext, job: ImportJob, chunk_activity: ChunkActivity) -> None:
        self._ctx, self._job = ctx, job
        self._progress = Progress()
        retry = RetryPolicy(
            initial_interval=timedelta(seconds=job.retry_seconds),
            maximum_attempts=job.chunk_attempts,
            non_retryable_error_types=["ValidationError"],
        )
        self._options = ActivityOptionsDict(
            start_to_close_timeout=job.chunk_timeout_seconds, heartbeat_timeout=job.heartbeat_timeout_seconds, retry_policy=retry
        )
        self._run_chunk = chunk_activity

    async def run(self) -> ImportReport:
        self._ctx.set_query_handler(PROGRESS, lambda: self._progress)
        state = self._job.state or await self._survey()
        self._tell(state, PROCESSING)
        if not await self._process(state):
            self._ctx.continue_as_new(replace(self._job, state=state))
        self._tell(state, COMPLETED)
        failed = state.rejected + state.unread
        return ImportReport(state.total, state.stored, failed, state.failed_chunks, state.failures, state.resumed)

    async def _survey(self) -> ImportState:
        survey = await self._ctx.execute_activity(survey_file, self._job.source, self._job.required, **self._options)
        return ImportState(survey.source, survey.total, survey.source.body)

    async def _process(self, state: ImportState) -> bool:
        """Send chunks off until the file ends (True) or the history is long enough (False); all that were sent off are done on return."""
        slots = asyncio.Semaphore(self._job.max_in_flight)
        history_limit = HISTORY_EVENTS_MAX - _EVENTS_PER_CHUNK * (self._job.max_in_flight + 4)
        async with asyncio.TaskGroup() as window:
            while chunks := await self._plan(state):
                for where in chunks:
                    await slots.acquire()
                    if self._ctx.history_length > history_limit:
                        return False
                    state.next_offset, state.next_row = where.end, where.first_row + where.rows
                    window.create_task(self._import(state, where, slots))
        return True

    async def _plan(self, state: ImportState) -> list[Range]:
        where = (state.source, state.next_offset, state.next_row, self._job.chunk_size)
        return await self._ctx.execute_activity(plan_chunks, *where, **self._options)

    async def _import(self, state: ImportState, where: Range, slots: asyncio.Semaphore) -> None:
        job = self._job
        chunk = Chunk(job.import_id, state.source, job.target, where, job.heartbeat_every, job.store_every)
        try:
            result = await self._ctx.execute_activity(self._run_chunk, chunk, **self._options)
        except ActivityError as error:
            result = await self._give_up(state, replace(chunk, give_up=_reason(error)))
        finally:
            slots.release()
        state.stored += result.stored
        state.rejected += result.rejected
        state.unread += result.unread
        if result.resumed_from_row is not None and len(state.resumed) < _RESUMED_KEPT:
            state.resumed.append(result.resumed_from_row)
        self._tell(state, PROCESSING)

    async def _give_up(self, state: ImportState, chunk: Chunk) -> ChunkResult:
        """Count the failed chunk, and have the sink record it; the other chunks go on."""
        state.failed_chunks += 1
        if len(state.failures) < _FAILURES_KEPT:
            last_row = chunk.range.first_row + chunk.range.rows - 1
            state.failures.append(f"rows {chunk.range.first_row} to {last_row}: {chunk.give_up}")
        try:
            return await self._ctx.execute_activity(self._run_chunk, chunk, **self._options)
        except ActivityError:  # the sink itself is out of reach: what it holds of this chunk cannot be known
            return ChunkResult(0, 0, chunk.range.rows)

    def _tell(self, state: ImportState, stage: str) -> None:
        failed = state.rejected + state.unread
        done = state.stored + failed
        percentage = 100.0 * done / state.total if state.total else 100.0
        self._progress = Progress(state.total, done, state.stored, failed, stage, percentage)
        self._ctx.record_heartbeat(self._progress)


def innermost(error: BaseException) -> BaseException:
    """What made a workflow or an activity fail: the first cause that is not itself such a failure."""
    while isinstance(error, WorkflowError | ActivityError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _reason(error: ActivityError) -> str:
    cause = innermost(error)
    return f"{cause.type}: {cause}" if isinstance(cause, ApplicationError) and cause.type else str(cause)
