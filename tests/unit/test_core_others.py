"""Proves what one run does to another, at the core: commands and their defaults, answers, what comes in, and what a closed run owes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Memo, Priority, SearchAttributes, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent, SignalExternalWorkflowExecutionInitiatedEventAttributes
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest, TerminateWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_others import CHILD_RUN, PARENT, SENDER, close_event
from core_support import Driver, payload, payloads, seconds, start_request

from perdure.engine.core import describe, inbound, limits, outbound
from perdure.engine.core.others import END_CHILDREN, RESETTER, TELL_PARENT
from perdure.model.rpc import RpcError, StatusCode

TERMINATE, ABANDON, CANCEL = 1, 2, 3
CHILD = WorkflowExecution(workflow_id="child", run_id=CHILD_RUN)


def last(driver: Driver) -> HistoryEvent:
    return driver.events[-1]


def with_child(**fields: Any) -> tuple[Driver, int]:
    """A run with a pending child; the id of the event that initiated it."""
    driver = Driver()
    driver.complete(commands.start_child(**fields))
    return driver, 5


def started(**fields: Any) -> tuple[Driver, int]:
    driver, key = with_child(**fields)
    driver.do(outbound.ChildStarted(key, CHILD_RUN))
    driver.complete()
    return driver, key


# Starting a child.


def test_a_child_gets_its_defaults_when_it_is_initiated() -> None:
    driver, key = with_child(workflow_execution_timeout=seconds(90))
    assert driver.kinds[-1] == "StartChildWorkflowExecutionInitiated" and driver.kinds.count("WorkflowTaskScheduled") == 1
    a = last(driver).start_child_workflow_execution_initiated_event_attributes
    assert (a.namespace, a.workflow_id, a.workflow_type.name, a.task_queue.name) == ("ns", "child", "Child", "queue")
    assert (a.workflow_run_timeout.seconds, a.workflow_task_timeout.seconds) == (90, 10)
    assert (a.parent_close_policy, a.workflow_id_reuse_policy, a.workflow_task_completed_event_id) == (TERMINATE, 1, 4)
    assert list(driver.run.unsent) == [key]


def test_what_a_child_is_started_with() -> None:
    fields: dict[str, Any] = {
        "task_queue": {"name": "elsewhere"},
        "memo": Memo(fields={"m": payload("1")}),
        "search_attributes": SearchAttributes(indexed_fields={"x": payload("2")}),
        "header": {"fields": {"h": payload("3")}},
        "retry_policy": {"maximum_attempts": 3},
        "cron_schedule": "@every 9s",
        "priority": Priority(fairness_key="theirs"),
        "workflow_id_reuse_policy": 3,
    }
    driver = Driver(start_request(priority=Priority(priority_key=2, fairness_key="ours")))
    command = commands.start_child(**fields)
    command.user_metadata.summary.CopyFrom(payload("summary"))
    driver.complete(command)
    message = outbound.message(driver.run, 5)
    assert isinstance(message, outbound.StartChild)
    request = message.request
    assert (request.task_queue.name, request.cron_schedule, request.workflow_id_reuse_policy) == ("elsewhere", "@every 9s", 3)
    assert request.memo == fields["memo"] and request.search_attributes.indexed_fields["x"].data == payload("2").data
    assert request.header.fields["h"] == payload("3") and request.input == payloads("in")
    assert request.retry_policy.maximum_attempts == 3 and request.retry_policy.backoff_coefficient == 2
    assert (request.priority.priority_key, request.priority.fairness_key) == (2, "theirs")
    assert request.user_metadata.summary == payload("summary")
    assert request.request_id == f"{driver.run.run_id}:5"
    child = Driver(request, parent=message.parent)
    a = child.run.start
    assert (a.parent_workflow_namespace, a.parent_workflow_namespace_id, a.parent_initiated_event_id) == ("ns", "id of ns", 5)
    assert a.parent_workflow_execution == a.root_workflow_execution == WorkflowExecution(workflow_id="wf", run_id=driver.run.run_id)
    info = describe(child.run).workflow_execution_info
    assert info.parent_execution == info.root_execution == a.parent_workflow_execution


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"namespace": "elsewhere"}, "BadStartChildExecutionAttributes"),
        ({"workflow_id": "x" * 1001}, "BadStartChildExecutionAttributes"),
        ({"workflow_run_timeout": seconds(-1)}, "BadStartChildExecutionAttributes"),
        ({"task_queue": {"name": "x" * 1001}}, "BadStartChildExecutionAttributes"),
        ({"retry_policy": {"backoff_coefficient": 0.5}}, "BadStartChildExecutionAttributes"),
        ({"cron_schedule": "never"}, "BadStartChildExecutionAttributes"),
        ({"workflow_id_reuse_policy": 77}, "BadStartChildExecutionAttributes"),
    ],
)
def test_a_child_that_is_badly_described_fails_the_task(fields: dict[str, Any], cause: str) -> None:
    driver = Driver()
    assert str(driver.complete(commands.start_child(**fields)).error).startswith(f"INVALID_ARGUMENT: {cause}")
    assert driver.kinds[-1] == "WorkflowTaskFailed" and not driver.run.children


def test_a_child_whose_attributes_are_too_large_ends_the_run() -> None:
    for fields in ({"input": payloads("x" * (2 << 20))}, {"search_attributes": {"indexed_fields": {"x": payload("x" * 3000)}}}):
        driver = Driver()
        driver.complete(commands.start_child(**fields))
        assert driver.kinds[-2:] == ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]


@pytest.mark.parametrize(
    ("command", "limit", "cause"),
    [
        (commands.start_child, "PENDING_CHILDREN_MAX", "PendingChildWorkflowsLimitExceeded"),
        (commands.signal_external, "PENDING_EXTERNAL_SIGNALS_MAX", "PendingSignalsLimitExceeded"),
        (commands.cancel_external, "PENDING_EXTERNAL_CANCELS_MAX", "PendingRequestCancelLimitExceeded"),
    ],
)
def test_too_many_at_a_time_fail_the_task(command: Any, limit: str, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, limit, 3)
    driver = Driver()
    driver.complete(command(), command())
    driver.signal()
    assert str(driver.complete(command(), command()).error).startswith(f"INVALID_ARGUMENT: {cause}")
    driver.complete(command())
    assert len(driver.run.unsent) == 3


def test_a_child_that_started_is_recorded_and_wakes_its_parent() -> None:
    driver, key = with_child(header={"fields": {"h": payload("3")}})
    driver.do(outbound.ChildStarted(key, CHILD_RUN))
    assert driver.kinds[-2:] == ["ChildWorkflowExecutionStarted", "WorkflowTaskScheduled"]
    a = driver.events[-2].child_workflow_execution_started_event_attributes
    assert (a.initiated_event_id, a.workflow_execution, a.workflow_type.name) == (key, CHILD, "Child")
    assert (a.namespace, a.namespace_id) == ("ns", "id of ns")
    assert a.header.fields["h"] == payload("3")
    (pending,) = describe(driver.run).pending_children
    assert (pending.workflow_id, pending.run_id, pending.initiated_id, pending.parent_close_policy) == ("child", CHILD_RUN, key, TERMINATE)
    assert not driver.run.unsent
    with pytest.raises(RpcError):
        driver.do(outbound.ChildStarted(key, CHILD_RUN))


def test_a_child_that_cannot_start_is_recorded_and_no_longer_pending() -> None:
    driver, key = with_child(control="c")
    driver.do(outbound.ChildRefused(key, 1))
    a = driver.events[-2].start_child_workflow_execution_failed_event_attributes
    assert (a.cause, a.initiated_event_id, a.workflow_id, a.workflow_task_completed_event_id, a.control) == (1, key, "child", 4, "c")
    assert not driver.run.children and not driver.run.unsent


# The end of a child.


@pytest.mark.parametrize(
    ("kind", "name"),
    [(0, "Completed"), (1, "Failed"), (2, "Canceled"), (3, "TimedOut"), (4, "Terminated")],
)
def test_each_end_of_a_child(kind: int, name: str) -> None:
    driver, key = started()
    driver.do(inbound.ChildClosed(key, CHILD_RUN, WorkflowExecution(workflow_id="child", run_id="last"), close_event(kind)))
    assert driver.kinds[-2:] == [f"ChildWorkflowExecution{name}", "WorkflowTaskScheduled"]
    event = driver.events[-2]
    a = getattr(event, event.WhichOneof("attributes"))
    assert (a.initiated_event_id, a.started_event_id, a.workflow_execution.run_id, a.workflow_type.name) == (key, 6, "last", "Child")
    if kind == 0:
        assert a.result == payloads("done")
    elif kind == 1:
        assert (a.failure.message, a.retry_state) == ("bad", 5)
    elif kind == 2:
        assert a.details == payloads("why")
    elif kind == 3:
        assert a.retry_state == 3
    assert not driver.run.children


def test_an_end_that_nobody_waits_for_changes_nothing() -> None:
    driver, key = started()
    for closed in (inbound.ChildClosed(key, "another", CHILD, close_event(0)), inbound.ChildClosed(99, CHILD_RUN, CHILD, close_event(0))):
        with pytest.raises(RpcError) as caught:
            driver.do(closed)
        assert caught.value.code is StatusCode.NOT_FOUND


def test_start_and_end_of_a_child_that_wait_in_the_buffer_find_each_other() -> None:
    driver, key = with_child()
    driver.signal()
    task = driver.take()
    driver.do(outbound.ChildStarted(key, CHILD_RUN))
    driver.do(inbound.ChildClosed(key, CHILD_RUN, CHILD, close_event(0)))
    driver.signal()
    driver.reload()
    driver.complete(task=task)
    assert driver.kinds[-5:] == [
        "WorkflowTaskCompleted",
        "ChildWorkflowExecutionStarted",
        "WorkflowExecutionSignaled",
        "ChildWorkflowExecutionCompleted",
        "WorkflowTaskScheduled",
    ]
    assert driver.events[-2].child_workflow_execution_completed_event_attributes.started_event_id == driver.events[-4].event_id


# What a closed run owes.


def test_a_closed_run_owes_its_children_their_end_but_not_those_that_never_started_or_are_abandoned() -> None:
    driver = Driver()
    driver.complete(
        *(commands.start_child(f"c{p}", parent_close_policy=p) for p in (TERMINATE, ABANDON, CANCEL)), commands.start_child("late")
    )
    for key in (5, 6, 7):
        driver.do(outbound.ChildStarted(key, f"run-{key}"))
    driver.complete(commands.complete())
    assert list(driver.run.unsent) == [END_CHILDREN] and not describe(driver.run).pending_children
    message = outbound.message(driver.run, END_CHILDREN)
    assert isinstance(message, outbound.EndChildren)
    assert [(c.workflow_id, c.terminate, c.sender.first_run_id) for c in message.children] == [
        ("c1", True, "run-5"),
        ("c3", False, "run-7"),
    ]
    driver.reload()
    assert list(driver.run.unsent) == [END_CHILDREN] and len(driver.run.children) == 2
    assert driver.do(outbound.Discharged(END_CHILDREN)).changed and not driver.run.unsent
    driver.reload()
    assert not driver.run.unsent and not driver.run.children
    assert not driver.do(outbound.Discharged(END_CHILDREN)).changed


@pytest.mark.parametrize("close", [commands.complete(), commands.fail(), commands.cancel()])
def test_a_closed_child_owes_its_parent_the_news(close: Any) -> None:
    driver = Driver(parent=PARENT)
    driver.complete(close)
    driver.reload()
    assert list(driver.run.unsent) == [TELL_PARENT]
    assert outbound.message(driver.run, TELL_PARENT) == outbound.TellParent(TELL_PARENT, "parent", PARENT.run_id, 5)
    driver.do(outbound.Discharged(TELL_PARENT))
    driver.reload()
    assert not driver.run.unsent


def test_only_the_last_run_of_a_chain_tells_the_parent_and_each_knows_it() -> None:
    driver = Driver(start_request(retry_policy={"maximum_attempts": 2}), parent=PARENT)
    driver.complete(commands.fail())
    assert not driver.ledgers[0].run.unsent
    driver.later(1)
    driver.complete(commands.continue_as_new())
    driver.later(1)
    assert not driver.ledgers[1].run.unsent
    assert (driver.run.start.parent_workflow_execution.run_id, driver.run.start.root_workflow_execution.workflow_id) == (
        PARENT.run_id,
        "root",
    )
    driver.complete(commands.complete())
    assert list(driver.run.unsent) == [TELL_PARENT]
    cron = Driver(start_request(cron_schedule="@every 5s"), parent=PARENT)
    cron.later(5)
    cron.complete(commands.complete())
    assert len(cron.ledgers) == 2 and not cron.ledgers[0].run.unsent


def test_a_run_that_continues_ends_its_children() -> None:
    driver, _ = started()
    driver.signal()
    driver.complete(commands.continue_as_new())
    assert list(driver.ledgers[0].run.unsent) == [END_CHILDREN] and not driver.run.children


def test_a_run_that_was_reset_owes_nothing() -> None:
    driver = Driver(parent=PARENT)
    driver.complete(commands.start_child())
    driver.do(outbound.ChildStarted(5, CHILD_RUN))
    driver.do(TerminateWorkflowExecutionRequest(reason="reset", identity=RESETTER))
    assert not driver.run.unsent and not driver.run.children


# Signals and cancel requests to others.


def test_a_signal_to_another_workflow() -> None:
    driver = Driver()
    driver.complete(commands.signal_external(control="c", input=payloads("x"), header={"fields": {"h": payload("3")}}))
    message = outbound.message(driver.run, 5)
    assert isinstance(message, outbound.ToExternal) and isinstance(message.request, inbound.SignalFromWorkflow)
    receiver = Driver(start_request(workflow_id="other"))
    receiver.do(message.request)
    a = receiver.events[-1].workflow_execution_signaled_event_attributes
    assert (a.signal_name, a.identity, a.input) == ("go", "history-service", payloads("x"))
    assert a.external_workflow_execution == WorkflowExecution(workflow_id="wf", run_id=driver.run.run_id)
    assert a.header.fields["h"] == payload("3")
    assert not receiver.do(message.request).changed  # it is known by its request id
    driver.do(outbound.ExternalReached(5))
    a = driver.events[-2].external_workflow_execution_signaled_event_attributes
    assert (a.initiated_event_id, a.workflow_execution.workflow_id, a.control) == (5, "other", "c")
    assert driver.kinds[-1] == "WorkflowTaskScheduled"


@pytest.mark.parametrize("cause", [1, 3])
def test_a_signal_that_does_not_arrive(cause: Any) -> None:
    driver = Driver()
    driver.complete(commands.signal_external(control="c"))
    driver.do(outbound.SignalRefused(5, cause))
    a = driver.events[-2].signal_external_workflow_execution_failed_event_attributes
    assert (a.cause, a.initiated_event_id, a.workflow_execution.workflow_id, a.control) == (cause, 5, "other", "c")
    assert a.workflow_task_completed_event_id == 0 and not driver.run.externals


def test_a_cancel_request_to_another_workflow() -> None:
    driver = Driver()
    driver.complete(commands.cancel_external(reason="why"))
    message = outbound.message(driver.run, 5)
    assert isinstance(message, outbound.ToExternal)
    receiver = Driver(start_request(workflow_id="other", workflow_start_delay=seconds(60)))
    receiver.do(message.request)
    assert receiver.kinds[-2:] == ["WorkflowExecutionCancelRequested", "WorkflowTaskScheduled"]
    a = receiver.events[-2].workflow_execution_cancel_requested_event_attributes
    assert (a.cause, a.identity, a.external_initiated_event_id) == ("why", "history-service", 5)
    assert a.external_workflow_execution.workflow_id == "wf"
    assert not receiver.do(message.request).changed
    driver.do(outbound.ExternalReached(5))
    assert driver.kinds[-2] == "ExternalWorkflowExecutionCancelRequested"
    driver.complete(commands.cancel_external())
    driver.do(outbound.CancelRefused(driver.events[-1].event_id, 1))
    a = driver.events[-2].request_cancel_external_workflow_execution_failed_event_attributes
    assert (a.cause, a.workflow_execution.workflow_id) == (1, "other")


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (commands.signal_external(""), "BadSignalWorkflowExecutionAttributes"),
        (commands.signal_external(signal_name="x" * 1001), "BadSignalWorkflowExecutionAttributes"),
        (commands.signal_external(execution={"run_id": "no"}), "BadSignalWorkflowExecutionAttributes"),
        (commands.signal_external(namespace="elsewhere"), "BadSignalWorkflowExecutionAttributes"),
        (commands.cancel_external(""), "BadRequestCancelExternalWorkflowExecutionAttributes"),
        (commands.cancel_external(run_id="no"), "BadRequestCancelExternalWorkflowExecutionAttributes"),
        (commands.cancel_external(namespace="elsewhere"), "BadRequestCancelExternalWorkflowExecutionAttributes"),
    ],
)
def test_what_is_badly_addressed_fails_the_task(command: Any, cause: str) -> None:
    driver = Driver()
    assert str(driver.complete(command).error).startswith(f"INVALID_ARGUMENT: {cause}")
    assert driver.kinds[-1] == "WorkflowTaskFailed" and not driver.run.externals


def test_a_child_cannot_be_cancelled_by_the_completion_that_starts_it() -> None:
    driver = Driver()
    outcome = driver.complete(commands.start_child(), commands.cancel_external("child"))
    assert str(outcome.error).startswith("INVALID_ARGUMENT: BadRequestCancelExternalWorkflowExecutionAttributes")


def test_what_goes_to_a_child_waits_until_its_start_is_delivered() -> None:
    driver = Driver()
    driver.complete(
        commands.signal_external("child"), commands.start_child(), commands.signal_external("child"), commands.signal_external()
    )
    assert [outbound.is_held_back(driver.run, key) for key in driver.run.unsent] == [False, False, True, False]
    driver.do(outbound.ChildStarted(6, CHILD_RUN))
    assert not any(outbound.is_held_back(driver.run, key) for key in driver.run.unsent)


def test_only_the_parent_counts_where_only_the_parent_may() -> None:
    signal = SignalExternalWorkflowExecutionInitiatedEventAttributes(signal_name="go")
    driver = Driver(parent=PARENT)
    strangers = (SENDER._replace(workflow_id="x"), SENDER._replace(run_id="x"))
    for stranger in strangers:
        for request in (
            inbound.SignalFromWorkflow(stranger, signal, "r", True),
            inbound.CancelFromWorkflow(stranger, 5, "", True),
            inbound.TerminateByParent(stranger),
        ):
            with pytest.raises(RpcError) as caught:
                driver.do(request)
            assert caught.value.code is StatusCode.NOT_FOUND
    # A parent that was reset has another run id, and knows the child by the first run of its chain.
    driver.do(inbound.SignalFromWorkflow(SENDER._replace(run_id="x", first_run_id=driver.run.run_id), signal, "r", True))
    driver.do(inbound.SignalFromWorkflow(strangers[0], signal, "s", False))
    driver.do(inbound.CancelFromWorkflow(SENDER, 5, "", True))
    driver.do(inbound.TerminateByParent(SENDER))
    a = last(driver).workflow_execution_terminated_event_attributes
    assert (a.reason, a.identity) == ("by parent close policy", "history-service")
    assert not driver.do(inbound.TerminateByParent(SENDER)).changed
    assert not driver.do(inbound.CancelFromWorkflow(SENDER, 5, "", True)).changed
    with pytest.raises(RpcError):
        driver.do(inbound.SignalFromWorkflow(SENDER, signal, "t", True))


def test_a_closed_run_sends_nothing_more() -> None:
    driver = Driver()
    driver.complete(commands.signal_external(), commands.start_child())
    driver.do(RequestCancelWorkflowExecutionRequest())
    driver.complete(commands.cancel())
    assert not driver.run.unsent and outbound.message(driver.run, 5) is None
    for answer in (outbound.ExternalReached(5), outbound.ChildStarted(6, CHILD_RUN), outbound.SignalRefused(5, 1)):
        with pytest.raises(RpcError):
            driver.do(answer)
