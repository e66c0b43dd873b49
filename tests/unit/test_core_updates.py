"""Proves the rules of updates and of the speculative workflow tasks made for them (2.6, 4.10), whole event sequences included."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType, SuggestContinueAsNewReason, TimeoutType, WorkflowTaskFailedCause
from temporalio.api.errordetails.v1 import PermissionDeniedFailure, ResourceExhaustedFailure, WorkflowNotReadyFailure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Request
from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as c
from core_support import BEGIN, Driver, payloads, start_request
from core_updates import acceptance, rejection, response, update_request

from perdure.engine.core import (
    Abort,
    FireTimers,
    StartedWorkflowTask,
    StickyUnavailable,
    TaskKind,
    WorkflowTaskReady,
    apply,
    check_update,
    poll_response,
    update_state,
)
from perdure.engine.core.codes import STAGE_ACCEPTED, STAGE_ADMITTED, STAGE_COMPLETED
from perdure.model.rpc import RpcError, StatusCode

IDLE = ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
UPDATED = ["WorkflowExecutionUpdateAccepted", "WorkflowExecutionUpdateCompleted"]
DISCARDING = {"discard_speculative_workflow_task_with_events": True}


def idle(**fields: Any) -> Driver:
    """A run whose first workflow task is done."""
    driver = Driver(start_request(**fields))
    driver.complete()
    return driver


def messages_of(task: StartedWorkflowTask) -> list[ProtocolMessage]:
    return list(poll_response(task, () if task.events is None else None).messages)


def news(driver: Driver) -> list[tuple[str, int, Abort | None]]:
    return [(each.update_id, each.stage, each.abort) for each in driver.outcome.updates or ()]


def answer(driver: Driver, *messages: ProtocolMessage, task: StartedWorkflowTask | None = None, **fields: Any) -> None:
    driver.complete(*fields.pop("commands", ()), task=task, messages=messages, **fields)


def refusal(driver: Driver, request: object) -> RpcError:
    with pytest.raises(RpcError) as caught:
        driver.do(request)
    return caught.value


# Delivery.


def test_an_update_of_an_idle_run_brings_a_workflow_task_that_is_recorded_only_when_it_completes() -> None:
    driver = idle()
    outcome = driver.do(update_request("u1"))
    assert not outcome.changed and driver.kinds == IDLE
    task = driver.take()
    assert not driver.outcome.changed and driver.kinds == IDLE
    assert [e.event_id for e in task.suffix] == [5, 6] and task.started_event_id == 6
    (message,) = messages_of(task)
    request = Request()
    assert message.body.Unpack(request) and request.input.name == "add"
    assert (message.id, message.protocol_instance_id, message.event_id) == ("u1/request", "u1", 5)
    answer(driver, acceptance("u1", 5), response("u1", "three"), task=task)
    assert driver.kinds == IDLE + TASK + UPDATED
    accepted = driver.events[7].workflow_execution_update_accepted_event_attributes
    assert accepted.protocol_instance_id == "u1" and accepted.accepted_request_message_id == "u1/request"
    assert accepted.accepted_request_sequencing_event_id == 5 and accepted.accepted_request == request
    completed = driver.events[8].workflow_execution_update_completed_event_attributes
    assert completed.meta.update_id == "u1" and completed.accepted_event_id == 8 and completed.outcome.success == payloads("three")
    assert news(driver) == [("u1", STAGE_ACCEPTED, None), ("u1", STAGE_COMPLETED, None)]


def test_an_update_rides_on_the_first_task_of_a_run() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    task = driver.take()
    assert [m.event_id for m in messages_of(task)] == [2] and driver.kinds == IDLE[:3]
    answer(driver, acceptance("u1"), task=task)
    assert driver.kinds == [*IDLE, UPDATED[0]]


def test_a_poller_that_waits_gets_the_update_at_once() -> None:
    driver = idle()
    driver.env.polled = {(TaskKind.WORKFLOW, "queue")}
    driver.do(update_request("u1"))
    assert [m.protocol_instance_id for m in messages_of(driver.handed_task())] == ["u1"]


def test_updates_that_come_while_a_task_is_out_get_the_next_one_in_the_reply() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.do(update_request("u2"))
    driver.do(update_request("u3"))
    answer(driver, acceptance("u1", 5), response("u1"), task=task, return_new_workflow_task=True)
    assert driver.kinds == IDLE + TASK + UPDATED, "the next task is speculative again"
    following = driver.handed_task()
    assert [m.protocol_instance_id for m in messages_of(following)] == ["u2", "u3"]
    answer(driver, rejection("u2"), rejection("u3"), task=following, capabilities=DISCARDING)
    assert driver.kinds == IDLE + TASK + UPDATED


def test_without_a_new_task_in_the_reply_the_next_one_is_ordinary() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.do(update_request("u2"))
    answer(driver, acceptance("u1", 5), task=task)
    assert driver.kinds[-2:] == [UPDATED[0], "WorkflowTaskScheduled"]


def test_a_heartbeat_does_not_bring_the_same_update_twice_nor_lose_it() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.do(update_request("u2"))
    driver.env.now += 1
    driver.complete(task=task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    following = driver.handed_task()
    assert [m.protocol_instance_id for m in messages_of(following)] == ["u2"]
    answer(driver, acceptance("u1", 5), response("u1"), rejection("u2"), task=following)
    assert driver.kinds[-2:] == UPDATED


# Leaving no trace.


def test_a_rejection_leaves_no_event_and_its_id_may_be_used_again() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    answer(driver, rejection("u1"))
    assert driver.kinds == IDLE and not driver.outcome.changed
    assert driver.outcome.reply is not None and driver.outcome.reply.reset_history_event_id == 3  # type: ignore[attr-defined]
    (told,) = driver.outcome.updates or ()
    assert told.stage == STAGE_COMPLETED and told.outcome is not None and told.outcome.failure.message == "no"
    assert update_state(driver.run, "u1") is None
    driver.do(update_request("u1"))
    assert [m.event_id for m in messages_of(driver.take())] == [5]


def test_two_speculative_tasks_of_the_same_ids_have_different_tokens() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    first = driver.take()
    answer(driver, rejection("u1"), task=first)
    driver.env.now += 1
    driver.do(update_request("u2"))
    second = driver.take()
    assert first.started_event_id == second.started_event_id
    with pytest.raises(RpcError, match="Workflow task not found"):
        answer(driver, rejection("u1"), task=first)
    driver.signal()
    driver.reload()
    with pytest.raises(RpcError, match="Workflow task not found"):
        answer(driver, rejection("u1"), task=first)
    answer(driver, acceptance("u2", 5, accepted_request={"input": {"name": "add"}}), task=second)


@pytest.mark.parametrize(
    ("timers", "able", "traceless"), [(1, {}, False), (1, DISCARDING, True), (10, DISCARDING, True), (11, DISCARDING, False)]
)
def test_events_since_the_last_completion_decide_whether_a_rejection_leaves_a_trace(timers: int, able: Any, *, traceless: bool) -> None:
    driver = Driver()
    driver.complete(*(c.timer(str(number), 1000) for number in range(timers)))
    before = driver.kinds
    driver.do(update_request("u1"))
    answer(driver, rejection("u1"), capabilities=able)
    assert driver.kinds == (before if traceless else before + TASK)


def test_a_command_beside_the_rejection_is_recorded_with_its_task() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    answer(driver, rejection("u1"), commands=[c.timer()])
    assert driver.kinds == [*IDLE, *TASK, "TimerStarted"]


def test_the_first_task_of_a_delayed_run_is_recorded() -> None:
    driver = Driver(start_request(workflow_start_delay={"seconds": 60}))
    driver.do(update_request("u1"))
    answer(driver, rejection("u1"))
    assert driver.kinds == IDLE and not driver.run.first_task_due


def test_what_a_worker_leaves_unanswered_is_rejected_for_it() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    driver.complete()
    (told,) = driver.outcome.updates or ()
    assert told.outcome is not None and told.outcome.failure.application_failure_info.type == "UnprocessedUpdate"
    assert told.outcome.failure.application_failure_info.non_retryable and driver.kinds == IDLE


# Becoming ordinary.


def test_a_signal_makes_a_waiting_speculative_task_an_ordinary_one() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    driver.env.now += 7
    driver.signal()
    assert driver.kinds == [*IDLE, "WorkflowTaskScheduled", "WorkflowExecutionSignaled"]
    assert driver.events[4].event_time.ToNanoseconds() == BEGIN
    task = driver.take()
    assert [m.event_id for m in messages_of(task)] == [6] and driver.kinds[-1] == "WorkflowTaskStarted"
    driver.reload()
    answer(driver, rejection("u1", rejected_request={"meta": {"update_id": "u1"}}), task=task)
    assert driver.kinds[-1] == "WorkflowTaskCompleted"


def test_a_signal_makes_a_started_speculative_task_an_ordinary_one_and_waits_for_it() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.signal()
    assert driver.kinds == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskStarted"] and driver.run.buffered_count == 1
    answer(driver, acceptance("u1", 5), task=task)
    assert driver.kinds == [*IDLE, *TASK, UPDATED[0], "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]


def test_a_request_that_records_nothing_leaves_it_speculative() -> None:
    driver = idle()
    driver.signal("go", request_id="s")
    driver.complete()
    before = driver.kinds
    driver.do(update_request("u1"))
    driver.signal("go", request_id="s")
    driver.do(FireTimers())
    assert refusal(driver, TerminateWorkflowExecutionRequest(first_execution_run_id="other")).code is StatusCode.NOT_FOUND
    with pytest.raises(RpcError):
        driver.signal("")
    assert driver.kinds == before and driver.run.task is not None and driver.run.task.speculative


def test_a_timer_that_fires_makes_it_ordinary() -> None:
    driver = Driver()
    driver.complete(c.timer("t", 2))
    driver.do(update_request("u1"))
    driver.later(3)
    assert driver.kinds == [*IDLE, "TimerStarted", "WorkflowTaskScheduled", "TimerFired"]


def test_nobody_takes_it_within_five_seconds() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    driver.later(4.9)
    assert driver.kinds == IDLE
    driver.later(0.2)
    assert driver.kinds == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskTimedOut", "WorkflowTaskScheduled"]
    timed_out = driver.events[5].workflow_task_timed_out_event_attributes
    assert timed_out.timeout_type == TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START and not timed_out.started_event_id
    assert [m.protocol_instance_id for m in messages_of(driver.take())] == ["u1"]


def test_its_worker_is_silent() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    driver.take()
    driver.later(11)
    assert driver.kinds == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskTimedOut"]
    task = driver.take()
    assert task.attempt == 2 and [m.protocol_instance_id for m in messages_of(task)] == ["u1"], "it is sent again"
    answer(driver, acceptance("u1", 9), task=task)
    assert driver.kinds[-1] == UPDATED[0]


def test_its_worker_fails() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    driver.fail_task()
    assert driver.kinds == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskFailed"]
    assert [m.protocol_instance_id for m in messages_of(driver.take())] == ["u1"]


def test_on_a_sticky_queue_it_has_the_sticky_timeout_and_only_the_news() -> None:
    driver = Driver()
    driver.complete(sticky="sticky")
    driver.do(update_request("u1"))
    assert [e for e in driver.outcome.effects if isinstance(e, WorkflowTaskReady)] == [WorkflowTaskReady("sticky", True)]
    task = driver.take(sticky=True)
    response_ = poll_response(task)
    assert [e.event_id for e in response_.history.events] == [4, 5, 6] and len(response_.messages) == 1
    answer(driver, rejection("u1"), task=task, sticky="sticky")
    driver.do(update_request("u2"))
    driver.later(9)
    assert driver.kinds == IDLE
    driver.later(2)
    assert driver.kinds == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskTimedOut", "WorkflowTaskScheduled"]
    assert not driver.run.sticky_queue


def test_when_the_sticky_worker_is_gone_it_goes_to_the_normal_queue_and_stays_speculative() -> None:
    driver = Driver()
    driver.complete(sticky="sticky")
    driver.do(update_request("u1"))
    driver.do(StickyUnavailable())
    assert not driver.outcome.events and WorkflowTaskReady("queue", False) in driver.outcome.effects
    task = driver.take()
    assert task.first_event_id == 1 and driver.kinds == IDLE
    answer(driver, rejection("u1"), task=task)
    assert driver.kinds == IDLE


# Answers out of place.


@pytest.mark.parametrize(
    "messages",
    [
        [response("u1")],
        [acceptance("other")],
        [acceptance("u1", 0)],
        [acceptance("u1"), acceptance("u1")],
        [acceptance("u1"), response("u1"), response("u1")],
        [rejection("other")],
        [ProtocolMessage(id="m", protocol_instance_id="u1")],
        [ProtocolMessage(id="m")],
    ],
    ids=["response first", "unknown", "no sequence", "twice", "answered twice", "unknown rejected", "no body", "no update"],
)
def test_a_wrong_answer_fails_the_task_and_aborts_what_waits(messages: list[ProtocolMessage]) -> None:
    for number, message in enumerate(messages):
        message.id = str(number)
    driver = Driver()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.do(update_request("u2"))
    answer(driver, *messages, task=task)
    assert driver.outcome.error is not None and driver.outcome.error.code is StatusCode.INVALID_ARGUMENT
    failed = driver.events[3].workflow_task_failed_event_attributes
    assert failed.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE
    assert news(driver) == [("u1", STAGE_ADMITTED, Abort.NOT_READY), ("u2", STAGE_ADMITTED, Abort.LOST)]


@pytest.mark.parametrize("message_id", ["nothing", ""])
def test_a_command_without_its_message_fails_the_task(message_id: str) -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    answer(driver, acceptance("u1"), commands=[c.protocol_message(message_id)])
    assert driver.kinds[-1] == "WorkflowTaskFailed"


def test_an_update_that_was_lost_is_taken_up_again_when_the_worker_brings_its_request() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.reload()
    request = update_request("u1").request
    answer(driver, acceptance("u1", accepted_request=request), response("u1"), task=task)
    assert driver.kinds == IDLE + UPDATED
    assert driver.events[4].workflow_execution_update_accepted_event_attributes.accepted_request == request


def test_commands_give_answers_their_place() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    accept, done = acceptance("u1"), response("u1")
    placed = [c.timer("1"), c.protocol_message(accept.id), c.timer("2"), c.protocol_message(done.id), c.timer("3")]
    answer(driver, done, accept, commands=placed)
    assert driver.kinds == [*IDLE, "TimerStarted", UPDATED[0], "TimerStarted", UPDATED[1], "TimerStarted"]


# The run ends.


def test_a_run_that_completes_with_its_update_tells_both() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    accept, done = acceptance("u1"), response("u1")
    answer(driver, accept, done, commands=[c.protocol_message(accept.id), c.protocol_message(done.id), c.complete()])
    assert driver.kinds == [*IDLE, *UPDATED, "WorkflowExecutionCompleted"]
    assert news(driver) == [("u1", STAGE_ACCEPTED, None), ("u1", STAGE_COMPLETED, None)]


def test_what_is_in_flight_when_a_run_ends() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    answer(driver, acceptance("u1"))
    for update_id in ("u2", "u3"):
        driver.do(update_request(update_id))
    task = driver.take()
    driver.do(update_request("u4"))
    answer(driver, rejection("u2"), acceptance("u3", 7), task=task, commands=[c.complete()])
    assert driver.kinds[-2:] == ["WorkflowTaskCompleted", "WorkflowExecutionCompleted"]
    told = {each.update_id: each for each in driver.outcome.updates or ()}
    assert told["u1"].outcome is not None
    assert told["u1"].outcome.failure.application_failure_info.type == "AcceptedUpdateCompletedWorkflow"
    assert told["u2"].outcome is not None and told["u2"].outcome.failure.message == "no"
    assert told["u3"].abort is told["u4"].abort is Abort.CLOSED
    driver.reload()
    assert update_state(driver.run, "u1") == (STAGE_COMPLETED, 0), "by the history alone"
    assert not driver.do(update_request("u1")).changed
    assert refusal(driver, update_request("u5")).code is StatusCode.NOT_FOUND


def test_a_termination_leaves_no_trace_of_a_waiting_speculative_task_but_of_a_started_one() -> None:
    for taken, trace in ((False, []), (True, ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskFailed"])):
        driver = idle()
        driver.do(update_request("u1"))
        if taken:
            driver.take()
        driver.do(TerminateWorkflowExecutionRequest(reason="enough"))
        assert driver.kinds == [*IDLE, *trace, "WorkflowExecutionTerminated"]
        assert news(driver) == [("u1", STAGE_ADMITTED, Abort.CLOSED)]


def test_a_run_that_continues_as_new_leaves_its_updates_behind() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    answer(driver, acceptance("u1"))
    driver.do(update_request("u2"))
    task = driver.take()
    driver.do(update_request("u3"))
    answer(driver, task=task, commands=[c.continue_as_new()])
    assert driver.outcome.new_run is not None and driver.run.updates is None
    told = [(each.update_id, each.abort) for each in driver.outcome.updates or ()]
    assert told == [("u1", None), ("u2", Abort.CLOSED), ("u3", Abort.CLOSED)]


# Refusals.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.ClearField("request"), "meta"),
        (lambda r: r.request.ClearField("meta"), "meta"),
        (lambda r: r.request.ClearField("input"), "input"),
        (lambda r: setattr(r.request.input, "name", ""), "name"),
        (lambda r: setattr(r.request.meta, "update_id", "i" * 1001), "length"),
        (lambda r: setattr(r.request.input, "name", "n" * 1001), "length"),
        (lambda r: r.request.input.args.CopyFrom(payloads("x" * 3_000_000)), "size"),
        (lambda r: setattr(r.wait_policy, "lifecycle_stage", 17), "LifecycleStage"),
    ],
)
def test_a_request_that_says_too_little_or_too_much(change: Any, said: str) -> None:
    request = update_request()
    change(request)
    with pytest.raises(RpcError, match=said) as caught:
        check_update(request)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


def test_waiting_for_admission_is_refused() -> None:
    with pytest.raises(RpcError) as caught:
        check_update(update_request(wait_policy={"lifecycle_stage": 1}))
    assert caught.value.code is StatusCode.PERMISSION_DENIED and isinstance(caught.value.detail, PermissionDeniedFailure)


def test_ten_updates_may_be_in_flight_and_the_same_one_is_always_found() -> None:
    driver = Driver()
    for number in range(10):
        driver.do(update_request(f"u{number}"))
    refused = refusal(driver, update_request("u10"))
    assert refused.code is StatusCode.RESOURCE_EXHAUSTED and isinstance(refused.detail, ResourceExhaustedFailure)
    assert refused.detail.cause == 2
    driver.do(update_request("u3"))
    answer(driver, *(acceptance(f"u{number}") for number in range(10)))
    assert refusal(driver, update_request("u10")).code is StatusCode.RESOURCE_EXHAUSTED
    driver.reload()
    assert refusal(driver, update_request("u10")).code is StatusCode.RESOURCE_EXHAUSTED
    driver.do(update_request("u3"))
    driver.signal()
    answer(driver, response("u3"))
    driver.do(update_request("u10"))


def test_twenty_megabytes_may_be_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.core.limits.UPDATES_BYTES_MAX", 400)
    driver = Driver()
    driver.do(update_request("u1"))
    large = update_request("u2")
    large.request.input.args.CopyFrom(payloads("x" * 400))
    assert refusal(driver, large).code is StatusCode.RESOURCE_EXHAUSTED


def test_a_run_takes_so_many_updates_and_suggests_to_continue_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.engine.core.limits.UPDATES_MAX", 3)
    monkeypatch.setattr("perdure.engine.core.limits.SUGGEST_UPDATES", 2)
    driver = Driver()
    for number in range(3):
        driver.do(update_request(f"u{number}"))
        task = driver.take()
        answer(driver, acceptance(f"u{number}", 2), response(f"u{number}"), task=task)
        started = [e.workflow_task_started_event_attributes for e in driver.events if e.event_type == 6][-1]
        assert started.suggest_continue_as_new == (number >= 1)
        reasons = [SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_UPDATES] if number >= 1 else []
        assert list(started.suggest_continue_as_new_reasons) == reasons
    assert refusal(driver, update_request("u3")).code is StatusCode.FAILED_PRECONDITION
    driver.reload()
    assert refusal(driver, update_request("u3")).code is StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("attempt", [1, 2], ids=["speculative", "transient"])
@pytest.mark.parametrize("before", [1, 2])
def test_what_a_worker_is_told_of_continuing_is_what_the_history_says(monkeypatch: pytest.MonkeyPatch, attempt: int, before: int) -> None:
    """Updates that come, or are lost, while it has the task do not change what it has seen: it may have acted on that."""
    monkeypatch.setattr("perdure.engine.core.limits.SUGGEST_UPDATES", 2)
    driver = Driver()
    driver.complete()
    if attempt == 2:
        driver.signal()
        driver.fail_task()
    for number in range(before):
        driver.do(update_request(f"u{number}"))
    task = driver.take()
    told = task.suffix[-1].workflow_task_started_event_attributes.suggest_continue_as_new
    assert told is (before == 2)
    driver.do(update_request("late"))
    if attempt == 2:
        driver.reload()
    driver.complete(c.timer(), task=task)
    started = [e for e in driver.events if e.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED]
    recorded = next(e for e in started if e.event_id == task.started_event_id)
    assert recorded == task.suffix[-1]


def test_a_run_whose_tasks_fail_takes_no_update() -> None:
    driver = Driver()
    driver.fail_task()
    driver.do(update_request("u1"))
    driver.fail_task()
    refused = refusal(driver, update_request("u2"))
    assert refused.code is StatusCode.FAILED_PRECONDITION and isinstance(refused.detail, WorkflowNotReadyFailure)


def test_a_run_that_is_closing_takes_no_update() -> None:
    driver = Driver()
    task = driver.take()
    driver.signal()
    driver.complete(c.complete(), task=task)
    assert driver.kinds[-3:] == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    driver.take()
    assert refusal(driver, update_request("u1")).code is StatusCode.RESOURCE_EXHAUSTED


def test_another_chain_is_not_found() -> None:
    driver = Driver()
    assert refusal(driver, update_request("u1", first_execution_run_id="another")).code is StatusCode.NOT_FOUND
    driver.do(update_request("u1", first_execution_run_id=driver.run.run_id))


def test_updates_survive_a_close_that_raced_with_a_signal() -> None:
    driver = Driver()
    driver.do(update_request("u1"))
    task = driver.take()
    driver.signal()
    accept, done = acceptance("u1"), response("u1")
    answer(driver, accept, done, task=task, commands=[c.protocol_message(accept.id), c.protocol_message(done.id), c.complete()])
    assert driver.outcome.error is not None and news(driver) == []
    assert [m.protocol_instance_id for m in messages_of(driver.take())] == ["u1"]


# From the history.


def test_an_update_that_a_reset_brought_along_waits_in_the_new_run_and_needs_no_second_record() -> None:
    driver = idle()
    event = HistoryEvent(event_id=5, event_type=47)  # type: ignore[arg-type]
    event.event_time.FromNanoseconds(BEGIN)
    event.workflow_execution_update_admitted_event_attributes.request.CopyFrom(update_request("u1").request)
    apply(driver.run, event)
    stored = History(events=[event]).SerializeToString()
    driver.ledger.history += stored
    driver.run.history_bytes += len(stored)
    driver.ledger.facts = driver.run.facts()
    driver.reload()
    assert update_state(driver.run, "u1") == (STAGE_ADMITTED, 0)
    driver.signal()
    answer(driver, acceptance("u1", 8))
    accepted = driver.events[-1].workflow_execution_update_accepted_event_attributes
    assert accepted.protocol_instance_id == "u1" and not accepted.HasField("accepted_request")


def test_a_reset_brings_along_what_was_accepted_after_its_point() -> None:
    driver = idle()
    for update_id in ("u1", "u2"):
        driver.do(update_request(update_id))
        answer(driver, acceptance(update_id, 5), response(update_id))
    driver.reset(4)
    assert driver.kinds == [*IDLE[:3], "WorkflowTaskFailed", *["WorkflowExecutionUpdateAdmitted"] * 2, "WorkflowTaskScheduled"]
    admitted = driver.events[4].workflow_execution_update_admitted_event_attributes
    assert admitted.request == update_request("u1").request and admitted.origin == 1
    driver.reload()
    task = driver.take()
    assert not messages_of(task), "the worker has them from the history"
    answer(driver, acceptance("u1", 7), response("u1", "again"), rejection("u2"), task=task)
    assert driver.kinds[-2:] == UPDATED
    assert update_state(driver.run, "u2") is None and driver.run.task is None


def test_a_reset_may_leave_updates_out_and_keeps_those_before_its_point() -> None:
    driver = idle()
    driver.do(update_request("u1"))
    answer(driver, acceptance("u1", 5), response("u1"))
    driver.do(update_request("u2"))
    answer(driver, acceptance("u2", 10))
    point = [number for number, kind in enumerate(driver.kinds, 1) if kind == "WorkflowTaskCompleted"][-1]
    driver.reset(point, reset_reapply_exclude_types=[2])
    assert driver.kinds[-2:] == ["WorkflowTaskFailed", "WorkflowTaskScheduled"]
    assert update_state(driver.run, "u2") is None
    state = update_state(driver.run, "u1")
    assert state is not None and state.stage == STAGE_COMPLETED
