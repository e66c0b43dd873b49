"""Lists and counts of runs on SQLite."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from perdure.storage import find_statements
from perdure.storage.contract import VisibilityRow
from perdure.storage.dialect import SQLITE
from perdure.storage.run_queries import Attribute, Condition, Field, Place, RunQuery, Scalar
from perdure.storage.sqlite.reads import PackedQuery, Row

QUERIES_KEPT = 128
"""Compiled statements: a list that is read in pages, or again and again, is compiled once (a millisecond)."""

_LAST_RUN = b"\xff" * 17
_LAST_TIME = 2**63 - 1

Read = Callable[..., list[list[Row]]]


def find_runs(read: Read, query: RunQuery, after: Place | None, limit: int) -> list[VisibilityRow]:
    """As `WorkflowStorage.find_runs`; `read` runs a query with its arguments."""
    found: list[VisibilityRow] = []
    if after is None or after.close_time is None:
        place = after or Place(None, _LAST_TIME, _LAST_RUN)
        arguments = {"after_start": place.start_time, "after_run": place.run_id, "as_of": query.as_of, "limit": limit}
        opened, since = read(_opened(query.namespace, query.condition), **arguments)
        found = list(heapq.merge(map(_row, opened), map(_row, since), key=_by_start, reverse=True))[:limit]
        after = None
    if len(found) < limit:
        place = after or Place(_LAST_TIME, _LAST_TIME, _LAST_RUN)
        arguments = {"after_close": place.close_time, "after_start": place.start_time, "after_run": place.run_id, "as_of": query.as_of}
        found += map(_row, read(_closed(query.namespace, query.condition), limit=limit - len(found), **arguments)[0])
    return found


def count_runs(read: Read, query: RunQuery, group_by: Field | None) -> list[tuple[Scalar | None, int]]:
    """As `WorkflowStorage.count_runs`."""
    found: list[tuple[Scalar | None, int]] = []
    for value, count in read(_counted(query.namespace, query.condition, group_by))[0]:
        if count:
            found.append((bytes.fromhex(value) if isinstance(value, str) and isinstance(group_by, Attribute) else value, count))
    return sorted(found, key=lambda group: (-group[1], str(group[0])))


def _row(row: Row) -> VisibilityRow:
    return VisibilityRow(*row)


def _by_start(row: VisibilityRow) -> tuple[int, bytes]:
    return row.start_time, row.run_id


@lru_cache(maxsize=QUERIES_KEPT)
def _opened(namespace: str, condition: Condition) -> PackedQuery:
    query = RunQuery(namespace, condition)
    return PackedQuery(find_statements.opened(SQLITE, query), find_statements.closed_since(SQLITE, query), literals=True)


@lru_cache(maxsize=QUERIES_KEPT)
def _closed(namespace: str, condition: Condition) -> PackedQuery:
    return PackedQuery(find_statements.closed_before(SQLITE, RunQuery(namespace, condition)), literals=True)


@lru_cache(maxsize=QUERIES_KEPT)
def _counted(namespace: str, condition: Condition, group_by: Field | None) -> PackedQuery:
    query: Any = find_statements.counted(SQLITE, RunQuery(namespace, condition), group_by)
    return PackedQuery(query, literals=True)
