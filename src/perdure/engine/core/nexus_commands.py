"""Commands that concern Nexus operations: start one, ask one to cancel itself.

Writes NexusOperationScheduled and NexusOperationCancelRequested; what becomes of them is `nexus_answers`'s.

Easily got wrong: an operation whose end is buffered may still be asked to cancel itself: its worker cannot know. The event is
written, and nothing comes of it.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.command.v1 import Command, ScheduleNexusOperationCommandAttributes

from perdure.engine.core import codes, limits
from perdure.engine.core.nexus import ENDS, find
from perdure.engine.core.plan import Plan, PlannedOperations, Refused
from perdure.engine.core.start import bounded
from perdure.engine.core.state import Run
from perdure.engine.core.times import earliest, set_ns
from perdure.engine.core.transaction import Transaction, annotate

_NAME: Final = "ScheduleNexusOperationCommand"


def _planned(plan: Plan) -> PlannedOperations:
    if plan.operations is None:
        plan.operations = PlannedOperations(plan.run)
    return plan.operations


def check_schedule(plan: Plan, command: Command) -> None:
    a = command.schedule_nexus_operation_command_attributes
    wrong = _complaint(a)
    if not wrong and not plan.env.endpoint_id(a.endpoint):
        wrong = f'endpoint "{a.endpoint}" not found'
    if wrong:
        raise Refused(codes.BAD_SCHEDULE_OPERATION, wrong)
    if limits.too_large(a.input, plan.env.payload_bytes_max):
        raise Refused(codes.BAD_SCHEDULE_OPERATION, f"{_NAME}Attributes.Input exceeds size limit.", terminate=True)
    planned = _planned(plan)
    if len(planned.pending) >= limits.PENDING_OPERATIONS_MAX:
        message = f"workflow has reached the pending nexus operation limit of {limits.PENDING_OPERATIONS_MAX} for this namespace"
        raise Refused(codes.TOO_MANY_OPERATIONS, message)
    planned.pending.add(plan.next_event_id)


def _complaint(a: ScheduleNexusOperationCommandAttributes) -> str:
    for name, text in (("Endpoint", a.endpoint), ("Service", a.service), ("Operation", a.operation)):
        if not text:
            return f"{name} is not set on {_NAME}."
        if limits.too_long(text):
            return f"{name} on {_NAME} exceeds length limit."
    if sum(len(key.encode()) + len(value.encode()) for key, value in a.nexus_header.items()) > limits.NEXUS_HEADER_BYTES_MAX:
        return f"NexusHeader on {_NAME} exceeds size limit of {limits.NEXUS_HEADER_BYTES_MAX} bytes."
    for span, name in (
        (a.schedule_to_close_timeout, "ScheduleToCloseTimeout"),
        (a.schedule_to_start_timeout, "ScheduleToStartTimeout"),
        (a.start_to_close_timeout, "StartToCloseTimeout"),
    ):
        if span.seconds < 0 or span.nanos < 0:
            return f"Invalid {name} on {_NAME}."
    return ""


def schedule(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.schedule_nexus_operation_command_attributes
    event = tx.event(codes.OPERATION_SCHEDULED)
    a = event.nexus_operation_scheduled_event_attributes
    a.endpoint, a.service, a.operation = c.endpoint, c.service, c.operation
    a.endpoint_id = tx.env.endpoint_id(c.endpoint)
    a.request_id = tx.env.new_uuid()
    a.workflow_task_completed_event_id = completed_event_id
    if c.HasField("input"):
        a.input.CopyFrom(c.input)
    for key, value in c.nexus_header.items():
        a.nexus_header[key.lower()] = value
    whole = earliest(bounded(c.schedule_to_close_timeout), tx.run.run_timeout)
    for span, ns in (
        (a.schedule_to_close_timeout, whole),
        (a.schedule_to_start_timeout, bounded(c.schedule_to_start_timeout)),
        (a.start_to_close_timeout, bounded(c.start_to_close_timeout)),
    ):
        span.SetInParent()
        set_ns(span, ns)
    annotate(event, command)
    tx.append(event)


def check_cancel(plan: Plan, command: Command) -> None:
    scheduled = command.request_cancel_nexus_operation_command_attributes.scheduled_event_id
    planned = _planned(plan)
    op = find(plan.run, scheduled)
    if scheduled in planned.cancelled or (op is not None and op.cancel_event_id):
        message = f"cancelation was already requested for an operation with scheduled event ID {scheduled}"
        raise Refused(codes.BAD_CANCEL_OPERATION, message)
    if scheduled not in planned.pending and not _ends_in_buffer(plan.run, scheduled):
        message = f"requested cancelation for a non-existing or already completed operation with scheduled event ID of {scheduled}"
        raise Refused(codes.BAD_CANCEL_OPERATION, message)
    planned.cancelled.add(scheduled)


def _ends_in_buffer(run: Run, scheduled_event_id: int) -> bool:
    for event in run.buffered:
        where = ENDS.get(event.event_type)
        if where is not None and getattr(event, where).scheduled_event_id == scheduled_event_id:
            return True
    return False


def cancel(tx: Transaction, command: Command, completed_event_id: int) -> None:
    event = tx.event(codes.OPERATION_CANCEL_REQUESTED)
    a = event.nexus_operation_cancel_requested_event_attributes
    a.scheduled_event_id = command.request_cancel_nexus_operation_command_attributes.scheduled_event_id
    a.workflow_task_completed_event_id = completed_event_id
    annotate(event, command)
    tx.append(event)
