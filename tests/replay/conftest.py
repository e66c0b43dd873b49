"""A scripted engine for one run: it answers a runner's commands with the events that the real one would write."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.api.enums.v1.command_type_pb2 import CommandType as C
from temporalio.api.enums.v1.event_type_pb2 import EventType as E
from temporalio.api.failure.v1.message_pb2 import Failure
from temporalio.api.history.v1.message_pb2 import History, HistoryEvent
from temporalio.api.query.v1.message_pb2 import WorkflowQuery
from temporalio.api.workflowservice.v1.request_response_pb2 import PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest

from perdure.model.conversion import DataConverter
from perdure.model.definitions import workflow_definition
from perdure.runtime.options import RunnerOptions
from perdure.runtime.processor import EventProcessor, ReplayResult
from perdure.runtime.runner import WorkflowRunner

START_SECONDS = 1_700_000_000
_converter = DataConverter.default


class Script:
    """One run: its history, and the runner that follows it."""

    def __init__(self, workflow: Any, *args: Any, run_id: str = "", options: RunnerOptions | None = None) -> None:
        self.workflow = workflow
        self.definition = workflow_definition(workflow)
        self.run_id = run_id or str(uuid.UUID(int=7))
        self.options = options or RunnerOptions()
        self.events: list[HistoryEvent] = []
        self.now_ns = START_SECONDS * 1_000_000_000
        self.delivered = 0
        self.started_id = 0
        self.completed_started_id = 0
        self.runner = self.new_runner()
        self.completion: Any = None
        self.queries: dict[str, WorkflowQuery] = {}
        self.scheduled_ids: dict[str, int] = {}
        event = self.event(E.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
        started = event.workflow_execution_started_event_attributes
        started.workflow_type.name = self.definition.name
        started.task_queue.name = "default"
        started.original_execution_run_id = self.run_id
        started.workflow_id = "w"
        started.attempt = 1
        started.input.payloads.extend(_converter.encode_values(args))

    def new_runner(self) -> WorkflowRunner:
        return WorkflowRunner(self.definition, "w", self.run_id, _converter, self.options)

    # --- events -----------------------------------------------------------------------------------------------------------------

    def event(self, kind: int) -> HistoryEvent:
        event = HistoryEvent(event_id=len(self.events) + 1)
        event.event_type = kind  # type: ignore[assignment]
        event.event_time.seconds, event.event_time.nanos = divmod(self.now_ns, 1_000_000_000)
        self.events.append(event)
        return event

    def wait(self, seconds: float) -> Script:
        self.now_ns += round(seconds * 1e9)
        return self

    def signal(self, name: str, *values: Any) -> Script:
        attributes = self.event(E.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED).workflow_execution_signaled_event_attributes
        attributes.signal_name = name
        attributes.input.payloads.extend(_converter.encode_values(values))
        return self

    def cancel(self, reason: str = "") -> Script:
        self.event(E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED).workflow_execution_cancel_requested_event_attributes.cause = reason
        return self

    def scheduled(self, activity_id: str) -> int:
        """The event that scheduled an activity."""
        return self.scheduled_ids[activity_id]

    def _activity_started(self, activity_id: str) -> tuple[int, int]:
        scheduled = self.scheduled(activity_id)
        event = self.event(E.EVENT_TYPE_ACTIVITY_TASK_STARTED)
        event.activity_task_started_event_attributes.scheduled_event_id = scheduled
        return scheduled, event.event_id

    def complete(self, activity_id: str, result: Any = None) -> Script:
        scheduled, started = self._activity_started(activity_id)
        attributes = self.event(E.EVENT_TYPE_ACTIVITY_TASK_COMPLETED).activity_task_completed_event_attributes
        attributes.scheduled_event_id, attributes.started_event_id = scheduled, started
        attributes.result.payloads.extend(_converter.encode_values([result]))
        return self

    def fail(self, activity_id: str, error: Exception) -> Script:
        scheduled, started = self._activity_started(activity_id)
        attributes = self.event(E.EVENT_TYPE_ACTIVITY_TASK_FAILED).activity_task_failed_event_attributes
        attributes.scheduled_event_id, attributes.started_event_id = scheduled, started
        attributes.failure.CopyFrom(_converter.to_failure(error))
        return self

    def time_out(self, activity_id: str) -> Script:
        scheduled, started = self._activity_started(activity_id)
        attributes = self.event(E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT).activity_task_timed_out_event_attributes
        attributes.scheduled_event_id, attributes.started_event_id = scheduled, started
        failure = Failure(message="activity timeout")
        failure.timeout_failure_info.timeout_type = 1  # type: ignore[assignment]
        attributes.failure.CopyFrom(failure)
        return self

    def canceled(self, activity_id: str) -> Script:
        attributes = self.event(E.EVENT_TYPE_ACTIVITY_TASK_CANCELED).activity_task_canceled_event_attributes
        attributes.scheduled_event_id = self.scheduled(activity_id)
        return self

    def fire(self, timer_id: str) -> Script:
        started = [
            e for e in self.events if e.event_type == E.EVENT_TYPE_TIMER_STARTED and e.timer_started_event_attributes.timer_id == timer_id
        ][-1]
        duration = started.timer_started_event_attributes.start_to_fire_timeout
        due = started.event_time.seconds * 1_000_000_000 + started.event_time.nanos + duration.seconds * 1_000_000_000 + duration.nanos
        self.now_ns = max(self.now_ns, due)
        attributes = self.event(E.EVENT_TYPE_TIMER_FIRED).timer_fired_event_attributes
        attributes.timer_id, attributes.started_event_id = timer_id, started.event_id
        return self

    # --- workflow tasks -----------------------------------------------------------------------------------------------------------

    def begin_task(self) -> None:
        self.event(E.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
        started = self.event(E.EVENT_TYPE_WORKFLOW_TASK_STARTED)
        started.workflow_task_started_event_attributes.scheduled_event_id = started.event_id - 1
        self.started_id = started.event_id

    def poll(self, *, full: bool = False) -> PollWorkflowTaskQueueResponse:
        """The response that delivers the task in hand. Goes over the wire, as a real one does."""
        response = PollWorkflowTaskQueueResponse(task_token=b"token", started_event_id=self.started_id)
        response.previous_started_event_id = self.completed_started_id
        response.history.events.extend(self.events if full else self.events[self.delivered :])
        for query_id, query in self.queries.items():
            response.queries[query_id].CopyFrom(query)
        return PollWorkflowTaskQueueResponse.FromString(response.SerializeToString())

    def run(self, *, full: bool = False) -> list[Any]:
        """One workflow task, from scheduled to completed or failed. Its commands."""
        self.begin_task()
        task = self.poll(full=full)
        self.completion = self.runner.activate(task)
        if not isinstance(self.completion, RespondWorkflowTaskCompletedRequest):
            self.event(E.EVENT_TYPE_WORKFLOW_TASK_FAILED)
            self.delivered = 0
            return []
        self.completion = RespondWorkflowTaskCompletedRequest.FromString(self.completion.SerializeToString())
        self.delivered = len(self.events)
        self.completed_started_id = self.started_id
        self.event(E.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        for command in self.completion.commands:
            self._record(command)
        return list(self.completion.commands)

    def _record(self, command: Any) -> None:
        kind = C.Name(command.command_type).removeprefix("COMMAND_TYPE_")
        source = getattr(command, command.WhichOneof("attributes"))
        event = self.event(_EVENT_OF[kind])
        target = getattr(event, _ATTRIBUTES_OF[kind])
        if kind == "SCHEDULE_ACTIVITY_TASK":
            self.scheduled_ids[source.activity_id] = event.event_id
        for field, value in source.ListFields():
            if field.name in target.DESCRIPTOR.fields_by_name:
                if field.message_type is not None and not field.is_repeated:
                    getattr(target, field.name).CopyFrom(value)
                elif field.message_type is not None:
                    for key in value:
                        getattr(target, field.name)[key].CopyFrom(value[key])
                else:
                    setattr(target, field.name, value)

    # --- looking ------------------------------------------------------------------------------------------------------------------

    def ask(self, name: str, *args: Any, full: bool = False) -> Any:
        """The answer message to a direct query."""
        task = PollWorkflowTaskQueueResponse(task_token=b"query")
        task.query.query_type = name
        task.query.query_args.payloads.extend(_converter.encode_values(args))
        if full:
            task.history.events.extend(self.events)
        return self.runner.activate(task)

    def decode(self, payload: Any) -> Any:
        return _converter.from_payload(payload)

    def poll_query(self, name: str) -> WorkflowQuery:
        return WorkflowQuery(query_type=name)

    def answer(self, name: str, *args: Any, hint: Any = None) -> Any:
        return _converter.from_payload(self.ask(name, *args).query_result.payloads[0], hint)

    def history(self) -> History:
        return History(events=self.events)

    def replay(self, workflow: Any = None) -> ReplayResult:
        """Replays what has happened so far, from stored bytes, with this or other code."""
        return EventProcessor([workflow or self.workflow], options=self.options).replay_history(self.history().SerializeToString())

    def result(self) -> Any:
        """What the workflow returned in the last task."""
        last = self.completion.commands[-1]
        assert last.command_type == C.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION, last
        return _converter.from_payload(last.complete_workflow_execution_command_attributes.result.payloads[0])

    def failure(self) -> Failure:
        """What the workflow failed with in the last task."""
        last = self.completion.commands[-1]
        assert last.command_type == C.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION, last
        return last.fail_workflow_execution_command_attributes.failure

    def kinds(self) -> list[str]:
        """The commands of the last task, by name."""
        return [C.Name(each.command_type).removeprefix("COMMAND_TYPE_").lower() for each in self.completion.commands]


_EVENT_OF = {
    "SCHEDULE_ACTIVITY_TASK": E.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
    "REQUEST_CANCEL_ACTIVITY_TASK": E.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED,
    "START_TIMER": E.EVENT_TYPE_TIMER_STARTED,
    "CANCEL_TIMER": E.EVENT_TYPE_TIMER_CANCELED,
    "RECORD_MARKER": E.EVENT_TYPE_MARKER_RECORDED,
    "MODIFY_WORKFLOW_PROPERTIES": E.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED,
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES": E.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
    "COMPLETE_WORKFLOW_EXECUTION": E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    "FAIL_WORKFLOW_EXECUTION": E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    "CANCEL_WORKFLOW_EXECUTION": E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
    "CONTINUE_AS_NEW_WORKFLOW_EXECUTION": E.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW,
}
_ATTRIBUTES_OF = {
    "SCHEDULE_ACTIVITY_TASK": "activity_task_scheduled_event_attributes",
    "REQUEST_CANCEL_ACTIVITY_TASK": "activity_task_cancel_requested_event_attributes",
    "START_TIMER": "timer_started_event_attributes",
    "CANCEL_TIMER": "timer_canceled_event_attributes",
    "RECORD_MARKER": "marker_recorded_event_attributes",
    "MODIFY_WORKFLOW_PROPERTIES": "workflow_properties_modified_event_attributes",
    "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES": "upsert_workflow_search_attributes_event_attributes",
    "COMPLETE_WORKFLOW_EXECUTION": "workflow_execution_completed_event_attributes",
    "FAIL_WORKFLOW_EXECUTION": "workflow_execution_failed_event_attributes",
    "CANCEL_WORKFLOW_EXECUTION": "workflow_execution_canceled_event_attributes",
    "CONTINUE_AS_NEW_WORKFLOW_EXECUTION": "workflow_execution_continued_as_new_event_attributes",
}


@pytest.fixture
def script() -> type[Script]:
    return Script
