"""What lists show, asked of a memory storage: every run is looked at."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from perdure.storage.contract import VisibilityRow
from perdure.storage.run_queries import Column, Field, Place, RunQuery, Scalar, SearchValue, holds

Shown: TypeAlias = tuple[VisibilityRow, Sequence[SearchValue]]


def found_runs(runs: Iterable[Shown], query: RunQuery, after: Place | None, limit: int) -> list[VisibilityRow]:
    """As `WorkflowStorage.find_runs`."""
    limits = None if after is None else _order(after)
    places = (
        (_order(_place(row, query.as_of)), row)
        for row, search in runs
        if row.namespace == query.namespace and holds(query.condition, _Values(row, search).get)
    )
    wanted = (place for place in places if limits is None or place[0] < limits)
    return [row for _, row in heapq.nlargest(limit, wanted, key=lambda place: place[0])]


def counted_runs(runs: Iterable[Shown], query: RunQuery, group_by: Field | None) -> list[tuple[Scalar | None, int]]:
    """As `WorkflowStorage.count_runs`."""
    counts: Counter[Scalar | None] = Counter()
    for row, search in runs:
        values = _Values(row, search)
        if row.namespace == query.namespace and holds(query.condition, values.get):
            found = () if group_by is None else values.get(group_by)
            counts[found[0] if found else None] += 1
    return sorted(counts.items(), key=lambda group: (-group[1], str(group[0])))


def _place(row: VisibilityRow, as_of: int) -> Place:
    return Place(row.close_time if row.close_time is not None and row.close_time <= as_of else None, row.start_time, row.run_id)


def _order(place: Place) -> tuple[bool, int, int, bytes]:
    return place.close_time is None, place.close_time or 0, place.start_time, place.run_id


class _Values:
    """The values of a run by field."""

    def __init__(self, row: VisibilityRow, search: Sequence[SearchValue]) -> None:
        self._row = row
        self._search = search

    def get(self, field: Field) -> Sequence[Scalar]:
        if isinstance(field, Column):
            value = self._column(field.name)
            return () if value is None else (value,)
        return [found.value for found in self._search if found.name == field.name]

    def _column(self, name: str) -> Scalar | None:
        row = self._row
        if name == "run_hex":
            return row.run_id.hex()
        if row.close_time is None and name in ("history_length", "history_bytes", "duration"):
            return None
        if name == "duration":
            return (row.close_time or 0) - row.execution_time
        value: Scalar | None = getattr(row, name)
        return value
