"""Commands that concern other runs: start a child, signal or cancel another workflow (2.2, 4.9).

Writes StartChildWorkflowExecutionInitiated, SignalExternalWorkflowExecutionInitiated and
RequestCancelExternalWorkflowExecutionInitiated; what becomes of them is `outbound`'s. Decides the defaults that will hold for a child.

Easily got wrong: a child whose workflow id is taken is no wrong command; that shows only when it is started. And all of this stays
within one namespace.
"""

from __future__ import annotations

from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import Command, StartChildWorkflowExecutionCommandAttributes
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent, StartChildWorkflowExecutionInitiatedEventAttributes

from perdure.engine.core import codes, cron, limits, retry
from perdure.engine.core.plan import Plan, PlannedOutbound, Refused
from perdure.engine.core.policies import is_reuse_policy
from perdure.engine.core.start import bounded, task_timeout
from perdure.engine.core.state import Run
from perdure.engine.core.times import earliest, set_ns
from perdure.engine.core.transaction import Transaction, annotate
from perdure.engine.core.upsert_commands import check_attributes


def _outbound(plan: Plan) -> PlannedOutbound:
    if plan.outbound is None:
        plan.outbound = PlannedOutbound(plan.run)
    return plan.outbound


def _check_namespace(run: Run, namespace: str, cause: WorkflowTaskFailedCause.ValueType) -> None:
    if namespace and namespace != run.namespace:
        raise Refused(cause, f"cross namespace commands are disabled: {run.namespace} to {namespace}")


def _check_texts(cause: WorkflowTaskFailedCause.ValueType, command: str, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        if not text:
            raise Refused(cause, f"{name} is not set on {command}.")
        if limits.too_long(text):
            raise Refused(cause, f"{name} on {command} exceeds length limit.")


def _check_run_id(run_id: str, cause: WorkflowTaskFailedCause.ValueType, command: str) -> None:
    if not run_id:
        return
    try:
        UUID(run_id)
    except ValueError:
        raise Refused(cause, f"Invalid RunId set on {command}. RunId={run_id}") from None


# Children.


def check_start_child(plan: Plan, command: Command) -> None:
    a = command.start_child_workflow_execution_command_attributes
    name = "StartChildWorkflowExecutionCommand"
    _check_namespace(plan.run, a.namespace, codes.BAD_START_CHILD)
    _check_texts(codes.BAD_START_CHILD, name, {"WorkflowId": a.workflow_id, "WorkflowType": a.workflow_type.name})
    wrong = _child_complaint(a)
    if wrong:
        raise Refused(codes.BAD_START_CHILD, f"{wrong} WorkflowId={a.workflow_id} WorkflowType={a.workflow_type.name}")
    if a.HasField("search_attributes"):
        check_attributes(plan, a.search_attributes.indexed_fields)
    if limits.too_large(a.input, plan.env.payload_bytes_max) or limits.too_large(a.memo, limits.MEMO_BYTES_MAX):
        message = "StartChildWorkflowExecutionCommandAttributes. Input or Memo exceeds size limit."
        raise Refused(codes.BAD_START_CHILD, message, terminate=True)
    planned = _outbound(plan)
    if planned.children >= limits.PENDING_CHILDREN_MAX:
        message = f"{planned.children} child workflows are pending, and no more than {limits.PENDING_CHILDREN_MAX} may be"
        raise Refused(codes.TOO_MANY_CHILDREN, message)
    planned.children += 1
    planned.children_ids.add(a.workflow_id)


def _child_complaint(a: StartChildWorkflowExecutionCommandAttributes) -> str:
    for name, span in (
        ("WorkflowExecutionTimeout", a.workflow_execution_timeout),
        ("WorkflowRunTimeout", a.workflow_run_timeout),
        ("WorkflowTaskTimeout", a.workflow_task_timeout),
    ):
        if span.seconds < 0 or span.nanos < 0:
            return f"Invalid {name} on StartChildWorkflowExecutionCommand."
    if limits.too_long(a.task_queue.name):
        return "TaskQueue on StartChildWorkflowExecutionCommand exceeds length limit."
    if a.task_queue.name.startswith(limits.RESERVED_QUEUES):
        return f"TaskQueue name cannot start with the reserved prefix {limits.RESERVED_QUEUES}."
    if a.HasField("priority") and (urgency := limits.priority_complaint(a.priority)):
        return urgency
    if not is_reuse_policy(a.workflow_id_reuse_policy):
        return "Unknown WorkflowIdReusePolicy on StartChildWorkflowExecutionCommand."
    wrong = retry.complaint(a.retry_policy) if a.HasField("retry_policy") else ""
    return wrong or (cron.complaint(a.cron_schedule) if a.cron_schedule else "")


def start_child(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.start_child_workflow_execution_command_attributes
    event = tx.event(codes.CHILD_INITIATED)
    a = event.start_child_workflow_execution_initiated_event_attributes
    a.namespace, a.namespace_id = tx.run.namespace, tx.env.namespace_id(tx.run.namespace)
    a.workflow_id = c.workflow_id
    a.workflow_type.CopyFrom(c.workflow_type)
    a.task_queue.name = c.task_queue.name or tx.run.task_queue
    a.task_queue.kind = codes.NORMAL_QUEUE
    run_timeout = earliest(bounded(c.workflow_run_timeout), bounded(c.workflow_execution_timeout))
    _set(a.workflow_execution_timeout, bounded(c.workflow_execution_timeout))
    _set(a.workflow_run_timeout, run_timeout)
    _set(a.workflow_task_timeout, task_timeout(bounded(c.workflow_task_timeout), run_timeout))
    a.parent_close_policy = c.parent_close_policy or codes.CLOSE_TERMINATES
    a.workflow_id_reuse_policy = c.workflow_id_reuse_policy or codes.REUSE_ALLOW
    a.control = c.control
    a.cron_schedule = c.cron_schedule
    a.inherit_build_id = c.inherit_build_id
    a.workflow_task_completed_event_id = completed_event_id
    _copy_child(a, c)
    _append(tx, command, event)


def _set(span: Duration, ns: int) -> None:
    span.SetInParent()
    set_ns(span, ns)


def _copy_child(a: StartChildWorkflowExecutionInitiatedEventAttributes, c: StartChildWorkflowExecutionCommandAttributes) -> None:
    if c.HasField("input"):
        a.input.CopyFrom(c.input)
    if c.HasField("header"):
        a.header.CopyFrom(c.header)
    if c.HasField("retry_policy"):
        a.retry_policy.CopyFrom(c.retry_policy)
        retry.fill(a.retry_policy)
    if c.HasField("memo"):
        a.memo.CopyFrom(c.memo)
    if c.HasField("search_attributes"):
        a.search_attributes.CopyFrom(c.search_attributes)
    if c.HasField("priority"):
        a.priority.CopyFrom(c.priority)
    if c.HasField("versioning_override"):
        a.versioning_override.CopyFrom(c.versioning_override)


def _append(tx: Transaction, command: Command, event: HistoryEvent) -> None:
    annotate(event, command)
    tx.append(event)


# Signals and cancel requests to others.


def check_signal_external(plan: Plan, command: Command) -> None:
    a = command.signal_external_workflow_execution_command_attributes
    cause, name = codes.BAD_SIGNAL_EXTERNAL, "SignalExternalWorkflowExecutionCommand"
    _check_namespace(plan.run, a.namespace, cause)
    if not a.HasField("execution"):
        raise Refused(cause, f"Execution is not set on {name}.")
    _check_texts(cause, name, {"WorkflowId": a.execution.workflow_id, "SignalName": a.signal_name})
    _check_run_id(a.execution.run_id, cause, name)
    if limits.too_large(a.input, plan.env.payload_bytes_max):
        raise Refused(cause, f"{name}Attributes.Input exceeds size limit.", terminate=True)
    planned = _outbound(plan)
    if planned.signals >= limits.PENDING_EXTERNAL_SIGNALS_MAX:
        message = f"{planned.signals} signals to other workflows are pending, and no more than {limits.PENDING_EXTERNAL_SIGNALS_MAX} may be"
        raise Refused(codes.TOO_MANY_SIGNALS, message)
    planned.signals += 1


def signal_external(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.signal_external_workflow_execution_command_attributes
    event = tx.event(codes.EXTERNAL_SIGNAL_INITIATED)
    a = event.signal_external_workflow_execution_initiated_event_attributes
    a.workflow_task_completed_event_id = completed_event_id
    a.namespace, a.namespace_id = tx.run.namespace, tx.env.namespace_id(tx.run.namespace)
    a.workflow_execution.CopyFrom(c.execution)
    a.signal_name = c.signal_name
    a.control = c.control
    a.child_workflow_only = c.child_workflow_only
    if c.HasField("input"):
        a.input.CopyFrom(c.input)
    if c.HasField("header"):
        a.header.CopyFrom(c.header)
    _append(tx, command, event)


def check_cancel_external(plan: Plan, command: Command) -> None:
    a = command.request_cancel_external_workflow_execution_command_attributes
    cause, name = codes.BAD_CANCEL_EXTERNAL, "RequestCancelExternalWorkflowExecutionCommand"
    _check_namespace(plan.run, a.namespace, cause)
    _check_texts(cause, name, {"WorkflowId": a.workflow_id})
    _check_run_id(a.run_id, cause, name)
    planned = _outbound(plan)
    if a.workflow_id in planned.children_ids:
        raise Refused(cause, f"Start and RequestCancel for child workflow is not allowed in same workflow task. WorkflowId={a.workflow_id}")
    if planned.cancels >= limits.PENDING_EXTERNAL_CANCELS_MAX:
        message = f"{planned.cancels} cancel requests are pending, and no more than {limits.PENDING_EXTERNAL_CANCELS_MAX} may be"
        raise Refused(codes.TOO_MANY_CANCELS, message)
    planned.cancels += 1


def cancel_external(tx: Transaction, command: Command, completed_event_id: int) -> None:
    c = command.request_cancel_external_workflow_execution_command_attributes
    event = tx.event(codes.EXTERNAL_CANCEL_INITIATED)
    a = event.request_cancel_external_workflow_execution_initiated_event_attributes
    a.workflow_task_completed_event_id = completed_event_id
    a.namespace, a.namespace_id = tx.run.namespace, tx.env.namespace_id(tx.run.namespace)
    a.workflow_execution.workflow_id = c.workflow_id
    a.workflow_execution.run_id = c.run_id
    a.control = c.control
    a.child_workflow_only = c.child_workflow_only
    a.reason = c.reason
    _append(tx, command, event)
