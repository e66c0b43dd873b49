"""Writes a group in one statement.

A group is a list of rows, each an operation and its fields, inserted into a temporary view whose triggers do what the
operation says. Without BEGIN and COMMIT around it that statement is a transaction of its own: the whole commit is one
call into SQLite, which gives up the interpreter's lock once. (Beside a busy thread every further call costs up to 5 ms:
six calls took 31 ms where this one takes 6.)

A guarded operation that finds something else than expected raises inside the trigger: the group is rolled back, nothing
has been synced, and `WritesConflict` says so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import cache
from typing import Any

import apsw
from sqlalchemy import Dialect, literal_column
from sqlalchemy.sql.dml import UpdateBase

from perdure.storage.contract import RecordWrite, RunWrite
from perdure.storage.dialect import SQLITE, Values
from perdure.storage.group import Judgement, MergedCurrent, MergedRun
from perdure.storage.sqlite.database import Connection
from perdure.storage.statements import FIELDS, Operation, Write, set_meta, writes

_WIDTH = 1 + max(len(fields) for fields in FIELDS.values())

_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The numbers of rows for which there is a statement; a group is filled up to the next one with rows that do nothing.
The text of the largest must stay below the 16 KiB that apsw keeps prepared."""

_NOTHING = (None,) * _WIDTH
_PAD = {operation: (None,) * (_WIDTH - 1 - len(fields)) for operation, fields in FIELDS.items()}
_START, _CHANGE = int(Operation.START_RUN), int(Operation.CHANGE_RUN)
_RUN_PAD = _PAD[Operation.START_RUN]
_SHOW, _SHOW_PAD = int(Operation.SHOW_RUN), _PAD[Operation.SHOW_RUN]
_PUT, _PUT_PAD = int(Operation.PUT_ACTIVITY), _PAD[Operation.PUT_ACTIVITY]
_DROP, _DROP_PAD = int(Operation.DROP_ACTIVITY), _PAD[Operation.DROP_ACTIVITY]
_NEW, _NEW_PAD = int(Operation.NEW_CURRENT), _PAD[Operation.NEW_CURRENT]
_NEXT, _NEXT_PAD = int(Operation.NEXT_CURRENT), _PAD[Operation.NEXT_CURRENT]

Rows = list[Any]
"""The rows of a group, one after the other, `_WIDTH` values each."""


class WritesConflict(Exception):
    """Something stood in the database that the group did not expect; nothing was written."""


class GroupWriter:
    """Writes rows through one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connection.execute(receiver_script())
        self._statements = [_INSERT + ",".join([_ONE_ROW] * count) for count in _ROWS]

    def write(self, rows: Rows) -> None:
        """Writes a group durably, or raises and writes nothing.

        Raises:
            WritesConflict: something stood there that the group did not expect.
            apsw.Error, BadValue: it cannot be written.
        """
        try:
            if len(rows) > _ROWS[-1] * _WIDTH:
                self._write_parts(rows)
            elif rows:
                self._write_part(rows)
        except apsw.ConstraintError as error:
            raise WritesConflict(str(error)) from error

    def _write_part(self, rows: Rows) -> None:
        count = len(rows) // _WIDTH
        place = bisect_left(_ROWS, count)
        rows += _NOTHING * (_ROWS[place] - count)
        self._connection.execute(self._statements[place], rows)

    def _write_parts(self, rows: Rows) -> None:
        step = _ROWS[-1] * _WIDTH
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(rows), step):
                self._write_part(rows[start : start + step])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


# --- from a judgement to rows


def rows_of(judgement: Judgement) -> Rows:
    """What is to be written for the transactions of a group that are YES."""
    rows: Rows = []
    for write in judgement.runs.values():
        row = write.row
        kind = _CHANGE if write.expected_version else _START
        rows += (kind, *row, write.expected_version, write.first_event_id, write.history or None, *_RUN_PAD)
        if write.visibility is not None:
            rows += (_SHOW, *write.visibility, *_SHOW_PAD)
        if write.search is not None:
            _add_search(rows, write)
        if isinstance(write, MergedRun):
            _add_merged(rows, row.run_id, write)
        else:
            _add_single(rows, row.run_id, write)
    for gone in judgement.deletes.values():
        _add(rows, Operation.DROP_RUN, *gone)
    for current in judgement.currents.values():
        _add_current(rows, current)
    for record in judgement.records:
        _add_record(rows, record)
    return rows


def _add_single(rows: Rows, run_id: bytes, write: RunWrite) -> None:
    if write.clear_activities and write.expected_version:
        _clear(rows, Operation.DROP_ACTIVITIES, run_id)
    for activity in write.activities:
        rows += (_PUT, run_id, *activity, *_PUT_PAD)
    for event_id in write.closed_activities:
        rows += (_DROP, run_id, event_id, *_DROP_PAD)
    if write.clear_buffered or write.buffered:
        _add_buffered(rows, run_id, write.clear_buffered, write.buffered)


def _add_merged(rows: Rows, run_id: bytes, write: MergedRun) -> None:
    if write.clear_activities and write.expected_version:
        _clear(rows, Operation.DROP_ACTIVITIES, run_id)
    for event_id, activity in write.activities.items():
        if activity is None:
            rows += (_DROP, run_id, event_id, *_DROP_PAD)
        else:
            rows += (_PUT, run_id, *activity, *_PUT_PAD)
    if write.clear_buffered or write.buffered:
        _add_buffered(rows, run_id, write.clear_buffered, write.buffered)


def _add_search(rows: Rows, write: RunWrite | MergedRun) -> None:
    run_id, shown = write.row.run_id, write.visibility
    if write.expected_version:
        _clear(rows, Operation.LOSE_RUN, run_id)
    for name, value in write.search or ():
        _add(rows, Operation.FIND_RUN, run_id, name, value, shown.namespace if shown else "")


def _add_buffered(rows: Rows, run_id: bytes, clear: bool, buffered: Iterable[tuple[int, bytes]]) -> None:
    if clear:
        _clear(rows, Operation.DROP_BUFFERED, run_id)
    for number, data in buffered:
        rows += (int(Operation.BUFFER_EVENT), run_id, number, data, *_PAD[Operation.BUFFER_EVENT])


def _clear(rows: Rows, operation: Operation, run_id: bytes) -> None:
    rows += (int(operation), run_id, *_PAD[operation])


def _add_current(rows: Rows, current: MergedCurrent) -> None:
    row = current.row
    key = row.namespace, row.workflow_id, row.run_id, row.request_id
    if current.replaces is None:
        rows += (_NEW, *key, *_NEW_PAD)
    else:
        rows += (_NEXT, *key, current.replaces, *_NEXT_PAD)


def _add_record(rows: Rows, record: RecordWrite) -> None:
    key = record.kind, record.namespace, record.key
    expected = record.expected_version
    if record.data is None:
        _add(rows, Operation.DROP_RECORD, *key, expected)
    elif expected:
        _add(rows, Operation.CHANGE_RECORD, *key, expected + 1, record.due, record.data, expected)
    else:
        _add(rows, Operation.NEW_RECORD, *key, 1, record.due, record.data)


def _add(rows: Rows, operation: Operation, *fields: object) -> None:
    rows += (int(operation), *fields, *_PAD[operation])


# --- the view and its triggers

_RECEIVER = "group_writes"
_INSERT = f"INSERT INTO {_RECEIVER} VALUES "
_ONE_ROW = f"({','.join('?' * _WIDTH)})"


@cache
def receiver_script() -> str:
    """The view that takes the rows, and a trigger for each operation."""
    columns = ", ".join(["NULL AS operation", *(f"NULL AS field_{place}" for place in range(_WIDTH - 1))])
    operations = writes(SQLITE, _fields_of_new_row)
    triggers = [_trigger(operation, write, SQLITE.dialect) for operation, write in operations.items()]
    return f"CREATE TEMP VIEW {_RECEIVER} AS SELECT {columns};\n" + "\n".join(triggers)


def _fields_of_new_row(operation: Operation) -> Values:
    return {name: literal_column(f"NEW.field_{place}") for place, name in enumerate(FIELDS[operation])}


def _trigger(operation: Operation, write: Write, dialect: Dialect) -> str:
    first, *others = (_text(statement, dialect) for statement in write.statements)
    guard = ["SELECT RAISE(ABORT, 'unexpected row') WHERE changes() = 0"] if write.guarded else []
    body = ";\n  ".join([first, *guard, *others])
    head = f"CREATE TEMP TRIGGER {operation.name.lower()} INSTEAD OF INSERT ON {_RECEIVER} WHEN NEW.operation = {int(operation)}"
    return f"{head} BEGIN\n  {body};\nEND;"


def _text(statement: UpdateBase, dialect: Dialect, *, literal: bool = True) -> str:
    return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": literal}))


@cache
def set_meta_text() -> str:
    """Writes a value of `meta`, given its name and the value."""
    return _text(set_meta(SQLITE), SQLITE.dialect, literal=False)
