"""Proves Nexus operations without a workflow: their whole histories, policies of their ids, deadlines, cancellation, what is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import NexusOperationExecutionStatus as S
from temporalio.api.enums.v1 import NexusOperationIdConflictPolicy as C
from temporalio.api.enums.v1 import NexusOperationIdReusePolicy as R
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    RequestCancelNexusOperationExecutionRequest,
    StartNexusOperationExecutionRequest,
    TerminateNexusOperationExecutionRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

from core_support import Driver, FakeEnv, Ledger, _plain, payload, seconds, snapshot

from perdure.engine.core import load, nexus, nexus_links, outbound
from perdure.engine.core.callbacks import SYSTEM_URL, TOKEN_HEADER, CallbackToken, decode_token
from perdure.engine.core.nexus_answers import CancelAnswered, OperationEnded, OperationStarted
from perdure.engine.core.others import CALL_BACK
from perdure.engine.core.standalone_operation_views import operation_execution_info, outcome_of
from perdure.engine.core.standalone_operations import SCHEDULED, SERVICE, answer_existing, check_start, start_operation
from perdure.engine.core.state import OPERATION_MARK
from perdure.model.rpc import RpcError, StatusCode

BEGUN = ["WorkflowExecutionStarted", "NexusOperationScheduled"]
CANCEL = 4


class LoneLedger(Ledger):
    """The rules of a workflow's history do not hold here; that the fold gives the state does."""

    def check(self) -> None:
        live, folded = snapshot(self.run), snapshot(load(self.events(), self.facts, self.activities.items(), []))
        assert live == folded, {name: (live[name], folded[name]) for name in live if live[name] != folded[name]}
        assert _plain(self.events()) and self.run.task is None


class Lone(Driver):
    """One such operation."""

    def __init__(self, env: FakeEnv | None = None, **fields: Any) -> None:
        self.env = env or FakeEnv()
        request = start_request(**fields)
        check_start(request, {})
        outcome = start_operation("ns" + OPERATION_MARK, request, self.env)
        self.run = outcome.run
        self.ledgers = [LoneLedger(self.run)]
        self.outcome = self._commit(outcome)

    @property
    def info(self) -> Any:
        op = nexus.find(self.run, SCHEDULED)
        return operation_execution_info(self.run, self.events, None if op is None else nexus.pending_info(op), 1)

    @property
    def failure(self) -> Any:
        return outcome_of(self.events[-1])

    def ended(self, **fields: Any) -> OperationEnded:
        return OperationEnded(SCHEDULED, self.info.request_id, **fields)

    def asked(self, key: int = SCHEDULED) -> nexus.OperationRequest:
        message = outbound.message(self.run, key)
        assert isinstance(message, nexus.OperationRequest)
        return message


def start_request(**fields: Any) -> StartNexusOperationExecutionRequest:
    request = StartNexusOperationExecutionRequest(namespace="ns", operation_id="o", request_id="r1", identity="client", input=payload("in"))
    request.endpoint, request.service, request.operation = "desk", "Desk", "do"
    request.MergeFrom(StartNexusOperationExecutionRequest(**fields))
    return request


def test_one_that_is_answered_at_once() -> None:
    driver = Lone(user_metadata={"summary": payload("s")}, nexus_header={"Key": "value"}, schedule_to_close_timeout=seconds(9))
    assert driver.kinds == BEGUN and list(driver.run.unsent) == [SCHEDULED]
    asked = driver.asked()
    start = asked.request.start_operation
    assert (asked.namespace, start.service, start.operation, start.payload, dict(asked.request.header)) == (
        "ns",
        "Desk",
        "do",
        payload("in"),
        {"key": "value"},
    )
    assert start.callback == SYSTEM_URL and decode_token(start.callback_header[TOKEN_HEADER]) == CallbackToken(
        "ns" + OPERATION_MARK, "o", driver.run.run_id, SCHEDULED, start.request_id
    )
    link = nexus_links.from_nexus(start.links[0])
    assert link == Link(nexus_operation=Link.NexusOperation(namespace="ns", operation_id="o", run_id=driver.run.run_id))
    driver.reload()
    driver.do(driver.ended(result=payload("out"), links=[link]))
    assert driver.kinds == [*BEGUN, "NexusOperationCompleted"] and driver.run.closed and driver.run.next_due() is None
    assert outcome_of(driver.events[-1]) == payload("out")
    info = driver.info
    assert info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED and not info.state and info.attempt == 1
    assert (info.endpoint, info.service, info.operation, info.identity) == ("desk", "Desk", "do", "client")
    assert info.user_metadata.summary == payload("s") and list(info.links) == [link] and info.HasField("close_time")
    assert SERVICE in driver.run.search_attributes and not info.search_attributes.indexed_fields


def test_one_that_starts_and_fails_later() -> None:
    driver = Lone()
    driver.do(OperationStarted(SCHEDULED, "token"))
    driver.reload()
    assert driver.info.operation_token == "token" and driver.run.task is None
    driver.do(driver.ended(failure=Failure(message="no")))
    assert driver.kinds == [*BEGUN, "NexusOperationStarted", "NexusOperationFailed"]
    assert driver.failure.message == "no" and driver.info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_FAILED
    with pytest.raises(RpcError):
        driver.do(driver.ended(result=payload("late")))


def test_one_whose_time_is_up() -> None:
    driver = Lone(schedule_to_start_timeout=seconds(5))
    driver.later(5)
    assert driver.kinds == [*BEGUN, "NexusOperationTimedOut"]
    assert driver.info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_TIMED_OUT and driver.failure.HasField("timeout_failure_info")


def test_cancelling_waits_for_the_start_and_is_answered_before_the_end() -> None:
    driver = Lone()
    driver.do(RequestCancelNexusOperationExecutionRequest(reason="enough", identity="client"))
    driver.do(RequestCancelNexusOperationExecutionRequest(reason="again"))
    assert outbound.is_held_back(driver.run, CANCEL)
    driver.do(OperationStarted(SCHEDULED, "token"))
    driver.reload()
    assert not outbound.is_held_back(driver.run, CANCEL)
    assert driver.asked(CANCEL).request.cancel_operation.operation_token == "token"
    driver.do(CancelAnswered(CANCEL))
    driver.do(driver.ended(failure=Failure(message="stopped"), canceled=True))
    assert driver.kinds[2:] == [
        "WorkflowExecutionCancelRequested",
        "NexusOperationCancelRequested",
        "NexusOperationStarted",
        "NexusOperationCancelRequestCompleted",
        "NexusOperationCanceled",
    ]
    assert driver.info.cancellation_info.reason == "enough" and driver.info.status == S.NEXUS_OPERATION_EXECUTION_STATUS_CANCELED


def test_terminating_ends_it_at_once() -> None:
    driver = Lone()
    driver.do(TerminateNexusOperationExecutionRequest(reason="now", identity="client"))
    driver.reload()
    assert driver.kinds == [*BEGUN, "WorkflowExecutionTerminated"] and not driver.run.unsent
    assert driver.failure.message == "now" and driver.failure.HasField("terminated_failure_info")
    for request in (TerminateNexusOperationExecutionRequest(), RequestCancelNexusOperationExecutionRequest()):
        with pytest.raises(RpcError) as refused:
            driver.do(request)
        assert refused.value.code is StatusCode.NOT_FOUND


def test_who_waits_for_its_end_is_called_back() -> None:
    callback = Callback()
    callback.nexus.url = SYSTEM_URL
    callback.nexus.header[TOKEN_HEADER] = CallbackToken("ns", "caller", "run", 5, "r").encode()
    driver = Lone(completion_callbacks=[callback])
    assert not isinstance(outbound.message(driver.run, CALL_BACK), outbound.CallBack)
    driver.do(driver.ended(result=payload("out")))
    driver.reload()
    message = outbound.message(driver.run, CALL_BACK)
    assert isinstance(message, outbound.CallBack) and len(message.callbacks) == 1
    driver.do(outbound.Discharged(CALL_BACK))
    driver.reload()
    assert not driver.run.unsent


def test_a_further_start_leaves_what_it_brings_along() -> None:
    callback = Callback()
    callback.nexus.url = SYSTEM_URL
    callback.nexus.header[TOKEN_HEADER] = CallbackToken("ns", "caller", "run", 5, "r").encode()
    link = Link(workflow_event=Link.WorkflowEvent(namespace="ns", workflow_id="caller"))
    options = {"attach_request_id": True, "attach_completion_callbacks": True, "attach_links": True}
    request = start_request(request_id="", completion_callbacks=[callback], links=[link], on_conflict_options=options)
    request.request_id = "r2"
    check_start(request, {})
    driver = Lone()
    driver.do(request)
    driver.do(request)
    driver.reload()
    assert driver.kinds == [*BEGUN, "WorkflowExecutionOptionsUpdated"] and list(driver.info.links) == [link]
    assert [each.request_id for each in driver.run.callbacks or ()] == ["r2"]
    driver.do(driver.ended(result=payload("out")))
    assert isinstance(outbound.message(driver.run, CALL_BACK), outbound.CallBack)
    ended = len(driver.events)
    driver.do(request)  # as often as it is repeated
    assert len(driver.events) == ended
    answer = answer_existing(driver.run, request)
    assert answer is not None and not answer.started
    request.request_id = "r3"
    with pytest.raises(RpcError) as refused:
        driver.do(request)
    assert refused.value.code is StatusCode.UNAVAILABLE
    del options["attach_request_id"]
    with pytest.raises(RpcError, match="requires attaching the request ID"):
        check_start(start_request(on_conflict_options=options), {})


FREE, SAME, EXISTING, REFUSED = range(4)


@pytest.mark.parametrize(
    ("change", "reuse", "conflict", "expected"),
    [
        (None, 0, 0, REFUSED),
        (None, 0, C.NEXUS_OPERATION_ID_CONFLICT_POLICY_USE_EXISTING, EXISTING),
        (lambda d: d.do(d.ended(result=payload("out"))), 0, 0, FREE),
        (lambda d: d.do(d.ended(result=payload("out"))), R.NEXUS_OPERATION_ID_REUSE_POLICY_REJECT_DUPLICATE, 0, REFUSED),
        (lambda d: d.do(d.ended(result=payload("out"))), R.NEXUS_OPERATION_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, 0, REFUSED),
        (lambda d: d.do(d.ended(failure=Failure())), R.NEXUS_OPERATION_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY, 0, FREE),
    ],
)
def test_policies_of_ids(change: Callable[[Lone], Any] | None, reuse: Any, conflict: Any, expected: int) -> None:
    driver = Lone()
    if change is not None:
        change(driver)
    request = start_request(id_reuse_policy=reuse, id_conflict_policy=conflict)
    request.request_id = "r2"
    if expected == REFUSED:
        with pytest.raises(RpcError) as refused:
            answer_existing(driver.run, request)
        assert refused.value.code is StatusCode.ALREADY_EXISTS
    else:
        answer = answer_existing(driver.run, request)
        assert (answer is None) == (expected == FREE) and (answer is None or not answer.started)
    request.request_id = "r1"
    again = answer_existing(driver.run, request)
    assert again is not None and again.started


@pytest.mark.parametrize(
    "fields",
    [
        {"operation_id": "o" * 1001},
        {"schedule_to_close_timeout": {"seconds": -1}},
        {"nexus_header": {"k": "v" * 9000}},
        {"completion_callbacks": [{"nexus": {"url": "http://elsewhere"}}]},
        {"search_attributes": {"indexed_fields": {"Unknown": payload("x")}}},
        {"search_attributes": {"indexed_fields": {SERVICE: payload("x")}}},
    ],
)
def test_wrong_starts(fields: dict[str, Any]) -> None:
    with pytest.raises(RpcError) as refused:
        check_start(start_request(**fields), {})
    assert refused.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", ["operation_id", "endpoint", "service", "operation"])
def test_what_a_start_must_say(name: str) -> None:
    request = start_request()
    request.ClearField(name)  # type: ignore[arg-type]
    with pytest.raises(RpcError, match=f"{name} is required"):
        check_start(request, {})


def test_an_endpoint_that_is_not_there() -> None:
    with pytest.raises(RpcError) as refused:
        Lone(endpoint="nowhere")
    assert refused.value.code is StatusCode.NOT_FOUND
