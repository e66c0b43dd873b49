"""The core of the engine: a run's state machine, without I/O and deterministic.

`start` makes a run, `handle` does what a request asks of it, `load` rebuilds it from what is stored; each transaction is
an `Outcome` that the shell makes durable before anything of it shows.
"""

from perdure.engine.core.apply import apply
from perdure.engine.core.describe import describe
from perdure.engine.core.handle import Request, handle
from perdure.engine.core.load import load
from perdure.engine.core.outcome import (
    AbandonInProcess,
    ActivityReady,
    ActivityStarted,
    Effect,
    Env,
    FireTimers,
    Outcome,
    Reservation,
    RunClosed,
    StartActivityTask,
    StartedActivity,
    StartedWorkflowTask,
    StartWorkflowTask,
    StickyUnavailable,
    TaskKind,
    UnstartActivity,
    WorkflowTaskReady,
    WorkflowTaskStarted,
)
from perdure.engine.core.pending import Activity, Timer, WorkflowTask
from perdure.engine.core.policies import CurrentRun, StartDecision, current_run, decide_start, existing_reply
from perdure.engine.core.queries import QueryRoute, query_route
from perdure.engine.core.responses import poll_response
from perdure.engine.core.start import Parent, StartRequest, add_eager_task, check_attributes, start, validate_start
from perdure.engine.core.state import Run
from perdure.engine.core.tokens import TaskToken, decode_token, encode_token
from perdure.engine.core.update_requests import check_update
from perdure.engine.core.updates import Abort, UpdateNews, update_state
from perdure.engine.core.workflow_tasks import transient_events

__all__ = [
    "AbandonInProcess",
    "Abort",
    "Activity",
    "ActivityReady",
    "ActivityStarted",
    "CurrentRun",
    "Effect",
    "Env",
    "FireTimers",
    "Outcome",
    "Parent",
    "QueryRoute",
    "Request",
    "Reservation",
    "Run",
    "RunClosed",
    "StartActivityTask",
    "StartDecision",
    "StartRequest",
    "StartWorkflowTask",
    "StartedActivity",
    "StartedWorkflowTask",
    "StickyUnavailable",
    "TaskKind",
    "TaskToken",
    "Timer",
    "UnstartActivity",
    "UpdateNews",
    "WorkflowTask",
    "WorkflowTaskReady",
    "WorkflowTaskStarted",
    "add_eager_task",
    "apply",
    "check_attributes",
    "check_update",
    "current_run",
    "decide_start",
    "decode_token",
    "describe",
    "encode_token",
    "existing_reply",
    "handle",
    "load",
    "poll_response",
    "query_route",
    "start",
    "transient_events",
    "update_state",
    "validate_start",
]
