"""Where a query to a run goes (2.7). The queries themselves are the shell's: they write no event and change no state.

Easily got wrong: a query can be answered for a closed run, but not for one that no worker has ever seen; and while a
workflow task is pending it waits for that task, since the state the worker has is about to change.
"""

from __future__ import annotations

from enum import Enum

from temporalio.api.enums.v1 import QueryRejectCondition

from perdure.engine.core import codes, limits
from perdure.engine.core.state import Run
from perdure.model.rpc import workflow_not_ready


class QueryRoute(Enum):
    """What becomes of a query."""

    REJECTED = "rejected"
    """The caller's condition, or the run is paused: answered with its status."""
    DIRECT = "direct"
    """A query task of its own: on the sticky queue first, then on the normal one."""
    BUFFER = "buffer"
    """With the next workflow task that starts."""


def query_route(run: Run, condition: QueryRejectCondition.ValueType, deadline: int | None = None) -> QueryRoute:
    """Where a query goes; `deadline` is the caller's (ns since the epoch).

    Raises:
        RpcError: FailedPrecondition (WorkflowNotReady), if it cannot be answered soon.
    """
    if condition == codes.REJECT_NOT_OPEN and run.closed:
        return QueryRoute.REJECTED
    if condition == codes.REJECT_NOT_CLEAN and run.status not in (codes.RUNNING, codes.COMPLETED):
        return QueryRoute.REJECTED
    if run.status == codes.RUN_PAUSED:
        return QueryRoute.REJECTED
    if run.closed and not run.completed_tasks:
        raise workflow_not_ready("Unable to query workflow: it closed before its first workflow task completed.")
    if run.first_task_due and deadline is not None and run.first_task_due > deadline:
        raise workflow_not_ready("Unable to query workflow: its first workflow task is delayed.")
    if run.task is not None and run.task.attempt >= limits.QUERY_ATTEMPT_MAX:
        raise workflow_not_ready("Unable to query workflow due to Workflow Task in failed state.")
    if run.completed_tasks and (run.closed or run.task is None):
        return QueryRoute.DIRECT
    return QueryRoute.BUFFER
