"""The tables, defined once for every SQL database.

Run ids stand as their 16 bytes and begin with the time, so rows of new runs are appended, not scattered. What is asked
over all runs (what is due, what waits, what a dead process held) is mostly absent from a row, and is indexed only where
it is present. Tables whose key is most of their row are clustered on it (`WITHOUT ROWID` in SQLite).

A column is added at the end of its table, with a default, a new `SCHEMA_VERSION`, and a migration (`perdure.storage.sqlite.schema`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table, or_
from sqlalchemy.sql.elements import ColumnElement

AnyTable = Table[Any]

metadata = MetaData()


def _table(name: str, *columns: Column[Any]) -> AnyTable:
    return Table(name, metadata, *columns, implicit_returning=False, sqlite_with_rowid=False)


def _key(name: str, kind: LargeBinary | String | BigInteger) -> Column[Any]:
    return Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _index_where_present(name: str, *columns: Column[Any]) -> Index:
    present: ColumnElement[bool] = columns[0].is_not(None)
    return Index(name, *columns, sqlite_where=present, postgresql_where=present)


_RUN_ID = LargeBinary(16)
_BYTES = LargeBinary()
_TEXT = String()
_INT = BigInteger()

meta = _table("meta", _key("name", _TEXT), Column("value", _INT, nullable=False))

runs = _table(
    "runs",
    _key("run_id", _RUN_ID),
    Column("version", _INT, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("next_event_id", _INT, nullable=False),
    Column("due", _INT),
    Column("queue", _TEXT),
    Column("incarnation", _INT),
    Column("facts", _BYTES, nullable=False),
)

current_runs = _table(
    "current_runs",
    _key("namespace", _TEXT),
    _key("workflow_id", _TEXT),
    Column("run_id", _RUN_ID, nullable=False),
    Column("request_id", _TEXT, nullable=False),
)

history = _table(
    "history",
    _key("run_id", _RUN_ID),
    _key("first_event_id", _INT),
    Column("format", Integer, nullable=False),
    Column("data", _BYTES, nullable=False),
)

activities = _table(
    "activities",
    _key("run_id", _RUN_ID),
    _key("scheduled_event_id", _INT),
    Column("queue", _TEXT),
    Column("data", _BYTES, nullable=False),
)

buffered_events = _table(
    "buffered_events",
    _key("run_id", _RUN_ID),
    _key("number", _INT),
    Column("data", _BYTES, nullable=False),
)

visibility = _table(
    "visibility",
    _key("run_id", _RUN_ID),
    Column("namespace", _TEXT, nullable=False),
    Column("workflow_id", _TEXT, nullable=False),
    Column("workflow_type", _TEXT, nullable=False),
    Column("task_queue", _TEXT, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("start_time", _INT, nullable=False),
    Column("execution_time", _INT, nullable=False),
    Column("close_time", _INT),
    Column("history_length", _INT, nullable=False),
    Column("history_bytes", _INT, nullable=False),
    Column("attributes", _BYTES, nullable=False),
)

search_values = _table(
    "search_values",
    _key("run_id", _RUN_ID),
    _key("name", _TEXT),
    _key("value", _BYTES),
    Column("namespace", _TEXT, nullable=False),
)

records = _table(
    "records",
    _key("kind", _TEXT),
    _key("namespace", _TEXT),
    _key("key", _TEXT),
    Column("version", _INT, nullable=False),
    Column("due", _INT),
    Column("data", _BYTES, nullable=False),
)

_index_where_present("records_due", records.c.due)
_acting = or_(runs.c.due.is_not(None), runs.c.incarnation.is_not(None))
Index("runs_acting", runs.c.incarnation, runs.c.due, sqlite_where=_acting, postgresql_where=_acting)
"""What is due, and what a worker in the engine's process holds: one index, since every transaction of a busy run changes it."""
_index_where_present("runs_waiting", runs.c.queue, runs.c.run_id)
_index_where_present("activities_waiting", activities.c.queue, activities.c.run_id, activities.c.scheduled_event_id)
_open = visibility.c.close_time.is_(None)
_closed = visibility.c.close_time.is_not(None)
Index("visibility_open", visibility.c.namespace, visibility.c.start_time, visibility.c.run_id, sqlite_where=_open, postgresql_where=_open)
Index(
    "visibility_closed",
    visibility.c.namespace,
    visibility.c.close_time,
    visibility.c.start_time,
    visibility.c.run_id,
    sqlite_where=_closed,
    postgresql_where=_closed,
)
Index("search_values_found", search_values.c.namespace, search_values.c.name, search_values.c.value, search_values.c.run_id)

KEPT = (runs, current_runs, history, activities, buffered_events, visibility, search_values, records)
"""All tables but `meta`."""
