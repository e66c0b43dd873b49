"""What a worker is handed with a task.

Decides nothing. What a response holds belongs to its receiver. What is the same in all responses of a run is encoded once
and kept with the run; an activity's comes in part from the options that it shares with others (`activity_options`).

Easily got wrong: a field that the head has must not be given again where it is a message: they would merge, as priorities are to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes, HistoryEvent
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse

from perdure.engine.core import codes
from perdure.engine.core.outcome import StartedWorkflowTask
from perdure.engine.core.pending import Activity
from perdure.engine.core.state import Run
from perdure.engine.core.tokens import ACTIVITY, token_of
from perdure.engine.core.wire import instant
from perdure.model.framing import framed, tag

_ID: Final = tag(WorkflowExecution, "workflow_id")
_RUN: Final = tag(WorkflowExecution, "run_id")

_parse_task: Final = PollWorkflowTaskQueueResponse.FromString
_TASK_TOKEN: Final = tag(PollWorkflowTaskQueueResponse, "task_token")
_TASK_EXECUTION: Final = tag(PollWorkflowTaskQueueResponse, "workflow_execution")
_TASK_HISTORY: Final = tag(PollWorkflowTaskQueueResponse, "history")
_TASK_SCHEDULED: Final = tag(PollWorkflowTaskQueueResponse, "scheduled_time")
_TASK_STARTED: Final = tag(PollWorkflowTaskQueueResponse, "started_time")

_parse_activity: Final = PollActivityTaskQueueResponse.FromString
_ACTIVITY_TOKEN: Final = tag(PollActivityTaskQueueResponse, "task_token")
_ACTIVITY_EXECUTION: Final = tag(PollActivityTaskQueueResponse, "workflow_execution")
_ACTIVITY_INPUT: Final = tag(PollActivityTaskQueueResponse, "input")
_ACTIVITY_SCHEDULED: Final = tag(PollActivityTaskQueueResponse, "scheduled_time")
_ACTIVITY_ATTEMPT: Final = tag(PollActivityTaskQueueResponse, "current_attempt_scheduled_time")
_ACTIVITY_PRIORITY: Final = tag(PollActivityTaskQueueResponse, "priority")
_ACTIVITY_STARTED: Final = tag(PollActivityTaskQueueResponse, "started_time")


def make_heads(run: Run) -> None:
    """Encodes what is the same in all responses of a run."""
    execution = framed(_ID, run.workflow_id.encode()) + framed(_RUN, run.run_id.encode())
    of_task, of_activity = _common(run.namespace, run.workflow_type, run.task_queue)
    if run.standalone:
        run.activity_head = PollActivityTaskQueueResponse(
            workflow_namespace=run.queue_namespace, activity_run_id=run.run_id
        ).SerializeToString()
        return
    run.task_head = framed(_TASK_EXECUTION, execution) + of_task
    run.activity_head = framed(_ACTIVITY_EXECUTION, execution) + of_activity
    if run.start.HasField("priority"):
        # What an activity says of its own priority follows in the response, and is merged over it.
        run.activity_head += framed(_ACTIVITY_PRIORITY, run.start.priority.SerializeToString())


@lru_cache(maxsize=256)
def _common(namespace: str, workflow_type: str, queue: str) -> tuple[bytes, bytes]:
    """What many runs have in common in the responses for their workflow tasks and for their activities."""
    task = PollWorkflowTaskQueueResponse()
    task.workflow_type.name = workflow_type
    task.workflow_execution_task_queue.name = queue
    task.workflow_execution_task_queue.kind = codes.NORMAL_QUEUE
    activity = PollActivityTaskQueueResponse()
    activity.workflow_namespace = namespace
    activity.workflow_type.name = workflow_type
    return task.SerializeToString(), activity.SerializeToString()


def poll_response(task: StartedWorkflowTask, events: bytes | Sequence[HistoryEvent] | None = None) -> PollWorkflowTaskQueueResponse:
    """The response to a poll that gets this task; `events`: as read from the store, where the task has none itself."""
    recorded = task.events if events is None else events
    if recorded is None:
        raise ValueError("the events of this task must be read from the store first")
    encoded, read = (recorded, ()) if isinstance(recorded, bytes) else (b"", recorded)
    parts = (
        task.head,
        framed(_TASK_TOKEN, task.token),
        _TASK_SCHEDULED + instant(task.scheduled_time),
        _TASK_STARTED + instant(task.started_time),
        framed(_TASK_HISTORY, encoded),
        task.messages,
    )
    r = _parse_task(b"".join(parts))
    r.previous_started_event_id = task.previous_started_event_id
    r.started_event_id = task.started_event_id
    r.attempt = task.attempt
    if read or task.suffix:
        r.history.events.extend((*read, *task.suffix))
    return r


def shared_part(a: ActivityTaskScheduledEventAttributes) -> bytes:
    """What is the same in the responses of activities with the same options."""
    r = PollActivityTaskQueueResponse()
    r.activity_type.CopyFrom(a.activity_type)
    r.schedule_to_close_timeout.CopyFrom(a.schedule_to_close_timeout)
    r.start_to_close_timeout.CopyFrom(a.start_to_close_timeout)
    r.heartbeat_timeout.CopyFrom(a.heartbeat_timeout)
    r.retry_policy.CopyFrom(a.retry_policy)
    if a.HasField("priority"):
        r.priority.CopyFrom(a.priority)
    return r.SerializeToString()


def activity_response(run: Run, a: Activity) -> PollActivityTaskQueueResponse:
    """The response to a poll that gets this attempt."""
    if not run.activity_head:
        make_heads(run)
    attributes = a.attributes
    token = token_of(run, ACTIVITY, a.scheduled_event_id, a.stamp, a.attempt, a.activity_id)
    has = attributes.HasField
    parts = (
        run.activity_head,
        a.response_part or shared_part(attributes),
        framed(_ACTIVITY_TOKEN, token),
        _ACTIVITY_SCHEDULED + instant(a.first_scheduled_time),
        _ACTIVITY_ATTEMPT + instant(a.scheduled_time),
        _ACTIVITY_STARTED + instant(a.started_time),
        framed(_ACTIVITY_INPUT, attributes.input.SerializeToString()) if has("input") else b"",
    )
    r = _parse_activity(b"".join(parts))
    r.activity_id = a.activity_id
    r.attempt = a.attempt
    if has("header"):
        r.header.CopyFrom(attributes.header)
    if a.heartbeat_details is not None:
        r.heartbeat_details.CopyFrom(a.heartbeat_details)
    return r
