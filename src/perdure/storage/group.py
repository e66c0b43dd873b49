"""Decides what a group of transactions comes to, and merges it into as few rows as possible.

A group is judged against what stands in the storage. Usually nobody has read that: the judgement then takes the first
expectation of each run and workflow id for the truth, and the merged writes carry those expectations, so that the
database refuses the group if one is wrong. Then what stands there is read, and the same judgement is made again, exactly
(`Standing`). Either way each transaction is answered as if it had been alone, in order.

Merging: of a run written many times only the last row counts, its history batches become one, and an activity that was
scheduled and closed within the group is never written. The rule a newcomer would get wrong: an activity that is older
than the group must still be deleted when it was changed and closed within it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.storage.contract import (
    ActivityRow,
    Committed,
    CurrentRow,
    RecordWrite,
    RunDelete,
    RunRow,
    RunWrite,
    Transaction,
    VisibilityRow,
)
from perdure.storage.run_queries import SearchValue


class Standing(NamedTuple):
    """What stands in the storage of all that a group touches."""

    versions: dict[bytes, int]
    currents: dict[tuple[str, str], bytes]
    records: dict[tuple[str, str, str], int]


class Tangled(Exception):
    """A run is deleted in the group in which its workflow id got another meaning, or which makes it anew: to be taken one by one."""


class MergedCurrent(NamedTuple):
    """The run that a workflow id means after the group; `replaces` is what stood there before it."""

    row: CurrentRow
    replaces: bytes | None


class MergedRun:
    """All that a group writes of one run."""

    __slots__ = (
        "activities",
        "buffered",
        "clear_activities",
        "clear_buffered",
        "expected_version",
        "first_event_id",
        "parts",
        "row",
        "search",
        "visibility",
    )

    def __init__(self, first: RunWrite) -> None:
        self.row: RunRow = first.row
        self.expected_version = first.expected_version
        self.first_event_id = 0
        self.parts: list[bytes] = []
        self.activities: dict[int, ActivityRow | None] = {}
        self.buffered: list[tuple[int, bytes]] = []
        self.clear_activities = False
        self.clear_buffered = False
        self.visibility: VisibilityRow | None = None
        self.search: Sequence[SearchValue] | None = None
        self.add(first)

    @property
    def history(self) -> bytes:
        return b"".join(self.parts)

    def add(self, write: RunWrite) -> None:
        self.row = write.row
        if write.history:
            self.parts.append(write.history)
            self.first_event_id = self.first_event_id or write.first_event_id
        self._add_activities(write)
        if write.clear_buffered:
            self.buffered.clear()
            self.clear_buffered = True
        self.buffered += write.buffered
        if write.visibility is not None:
            self.visibility = write.visibility
        if write.search is not None:
            self.search = write.search

    def _add_activities(self, write: RunWrite) -> None:
        if write.clear_activities:
            self.activities.clear()
            self.clear_activities = True
        for row in write.activities:
            self.activities[row.scheduled_event_id] = row
        for event_id in write.closed_activities:
            if self.clear_activities or 0 < self.first_event_id <= event_id:
                self.activities.pop(event_id, None)  # scheduled within the group: the database has never seen it
            else:
                self.activities[event_id] = None


class Judgement:
    """The answers to a group, and what is to be written for those that are YES."""

    __slots__ = ("answers", "currents", "deletes", "record_versions", "records", "runs", "standing", "vacated")

    def __init__(self, standing: Standing | None) -> None:
        self.standing = standing
        self.answers: list[Committed] = []
        self.runs: dict[bytes, RunWrite | MergedRun] = {}
        self.currents: dict[tuple[str, str], MergedCurrent] = {}
        self.deletes: dict[bytes, RunDelete] = {}
        self.vacated: dict[tuple[str, str], set[bytes]] = {}
        """Workflow ids of deleted runs: they mean none afterwards, if they meant one of those runs."""
        self.records: list[RecordWrite] = []
        """Not merged, since there are few: each is written in its turn."""
        self.record_versions: dict[tuple[str, str, str], int] = {}
        """Of those written in the group, as they stand after it; 0: deleted."""

    def add(self, transaction: Transaction) -> None:
        current = transaction.current
        for write in transaction.writes:
            if not self._run_is_expected(write):
                self.answers.append(Committed.CONFLICT)
                return
        if transaction.records and not all(map(self._record_is_expected, transaction.records)):
            self.answers.append(Committed.CONFLICT)
            return
        if transaction.deletes and not all(map(self._run_is_there, transaction.deletes)):
            self.answers.append(Committed.CONFLICT)
            return
        if current is not None:
            if not self._current_is_expected(current):
                self.answers.append(Committed.CONFLICT)
                return
            self._add_current(current)
        for record in transaction.records:
            self._add_record(record)
        for gone in transaction.deletes:
            self._add_delete(gone)
        for write in transaction.writes:
            self._add_run(write)
        self.answers.append(Committed.YES)

    def _run_is_expected(self, write: RunWrite) -> bool:
        run_id = write.row.run_id
        known = self.runs.get(run_id)
        if self.deletes and run_id in self.deletes:
            return self._is_made_anew(write)
        if known is not None:
            return known.row.version == write.expected_version
        return self.standing is None or self.standing.versions.get(run_id, 0) == write.expected_version

    def _is_made_anew(self, write: RunWrite) -> bool:
        if write.expected_version == 0:
            raise Tangled
        return False

    def _run_is_there(self, gone: RunDelete) -> bool:
        if gone.run_id in self.deletes:
            return False
        known = self.runs.get(gone.run_id)
        if known is not None:
            return known.row.version == gone.expected_version
        return self.standing is None or self.standing.versions.get(gone.run_id) == gone.expected_version

    def _current_is_expected(self, current: CurrentRow) -> bool:
        key = current.namespace, current.workflow_id
        known = self.currents.get(key)
        if known is not None:
            return known.row.run_id == current.replaces
        if self.vacated and key in self.vacated:
            return self._is_vacated_for(key, current.replaces)
        return self.standing is None or self.standing.currents.get(key) == current.replaces

    def _is_vacated_for(self, key: tuple[str, str], replaces: bytes | None) -> bool:
        gone = self.vacated[key]
        if self.standing is None:
            return replaces not in gone
        standing = self.standing.currents.get(key)
        return (None if standing in gone else standing) == replaces

    def _add_delete(self, gone: RunDelete) -> None:
        key = gone.namespace, gone.workflow_id
        if key in self.currents:
            raise Tangled
        self.deletes[gone.run_id] = gone
        self.vacated.setdefault(key, set()).add(gone.run_id)

    def _record_is_expected(self, record: RecordWrite) -> bool:
        key = record[:3]
        known = self.record_versions.get(key)
        if known is None:
            known = record.expected_version if self.standing is None else self.standing.records.get(key, 0)
        return known == record.expected_version and (known > 0 or record.data is not None)

    def _add_record(self, record: RecordWrite) -> None:
        self.records.append(record)
        self.record_versions[record[:3]] = 0 if record.data is None else record.expected_version + 1

    def _add_current(self, current: CurrentRow) -> None:
        key = current.namespace, current.workflow_id
        known = self.currents.get(key)
        self.currents[key] = MergedCurrent(current, known.replaces if known else current.replaces)

    def _add_run(self, write: RunWrite) -> None:
        run_id = write.row.run_id
        known = self.runs.get(run_id)
        if known is None:
            self.runs[run_id] = write
            return
        if not isinstance(known, MergedRun):
            known = self.runs[run_id] = MergedRun(known)
        known.add(write)


def judge(group: Sequence[Transaction], standing: Standing | None = None) -> Judgement:
    """Judges a group, against what stands in the storage or, without that, against what the group itself expects."""
    judgement = Judgement(standing)
    for transaction in group:
        judgement.add(transaction)
    return judgement
