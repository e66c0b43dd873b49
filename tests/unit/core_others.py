"""What runs do to each other, made from numbers: commands to others, their answers, and what comes in from other runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import core_commands as commands
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent, SignalExternalWorkflowExecutionInitiatedEventAttributes

from perdure.engine.core import Parent, Run, inbound, nexus_answers, outbound
from perdure.engine.core.others import CALL_BACK, END_CHILDREN, TELL_PARENT

PARENT = Parent("ns", "id of ns", "parent", "01890000-0000-7000-8000-00000000aaaa", 5, WorkflowExecution(workflow_id="root", run_id="r"))
SENDER = inbound.Sender(PARENT.workflow_id, PARENT.run_id, "")
CHILD_RUN = "01890000-0000-7000-8000-00000000cccc"
Pick = Callable[[int], int]


def command(pick: Pick, ident: str) -> Command:
    """A command that concerns another workflow, wrong at times."""
    fields: dict[str, Any]
    kind = pick(11)
    if kind == 8:
        return commands.cancel_operation(5 + pick(30))
    if kind > 8:
        fields = {"schedule_to_close_timeout": {"seconds": pick(3) * 20}, "start_to_close_timeout": {"seconds": pick(3) * 9}}
        return commands.schedule_operation("endpoint" if pick(12) else "nowhere", **fields)
    if kind < 4:
        fields = {"parent_close_policy": pick(4)}
        if pick(12) == 0:
            fields["namespace"] = "elsewhere"
        return commands.start_child(ident, **fields)
    if kind < 6:
        return commands.signal_external(ident if pick(8) else "", child_workflow_only=bool(pick(2)))
    return commands.cancel_external(ident, run_id="" if pick(8) else "no run id")


def request(pick: Pick, run: Run) -> Any:
    """What comes from another run: an answer, mostly to something that was sent, or something that the other does."""
    kind = pick(8)
    if pick(2) and any(child.run_id for child in run.children.values()):
        return child_closed(pick, run)
    if kind < 4:
        return answer(pick, run)
    if kind < 6:
        return child_closed(pick, run)
    return received(pick)


def answer(pick: Pick, run: Run) -> Any:
    keys = [*run.unsent, *run.children, 3]
    key = keys[pick(len(keys)) if pick(4) == 0 else 0]
    if run.operations and pick(3):
        return operation_answer(pick, run)
    if key in (TELL_PARENT, END_CHILDREN, CALL_BACK):
        return outbound.Discharged(key)
    if key in run.children or pick(8) == 0:
        return outbound.ChildStarted(key, CHILD_RUN) if pick(4) else outbound.ChildRefused(key, 1)
    external = run.externals.get(key)
    if external is None or pick(2):
        return outbound.ExternalReached(key)
    if external.event.event_type == E.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED:
        return outbound.SignalRefused(key, 1)
    return outbound.CancelRefused(key, 1)


def operation_answer(pick: Pick, run: Run) -> Any:
    """An answer to an operation that is pending, or to its cancellation."""
    operations = list((run.operations or {}).values())
    op = operations[pick(len(operations))]
    kind = pick(6)
    key, request_id = op.scheduled_event_id, op.attributes.request_id
    if kind < 2:
        return nexus_answers.OperationStarted(key, "token")
    if kind == 2:
        return nexus_answers.CancelAnswered(op.cancel_event_id, None if pick(2) else Failure(message="no"))
    if kind == 3:
        return nexus_answers.OperationEnded(key, request_id, failure=Failure(message="bad"), canceled=bool(pick(2)))
    return nexus_answers.OperationEnded(key, request_id, commands.payload("done"), token="token" if pick(2) else "")


def child_closed(pick: Pick, run: Run) -> inbound.ChildClosed:
    started = [key for key, child in run.children.items() if child.run_id]
    key = started[pick(len(started))] if started and pick(6) else pick(30)
    execution = WorkflowExecution(workflow_id="child", run_id=CHILD_RUN)
    return inbound.ChildClosed(key, CHILD_RUN if pick(8) else "another", execution, close_event(pick(5)))


def close_event(kind: int) -> HistoryEvent:
    event = HistoryEvent(event_id=9)
    if kind == 0:
        event.event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED
        event.workflow_execution_completed_event_attributes.result.CopyFrom(commands.payloads("done"))
    elif kind == 1:
        event.event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED
        event.workflow_execution_failed_event_attributes.failure.CopyFrom(Failure(message="bad"))
        event.workflow_execution_failed_event_attributes.retry_state = 5
    elif kind == 2:
        event.event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED
        event.workflow_execution_canceled_event_attributes.details.CopyFrom(commands.payloads("why"))
    elif kind == 3:
        event.event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT
        event.workflow_execution_timed_out_event_attributes.retry_state = 3
    else:
        event.event_type = E.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
        event.workflow_execution_terminated_event_attributes.reason = "enough"
    return event


def received(pick: Pick) -> inbound.Received:
    sender = SENDER if pick(4) else SENDER._replace(run_id="another")
    kind = pick(12)
    if kind < 7:
        signal = SignalExternalWorkflowExecutionInitiatedEventAttributes(signal_name="go")
        return inbound.SignalFromWorkflow(sender, signal, f"x{pick(20)}", bool(pick(2)))
    if kind < 11:
        return inbound.CancelFromWorkflow(sender, 7, "stop", bool(pick(2)))
    return inbound.TerminateByParent(sender)
