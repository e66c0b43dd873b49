"""What a worker is handed with a workflow task. (An activity's response is made when it starts: `activities`.)

Decides nothing. The events are copied: what a response holds belongs to its receiver.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueResponse

from perdure.engine.core import codes
from perdure.engine.core.outcome import StartedWorkflowTask
from perdure.engine.core.times import set_ns


def poll_response(task: StartedWorkflowTask, events: Sequence[HistoryEvent] | None = None) -> PollWorkflowTaskQueueResponse:
    """The response to a poll that gets this task; `events`: as read from the store, where the task has none itself."""
    r = PollWorkflowTaskQueueResponse()
    r.task_token = task.token
    execution = r.workflow_execution
    execution.workflow_id = task.workflow_id
    execution.run_id = task.run_id
    r.workflow_type.name = task.workflow_type
    r.previous_started_event_id = task.previous_started_event_id
    r.started_event_id = task.started_event_id
    r.attempt = task.attempt
    history = r.history.events
    recorded = task.events if events is None else events
    if recorded is None:
        raise ValueError("the events of this task must be read from the store first")
    history.extend(recorded)
    if task.suffix:
        history.extend(task.suffix)
    queue = r.workflow_execution_task_queue
    queue.name = task.queue
    queue.kind = codes.NORMAL_QUEUE
    set_ns(r.scheduled_time, task.scheduled_time)
    set_ns(r.started_time, task.started_time)
    return r
