"""The commands that close a run: complete, fail, cancel, continue as new (2.2).

Writes WorkflowExecutionCompleted and WorkflowExecutionCanceled; failing and continuing make runs and are `continuing`'s.

Easily got wrong: a run is not closed over events that it has not seen. If anything was buffered when the completion
began, a close command is UNHANDLED_COMMAND, all commands are void, and the workflow is asked again.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.command.v1 import Command
from temporalio.api.history.v1 import WorkflowExecutionCompletedEventAttributes

from perdure.engine.core import codes, cron, limits, retry
from perdure.engine.core.apply import closed
from perdure.engine.core.closing import void
from perdure.engine.core.continuing import complete_cron, continue_as_new, fail_run
from perdure.engine.core.plan import Plan, Refused
from perdure.engine.core.transaction import Transaction, annotate, annotation
from perdure.engine.core.upsert_commands import check_attributes
from perdure.model.framing import framed, tag

_RESULT: Final = tag(WorkflowExecutionCompletedEventAttributes, "result")


def _check_seen(plan: Plan) -> None:
    if plan.buffered:
        raise Refused(codes.UNHANDLED_COMMAND, "")


def check_complete(plan: Plan, command: Command) -> None:
    _check_seen(plan)
    if limits.too_large(command.complete_workflow_execution_command_attributes.result, plan.env.payload_bytes_max):
        message = "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit."
        raise Refused(codes.BAD_COMPLETE_WORKFLOW, message, terminate=True)


def complete(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.complete_workflow_execution_command_attributes
    if tx.run.start.cron_schedule:
        complete_cron(tx, command, completed_event_id)
        return
    a = WorkflowExecutionCompletedEventAttributes()
    a.workflow_task_completed_event_id = completed_event_id
    attributes = a.SerializeToString()
    if c.HasField("result"):
        attributes += framed(_RESULT, c.result.SerializeToString())
    rest = annotation(command) if command.HasField("user_metadata") or command.event_group_markers else b""
    tx.record(codes.WORKFLOW_COMPLETED, attributes, rest)
    closed(tx.run, codes.COMPLETED, tx.now)
    void(tx)


def check_fail(plan: Plan, command: Command) -> None:
    _check_seen(plan)
    a = command.fail_workflow_execution_command_attributes
    if not a.HasField("failure"):
        raise Refused(codes.BAD_FAIL_WORKFLOW, "Failure is not set on FailWorkflowExecutionCommand.")
    if limits.too_large(a.failure, plan.env.payload_bytes_max):
        raise Refused(codes.BAD_FAIL_WORKFLOW, "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit.", terminate=True)


def fail(tx: Transaction, command: Command, completed_event_id: int) -> None:
    fail_run(tx, command, completed_event_id)


def check_cancel(plan: Plan, command: Command) -> None:
    _check_seen(plan)
    if limits.too_large(command.cancel_workflow_execution_command_attributes.details, plan.env.payload_bytes_max):
        message = "CancelWorkflowExecutionCommandAttributes.Details exceeds size limit."
        raise Refused(codes.BAD_CANCEL_WORKFLOW, message, terminate=True)


def cancel(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.cancel_workflow_execution_command_attributes
    event = tx.event(codes.WORKFLOW_CANCELED)
    a = event.workflow_execution_canceled_event_attributes
    a.workflow_task_completed_event_id = completed_event_id
    if c.HasField("details"):
        a.details.CopyFrom(c.details)
    annotate(event, command)
    tx.append(event)
    void(tx)


def check_continue(plan: Plan, command: Command) -> None:
    _check_seen(plan)
    a = command.continue_as_new_workflow_execution_command_attributes
    wrong = ""
    for name, text in (("WorkflowType", a.workflow_type.name), ("TaskQueue", a.task_queue.name)):
        if limits.too_long(text):
            wrong = f"{name} on ContinueAsNewWorkflowExecutionCommand exceeds length limit."
    if a.task_queue.name.startswith(limits.RESERVED_QUEUES):
        wrong = f"TaskQueue name cannot start with the reserved prefix {limits.RESERVED_QUEUES}."
    for span in (a.workflow_run_timeout, a.workflow_task_timeout, a.backoff_start_interval):
        if span.seconds < 0 or span.nanos < 0:
            wrong = "a timeout on ContinueAsNewWorkflowExecutionCommand is negative"
    if not wrong and a.HasField("retry_policy"):
        wrong = retry.complaint(a.retry_policy)
    if not wrong and a.cron_schedule:
        wrong = cron.complaint(a.cron_schedule)
    if wrong:
        raise Refused(codes.BAD_CONTINUE_AS_NEW, wrong)
    if a.HasField("search_attributes"):
        check_attributes(plan, a.search_attributes.indexed_fields)
    if limits.too_large(a.input, plan.env.payload_bytes_max) or limits.too_large(a.memo, limits.MEMO_BYTES_MAX):
        message = "ContinueAsNewWorkflowExecutionCommandAttributes. Input or Memo exceeds size limit."
        raise Refused(codes.BAD_CONTINUE_AS_NEW, message, terminate=True)


def continue_run(tx: Transaction, command: Command, completed_event_id: int) -> None:
    continue_as_new(tx, command, completed_event_id)
