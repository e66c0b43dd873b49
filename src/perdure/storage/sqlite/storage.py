"""SQLiteStorage: one file, one owner, one writing connection.

After a failure of the disk during a commit nobody knows what a restart would find. The storage settles it at once by
another commit: that overwrites what the failed one left in the log, so if it succeeds the group is known to be FAILED.
Only if it fails too is the answer UNKNOWN, and then nothing else is written until settling succeeds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from perdure.model.errors import StorageError
from perdure.storage.contract import (
    ActivityRow,
    Committed,
    CurrentRun,
    Due,
    RunRow,
    StoredRun,
    Transaction,
    VisibilityRow,
    Waiting,
)
from perdure.storage.group import Judgement, Standing, judge
from perdure.storage.sqlite.connections import WAL_BYTES_MAX, Readers, open_writer
from perdure.storage.sqlite.database import Connection, array
from perdure.storage.sqlite.errors import BadValue, translated, translating
from perdure.storage.sqlite.files import FileLock, check_place, create_private, file_sizes
from perdure.storage.sqlite.reads import PackedQuery, Row, queries
from perdure.storage.sqlite.schema import copy_to, prepare
from perdure.storage.sqlite.writes import GroupWriter, WritesConflict, rows_of, set_meta_text
from perdure.storage.tables import KEPT

_log = logging.getLogger("perdure.storage")

_COMMITS_PER_LOOK = 256
"""How often the writer looks at the size of the log."""


class SQLiteStorage:
    """Keeps everything in one SQLite file, which it owns while it is open.

    `vfs` names a SQLite virtual file system: for tests that fail or lose writes.
    """

    blocking = True

    def __init__(self, path: str | os.PathLike[str], *, vfs: str | None = None) -> None:
        self._path = os.fspath(path)
        self._vfs = vfs
        self._queries = queries()
        self._lock = FileLock(self._path)
        self._readers = Readers(self._path, vfs)
        self._connection: Connection | None = None
        self._writer: GroupWriter | None = None
        self._unsettled = False
        self._commits = 0

    @property
    def url(self) -> str:
        return f"sqlite:///{self._path}"

    @property
    def path(self) -> str:
        """The file."""
        return self._path

    def __repr__(self) -> str:
        return f"<SQLiteStorage {self._path}{'' if self._connection else ', closed'}>"

    # --- possession

    def open(self) -> None:
        with translating(self._path, "opened"):
            check_place(self._path)
            self._lock.acquire()
            try:
                create_private(self._path)
                self._connection = open_writer(self._path, self._vfs)
                prepare(self._connection, self._path)
                self._writer = GroupWriter(self._connection)
            except BaseException:
                self._release()
                raise

    def close(self) -> None:
        with translating(self._path, "closed"):
            self._readers.close()
            try:
                if self._connection is not None:
                    self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            finally:
                self._release()

    def _release(self) -> None:
        connection, self._connection, self._writer = self._connection, None, None
        try:
            if connection is not None:
                connection.close()
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
            connection.execute(set_meta_text(), ("incarnation", incarnation))
        return incarnation

    # --- writing

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        connection, writer = self._owned(), self._writer
        assert writer is not None
        if self._unsettled and not self._settle(connection):
            return [Committed.FAILED] * len(group)
        self._look_at_log(connection)
        try:
            return self._commit_as_expected(connection, writer, group)
        except (*BadValue, WritesConflict) as error:
            return self._commit_one_by_one(group, error)
        except apsw.Error as error:
            return [self._outcome(connection, error)] * len(group)

    def _commit_as_expected(self, connection: Connection, writer: GroupWriter, group: Sequence[Transaction]) -> list[Committed]:
        judgement = judge(group)
        try:
            writer.write(rows_of(judgement))
        except WritesConflict:
            judgement = judge(group, self._standing(connection, judgement))
            writer.write(rows_of(judgement))
        return judgement.answers

    def _commit_one_by_one(self, group: Sequence[Transaction], error: Exception) -> list[Committed]:
        """One of the group cannot be stored at all: the others are not to suffer."""
        if len(group) > 1:
            return [answer for transaction in group for answer in self.commit([transaction])]
        _log.error("a transaction cannot be stored in %s: %s", self._path, error, exc_info=error)
        return [Committed.FAILED] * len(group)

    def _standing(self, connection: Connection, judgement: Judgement) -> Standing:
        """What stands in the file of all that a group touches."""
        keys = judgement.currents
        arguments = {
            "run_ids": array(judgement.runs),
            "namespaces": array({namespace for namespace, _ in keys}),
            "workflow_ids": array({workflow_id for _, workflow_id in keys}),
        }
        versions, currents = self._queries.standing.run(connection, arguments)
        return Standing({row[0]: row[1] for row in versions}, {(ns, wid): run_id for ns, wid, run_id in currents})

    def _outcome(self, connection: Connection, error: apsw.Error) -> Committed:
        reason = translated(error, self._path, "written")
        if not isinstance(error, apsw.IOError):
            _log.error("nothing was written: %s", reason)
            return Committed.FAILED
        self._unsettled = True
        if self._settle(connection):
            _log.error("nothing was written: %s", reason)
            return Committed.FAILED
        _log.critical("it is unknown whether a group was written, and nothing more will be until the disk recovers: %s", reason)
        return Committed.UNKNOWN

    def _settle(self, connection: Connection) -> bool:
        """Whether a commit succeeds that overwrites what a failed one may have left in the log."""
        try:
            connection.execute(set_meta_text(), ("settled", self._commits))
        except apsw.Error as error:
            _log.error("%s", translated(error, self._path, "written"))
            return False
        self._unsettled = False
        return True

    def _look_at_log(self, connection: Connection) -> None:
        self._commits += 1
        if self._commits % _COMMITS_PER_LOOK:
            return
        try:
            if file_sizes(self._path).get("wal_bytes", 0) > WAL_BYTES_MAX:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.Error, OSError) as error:
            _log.warning("the write-ahead log of %s is large and cannot be emptied: %s", self._path, error)

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
        return [row[0] for row in self._read(self._queries.abandoned_runs, incarnation=incarnation)[0]]

    def list_runs(self, namespace: str, after: bytes | None, limit: int) -> list[VisibilityRow]:
        return [VisibilityRow(*row) for row in self._read(self._queries.list_runs, namespace=namespace, after=after or b"", limit=limit)[0]]

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
