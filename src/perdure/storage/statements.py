"""Every statement of the SQL storages, defined once in SQLAlchemy Core, and compiled to text by the storage that runs it.

Reads take their arguments as bind parameters. Writes are operations: each writes one row (or clears the rows of one run)
from named fields, and where the fields come from is the storage's business: bind parameters, or a row of a larger
statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, literal, select, tuple_, union, union_all, update
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.elements import ColumnElement

from perdure.storage.contract import HISTORY_FORMAT
from perdure.storage.dialect import AnySelect, SqlSeam, Values
from perdure.storage.tables import KEPT, activities, buffered_events, current_runs, history, meta, records, runs, search_values, visibility


class Operation(IntEnum):
    """What one row of a group's writes does."""

    START_RUN = 1
    CHANGE_RUN = 2
    SHOW_RUN = 3
    NEW_CURRENT = 4
    NEXT_CURRENT = 5
    PUT_ACTIVITY = 6
    DROP_ACTIVITY = 7
    DROP_ACTIVITIES = 8
    BUFFER_EVENT = 9
    DROP_BUFFERED = 10
    NEW_RECORD = 11
    CHANGE_RECORD = 12
    DROP_RECORD = 13
    FIND_RUN = 14
    LOSE_RUN = 15
    DROP_RUN = 16


_RUN = tuple(column.name for column in runs.c)
_RECORD = tuple(column.name for column in records.c)
_RECORD_KEY = _RECORD[:3]

FIELDS: Mapping[Operation, tuple[str, ...]] = {
    Operation.START_RUN: (*_RUN, "expected_version", "first_event_id", "history"),
    Operation.CHANGE_RUN: (*_RUN, "expected_version", "first_event_id", "history"),
    Operation.SHOW_RUN: tuple(column.name for column in visibility.c),
    Operation.NEW_CURRENT: ("namespace", "workflow_id", "run_id", "request_id"),
    Operation.NEXT_CURRENT: ("namespace", "workflow_id", "run_id", "request_id", "replaces"),
    Operation.PUT_ACTIVITY: tuple(column.name for column in activities.c),
    Operation.DROP_ACTIVITY: ("run_id", "scheduled_event_id"),
    Operation.DROP_ACTIVITIES: ("run_id",),
    Operation.BUFFER_EVENT: ("run_id", "number", "data"),
    Operation.DROP_BUFFERED: ("run_id",),
    Operation.NEW_RECORD: _RECORD,
    Operation.CHANGE_RECORD: (*_RECORD, "expected_version"),
    Operation.DROP_RECORD: (*_RECORD_KEY, "expected_version"),
    Operation.FIND_RUN: tuple(column.name for column in search_values.c),
    Operation.LOSE_RUN: ("run_id",),
    Operation.DROP_RUN: ("run_id", "expected_version", "namespace", "workflow_id"),
}
"""The fields of each operation, in the order in which they are passed."""


class Write(NamedTuple):
    """The statements of one operation, run in order."""

    statements: tuple[UpdateBase, ...]
    guarded: bool = False
    """The first statement must change a row: if it changes none, the group conflicts with what stands there."""


def writes(seam: SqlSeam, source: Callable[[Operation], Values]) -> dict[Operation, Write]:
    """The statements of each operation, reading its fields from `source`."""
    return {operation: build(seam, source(operation)) for operation, build in _BUILDERS.items()}


def _pick(values: Values, names: tuple[str, ...]) -> dict[str, ColumnElement[Any]]:
    return {name: values[name] for name in names}


def _add_history(values: Values) -> UpdateBase:
    row = select(values["run_id"], values["first_event_id"], literal(HISTORY_FORMAT), values["history"])
    return insert(history).from_select(["run_id", "first_event_id", "format", "data"], row.where(values["history"].is_not(None)))


def _start_run(_: SqlSeam, values: Values) -> Write:
    return Write((insert(runs).values(_pick(values, _RUN)), _add_history(values)))


def _change_run(_: SqlSeam, values: Values) -> Write:
    changed = update(runs).values(_pick(values, _RUN[1:]))
    standing = changed.where(runs.c.run_id == values["run_id"], runs.c.version == values["expected_version"])
    return Write((standing, _add_history(values)), guarded=True)


def _show_run(seam: SqlSeam, values: Values) -> Write:
    return Write((seam.upsert(visibility, values),))


def _new_current(_: SqlSeam, values: Values) -> Write:
    return Write((insert(current_runs).values(dict(values)),))


def _next_current(_: SqlSeam, values: Values) -> Write:
    table = current_runs.c
    changed = update(current_runs).values(_pick(values, ("run_id", "request_id")))
    key = table.namespace == values["namespace"], table.workflow_id == values["workflow_id"]
    return Write((changed.where(*key, table.run_id == values["replaces"]),), guarded=True)


def _put_activity(seam: SqlSeam, values: Values) -> Write:
    return Write((seam.upsert(activities, values),))


def _drop_activity(_: SqlSeam, values: Values) -> Write:
    this = activities.c.scheduled_event_id == values["scheduled_event_id"]
    return Write((delete(activities).where(activities.c.run_id == values["run_id"], this),))


def _drop_activities(_: SqlSeam, values: Values) -> Write:
    return Write((delete(activities).where(activities.c.run_id == values["run_id"]),))


def _buffer_event(seam: SqlSeam, values: Values) -> Write:
    return Write((seam.upsert(buffered_events, values),))


def _drop_buffered(_: SqlSeam, values: Values) -> Write:
    return Write((delete(buffered_events).where(buffered_events.c.run_id == values["run_id"]),))


def _new_record(_: SqlSeam, values: Values) -> Write:
    return Write((insert(records).values(dict(values)),))


def _expected_record(values: Values) -> tuple[ColumnElement[bool], ...]:
    return (*(records.c[name] == values[name] for name in _RECORD_KEY), records.c.version == values["expected_version"])


def _change_record(_: SqlSeam, values: Values) -> Write:
    changed = update(records).values(_pick(values, _RECORD[3:]))
    return Write((changed.where(*_expected_record(values)),), guarded=True)


def _drop_record(_: SqlSeam, values: Values) -> Write:
    return Write((delete(records).where(*_expected_record(values)),), guarded=True)


def _find_run(seam: SqlSeam, values: Values) -> Write:
    return Write((seam.upsert(search_values, values),))


def _lose_run(_: SqlSeam, values: Values) -> Write:
    return Write((delete(search_values).where(search_values.c.run_id == values["run_id"]),))


def _drop_run(_: SqlSeam, values: Values) -> Write:
    run_id = values["run_id"]
    table = current_runs.c
    key = table.namespace == values["namespace"], table.workflow_id == values["workflow_id"], table.run_id == run_id
    standing = delete(runs).where(runs.c.run_id == run_id, runs.c.version == values["expected_version"])
    parts = history, activities, buffered_events, visibility, search_values
    others = (delete(part).where(part.c.run_id == run_id) for part in parts)
    return Write((standing, *others, delete(current_runs).where(*key)), guarded=True)


_BUILDERS: Mapping[Operation, Callable[[SqlSeam, Values], Write]] = {
    Operation.START_RUN: _start_run,
    Operation.CHANGE_RUN: _change_run,
    Operation.SHOW_RUN: _show_run,
    Operation.NEW_CURRENT: _new_current,
    Operation.NEXT_CURRENT: _next_current,
    Operation.PUT_ACTIVITY: _put_activity,
    Operation.DROP_ACTIVITY: _drop_activity,
    Operation.DROP_ACTIVITIES: _drop_activities,
    Operation.BUFFER_EVENT: _buffer_event,
    Operation.DROP_BUFFERED: _drop_buffered,
    Operation.NEW_RECORD: _new_record,
    Operation.CHANGE_RECORD: _change_record,
    Operation.DROP_RECORD: _drop_record,
    Operation.FIND_RUN: _find_run,
    Operation.LOSE_RUN: _lose_run,
    Operation.DROP_RUN: _drop_run,
}


# --- reads: the columns of each are those of the contract's row, in its order


def runs_by_id(seam: SqlSeam) -> AnySelect:
    return select(runs).where(seam.among(runs.c.run_id, "run_ids"))


def history_by_run(seam: SqlSeam) -> AnySelect:
    columns = history.c.run_id, history.c.data
    return select(*columns).where(seam.among(history.c.run_id, "run_ids")).order_by(history.c.run_id, history.c.first_event_id)


def activities_by_run(seam: SqlSeam) -> AnySelect:
    key = activities.c.run_id, activities.c.scheduled_event_id
    return select(activities).where(seam.among(activities.c.run_id, "run_ids")).order_by(*key)


def buffered_by_run(seam: SqlSeam) -> AnySelect:
    table = buffered_events.c
    return select(table.run_id, table.data).where(seam.among(table.run_id, "run_ids")).order_by(table.run_id, table.number)


def versions(seam: SqlSeam) -> AnySelect:
    return select(runs.c.run_id, runs.c.version).where(seam.among(runs.c.run_id, "run_ids"))


def currents(seam: SqlSeam) -> AnySelect:
    """Of each pair of the given namespaces and workflow ids: more than was asked for, where namespaces share ids."""
    table = current_runs.c
    wanted = seam.among(table.namespace, "namespaces"), seam.among(table.workflow_id, "workflow_ids")
    return select(table.namespace, table.workflow_id, table.run_id).where(*wanted)


def record_versions(seam: SqlSeam) -> AnySelect:
    """Of each combination of the given kinds, namespaces and keys: more than was asked for, perhaps."""
    table = records.c
    wanted = seam.among(table.kind, "kinds"), seam.among(table.namespace, "record_namespaces"), seam.among(table.key, "keys")
    return select(table.kind, table.namespace, table.key, table.version).where(*wanted)


def current_run() -> AnySelect:
    table = current_runs.c
    this = table.namespace == bindparam("namespace"), table.workflow_id == bindparam("workflow_id")
    return select(table.run_id, table.request_id).where(*this)


def visibility_by_run() -> AnySelect:
    return select(visibility).where(visibility.c.run_id == bindparam("run_id"))


def history_from() -> AnySelect:
    """Batches from the one that holds an event on, up to the one with which `limit_bytes` (at least 1) are reached."""
    table = history.c
    mine = table.run_id == bindparam("run_id")
    holding = select(func.max(table.first_event_id)).where(mine, table.first_event_id <= bindparam("first_event_id"))
    wanted = mine, table.first_event_id >= func.coalesce(holding.scalar_subquery(), 0)
    size = func.length(table.data)
    before = (func.sum(size).over(order_by=table.first_event_id) - size).label("before")
    sizes = select(table.first_event_id, before).where(*wanted).subquery()
    last = select(func.max(sizes.c.first_event_id)).where(sizes.c.before < bindparam("limit_bytes")).scalar_subquery()
    return select(table.first_event_id, table.data).where(*wanted, table.first_event_id <= last).order_by(table.first_event_id)


def due_runs() -> AnySelect:
    """First those that nobody holds, in the order of the index; those that are held are few, and all looked at."""
    order = runs.c.due, runs.c.run_id
    due = select(*order).where(runs.c.due <= bindparam("until")).order_by(*order).limit(bindparam("limit"))
    free = due.where(runs.c.incarnation.is_(None)).subquery()
    held = due.where(runs.c.incarnation.is_not(None)).subquery()
    found = union_all(select(free), select(held)).subquery()
    return select(found).order_by(found.c.due, found.c.run_id).limit(bindparam("limit"))


def next_due() -> AnySelect:
    due = select(func.min(runs.c.due).label("due")).where(runs.c.due > bindparam("after"))
    free, held = due.where(runs.c.incarnation.is_(None)), due.where(runs.c.incarnation.is_not(None))
    found = union_all(free, held).subquery()
    return select(func.min(found.c.due).label("due"))


def waiting_queues() -> AnySelect:
    of_runs = select(runs.c.queue, literal(0).label("activities")).where(runs.c.queue.is_not(None))
    of_activities = select(activities.c.queue, literal(1).label("activities")).where(activities.c.queue.is_not(None))
    found = union(of_runs, of_activities).subquery()
    return select(found).order_by(found.c.queue, found.c.activities)


def waiting_runs() -> AnySelect:
    wanted = runs.c.queue == bindparam("queue"), runs.c.run_id > bindparam("after_run")
    return select(runs.c.run_id).where(*wanted).order_by(runs.c.run_id).limit(bindparam("limit"))


def waiting_activities() -> AnySelect:
    table = activities.c
    key = table.run_id, table.scheduled_event_id
    wanted = table.queue == bindparam("queue"), _after(key, ("after_run", "after_event"))
    return select(*key).where(*wanted).order_by(*key).limit(bindparam("limit"))


def _after(columns: tuple[ColumnElement[Any], ...], parameters: tuple[str, ...]) -> ColumnElement[bool]:
    return tuple_(*columns) > tuple_(*(bindparam(name, type_=column.type) for column, name in zip(columns, parameters, strict=True)))


def abandoned_runs() -> AnySelect:
    """In no order: to order them here would cost the index."""
    return select(runs.c.run_id).where(runs.c.incarnation < bindparam("incarnation"))


def list_runs() -> AnySelect:
    table = visibility.c
    wanted = table.namespace == bindparam("namespace"), table.run_id > bindparam("after")
    return select(visibility).where(*wanted).order_by(table.run_id).limit(bindparam("limit"))


def closed_runs() -> AnySelect:
    table = visibility.c
    order = table.close_time, table.start_time, table.run_id
    wanted = table.namespace == bindparam("namespace"), table.close_time.is_not(None), table.close_time <= bindparam("until")
    first = select(table.run_id, table.workflow_id, table.close_time).where(*wanted).order_by(*order).limit(bindparam("limit")).subquery()
    return select(first.c.run_id, runs.c.version, first.c.workflow_id, first.c.close_time).join(runs, runs.c.run_id == first.c.run_id)


def first_close() -> AnySelect:
    table = visibility.c
    wanted = table.namespace == bindparam("namespace"), table.close_time.is_not(None)
    return select(func.min(table.close_time).label("close_time")).where(*wanted)


def runs_of_namespace() -> AnySelect:
    table = visibility.c
    wanted = select(table.run_id, table.workflow_id, table.close_time).where(table.namespace == bindparam("namespace"))
    opened, closed = wanted.where(table.close_time.is_(None)), wanted.where(table.close_time.is_not(None))
    some = union_all(select(opened.limit(bindparam("limit")).subquery()), select(closed.limit(bindparam("limit")).subquery())).subquery()
    found = select(some.c.run_id, runs.c.version, some.c.workflow_id, some.c.close_time).join(runs, runs.c.run_id == some.c.run_id)
    return found.limit(bindparam("limit"))


def record_kinds() -> AnySelect:
    return select(records.c.kind).distinct().order_by(records.c.kind)


def record() -> AnySelect:
    return select(records).where(*(records.c[name] == bindparam(name) for name in _RECORD_KEY))


def records_of_namespace() -> AnySelect:
    table = records.c
    wanted = table.kind == bindparam("kind"), table.namespace == bindparam("namespace"), table.key > bindparam("after_key")
    return select(records).where(*wanted).order_by(table.key).limit(bindparam("limit"))


def records_of_kind() -> AnySelect:
    order = records.c.namespace, records.c.key
    wanted = records.c.kind == bindparam("kind"), _after(order, ("after_namespace", "after_key"))
    return select(records).where(*wanted).order_by(*order).limit(bindparam("limit"))


def due_records() -> AnySelect:
    table = records.c
    order = table.due, table.kind, table.namespace, table.key
    return select(records).where(table.due <= bindparam("until")).order_by(*order).limit(bindparam("limit"))


def next_due_record() -> AnySelect:
    return select(func.min(records.c.due).label("due")).where(records.c.due > bindparam("after"))


def row_counts() -> AnySelect:
    return select(*(select(func.count()).select_from(table).scalar_subquery().label(table.name) for table in KEPT))


def meta_value() -> AnySelect:
    return select(meta.c.value).where(meta.c.name == bindparam("name"))


def set_meta(seam: SqlSeam) -> UpdateBase:
    return seam.upsert(meta, {"name": bindparam("name"), "value": bindparam("value")})
