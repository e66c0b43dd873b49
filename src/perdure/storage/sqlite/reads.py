"""Queries compiled to text, each of which answers in one row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import LargeBinary, select

from perdure.storage import statements
from perdure.storage.dialect import SQLITE, AnySelect
from perdure.storage.sqlite.database import Connection

Row = list[Any]


class PackedQuery:
    """One or several selects, run as one statement that returns one row (`SqliteSeam.packed`): one consistent view.

    With `literals` lists of values stand in them; then all other parameters need a value, which the arguments replace."""

    def __init__(self, *queries: AnySelect, literals: bool = False) -> None:
        packed = select(*(SQLITE.packed(query).scalar_subquery() for query in queries))
        compiled = packed.compile(dialect=SQLITE.dialect, compile_kwargs={"render_postcompile": literals})
        names: list[str] = getattr(compiled, "positiontup", None) or []
        self.text = str(compiled)
        self._names = names
        self._fixed = compiled.params
        self._bytes = [_byte_columns(query) for query in queries]

    def run(self, connection: Connection, arguments: Mapping[str, Any]) -> list[list[Row]]:
        """The rows of each select."""
        fixed = self._fixed
        bindings = [arguments[name] if name in arguments else fixed[name] for name in self._names]
        packed = connection.execute(self.text, bindings).fetchall()[0]
        return [_unpack(text, columns) for text, columns in zip(packed, self._bytes, strict=True)]


def _byte_columns(query: AnySelect) -> list[int]:
    return [place for place, column in enumerate(query.selected_columns) if isinstance(column.type, LargeBinary)]


def _unpack(text: str, byte_columns: list[int]) -> list[Row]:
    rows: list[Row] = json.loads(text)
    for row in rows:
        for place in byte_columns:
            row[place] = bytes.fromhex(row[place])
    return rows


class Queries:
    """Every read of the storage."""

    def __init__(self) -> None:
        seam = SQLITE
        self.load = PackedQuery(
            statements.runs_by_id(seam),
            statements.history_by_run(seam),
            statements.activities_by_run(seam),
            statements.buffered_by_run(seam),
        )
        self.standing = PackedQuery(statements.versions(seam), statements.currents(seam), statements.record_versions(seam))
        self.current_run = PackedQuery(statements.current_run())
        self.visibility = PackedQuery(statements.visibility_by_run())
        self.history = PackedQuery(statements.history_from())
        self.due_runs = PackedQuery(statements.due_runs())
        self.next_due = PackedQuery(statements.next_due())
        self.waiting_queues = PackedQuery(statements.waiting_queues())
        self.waiting_runs = PackedQuery(statements.waiting_runs())
        self.waiting_activities = PackedQuery(statements.waiting_activities())
        self.abandoned_runs = PackedQuery(statements.abandoned_runs())
        self.list_runs = PackedQuery(statements.list_runs())
        self.closed_runs = PackedQuery(statements.closed_runs())
        self.first_close = PackedQuery(statements.first_close())
        self.runs_of_namespace = PackedQuery(statements.runs_of_namespace())
        self.record_kinds = PackedQuery(statements.record_kinds())
        self.record = PackedQuery(statements.record())
        self.records_of_namespace = PackedQuery(statements.records_of_namespace())
        self.records_of_kind = PackedQuery(statements.records_of_kind())
        self.due_records = PackedQuery(statements.due_records())
        self.next_due_record = PackedQuery(statements.next_due_record())
        self.row_counts = PackedQuery(statements.row_counts())
        self.meta_value = PackedQuery(statements.meta_value())

    def all(self) -> dict[str, PackedQuery]:
        """By name, for tests that check each against the schema."""
        return {name: query for name, query in vars(self).items() if isinstance(query, PackedQuery)}


@cache
def queries() -> Queries:
    """Compiled once for each process: it takes a tenth of a second."""
    return Queries()
