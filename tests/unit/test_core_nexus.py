"""Proves what Nexus operations do to a run, at the core: commands, answers, deadlines, cancellation, callbacks of a run's end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import CallbackState, EventType, NexusOperationCancellationState, ResetReapplyExcludeType
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

import core_commands as commands
from core_support import Driver, FakeEnv, kinds, payload, seconds, start_request

from perdure.engine.core import StartDecision, current_run, describe, existing_reply, limits, nexus, nexus_links, outbound, start
from perdure.engine.core.callbacks import CALLBACKS_MAX, OPERATION_TOKEN_HEADER, SYSTEM_URL, TOKEN_HEADER, CallbackToken, decode_token
from perdure.engine.core.nexus_answers import CancelAnswered, OperationEnded, OperationStarted
from perdure.engine.core.others import CALL_BACK
from perdure.model.rpc import RpcError, StatusCode

TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
SCHEDULED = ["WorkflowExecutionStarted", *TASK, "NexusOperationScheduled"]
KEY = 5


def scheduled(**fields: Any) -> Driver:
    driver = Driver()
    driver.complete(commands.schedule_operation(**fields))
    return driver


def request_id(driver: Driver) -> str:
    return driver.events[KEY - 1].nexus_operation_scheduled_event_attributes.request_id


def ended(driver: Driver, **fields: Any) -> OperationEnded:
    return OperationEnded(KEY, request_id(driver), **fields)


def request(driver: Driver, key: int = KEY) -> nexus.OperationRequest:
    message = outbound.message(driver.run, key)
    assert isinstance(message, nexus.OperationRequest)
    return message


# Starting.


def test_what_a_handler_is_asked() -> None:
    driver = scheduled(nexus_header={"Key": "value"}, schedule_to_close_timeout=seconds(9))
    assert driver.kinds == SCHEDULED and list(driver.run.unsent) == [KEY]
    a = driver.events[-1].nexus_operation_scheduled_event_attributes
    assert (a.endpoint, a.endpoint_id, a.service, a.operation) == ("endpoint", "id of endpoint", "Service", "operation")
    assert (dict(a.nexus_header), a.schedule_to_close_timeout.seconds, a.workflow_task_completed_event_id) == ({"key": "value"}, 9, 4)
    message = request(driver)
    start = message.request.start_operation
    assert (start.service, start.operation, start.request_id) == ("Service", "operation", a.request_id) and a.request_id
    assert start.payload == payload("in") and dict(message.request.header) == {"key": "value"}
    assert start.callback == SYSTEM_URL
    token = decode_token(start.callback_header[TOKEN_HEADER])
    assert token == CallbackToken("ns", driver.run.workflow_id, driver.run.run_id, KEY, a.request_id)
    link = nexus_links.from_nexus(start.links[0])
    assert link is not None and link.workflow_event.event_ref.event_id == KEY


def test_the_time_of_the_run_bounds_that_of_its_operations() -> None:
    driver = Driver(start_request(workflow_run_timeout=seconds(60)))
    driver.complete(commands.schedule_operation(schedule_to_close_timeout=seconds(90)))
    assert driver.events[-1].nexus_operation_scheduled_event_attributes.schedule_to_close_timeout.seconds == 60


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint": "nowhere"},
        {"endpoint": ""},
        {"service": "s" * 1001},
        {"schedule_to_close_timeout": {"seconds": -1}},
        {"nexus_header": {"k": "v" * limits.NEXUS_HEADER_BYTES_MAX}},
    ],
)
def test_wrong_commands_fail_their_task(fields: dict[str, Any]) -> None:
    driver = Driver()
    outcome = driver.complete(commands.schedule_operation(**fields))
    assert outcome.error is not None and "BadScheduleNexusOperationAttributes" in str(outcome.error)
    assert driver.kinds[-2] == "WorkflowTaskFailed" or driver.kinds[-1] == "WorkflowTaskFailed"


def test_so_many_may_be_pending() -> None:
    driver = Driver()
    driver.complete(*[commands.schedule_operation() for _ in range(limits.PENDING_OPERATIONS_MAX)])
    driver.signal()
    outcome = driver.complete(commands.schedule_operation())
    assert outcome.error is not None and "PendingNexusOperationsLimitExceeded" in str(outcome.error)


# Ending.


def test_an_operation_that_is_answered_at_once() -> None:
    driver = scheduled()
    link = Link(workflow_event=Link.WorkflowEvent(namespace="ns", workflow_id="w", run_id="r"))
    driver.do(ended(driver, result=payload("out"), links=[link]))
    assert driver.kinds == [*SCHEDULED, "NexusOperationCompleted", "WorkflowTaskScheduled"]
    event = driver.events[KEY]
    a = event.nexus_operation_completed_event_attributes
    assert (a.scheduled_event_id, a.result, a.request_id, list(event.links)) == (KEY, payload("out"), request_id(driver), [link])
    assert not driver.run.operations and not driver.run.unsent


def test_an_operation_that_starts_and_ends_later() -> None:
    driver = scheduled()
    driver.do(OperationStarted(KEY, "token"))
    assert not driver.run.unsent
    driver.complete()
    assert describe(driver.run).pending_nexus_operations[0].operation_token == "token"
    driver.do(ended(driver, result=payload("out"), token="token"))
    assert driver.kinds == [*SCHEDULED, "NexusOperationStarted", *TASK, "NexusOperationCompleted", "WorkflowTaskScheduled"]
    with pytest.raises(RpcError) as again:
        driver.do(OperationEnded(KEY, "", result=payload("out")))
    assert again.value.code is StatusCode.NOT_FOUND


def test_an_end_that_overtakes_the_answer_to_the_start() -> None:
    driver = scheduled()
    driver.do(ended(driver, result=payload("out"), token="token"))
    assert driver.kinds == [*SCHEDULED, "NexusOperationStarted", "NexusOperationCompleted", "WorkflowTaskScheduled"]
    with pytest.raises(RpcError) as late:
        driver.do(OperationStarted(KEY, "token"))
    assert late.value.code is StatusCode.NOT_FOUND


@pytest.mark.parametrize(("canceled", "kind"), [(False, "NexusOperationFailed"), (True, "NexusOperationCanceled")])
def test_ends_without_a_result(canceled: bool, kind: str) -> None:
    driver = scheduled()
    driver.do(OperationStarted(KEY, "token"))
    driver.complete()
    driver.do(ended(driver, failure=Failure(message="why"), canceled=canceled))
    event = driver.events[-2]
    attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
    assert driver.kinds[-2] == kind
    failure = attributes.failure
    assert (failure.message, failure.cause.message) == ("nexus operation completed unsuccessfully", "why")
    info = failure.nexus_operation_execution_failure_info
    assert (info.scheduled_event_id, info.endpoint, info.service, info.operation, info.operation_token) == (
        KEY,
        "endpoint",
        "Service",
        "operation",
        "token",
    )


def test_events_that_come_during_a_workflow_task_wait_for_its_end() -> None:
    driver = scheduled()
    driver.signal()
    task = driver.take()
    driver.do(OperationStarted(KEY, "token"))
    driver.do(ended(driver, result=payload("out")))
    driver.reload()
    driver.complete(task=task)
    assert driver.kinds[-4:] == ["WorkflowTaskCompleted", "NexusOperationStarted", "NexusOperationCompleted", "WorkflowTaskScheduled"]


# Deadlines.


@pytest.mark.parametrize(
    ("fields", "started", "timeout"),
    [
        ({"schedule_to_close_timeout": seconds(5)}, False, 3),
        ({"schedule_to_close_timeout": seconds(5)}, True, 3),
        ({"schedule_to_start_timeout": seconds(5)}, False, 2),
        ({"start_to_close_timeout": seconds(5), "schedule_to_start_timeout": seconds(1)}, True, 1),
    ],
)
def test_operations_time_out(fields: dict[str, Any], started: bool, timeout: int) -> None:
    driver = scheduled(**fields)
    if started:
        driver.do(OperationStarted(KEY, "token"))
        driver.complete()
    driver.reload()
    driver.later(4)
    assert driver.run.operations
    driver.later(2)
    assert driver.kinds[-2:] == ["NexusOperationTimedOut", "WorkflowTaskScheduled"]
    failure = driver.events[-2].nexus_operation_timed_out_event_attributes.failure
    assert failure.cause.timeout_failure_info.timeout_type == timeout
    assert not driver.run.operations and not driver.run.unsent and driver.run.next_due() is None


# Cancellation.


def test_a_cancellation_waits_for_the_start() -> None:
    driver = scheduled()
    driver.signal()
    driver.complete(commands.cancel_operation(KEY))
    key = driver.events[-1].event_id
    assert driver.kinds[-1] == "NexusOperationCancelRequested"
    assert list(driver.run.unsent) == [KEY, key] and outbound.is_held_back(driver.run, key)
    driver.do(OperationStarted(KEY, "token"))
    assert list(driver.run.unsent) == [key] and not outbound.is_held_back(driver.run, key)
    assert request(driver, key).request.cancel_operation.operation_token == "token"


@pytest.mark.parametrize("failure", [None, Failure(message="never")])
def test_answers_to_a_cancellation(failure: Failure | None) -> None:
    driver = scheduled()
    driver.do(OperationStarted(KEY, "token"))
    driver.complete(commands.cancel_operation(KEY))
    key = driver.events[-1].event_id
    driver.do(CancelAnswered(key, failure))
    kind = "NexusOperationCancelRequestCompleted" if failure is None else "NexusOperationCancelRequestFailed"
    assert driver.kinds[-2:] == [kind, "WorkflowTaskScheduled"]
    shown = describe(driver.run).pending_nexus_operations[0].cancellation_info.state
    assert NexusOperationCancellationState.Name(shown).endswith("SUCCEEDED" if failure is None else "FAILED")
    driver.complete()
    driver.do(ended(driver, failure=Failure(message="stopped"), canceled=True))
    assert driver.kinds[-2:] == ["NexusOperationCanceled", "WorkflowTaskScheduled"]


def test_wrong_cancellations() -> None:
    driver = scheduled()
    driver.signal()
    assert driver.complete(commands.cancel_operation(3)).error is not None
    driver.complete(commands.cancel_operation(KEY))
    driver.signal()
    assert driver.complete(commands.cancel_operation(KEY)).error is not None


def test_a_cancellation_after_a_buffered_end_is_written_and_nothing_comes_of_it() -> None:
    driver = scheduled()
    driver.signal()
    task = driver.take()
    driver.do(ended(driver, result=payload("out")))
    driver.complete(commands.cancel_operation(KEY), task=task)
    assert driver.kinds[-3:] == ["NexusOperationCancelRequested", "NexusOperationCompleted", "WorkflowTaskScheduled"]
    assert not driver.run.unsent


def test_nothing_is_pending_after_the_end_of_the_run() -> None:
    driver = scheduled()
    driver.do(TerminateWorkflowExecutionRequest())
    assert driver.run.operations is None and not driver.run.unsent
    with pytest.raises(RpcError):
        driver.do(OperationStarted(KEY, "token"))


# Callbacks.


def callback(token: str = "") -> Callback:
    made = Callback()
    made.nexus.url = SYSTEM_URL
    made.nexus.header["Temporal-Callback-Token"] = token or CallbackToken("ns", "caller", "run", 5, "request").encode()
    made.nexus.header[OPERATION_TOKEN_HEADER] = "token"
    return made


def test_a_callback_is_a_duty_of_the_last_run() -> None:
    driver = Driver(start_request(completion_callbacks=[callback()]))
    assert driver.events[0].workflow_execution_started_event_attributes.completion_callbacks[0] == callback()
    driver.complete(commands.continue_as_new())
    assert not driver.run.unsent
    driver = Driver(start_request(completion_callbacks=[callback()], retry_policy={"maximum_attempts": 2}))
    outcome = driver.complete(commands.fail())
    assert outcome.new_run is not None and outcome.new_run.run.callbacks and not driver.run.unsent


def test_a_callback_is_owed_until_it_is_done() -> None:
    driver = Driver(start_request(completion_callbacks=[callback()]))
    driver.complete(commands.complete())
    assert list(driver.run.unsent) == [CALL_BACK]
    message = outbound.message(driver.run, CALL_BACK)
    assert isinstance(message, outbound.CallBack)
    assert message.callbacks[0].header(OPERATION_TOKEN_HEADER) == "token"
    driver.reload()
    driver.do(outbound.Discharged(CALL_BACK))
    assert not driver.run.unsent
    driver.reload()
    assert not driver.run.unsent
    assert describe(driver.run).callbacks[0].state == CallbackState.CALLBACK_STATE_SUCCEEDED


def test_a_start_that_finds_the_run_attaches_its_callback() -> None:
    driver = Driver()
    request = StartWorkflowExecutionRequest(request_id="second", completion_callbacks=[callback()])
    options = request.on_conflict_options
    options.attach_request_id = options.attach_completion_callbacks = options.attach_links = True
    request.links.append(Link(workflow_event=Link.WorkflowEvent(namespace="ns", workflow_id="caller")))
    reply: Any = driver.do(request).reply
    assert driver.kinds[-1] == "WorkflowExecutionOptionsUpdated"
    event = driver.events[-1]
    a = event.workflow_execution_options_updated_event_attributes
    assert (a.attached_request_id, list(a.attached_completion_callbacks), list(event.links)) == (
        "second",
        [callback()],
        list(request.links),
    )
    assert reply.link.workflow_event.request_id_ref.request_id == "second"
    driver.reload()
    driver.complete(commands.complete())
    assert list(driver.run.unsent) == [CALL_BACK]


def wrong_callbacks() -> list[list[Callback]]:
    elsewhere = callback()
    elsewhere.nexus.url = "https://example.org"
    long = callback()
    long.nexus.header["x"] = "x" * 10_000
    return [[elsewhere], [long], [callback("no token")], [callback()] * (CALLBACKS_MAX + 1)]


@pytest.mark.parametrize("wrong", wrong_callbacks())
def test_callbacks_that_nobody_could_deliver_are_refused(wrong: list[Callback]) -> None:
    with pytest.raises(RpcError):
        Driver(start_request(completion_callbacks=wrong))


@pytest.mark.parametrize("text", ["", "not base64!", "W10=", "WzEsMl0=", "e30="])
def test_what_is_no_token(text: str) -> None:
    assert decode_token(text) is None


@pytest.mark.parametrize("by_request", [False, True])
def test_links_go_there_and_back(by_request: bool) -> None:
    link = Link()
    event = link.workflow_event
    event.namespace, event.workflow_id, event.run_id = "a/b", "ünïcode /?", "run"
    if by_request:
        event.request_id_ref.request_id, event.request_id_ref.event_type = "id &=", 47
    else:
        event.event_ref.event_id, event.event_ref.event_type = 7, 48
    made = nexus_links.to_nexus(link)
    assert made is not None and made.type == "temporal.api.common.v1.Link.WorkflowEvent"
    assert nexus_links.from_nexus(made) == link
    made.type = "another"
    assert nexus_links.from_nexus(made) is None


@pytest.mark.parametrize(
    ("link", "url"),
    [
        (Link(workflow=Link.Workflow(namespace="n", workflow_id="w/1", run_id="r")), "temporal:///namespaces/n/workflows/w%2F1/r"),
        (
            Link(workflow=Link.Workflow(namespace="n", workflow_id="w", run_id="r", reason="a b")),
            "temporal:///namespaces/n/workflows/w/r?reason=a+b",
        ),
        (
            Link(nexus_operation=Link.NexusOperation(namespace="n", operation_id="o/1", run_id="r")),
            "temporal:///namespaces/n/nexus-operations/o%2F1/r/details",
        ),
        (
            Link(activity=Link.Activity(namespace="n", activity_id="a/1", run_id="r")),
            "temporal:///namespaces/n/activities/a%2F1/r/details",
        ),
        (
            Link(nexus_operation=Link.NexusOperation(namespace="n", operation_id="o")),
            "temporal:///namespaces/n/nexus-operations/o//details",
        ),
    ],
)
def test_links_to_other_things_than_events(link: Link, url: str) -> None:
    made = nexus_links.to_nexus(link)
    assert made is not None and made.url == url and nexus_links.from_nexus(made) == link
    made.url = "temporal:///namespaces/n/elsewhere/o?runID=r"
    assert nexus_links.from_nexus(made) is None
    made.url = "http://["
    assert nexus_links.from_nexus(made) is None
    assert nexus_links.to_nexus(Link(batch_job=Link.BatchJob(job_id="b"))) is None


CALLER = Link(workflow_event=Link.WorkflowEvent(namespace="ns", workflow_id="caller"))


def _signaled(driver: Driver) -> Link:
    link = Link()
    to = link.workflow_event
    to.namespace, to.workflow_id, to.run_id = "ns", driver.run.workflow_id, driver.run.run_id
    to.request_id_ref.request_id, to.request_id_ref.event_type = "r", EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    return link


def test_signals_carry_links_and_are_answered_with_one() -> None:
    driver = Driver()
    for _ in range(2):
        outcome = driver.do(SignalWorkflowExecutionRequest(signal_name="go", request_id="r", links=[CALLER]))
        assert list(driver.events[-1].links) == [CALLER] and driver.run.signal_count == 1
        assert outcome.reply.link == _signaled(driver)
    assert not driver.do(SignalWorkflowExecutionRequest(signal_name="go", request_id="r2")).reply.HasField("link")


def test_links_lead_to_signals_while_they_are_buffered_and_after() -> None:
    driver = Driver()
    task = driver.take()
    driver.do(SignalWorkflowExecutionRequest(signal_name="go", request_id="r", links=[CALLER]))
    driver.do(SignalWorkflowExecutionRequest(signal_name="go", request_id="r2"))
    shown = describe(driver.run).workflow_extended_info.request_id_infos["r"]
    assert shown.buffered and not shown.event_id
    driver.complete(task=task)
    driver.reload()
    infos = describe(driver.run).workflow_extended_info.request_id_infos
    shown = infos["r"]
    assert "r2" not in infos and not shown.buffered and shown.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    assert driver.kinds[shown.event_id - 1] == "WorkflowExecutionSignaled"


def test_a_signal_with_start_is_answered_with_a_link_to_the_signal() -> None:
    request = SignalWithStartWorkflowExecutionRequest(request_id="r", signal_name="go", links=[CALLER], namespace="ns", workflow_id="w")
    request.workflow_type.name, request.task_queue.name = "Flow", "queue"
    run, outcome = start(request, FakeEnv(), None, None)
    assert isinstance(outcome.reply, SignalWithStartWorkflowExecutionResponse)
    again = existing_reply(current_run(run), request, StartDecision.DEDUP)
    assert isinstance(again, SignalWithStartWorkflowExecutionResponse) and again.signal_link == outcome.reply.signal_link
    driver = Driver()
    reply = driver.do(request).reply
    assert reply.signal_link == _signaled(driver) and driver.do(request).reply.signal_link == _signaled(driver)


def test_the_request_to_stop_and_the_termination_carry_links() -> None:
    driver = Driver()
    driver.do(RequestCancelWorkflowExecutionRequest(links=[CALLER]))
    assert list(driver.events[-1].links) == [CALLER] or list(driver.events[-2].links) == [CALLER]
    driver.do(TerminateWorkflowExecutionRequest(links=[CALLER]))
    assert list(driver.events[-1].links) == [CALLER]


# Reset.


@pytest.mark.parametrize("excluded", [(), (ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_NEXUS,)])
def test_what_was_heard_of_an_operation_is_heard_again_after_a_reset(excluded: tuple[Any, ...]) -> None:
    driver = Driver()
    driver.complete(commands.schedule_operation(), commands.schedule_operation())
    driver.do(OperationStarted(KEY, "t1"))
    point = len(driver.kinds) + 1
    driver.do(ended(driver, result=payload("out"), links=[CALLER]))
    driver.do(OperationStarted(KEY + 1, "t2", [CALLER]))
    driver.complete(commands.cancel_operation(KEY + 1))
    driver.do(CancelAnswered(driver.kinds.index("NexusOperationCancelRequested") + 1))
    driver.reset(point, reset_reapply_exclude_types=excluded)
    driver.reload()
    again = [event for event, kind in zip(driver.events, driver.kinds, strict=True) if kind.startswith("NexusOperation")][3:]
    expected = [] if excluded else ["NexusOperationCompleted", "NexusOperationStarted"]  # the new run has not asked anything to stop
    assert kinds(again) == expected
    operations = driver.run.operations or {}
    if excluded:
        assert [op.started for op in operations.values()] == [True, False] and list(driver.run.unsent) == [KEY + 1]
    else:
        assert list(operations) == [KEY + 1] and operations[KEY + 1].operation_token == "t2" and list(again[1].links) == [CALLER]
        assert again[0].nexus_operation_completed_event_attributes.result == payload("out") and not driver.run.unsent


def test_the_answer_to_a_request_to_stop_is_heard_again_after_a_reset() -> None:
    driver = Driver()
    driver.complete(commands.schedule_operation())
    driver.do(OperationStarted(KEY, "token"))
    driver.complete(commands.cancel_operation(KEY))
    driver.signal("go")
    point = len(driver.kinds) + 1
    driver.do(CancelAnswered(driver.kinds.index("NexusOperationCancelRequested") + 1, Failure(message="no")))
    driver.reset(point)
    driver.reload()
    assert driver.kinds.count("NexusOperationCancelRequestFailed") == 1 and not driver.run.unsent
