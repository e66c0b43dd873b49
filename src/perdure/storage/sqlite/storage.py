"""SQLiteStorage: one file, one owner, one writing connection, and a reading one for each thread that reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from perdure.model.errors import StorageError
from perdure.storage.contract import (
    ActivityRow,
    ClosedRun,
    Committed,
    CurrentRun,
    Due,
    Record,
    RunRow,
    StoredRun,
    Transaction,
    VisibilityRow,
    Waiting,
)
from perdure.storage.run_queries import Field, Place, RunQuery, Scalar
from perdure.storage.sqlite import found_runs
from perdure.storage.sqlite.commits import Committer
from perdure.storage.sqlite.connections import Readers, check_unused, open_writer
from perdure.storage.sqlite.database import Connection, array, disconnect
from perdure.storage.sqlite.errors import translating
from perdure.storage.sqlite.files import FileLock, check_place, create_private, file_sizes
from perdure.storage.sqlite.reads import PackedQuery, Row, queries
from perdure.storage.sqlite.schema import copy_to, prepare
from perdure.storage.tables import KEPT


class SQLiteStorage:
    """Keeps everything in one SQLite file, which it owns while it is open.

    `vfs` names a SQLite virtual file system: for tests that fail or lose writes.
    """

    blocking = True

    def __init__(self, path: str | os.PathLike[str], *, vfs: str | None = None) -> None:
        self._path = os.path.abspath(path)  # now: readers open it later, and the working directory may change
        self._vfs = vfs
        self._queries = queries()
        self._lock = FileLock(self._path)
        self._readers = Readers(self._path, vfs)
        self._connection: Connection | None = None
        self._committer: Committer | None = None

    @property
    def url(self) -> str:
        return f"sqlite:///{quote(self._path)}"

    @property
    def path(self) -> str:
        """The file, absolute."""
        return self._path

    def __repr__(self) -> str:
        return f"<SQLiteStorage {self._path}{'' if self._connection else ', closed'}>"

    # --- possession

    def open(self) -> None:
        with translating(self._path, "opened"):
            check_place(self._path)
            is_signed = self._lock.acquire()
            try:
                create_private(self._path)
                if not is_signed:
                    check_unused(self._path, self._vfs)
                self._lock.sign()
                self._connection = open_writer(self._path, self._vfs)
                prepare(self._connection, self._path)
                self._committer = Committer(self._connection, self._path)
            except BaseException:
                self._release()
                raise

    def close(self) -> None:
        with translating(self._path, "closed"):
            self._readers.close()
            if self._committer is not None:
                self._committer.finish()
            self._release()

    def announce(self, note: str) -> None:
        """Tells those who find the file taken how to reach who has it: one line, which stands until this storage is closed."""
        self._lock.announce(note)

    def _release(self) -> None:
        connection, self._connection, self._committer = self._connection, None, None
        try:
            if connection is not None:
                disconnect(connection)
        finally:
            self._lock.release()

    def _owned(self) -> Connection:
        if self._connection is None:
            raise StorageError(f"{self._path} is not open.")
        return self._connection

    def next_incarnation(self) -> int:
        connection = self._owned()
        with translating(self._path, "written"):
            found = self._queries.meta_value.run(connection, {"name": "incarnation"})[0]
            incarnation: int = found[0][0] + 1 if found else 1
            assert self._committer is not None
            self._committer.set_meta("incarnation", incarnation)
        return incarnation

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        self._owned()
        assert self._committer is not None
        return self._committer.commit(group)

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed] | None:
        self._owned()
        assert self._committer is not None
        return self._committer.commit_at_once(group)

    # --- reading

    def _read(self, query: PackedQuery, **arguments: Any) -> list[list[Row]]:
        self._owned()
        with translating(self._path, "read"):
            return query.run(self._readers.mine(), arguments)

    def load_run(self, run_id: bytes) -> StoredRun | None:
        return self.load_runs([run_id])[0]

    def load_runs(self, run_ids: Sequence[bytes]) -> list[StoredRun | None]:
        rows, history, activities, buffered = self._read(self._queries.load, run_ids=array(run_ids))
        found = {row[0]: StoredRun(RunRow(*row), [], [], []) for row in rows}
        for run_id, data in history:
            found[run_id].history.append(data)
        for run_id, *activity in activities:
            found[run_id].activities.append(ActivityRow(*activity))
        for run_id, data in buffered:
            found[run_id].buffered.append(data)
        return [found.get(run_id) for run_id in run_ids]

    def current_run(self, namespace: str, workflow_id: str) -> CurrentRun | None:
        rows = self._read(self._queries.current_run, namespace=namespace, workflow_id=workflow_id)[0]
        return CurrentRun(*rows[0]) if rows else None

    def visibility(self, run_id: bytes) -> VisibilityRow | None:
        rows = self._read(self._queries.visibility, run_id=run_id)[0]
        return VisibilityRow(*rows[0]) if rows else None

    def read_history(self, run_id: bytes, first_event_id: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        rows = self._read(self._queries.history, run_id=run_id, first_event_id=first_event_id, limit_bytes=max(limit_bytes, 1))[0]
        return [(first, data) for first, data in rows]

    def due_runs(self, until: int, limit: int) -> list[Due]:
        return [Due(*row) for row in self._read(self._queries.due_runs, until=until, limit=limit)[0]]

    def next_due(self, after: int) -> int | None:
        due: int | None = self._read(self._queries.next_due, after=after)[0][0][0]
        return due

    def waiting_queues(self) -> list[tuple[str, bool]]:
        return [(queue, bool(activities)) for queue, activities in self._read(self._queries.waiting_queues)[0]]

    def waiting(self, queue: str, *, activities: bool, after: Waiting | None, limit: int) -> list[Waiting]:
        after = after or Waiting(b"", 0)
        if activities:
            query, more = self._queries.waiting_activities, {"after_event": after.scheduled_event_id}
            return [Waiting(*row) for row in self._read(query, queue=queue, after_run=after.run_id, limit=limit, **more)[0]]
        return [Waiting(row[0], 0) for row in self._read(self._queries.waiting_runs, queue=queue, after_run=after.run_id, limit=limit)[0]]

    def abandoned_runs(self, incarnation: int) -> list[bytes]:
        return sorted({row[0] for row in self._read(self._queries.abandoned_runs, incarnation=incarnation)[0]})

    def list_runs(self, namespace: str, after: bytes | None, limit: int) -> list[VisibilityRow]:
        return [VisibilityRow(*row) for row in self._read(self._queries.list_runs, namespace=namespace, after=after or b"", limit=limit)[0]]

    def find_runs(self, query: RunQuery, after: Place | None, limit: int) -> list[VisibilityRow]:
        return found_runs.find_runs(self._read, query, after, limit)

    def count_runs(self, query: RunQuery, group_by: Field | None) -> list[tuple[Scalar | None, int]]:
        return found_runs.count_runs(self._read, query, group_by)

    def closed_runs(self, namespace: str, until: int, limit: int) -> list[ClosedRun]:
        return [ClosedRun(*row) for row in self._read(self._queries.closed_runs, namespace=namespace, until=until, limit=limit)[0]]

    def first_close(self, namespace: str) -> int | None:
        first: int | None = self._read(self._queries.first_close, namespace=namespace)[0][0][0]
        return first

    def runs_of_namespace(self, namespace: str, limit: int) -> list[ClosedRun]:
        return [ClosedRun(*row) for row in self._read(self._queries.runs_of_namespace, namespace=namespace, limit=limit)[0]]

    def record_kinds(self) -> list[str]:
        return [row[0] for row in self._read(self._queries.record_kinds)[0]]

    def record(self, kind: str, namespace: str, key: str) -> Record | None:
        rows = self._read(self._queries.record, kind=kind, namespace=namespace, key=key)[0]
        return Record(*rows[0]) if rows else None

    def records(self, kind: str, namespace: str | None, after_key: str | None, limit: int, after_namespace: str = "") -> list[Record]:
        if namespace is None:
            query, place = self._queries.records_of_kind, {"after_namespace": after_namespace}
        else:
            query, place = self._queries.records_of_namespace, {"namespace": namespace}
        return [Record(*row) for row in self._read(query, kind=kind, after_key=after_key or "", limit=limit, **place)[0]]

    def due_records(self, until: int, limit: int) -> list[Record]:
        return [Record(*row) for row in self._read(self._queries.due_records, until=until, limit=limit)[0]]

    def next_due_record(self, after: int) -> int | None:
        due: int | None = self._read(self._queries.next_due_record, after=after)[0][0][0]
        return due

    def sizes(self) -> dict[str, int]:
        counts = self._read(self._queries.row_counts)[0][0]
        names = [table.name for table in KEPT]
        with translating(self._path, "read"):
            return {**file_sizes(self._path), **dict(zip(names, counts, strict=True))}

    def backup(self, path: str) -> None:
        self._owned()
        with translating(path, "written"):
            if Path(path).absolute() == Path(self._path).absolute():
                raise StorageError(f"{path} is the database itself: name another file for the copy.")
            copy_to(self._readers.mine(), path)
