"""Commits groups through the writing connection, and knows what became of them.

After a failure of the disk during a commit nobody knows what a restart would find. It is settled at once by another
commit: that overwrites what the failed one left in the log, so if it succeeds the group is known to be FAILED. Only if
it fails too is the answer UNKNOWN, and then nothing else is written until settling succeeds.

The log is checkpointed between groups, by this connection alone: when `CHECKPOINT_PAGES` have been written to it, as far
as that goes without waiting for readers (a passive checkpoint); should a reader hold it up until the log is larger than
`LOG_PAGES_MAX`, waiting for the readers, which are short, and cutting it off. A checkpoint that fails costs no answer:
what was committed stands in the log. Its file is laid out (`log_file`) as soon as `LAID_OUT_AT_PAGES` have been written.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import apsw

from perdure.storage.contract import Committed, Transaction
from perdure.storage.group import Standing, Tangled, judge
from perdure.storage.sqlite.database import BUSY_MS, Connection, FileWatch, array
from perdure.storage.sqlite.errors import BadValue, translated
from perdure.storage.sqlite.log_file import lay_out_log
from perdure.storage.sqlite.reads import queries
from perdure.storage.sqlite.writes import GroupWriter, WritesConflict, rows_of, set_meta_text

_log = logging.getLogger("perdure.storage")

CHECKPOINT_PAGES = 2_000
"""8 MB. More of them let pages that are rewritten often be copied less often, and make the pause longer (20 ms here)."""

LAID_OUT_AT_PAGES = 100
"""A command that does one thing writes fewer, and is not worth the 8 MB of zeros; a process that goes on writes so many in a moment."""

LOG_PAGES_MAX = 16_000
"""64 MB. Beyond this a checkpoint waits for readers, for `LOG_WAIT_MS`, and then tries again `CHECKPOINT_PAGES` later."""

LOG_WAIT_MS = 250


class Committer:
    """Writes groups, one after the other, from one thread at a time."""

    def __init__(self, connection: Connection, path: str) -> None:
        self._connection = connection
        self._path = path
        self._writer = GroupWriter(connection)
        self._watch = FileWatch(connection)
        self._unsettled = False
        self._laid_out = False
        self._attend_at = min(LAID_OUT_AT_PAGES, CHECKPOINT_PAGES)
        """So many pages after the last whole checkpoint there is something to do for the log."""

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        """As `WorkflowStorage.commit`."""
        if not self._is_writable():
            return [Committed.FAILED] * len(group)
        try:
            answers = self._commit_as_expected(group)
        except (*BadValue, WritesConflict, Tangled) as error:
            return self._commit_one_by_one(group, error)
        except apsw.Error as error:
            return [self._outcome(error)] * len(group)
        if self._unchecked_pages() >= self._attend_at:
            self._attend_to_log()
        return answers

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed] | None:
        """As `WorkflowStorage.commit_at_once`: no care of the log, no waiting for another program's lock, nothing to be sorted out."""
        if self._unsettled or self._unchecked_pages() >= self._attend_at or self._watch.has_moved():
            return None
        self._connection.set_busy_timeout(0)
        try:
            return self._commit_as_expected(group)
        except (*BadValue, WritesConflict, Tangled, apsw.BusyError):
            return None
        except apsw.Error as error:
            return [self._outcome(error)] * len(group)
        finally:
            self._connection.set_busy_timeout(BUSY_MS)

    def set_meta(self, name: str, value: int) -> None:
        """Writes a value of `meta`, durably; raises what apsw raises."""
        self._connection.execute(set_meta_text(), (name, value))

    def _is_writable(self) -> bool:
        if self._watch.has_moved():
            _log.critical("%s was moved or deleted while it was open: nothing more is written. Put it back, and restart.", self._path)
            return False
        return not self._unsettled or self._settle()

    def _commit_as_expected(self, group: Sequence[Transaction]) -> list[Committed]:
        judgement = judge(group)
        try:
            self._writer.write(rows_of(judgement))
        except WritesConflict:
            judgement = judge(group, self._standing(group))
            self._writer.write(rows_of(judgement))
        return judgement.answers

    def _commit_one_by_one(self, group: Sequence[Transaction], error: Exception) -> list[Committed]:
        """One of the group cannot be stored at all, or not together with the others: they are not to suffer."""
        if len(group) > 1:
            return [answer for transaction in group for answer in self.commit([transaction])]
        _log.error("a transaction cannot be stored in %s: %s", self._path, error, exc_info=error)
        return [Committed.FAILED] * len(group)

    def _standing(self, group: Sequence[Transaction]) -> Standing:
        """What stands in the file of all that a group touches."""
        keys = {(each.current.namespace, each.current.workflow_id) for each in group if each.current is not None}
        keys.update((gone.namespace, gone.workflow_id) for each in group for gone in each.deletes)
        records = [record for each in group for record in each.records]
        arguments = {
            "run_ids": array(
                {write.row.run_id for each in group for write in each.writes} | {gone.run_id for each in group for gone in each.deletes}
            ),
            "namespaces": array({namespace for namespace, _ in keys}),
            "workflow_ids": array({workflow_id for _, workflow_id in keys}),
            "kinds": array({record.kind for record in records}),
            "record_namespaces": array({record.namespace for record in records}),
            "keys": array({record.key for record in records}),
        }
        versions, currents, standing = queries().standing.run(self._connection, arguments)
        return Standing(
            {row[0]: row[1] for row in versions},
            {(row[0], row[1]): row[2] for row in currents},
            {(row[0], row[1], row[2]): row[3] for row in standing},
        )

    # --- failures of the disk

    def _outcome(self, error: apsw.Error) -> Committed:
        reason = translated(error, self._path, "written")
        self._unsettled = isinstance(error, apsw.IOError)
        if not self._unsettled or self._settle():
            _log.error("nothing was written: %s", reason)
            return Committed.FAILED
        _log.critical("it is unknown whether a group was written, and nothing more will be until the disk recovers: %s", reason)
        return Committed.UNKNOWN

    def _settle(self) -> bool:
        """Whether a commit succeeds, which overwrites what a failed one may have left in the log."""
        try:
            self.set_meta("settled", 1)
        except apsw.Error as error:
            _log.error("the outcome of a group cannot be settled: %s", translated(error, self._path, "written"))
            return False
        self._unsettled = False
        return True

    # --- the log

    def finish(self) -> None:
        """Moves the whole log into the file. If that fails nothing is lost: the next one to open the file does it."""
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            _log.warning("the log of %s is left beside it: %s", self._path, translated(error, self._path, "written"))

    def _attend_to_log(self) -> None:
        if not self._laid_out:
            lay_out_log(self._path, CHECKPOINT_PAGES)
            self._laid_out, self._attend_at = True, CHECKPOINT_PAGES
        if (pages := self._unchecked_pages()) >= self._attend_at:
            self._checkpoint(pages)

    def _checkpoint(self, pages: int) -> None:
        try:
            logged, copied = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            if copied < logged and logged > LOG_PAGES_MAX:
                logged, copied = self._wait_for_readers()
        except apsw.Error as error:
            logged, copied = pages, 0
            _log.warning("the log of %s cannot be checkpointed: %s", self._path, translated(error, self._path, "written"))
        if copied >= logged:
            self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, True)
            self._attend_at = CHECKPOINT_PAGES
        else:
            self._attend_at = pages + CHECKPOINT_PAGES

    def _unchecked_pages(self) -> int:
        """Written to the log since it was last copied into the file whole."""
        return self._connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]

    def _wait_for_readers(self) -> tuple[int, int]:
        self._connection.set_busy_timeout(LOG_WAIT_MS)
        try:
            return self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self._connection.set_busy_timeout(BUSY_MS)
