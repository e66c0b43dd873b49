"""`floor`: what the machine itself can do, so that every other figure can be read against it.

It uses the library and the settings that the engine uses (apsw's SQLite, WAL, synchronous=FULL, one connection) on a fresh file in the
bench's folder, and builds events as the engine builds them: attribute by attribute, then serialised.
"""

# apsw's stubs leave a type argument of its signatures open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import apsw
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.bench.measurement import percentile, timed
from perdure.bench.setting import Setting

APPEND_BYTES = 4096
APPENDS = 400
ROW_BYTES = 300  # about one serialised event with a small payload
EVENTS = 40_000
GROUP_ROWS = 100


async def floor(setting: Setting) -> None:
    """Reports one line; `per_second` is one-row commits per second."""
    seconds = 0.2 if setting.smoke else 1.5
    with timed() as watch:
        fsyncs = fsync_times_ms(setting.folder / "floor.append", APPENDS // 4 if setting.smoke else APPENDS)
        commits, commit_seconds = commits_within(setting.folder / "floor-1.db", rows=1, seconds=seconds)
        groups, group_seconds = commits_within(setting.folder / "floor-100.db", rows=GROUP_ROWS, seconds=seconds)
        events = events_built_per_second(EVENTS // 10 if setting.smoke else EVENTS)
    setting.report(
        "floor",
        watch,
        count=commits,
        per_second=commits / commit_seconds,
        times=fsyncs,
        engine="none",
        durability="WAL, synchronous=FULL",
        fsync_p50_ms=percentile(fsyncs, 0.50),
        fsync_p99_ms=percentile(fsyncs, 0.99),
        sqlite_full_commits_per_s=commits / commit_seconds,
        sqlite_full_rows_per_s=groups * GROUP_ROWS / group_seconds,
        events_built_per_s=events,
        sqlite=apsw.sqlite_lib_version(),
    )


def fsync_times_ms(path: Path, appends: int) -> list[float]:
    """Milliseconds of each fsync after an append of 4 KiB."""
    block, times = os.urandom(APPEND_BYTES), list[float]()
    with open(path, "wb", buffering=0) as file:
        for _ in range(appends):
            file.write(block)
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - start) * 1e3)
    return times


def commits_within(path: Path, *, rows: int, seconds: float) -> tuple[int, float]:
    """How many transactions of `rows` inserted rows commit within about `seconds`, and the seconds that they took."""
    connection = apsw.Connection(str(path))
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE batch (run BLOB, first_event INTEGER, data BLOB, PRIMARY KEY (run, first_event)) WITHOUT ROWID")
        insert = _inserter(connection, rows)
        insert(0)
        commits, start = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - start) < seconds:
            commits += 1
            insert(commits)
        return commits, elapsed
    finally:
        connection.close()


def _inserter(connection: apsw.Connection, rows: int) -> Callable[[int], None]:
    data, run = os.urandom(ROW_BYTES), os.urandom(16)
    cursor = connection.cursor()

    def insert(number: int) -> None:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.executemany("INSERT INTO batch VALUES (?, ?, ?)", [(run, number * rows + row, data) for row in range(rows)])
        cursor.execute("COMMIT")

    return insert


def events_built_per_second(count: int) -> float:
    """Creates and serialises `count` ActivityTaskScheduled events with one small payload, on one core."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b'"perdure"')
    start = time.perf_counter()
    for number in range(count):
        build_event(number, payload).SerializeToString()
    return count / (time.perf_counter() - start)


def build_event(number: int, payload: Payload) -> HistoryEvent:
    event = HistoryEvent()
    event.event_id = number + 5
    event.event_time.seconds = 1_700_000_000
    event.event_time.nanos = number
    event.event_type = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    event.task_id = number
    attributes = event.activity_task_scheduled_event_attributes
    attributes.activity_id = "1"
    attributes.activity_type.name = "greet"
    attributes.task_queue.name = "default"
    attributes.input.payloads.append(payload)
    attributes.schedule_to_close_timeout.seconds = 600
    attributes.schedule_to_start_timeout.seconds = 600
    attributes.start_to_close_timeout.seconds = 600
    attributes.workflow_task_completed_event_id = 4
    retry = attributes.retry_policy
    retry.initial_interval.seconds = 1
    retry.backoff_coefficient = 2.0
    retry.maximum_interval.seconds = 100
    return event
