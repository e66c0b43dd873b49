"""The seam between the statements, which are defined once, and the SQL databases: what each of them says differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import Dialect, Insert, LargeBinary, Select, String, bindparam, cast, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.elements import ColumnElement

from perdure.storage.tables import AnyTable

Values = Mapping[str, ColumnElement[Any]]
AnySelect = Select[*tuple[Any, ...]]


class SqlSeam(Protocol):
    """What the statements ask of a database."""

    @property
    def dialect(self) -> Dialect:
        """Compiles statements to text."""
        ...

    def upsert(self, table: AnyTable, values: Values) -> Insert:
        """Inserts a row, or rewrites the one with the same primary key."""
        ...

    def hexadecimal(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Bytes as lower case digits."""
        ...

    def among(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        """Whether a column is among the values of a parameter: one parameter, however many values."""
        ...


class SqliteSeam:
    """SQLite, through apsw."""

    def __init__(self) -> None:
        self.dialect: Dialect = sqlite.dialect(paramstyle="qmark")

    def upsert(self, table: AnyTable, values: Values) -> Insert:
        insert = sqlite.insert(table).values(dict(values))
        key = [column.name for column in table.primary_key]
        changed: dict[str, Any] = {column.name: insert.excluded[column.name] for column in table.c if column.name not in key}
        return insert.on_conflict_do_update(index_elements=key, set_=changed)

    def hexadecimal(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.lower(func.hex(column))

    def among(self, column: ColumnElement[Any], parameter: str) -> ColumnElement[bool]:
        values = func.carray(bindparam(parameter)).table_valued("value")
        is_text = isinstance(column.type, String)  # arrays hold bytes alone: text in them must not contain U+0000
        return column.in_(select(cast(values.c.value, String) if is_text else values.c.value))

    def packed(self, query: AnySelect) -> Select[tuple[str]]:
        """All rows of a query as one: a JSON array of arrays, bytes as hexadecimal digits.

        Each row that is fetched from SQLite gives up the interpreter's lock and takes it again, up to 5 ms each beside a
        busy thread: one row is what we can afford.
        """
        rows = query.subquery()
        cells = [func.hex(column) if isinstance(column.type, LargeBinary) else column for column in rows.c]
        return select(func.json_group_array(func.json_array(*cells)))


SQLITE = SqliteSeam()
