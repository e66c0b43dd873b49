"""Commands as workers send them."""

from __future__ import annotations

from typing import Any

from core_support import payload, payloads, seconds
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType as C
from temporalio.api.failure.v1 import Failure


def activity(activity_id: str = "a", queue: str = "queue", close: float = 0, start_to_close: float = 10, **fields: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    a = command.schedule_activity_task_command_attributes
    a.activity_id = activity_id
    a.activity_type.name = "Act"
    a.task_queue.name = queue
    a.input.CopyFrom(payloads("in"))
    if start_to_close:
        a.start_to_close_timeout.CopyFrom(seconds(start_to_close))
    if close:
        a.schedule_to_close_timeout.CopyFrom(seconds(close))
    a.MergeFrom(type(a)(**fields))
    return command


def cancel_activity(scheduled_event_id: int) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK)
    command.request_cancel_activity_task_command_attributes.scheduled_event_id = scheduled_event_id
    return command


def timer(timer_id: str = "t", after: float = 10) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = timer_id
    command.start_timer_command_attributes.start_to_fire_timeout.CopyFrom(seconds(after))
    return command


def cancel_timer(timer_id: str = "t") -> Command:
    command = Command(command_type=C.COMMAND_TYPE_CANCEL_TIMER)
    command.cancel_timer_command_attributes.timer_id = timer_id
    return command


def complete(result: str = "result") -> Command:
    command = Command(command_type=C.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    command.complete_workflow_execution_command_attributes.result.CopyFrom(payloads(result))
    return command


def fail(message: str = "failed", **info: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
    failure = command.fail_workflow_execution_command_attributes.failure
    failure.CopyFrom(Failure(message=message))
    failure.application_failure_info.type = "Bad"
    for name, value in info.items():
        setattr(failure.application_failure_info, name, value)
    return command


def cancel() -> Command:
    return Command(command_type=C.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION, cancel_workflow_execution_command_attributes={})


def continue_as_new(**fields: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
    a = command.continue_as_new_workflow_execution_command_attributes
    a.input.CopyFrom(payloads("again"))
    a.MergeFrom(type(a)(**fields))
    return command


def marker(name: str = "m") -> Command:
    command = Command(command_type=C.COMMAND_TYPE_RECORD_MARKER)
    command.record_marker_command_attributes.marker_name = name
    command.record_marker_command_attributes.details["data"].CopyFrom(payloads("x"))
    return command


def upsert(**attributes: str) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
    fields = command.upsert_workflow_search_attributes_command_attributes.search_attributes.indexed_fields
    for name, value in attributes.items():
        fields[name].CopyFrom(payload(value))
    return command


def protocol_message(message_id: str) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_PROTOCOL_MESSAGE)
    command.protocol_message_command_attributes.message_id = message_id
    return command


def memo(**values: str | None) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES)
    fields = command.modify_workflow_properties_command_attributes.upserted_memo.fields
    for name, value in values.items():
        if value is None:
            fields[name].metadata["encoding"] = b"binary/null"
        else:
            fields[name].CopyFrom(payload(value))
    return command


def start_child(workflow_id: str = "child", **fields: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    a = command.start_child_workflow_execution_command_attributes
    a.workflow_id = workflow_id
    a.workflow_type.name = "Child"
    a.input.CopyFrom(payloads("in"))
    a.MergeFrom(type(a)(**fields))
    return command


def signal_external(workflow_id: str = "other", **fields: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION)
    a = command.signal_external_workflow_execution_command_attributes
    a.execution.workflow_id = workflow_id
    a.signal_name = "go"
    a.MergeFrom(type(a)(**fields))
    return command


def cancel_external(workflow_id: str = "other", **fields: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION)
    a = command.request_cancel_external_workflow_execution_command_attributes
    a.workflow_id = workflow_id
    a.MergeFrom(type(a)(**fields))
    return command


def schedule_operation(endpoint: str = "endpoint", **fields: Any) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION)
    a = command.schedule_nexus_operation_command_attributes
    a.endpoint, a.service, a.operation = endpoint, "Service", "operation"
    a.input.CopyFrom(payload("in"))
    a.MergeFrom(type(a)(**fields))
    return command


def cancel_operation(scheduled_event_id: int) -> Command:
    command = Command(command_type=C.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION)
    command.request_cancel_nexus_operation_command_attributes.scheduled_event_id = scheduled_event_id
    return command
