"""Lists and counts, as they are answered: pages and their tokens, what is shown of a run, groups.

The rule a newcomer would get wrong: a token says when its list was begun. What closes after that keeps its place among the open
runs, and what starts after that is not shown: so every run that was there is shown once. What is about to close then is waited for, or
it would be read as open, and again as closed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsResponse

from perdure.engine.core.times import set_ns
from perdure.engine.reader import Reader
from perdure.engine.visibility.fields import STATUS_NAMES
from perdure.engine.visibility.query import Wanted
from perdure.model.ids import run_id_text
from perdure.model.rpc import invalid_argument
from perdure.storage.contract import VisibilityRow
from perdure.storage.run_queries import Condition, Place, RunQuery, Scalar

PAGE_MAX: Final = 1000
"""Runs in a page, and as many as there are when nobody says."""

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of memos and search attributes in a page, but for the run that passes it: a page may be shorter than was asked for."""

FIRST_READ: Final = 100
"""Runs read first of a page: the others follow at once, as many as by their average size fit into it."""

GROUPS_MAX: Final = 1000
"""Groups of a count: the largest; the total counts all."""

_TOKEN: Final = struct.Struct(">BBqqq16s")
_FORMAT: Final = 1


class Page(NamedTuple):
    """Some runs, and the token with which the next ones are asked for; empty after the last."""

    executions: list[WorkflowExecutionInfo]
    token: bytes


async def list_page(
    reader: Reader, present: Callable[[], Awaitable[int]], namespace: str, condition: Condition, page_size: int, token: bytes
) -> Page:
    """The page after a token; `present`: the time, once all that was decided until then is durable.

    Raises:
        RpcError: INVALID_ARGUMENT for a token that is none.
    """
    as_of, after = _read_token(token) if token else (await present(), None)
    limit = page_size if 0 < page_size <= PAGE_MAX else PAGE_MAX
    shown, more = await _rows(reader, RunQuery(namespace, condition, as_of), after, limit)
    return Page([info_of(row) for row in shown], _token(as_of, shown[-1]) if more else b"")


async def _rows(reader: Reader, query: RunQuery, after: Place | None, limit: int) -> tuple[list[VisibilityRow], bool]:
    """As many runs as a page may have, and whether there are more. What they weigh is known when some have been read."""
    shown: list[VisibilityRow] = []
    size, wanted = 0, min(limit, FIRST_READ)
    while True:
        rows = await reader.read(reader.storage.find_runs, query, after, wanted + 1)
        for row in rows[:wanted]:
            shown.append(row)
            size += len(row.attributes)
            if size > PAGE_BYTES_MAX:
                break
        more = len(rows) > wanted
        if size > PAGE_BYTES_MAX:
            return shown, more or shown[-1] is not rows[-1]
        if not more or len(shown) == limit:
            return shown, more
        after = place_of(shown[-1], query.as_of)
        wanted = min(limit - len(shown), max(1, (PAGE_BYTES_MAX - size) * len(shown) // max(size, 1)))


async def count(reader: Reader, namespace: str, wanted: Wanted) -> CountWorkflowExecutionsResponse:
    """How many runs, by group."""
    grouped = wanted.group_by
    groups = await reader.read(reader.storage.count_runs, RunQuery(namespace, wanted.condition), grouped.field if grouped else None)
    response = CountWorkflowExecutionsResponse(count=sum(number for _, number in groups))
    if grouped is not None:
        for value, number in groups[:GROUPS_MAX]:
            response.groups.add(count=number, group_values=[_group_value(grouped.name, value)])
    return response


def _group_value(name: str, value: Scalar | None) -> Payload:
    text = STATUS_NAMES.get(value) if name == "ExecutionStatus" and isinstance(value, int) else value
    shown = text.decode() if isinstance(text, bytes) else text
    return Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=json.dumps(shown).encode())


def info_of(row: VisibilityRow) -> WorkflowExecutionInfo:
    """What lists show of a run."""
    info = WorkflowExecutionInfo.FromString(row.attributes)
    run_id = run_id_text(row.run_id)
    info.execution.workflow_id, info.execution.run_id = row.workflow_id, run_id
    info.type.name, info.task_queue, info.status = row.workflow_type, row.task_queue, row.status  # type: ignore[assignment]
    set_ns(info.start_time, row.start_time)
    set_ns(info.execution_time, row.execution_time)
    if row.close_time is not None:
        set_ns(info.close_time, row.close_time)
        set_ns(info.execution_duration, max(0, row.close_time - row.execution_time))
    info.history_length = info.state_transition_count = row.history_length
    info.history_size_bytes = row.history_bytes
    if not info.HasField("root_execution"):
        info.root_execution.workflow_id, info.root_execution.run_id = row.workflow_id, run_id
    info.memo.SetInParent()
    info.search_attributes.SetInParent()
    return info


def place_of(row: VisibilityRow, as_of: int) -> Place:
    """Where a run stands in a list that was begun then."""
    return Place(row.close_time if row.close_time is not None and row.close_time <= as_of else None, row.start_time, row.run_id)


def _token(as_of: int, last: VisibilityRow) -> bytes:
    close_time, start_time, run_id = place_of(last, as_of)
    return _TOKEN.pack(_FORMAT, close_time is not None, as_of, close_time or 0, start_time, run_id)


def _read_token(token: bytes) -> tuple[int, Place]:
    if len(token) != _TOKEN.size or token[0] != _FORMAT:
        raise invalid_argument("Invalid NextPageToken.")
    _, closed, as_of, close_time, start_time, run_id = _TOKEN.unpack(token)
    return as_of, Place(close_time if closed else None, start_time, run_id)
