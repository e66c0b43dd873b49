"""Commands that record: markers, search attributes, memo (2.2).

Writes MarkerRecorded, UpsertWorkflowSearchAttributes and WorkflowPropertiesModified.

Easily got wrong: a null payload removes its key, and limits hold for the merged map, not for the change alone.
"""

from __future__ import annotations

from collections.abc import Mapping

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload

from perdure.engine.core import codes, limits
from perdure.engine.core.apply import is_null
from perdure.engine.core.plan import Plan, Refused
from perdure.engine.core.search_attributes import complaint, set_types, size_complaint
from perdure.engine.core.transaction import Transaction, annotate


def check_marker(plan: Plan, command: Command) -> None:
    a = command.record_marker_command_attributes
    if not a.marker_name:
        raise Refused(codes.BAD_RECORD_MARKER, "MarkerName is not set on RecordMarkerCommand.")
    if limits.too_long(a.marker_name):
        raise Refused(codes.BAD_RECORD_MARKER, "MarkerName on RecordMarkerCommand exceeds length limit.")
    if limits.too_large(a, plan.env.payload_bytes_max):
        raise Refused(codes.BAD_RECORD_MARKER, "RecordMarkerCommandAttributes.Details exceeds size limit.", terminate=True)


def record_marker(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.record_marker_command_attributes
    event = tx.event(codes.MARKER_RECORDED)
    a = event.marker_recorded_event_attributes
    a.marker_name = c.marker_name
    for name, details in c.details.items():
        a.details[name].CopyFrom(details)
    a.workflow_task_completed_event_id = completed_event_id
    if c.HasField("header"):
        a.header.CopyFrom(c.header)
    if c.HasField("failure"):
        a.failure.CopyFrom(c.failure)
    annotate(event, command)
    tx.append(event)


def check_attributes(plan: Plan, fields: Mapping[str, Payload]) -> None:
    """Search attributes that a command sets; notes the types of those that are right."""
    namespace = plan.run.namespace
    custom = plan.env.search_attributes(namespace)
    wrong = complaint(fields, custom, namespace)
    if wrong:
        raise Refused(codes.BAD_SEARCH_ATTRIBUTES, wrong)
    wrong = size_complaint(fields)
    if wrong:
        raise Refused(codes.BAD_SEARCH_ATTRIBUTES, wrong, terminate=True)
    set_types(fields, custom)


def check_upsert(plan: Plan, command: Command) -> None:
    fields = command.upsert_workflow_search_attributes_command_attributes.search_attributes.indexed_fields
    if not fields:
        raise Refused(codes.BAD_SEARCH_ATTRIBUTES, "IndexedFields is not set on UpsertWorkflowSearchAttributesCommand.")
    check_attributes(plan, fields)
    merged = plan.attributes
    if merged is None:
        merged = plan.attributes = {key: len(key) + len(value.data) for key, value in plan.run.search_attributes.items()}
    for key, value in fields.items():
        if is_null(value):
            merged.pop(key, None)
        else:
            merged[key] = len(key) + len(value.data)
    if len(merged) > limits.SEARCH_ATTRIBUTES_MAX or sum(merged.values()) > limits.SEARCH_ATTRIBUTES_BYTES_MAX:
        raise Refused(codes.BAD_SEARCH_ATTRIBUTES, "total size of search attributes exceeds limit", terminate=True)


def upsert(tx: Transaction, command: Command, completed_event_id: int) -> None:
    event = tx.event(codes.ATTRIBUTES_UPSERTED)
    a = event.upsert_workflow_search_attributes_event_attributes
    a.search_attributes.CopyFrom(command.upsert_workflow_search_attributes_command_attributes.search_attributes)
    a.workflow_task_completed_event_id = completed_event_id
    annotate(event, command)
    tx.append(event)
    tx.outcome.visibility_changed = tx.outcome.search_changed = True


def check_properties(plan: Plan, command: Command) -> None:
    a = command.modify_workflow_properties_command_attributes
    if not a.HasField("upserted_memo") or not a.upserted_memo.fields:
        raise Refused(codes.BAD_MODIFY_PROPERTIES, "UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.")
    merged = plan.memo
    if merged is None:
        merged = plan.memo = {key: len(key) + value.ByteSize() for key, value in plan.run.memo.items()}
    for key, value in a.upserted_memo.fields.items():
        if is_null(value):
            merged.pop(key, None)
        else:
            merged[key] = len(key) + value.ByteSize()
    if sum(merged.values()) > limits.MEMO_BYTES_MAX:
        raise Refused(codes.BAD_MODIFY_PROPERTIES, "ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit.", terminate=True)


def modify_properties(tx: Transaction, command: Command, completed_event_id: int) -> None:
    event = tx.event(codes.PROPERTIES_MODIFIED)
    a = event.workflow_properties_modified_event_attributes
    a.upserted_memo.CopyFrom(command.modify_workflow_properties_command_attributes.upserted_memo)
    a.workflow_task_completed_event_id = completed_event_id
    annotate(event, command)
    tx.append(event)
    tx.outcome.visibility_changed = True
