"""Lists of schedules by query: the language is that of lists of workflows, and is asked of each schedule in turn.

Easily got wrong: `ScheduleId` is known only here; and a query that does not name the division means what is in none, as it does of
workflows, so a schedule shows its division only to a query that asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from perdure.engine.core.schedules.state import ScheduleState
from perdure.engine.core.search_attributes import BOOL, KEYWORD, Types
from perdure.engine.core.times import to_ns
from perdure.engine.indexing import attribute_values, stored_name
from perdure.engine.visibility.fields import DIVISION
from perdure.engine.visibility.query import read_query
from perdure.storage.run_queries import Column, Field, Scalar, encoded, holds

SCHEDULE_ID: Final = "ScheduleId"
PAUSED: Final = "TemporalSchedulePaused"
_DIVISION_OF_SCHEDULES: Final = "TemporalScheduler"
_WORKFLOW_ID_PREFIX: Final = "temporal-sys-scheduler:"
_RUNNING: Final = 1


def schedule_filter(query: str, custom: Types) -> Callable[[ScheduleState], bool]:
    """Whether a query finds a schedule.

    Raises:
        RpcError: INVALID_ARGUMENT.
    """
    if not query.strip():
        return lambda state: True
    condition = read_query(query, {**custom, SCHEDULE_ID: KEYWORD}).condition
    shows_division = DIVISION in query

    def found(state: ScheduleState) -> bool:
        values = _values(state, shows_division)
        return holds(condition, lambda field: values.get(field.name, ()) if not isinstance(field, Column) else _column(state, field))

    return found


def _values(state: ScheduleState, shows_division: bool) -> dict[str, Sequence[Scalar]]:
    found: dict[str, list[Scalar]] = {
        stored_name(SCHEDULE_ID, KEYWORD): [encoded(state.schedule_id)],
        stored_name(PAUSED, BOOL): [encoded(state.schedule.state.paused)],
    }
    if shows_division:
        found[stored_name(DIVISION, KEYWORD)] = [encoded(_DIVISION_OF_SCHEDULES)]
    for each in attribute_values(state.search_attributes.indexed_fields):
        found.setdefault(each.name, []).append(each.value)
    return dict(found)


def _column(state: ScheduleState, field: Field) -> Sequence[Scalar]:
    created = to_ns(state.info.create_time)
    columns: dict[str, Scalar] = {
        "workflow_id": _WORKFLOW_ID_PREFIX + state.schedule_id,
        "status": _RUNNING,
        "start_time": created,
        "execution_time": created,
    }
    return [columns[field.name]] if field.name in columns else []
