"""A storage that keeps nothing beyond the process: for tests and notebooks, and the model that the others are held against.

It is a real fake: it passes the conformance suite, answers each transaction as the databases do, and may be closed and
opened again with all its contents, so a test can "restart" an engine on it. It never waits (`blocking` is False).

Transactions are judged and applied one after the other, with no cleverness at all: what the databases do with a whole
group at once must come to the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import islice

from perdure.model.errors import StorageError, StorageLocked
from perdure.storage.contract import (
    ActivityRow,
    ClosedRun,
    Committed,
    CurrentRow,
    CurrentRun,
    Due,
    Record,
    RunDelete,
    RunRow,
    RunWrite,
    StoredRun,
    Transaction,
    VisibilityRow,
    Waiting,
)
from perdure.storage.memory_records import MemoryRecords
from perdure.storage.memory_visibility import Shown, counted_runs, found_runs
from perdure.storage.run_queries import Field, Place, RunQuery, Scalar, SearchValue


class _Kept:
    """All rows of one run."""

    __slots__ = ("activities", "buffered", "history", "row", "search", "visibility")

    def __init__(self, row: RunRow) -> None:
        self.row = row
        self.history: list[tuple[int, bytes]] = []
        self.activities: dict[int, ActivityRow] = {}
        self.buffered: dict[int, bytes] = {}
        self.visibility: VisibilityRow | None = None
        self.search: Sequence[SearchValue] = ()

    def write(self, write: RunWrite) -> None:
        self.row = write.row
        if write.history:
            self.history.append((write.first_event_id, write.history))
        if write.clear_activities:
            self.activities.clear()
        self.activities.update((row.scheduled_event_id, row) for row in write.activities)
        for event_id in write.closed_activities:
            self.activities.pop(event_id, None)
        if write.clear_buffered:
            self.buffered.clear()
        self.buffered.update(write.buffered)
        self.visibility = write.visibility or self.visibility
        if write.search is not None:
            self.search = write.search

    def stored(self) -> StoredRun:
        buffered = [self.buffered[number] for number in sorted(self.buffered)]
        return StoredRun(self.row, [data for _, data in self.history], sorted(self.activities.values()), buffered)

    def is_held_before(self, incarnation: int) -> bool:
        held_in = self.row.incarnation
        return held_in is not None and held_in < incarnation


class MemoryStorage:
    """Keeps everything in Python objects, for as long as the object lives."""

    blocking = False
    url = "memory://"

    def __init__(self) -> None:
        self._runs: dict[bytes, _Kept] = {}
        self._current: dict[tuple[str, str], CurrentRun] = {}
        self._due: list[Due] = []  # sorted
        self._records = MemoryRecords()
        self._incarnation = 0
        self._open = False

    def __repr__(self) -> str:
        return f"<MemoryStorage: {len(self._runs)} runs{'' if self._open else ', closed'}>"

    def open(self) -> None:
        if self._open:
            raise StorageLocked("This memory storage is already open: give each engine its own MemoryStorage.")
        self._open = True

    def close(self) -> None:
        self._open = False

    def next_incarnation(self) -> int:
        self._check_open()
        self._incarnation += 1
        return self._incarnation

    def _check_open(self) -> None:
        if not self._open:
            raise StorageError("This memory storage is not open.")

    # --- writing

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        self._check_open()
        return [self._commit_one(transaction) for transaction in group]

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed]:
        return self.commit(group)

    def _commit_one(self, transaction: Transaction) -> Committed:
        if not self._is_expected(transaction):
            return Committed.CONFLICT
        for write in transaction.writes:
            self._write(write)
        current = transaction.current
        if current is not None:
            self._current[current.namespace, current.workflow_id] = CurrentRun(current.run_id, current.request_id)
        for record in transaction.records:
            self._records.write(record)
        for gone in transaction.deletes:
            self._delete(gone)
        return Committed.YES

    def _is_expected(self, transaction: Transaction) -> bool:
        for write in transaction.writes:
            kept = self._runs.get(write.row.run_id)
            if (kept.row.version if kept else 0) != write.expected_version:
                return False
        if transaction.records and not all(map(self._records.is_expected, transaction.records)):
            return False
        if transaction.deletes and not all(map(self._is_there, transaction.deletes)):
            return False
        return transaction.current is None or self._current_run_id(transaction.current) == transaction.current.replaces

    def _current_run_id(self, row: CurrentRow) -> bytes | None:
        current = self._current.get((row.namespace, row.workflow_id))
        return current.run_id if current else None

    def _is_there(self, gone: RunDelete) -> bool:
        kept = self._runs.get(gone.run_id)
        return kept is not None and kept.row.version == gone.expected_version

    def _delete(self, gone: RunDelete) -> None:
        kept = self._runs.pop(gone.run_id)
        if kept.row.due is not None:
            del self._due[bisect_left(self._due, Due(kept.row.due, gone.run_id))]
        key = gone.namespace, gone.workflow_id
        current = self._current.get(key)
        if current is not None and current.run_id == gone.run_id:
            del self._current[key]

    def _write(self, write: RunWrite) -> None:
        run_id = write.row.run_id
        kept = self._runs.get(run_id)
        if kept is None:
            kept = self._runs[run_id] = _Kept(write.row)
        elif kept.row.due is not None:
            del self._due[bisect_left(self._due, Due(kept.row.due, run_id))]
        kept.write(write)
        if write.row.due is not None:
            insort(self._due, Due(write.row.due, run_id))

    # --- reading

    def load_run(self, run_id: bytes) -> StoredRun | None:
        self._check_open()
        kept = self._runs.get(run_id)
        return kept.stored() if kept else None

    def load_runs(self, run_ids: Sequence[bytes]) -> list[StoredRun | None]:
        return [self.load_run(run_id) for run_id in run_ids]

    def current_run(self, namespace: str, workflow_id: str) -> CurrentRun | None:
        self._check_open()
        return self._current.get((namespace, workflow_id))

    def visibility(self, run_id: bytes) -> VisibilityRow | None:
        self._check_open()
        kept = self._runs.get(run_id)
        return kept.visibility if kept else None

    def read_history(self, run_id: bytes, first_event_id: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        self._check_open()
        kept = self._runs.get(run_id)
        if kept is None or not kept.history:
            return []
        start = max(bisect_right(kept.history, first_event_id, key=lambda batch: batch[0]) - 1, 0)
        found: list[tuple[int, bytes]] = []
        size = 0
        for first, data in kept.history[start:]:
            found.append((first, data))
            size += len(data)
            if size >= limit_bytes:
                break
        return found

    def due_runs(self, until: int, limit: int) -> list[Due]:
        self._check_open()
        return self._due[: min(bisect_right(self._due, until, key=lambda entry: entry.due), limit)]

    def next_due(self, after: int) -> int | None:
        self._check_open()
        at = bisect_right(self._due, after, key=lambda entry: entry.due)
        return self._due[at].due if at < len(self._due) else None

    def waiting_queues(self) -> list[tuple[str, bool]]:
        self._check_open()
        found = {(kept.row.queue, False) for kept in self._runs.values()}
        found.update((row.queue, True) for kept in self._runs.values() for row in kept.activities.values())
        return sorted((queue, activities) for queue, activities in found if queue is not None)

    def waiting(self, queue: str, *, activities: bool, after: Waiting | None, limit: int) -> list[Waiting]:
        self._check_open()
        found = self._waiting_activities(queue) if activities else self._waiting_runs(queue)
        return sorted(task for task in found if after is None or task > after)[:limit]

    def _waiting_runs(self, queue: str) -> Iterable[Waiting]:
        return (Waiting(run_id, 0) for run_id, kept in self._runs.items() if kept.row.queue == queue)

    def _waiting_activities(self, queue: str) -> Iterable[Waiting]:
        for run_id, kept in self._runs.items():
            for row in kept.activities.values():
                if row.queue == queue:
                    yield Waiting(run_id, row.scheduled_event_id)

    def abandoned_runs(self, incarnation: int) -> list[bytes]:
        self._check_open()
        return sorted(run_id for run_id, kept in self._runs.items() if kept.is_held_before(incarnation))

    def list_runs(self, namespace: str, after: bytes | None, limit: int) -> list[VisibilityRow]:
        self._check_open()
        rows = (kept.visibility for kept in self._runs.values())
        found = [row for row in rows if row and row.namespace == namespace and (after is None or row.run_id > after)]
        return sorted(found)[:limit]

    def _shown(self) -> Iterable[Shown]:
        return ((kept.visibility, kept.search) for kept in self._runs.values() if kept.visibility is not None)

    def find_runs(self, query: RunQuery, after: Place | None, limit: int) -> list[VisibilityRow]:
        self._check_open()
        return found_runs(self._shown(), query, after, limit)

    def count_runs(self, query: RunQuery, group_by: Field | None) -> list[tuple[Scalar | None, int]]:
        self._check_open()
        return counted_runs(self._shown(), query, group_by)

    def closed_runs(self, namespace: str, until: int, limit: int) -> list[ClosedRun]:
        runs = self.runs_of_namespace(namespace, len(self._runs))
        found = [run for run in runs if run.close_time is not None and run.close_time <= until]
        return sorted(found, key=lambda run: (run.close_time or 0, run.run_id))[:limit]

    def first_close(self, namespace: str) -> int | None:
        self._check_open()
        rows = (row for row, _ in self._shown() if row.namespace == namespace)
        return min((row.close_time for row in rows if row.close_time is not None), default=None)

    def runs_of_namespace(self, namespace: str, limit: int) -> list[ClosedRun]:
        self._check_open()
        rows = (row for row, _ in self._shown() if row.namespace == namespace)
        found = (ClosedRun(row.run_id, self._runs[row.run_id].row.version, row.workflow_id, row.close_time) for row in rows)
        return list(islice(found, limit))

    def record_kinds(self) -> list[str]:
        self._check_open()
        return self._records.kinds()

    def record(self, kind: str, namespace: str, key: str) -> Record | None:
        self._check_open()
        return self._records.get(kind, namespace, key)

    def records(self, kind: str, namespace: str | None, after_key: str | None, limit: int, after_namespace: str = "") -> list[Record]:
        self._check_open()
        return self._records.page(kind, namespace, (after_namespace if namespace is None else namespace, after_key or ""), limit)

    def due_records(self, until: int, limit: int) -> list[Record]:
        self._check_open()
        return self._records.due(until, limit)

    def next_due_record(self, after: int) -> int | None:
        self._check_open()
        return self._records.next_due(after)

    def sizes(self) -> dict[str, int]:
        self._check_open()
        kept = self._runs.values()
        return {
            "runs": len(self._runs),
            "current_runs": len(self._current),
            "history": sum(len(run.history) for run in kept),
            "activities": sum(len(run.activities) for run in kept),
            "buffered_events": sum(len(run.buffered) for run in kept),
            "visibility": sum(run.visibility is not None for run in kept),
            "search_values": sum(len(run.search) for run in kept),
            "records": len(self._records),
        }

    def backup(self, path: str) -> None:
        raise StorageError(f"A memory storage cannot be copied to {path}: use sqlite:///… for what must be kept.")
