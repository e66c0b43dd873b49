"""What a group commit costs: `python benchmarks/storage_commit.py [--directory D] [--seconds S]`.

For groups of 1, 8, 64 and 256 transactions that look like starts and like steps of a workflow, alone and beside a thread
that runs Python without pause: groups and rows per second, the latency of a commit, and what the interpreter's lock is
held for: the processor time of judging and encoding a group (the rest of a commit runs inside SQLite, without the lock).
The floor is one commit of one row with synchronous=FULL on the same disk, in the same run.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from perdure.storage import SQLiteStorage
from perdure.storage.contract import ActivityRow, CurrentRow, RunRow, RunWrite, Transaction, VisibilityRow
from perdure.storage.group import judge
from perdure.storage.sqlite.writes import rows_of

QUEUE = "default\x1forders"
FACTS = os.urandom(40)
START_EVENTS, STEP_EVENTS = os.urandom(420), os.urandom(330)
ACTIVITY = os.urandom(120)
GROUPS = (1, 8, 64, 256)


class Ids:
    """UUIDv7-like run ids, rising."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> bytes:
        self.count += 1
        return (time.time_ns() // 1_000_000).to_bytes(6, "big") + self.count.to_bytes(4, "big") + os.urandom(6)


def start_of(run_id: bytes) -> Transaction:
    workflow_id, request_id, now = os.urandom(16).hex(), str(run_id.hex()), time.time_ns()
    row = RunRow(run_id, 1, 1, 3, now + 10**12, QUEUE, None, FACTS)
    shown = VisibilityRow(run_id, "default", workflow_id, "Order", "orders", 1, now, now, None, 2, 420, b"")
    return Transaction([RunWrite(row, 0, 1, START_EVENTS, visibility=shown)], CurrentRow("default", workflow_id, run_id, request_id, None))


def step_of(run_id: bytes, version: int) -> Transaction:
    """A workflow task completes and schedules an activity (odd versions), or that completes (even versions)."""
    row = RunRow(run_id, version, 1, 3 * version, time.time_ns() + 10**12, None, 1 if version % 2 else None, FACTS)
    write = RunWrite(row, version - 1, 3 * (version - 1) + 1, STEP_EVENTS)
    if version % 2:
        write.closed_activities = [3 * (version - 2) + 2] if version > 2 else []
    else:
        write.activities = [ActivityRow(3 * (version - 1) + 2, None, 1, ACTIVITY)]
    return Transaction([write])


@contextmanager
def busy_thread(wanted: bool) -> Iterator[None]:
    """A thread that keeps the interpreter busy."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=run)
    if wanted:
        thread.start()
    yield
    stop.set()
    if wanted:
        thread.join()


def encoding_us(groups: list[list[Transaction]]) -> float:
    """Processor time of judging and encoding, per transaction."""
    begun = time.thread_time()
    for group in groups:
        rows_of(judge(group))
    return (time.thread_time() - begun) * 1e6 / sum(map(len, groups))


def measure(storage: SQLiteStorage, groups: list[list[Transaction]], seconds: float) -> tuple[list[float], int]:
    times: list[float] = []
    done = 0
    deadline = time.perf_counter() + seconds
    for group in groups:
        begun = time.perf_counter()
        answers = storage.commit(group)
        times.append(time.perf_counter() - begun)
        assert all(answer.name == "YES" for answer in answers), answers
        done += len(group)
        if time.perf_counter() > deadline:
            break
    return times, done


def floor(directory: Path) -> float:
    connection = apsw.Connection(str(directory / "floor.db"))
    for pragma in ("journal_mode=wal", "synchronous=full", "wal_autocheckpoint=2000"):
        connection.pragma(*pragma.split("="))
    connection.execute("CREATE TABLE t (k INTEGER PRIMARY KEY, v BLOB)")
    times: list[float] = []
    for _ in range(500):
        begun = time.perf_counter()
        connection.execute("INSERT INTO t (v) VALUES (?)", (STEP_EVENTS,))
        times.append(time.perf_counter() - begun)
    connection.close()
    return sorted(times)[len(times) // 2]


def make_groups(kind: str, size: int, count: int, storage: SQLiteStorage) -> list[list[Transaction]]:
    ids = Ids()
    if kind == "start":
        return [[start_of(ids.next()) for _ in range(size)] for _ in range(count)]
    runs = [ids.next() for _ in range(size)]
    storage.commit([start_of(run_id) for run_id in runs])
    return [[step_of(run_id, version) for run_id in runs] for version in range(2, count + 2)]


def report(directory: Path, kind: str, size: int, busy: bool, seconds: float) -> None:
    path = directory / f"{kind}-{size}-{busy}.db"
    storage = SQLiteStorage(path)
    storage.open()
    try:
        count = min(3000, max(20, 20_000 // size))
        groups = make_groups(kind, size, count, storage)
        encoding = encoding_us(groups[: max(1, 2_000 // size)])
        rows_each = len(rows_of(judge(groups[0]))) / 13 / size
        with busy_thread(busy):
            begun = time.perf_counter()
            times, done = measure(storage, groups, seconds)
            elapsed = time.perf_counter() - begun
    finally:
        storage.close()
    times.sort()
    p50, p99 = times[len(times) // 2] * 1e3, times[int(len(times) * 0.99)] * 1e3
    print(
        f"{kind:>6} {size:>4} {'busy' if busy else 'alone':>6} {len(times) / elapsed:>10.0f} {done / elapsed:>10.0f} "
        f"{done * rows_each / elapsed:>10.0f} {p50:>9.3f} {p99:>9.3f} {encoding:>12.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure; default: the temporary directory")
    parser.add_argument("--seconds", type=float, default=1.5, help="per line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        run_all(Path(directory), options.seconds)


def run_all(directory: Path, seconds: float) -> None:
    print(f"floor: one commit of one row, synchronous=FULL: p50 {floor(directory) * 1e3:.3f} ms")
    titles = ("kind", "size", "beside", "commits/s", "trans./s", "rows/s", "p50 ms", "p99 ms", "Python µs/tx")
    print("{:>6} {:>4} {:>6} {:>10} {:>10} {:>10} {:>9} {:>9} {:>12}".format(*titles))
    for busy in (False, True):
        for kind in ("start", "step"):
            for size in GROUPS:
                report(directory, kind, size, busy, seconds)


if __name__ == "__main__":
    main()
