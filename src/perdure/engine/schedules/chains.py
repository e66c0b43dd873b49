"""How a chain of runs ended that a schedule started: a workflow may continue as new, or be retried, and is the same action still."""

from __future__ import annotations

from typing import NamedTuple

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import History, HistoryEvent

from perdure.engine.live_runs import LiveRun, LiveRuns

_STATUS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: Status.WORKFLOW_EXECUTION_STATUS_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: Status.WORKFLOW_EXECUTION_STATUS_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: Status.WORKFLOW_EXECUTION_STATUS_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: Status.WORKFLOW_EXECUTION_STATUS_TERMINATED,
}


class ChainEnd(NamedTuple):
    """What became of the last run of a chain."""

    status: Status.ValueType
    """0: it has been deleted."""
    result: Payloads | None = None
    failure: Failure | None = None


async def chain_end(runs: LiveRuns, namespace: str, workflow_id: str, first_run_id: str) -> ChainEnd | None:
    """How a chain ended, durably; None while it is open. Raises StorageError, as every read."""
    live: LiveRun | None = runs.get_current(namespace, workflow_id) or await runs.load_current(namespace, workflow_id)
    if live is None or live.run.first_run_id != first_run_id:
        live = await runs.load(first_run_id)
    while live is not None:
        if not live.close_event:
            return None
        event = History.FromString(live.close_event).events[-1]
        following = _following_run(event)
        if not following:
            return _end(event)
        live = await runs.load(following)
    return ChainEnd(Status.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED)


def _following_run(event: HistoryEvent) -> str:
    attributes = getattr(event, event.WhichOneof("attributes") or "")
    return getattr(attributes, "new_execution_run_id", "")


def _end(event: HistoryEvent) -> ChainEnd:
    status = _STATUS[event.event_type]
    if status == Status.WORKFLOW_EXECUTION_STATUS_COMPLETED:
        completed = event.workflow_execution_completed_event_attributes
        return ChainEnd(status, result=completed.result if completed.HasField("result") else None)
    if status == Status.WORKFLOW_EXECUTION_STATUS_FAILED:
        return ChainEnd(status, failure=event.workflow_execution_failed_event_attributes.failure)
    if status == Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
        failure = Failure(message="workflow timeout")
        failure.timeout_failure_info.SetInParent()
        return ChainEnd(status, failure=failure)
    return ChainEnd(status)
