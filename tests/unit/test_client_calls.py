"""Calls and refusals, against a service that answers as told: what is tried again, with which request id, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, ResourceExhaustedCause
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryResponse,
    QueryWorkflowResponse,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionResponse,
)
from temporalio.converter import PayloadCodec

from perdure.client.client import WorkflowClient
from perdure.model import rpc
from perdure.model.conversion import DataConverter
from perdure.model.errors import (
    ApplicationError,
    ClientError,
    EngineUnavailable,
    PerdureError,
    QueryFailed,
    QueryRejected,
    RequestRefused,
    UsageError,
    WorkflowAlreadyStarted,
    WorkflowClosed,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowTimedOut,
)
from perdure.model.messages import Signal, signal
from perdure.model.options import (
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from perdure.model.rpc import RpcError


@signal
class Approval:
    by: str


class SteppingClock:
    """A clock on which every sleep is over at once and takes the time it was asked for."""

    def __init__(self) -> None:
        self.time = 0
        self.sleeps: list[int] = []

    def now(self) -> int:
        return self.time

    monotonic = now

    def call_at(self, when_ns: int, callback: Callable[[], None]) -> Any:
        raise AssertionError("not used")

    async def sleep_until(self, when_ns: int) -> None:
        self.sleeps.append(when_ns - self.time)
        self.time = max(self.time, when_ns)


class ToldService:
    """Answers each method with what the test put down for it: messages, and errors to raise; the last one again and again."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {name: list(each) if isinstance(each, list) else [each] for name, each in answers.items()}
        self.requests: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        answers = self.__dict__["answers"][name]

        async def method(request: Any) -> Any:
            copy = type(request)()
            copy.CopyFrom(request)
            self.requests.append(copy)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return method


def client_of(clock: Any = None, converter: DataConverter | None = None, **answers: Any) -> tuple[WorkflowClient, ToldService]:
    service = ToldService(**answers)
    return WorkflowClient(service, data_converter=converter, identity="me", clock=clock or SteppingClock()), service  # type: ignore[arg-type]


STARTED = StartWorkflowExecutionResponse(run_id="run-1", started=True)


def closed(kind: str, **attributes: Any) -> GetWorkflowExecutionHistoryResponse:
    event = HistoryEvent(event_type=EventType.Value(f"EVENT_TYPE_WORKFLOW_EXECUTION_{kind}"))
    getattr(event, f"workflow_execution_{kind.lower()}_event_attributes").SetInParent()
    for name, value in attributes.items():
        target = getattr(event, f"workflow_execution_{kind.lower()}_event_attributes")
        if isinstance(value, str):
            setattr(target, name, value)
        else:
            getattr(target, name).CopyFrom(value)
    response = GetWorkflowExecutionHistoryResponse()
    response.history.events.append(event)
    return response


def completed(value: Any, new_run: str = "") -> GetWorkflowExecutionHistoryResponse:
    response = closed("COMPLETED", new_execution_run_id=new_run)
    response.history.events[0].workflow_execution_completed_event_attributes.result.payloads.append(DataConverter.default.to_payload(value))
    return response


# --- starting -------------------------------------------------------------------------------------------------------------


async def test_a_start_says_everything_it_was_given() -> None:
    client, service = client_of(start_workflow_execution=STARTED)
    customer = SearchAttributeKey.for_keyword("customer")
    handle = await client.start_workflow(
        "fulfil",
        "A-17",
        3,
        id="order-17",
        task_queue="orders",
        execution_timeout=60,
        run_timeout=30.5,
        task_timeout=5,
        start_delay=1,
        id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE,
        id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING,
        retry_policy=RetryPolicy(maximum_attempts=3),
        cron_schedule="* * * * *",
        memo={"k": 1},
        search_attributes=[SearchAttributePair(customer, "ann")],
        static_summary="sum",
        request_id="mine",
    )
    (request,) = service.requests
    assert (request.namespace, request.workflow_id, request.workflow_type.name, request.task_queue.name) == (
        "default",
        "order-17",
        "fulfil",
        "orders",
    )
    assert [payload.data for payload in request.input.payloads] == [b'"A-17"', b"3"]
    assert (request.workflow_execution_timeout.seconds, request.workflow_run_timeout.nanos, request.workflow_task_timeout.seconds) == (
        60,
        500_000_000,
        5,
    )
    assert (request.workflow_id_reuse_policy, request.workflow_id_conflict_policy) == (3, 2)
    assert (request.retry_policy.maximum_attempts, request.cron_schedule, request.memo.fields["k"].data) == (3, "* * * * *", b"1")
    assert request.search_attributes.indexed_fields["customer"].data == b'"ann"'
    assert (request.user_metadata.summary.data, request.request_id, request.identity) == (b'"sum"', "mine", "me")
    assert (handle.id, handle.first_run_id, handle.run_id, repr(handle)) == ("order-17", "run-1", "", "<WorkflowHandle order-17>")


async def test_a_lost_answer_is_asked_for_again_with_the_same_request_id() -> None:
    clock = SteppingClock()
    client, service = client_of(clock, start_workflow_execution=[rpc.unavailable("away"), rpc.unavailable("away"), STARTED])
    await client.start_workflow("w", id="x")
    assert len(service.requests) == 3
    assert len({request.request_id for request in service.requests}) == 1
    assert 0 < clock.sleeps[0] < clock.sleeps[1] * 2


async def test_trying_again_ends() -> None:
    clock = SteppingClock()
    client, service = client_of(clock, start_workflow_execution=rpc.unavailable("away"))
    with pytest.raises(EngineUnavailable, match=r"the engine does not answer \(away\); try again"):
        await client.start_workflow("w", id="x")
    assert 9e9 < clock.time < 12e9
    assert len(service.requests) < 40


async def test_a_busy_workflow_makes_its_senders_wait() -> None:
    busy = rpc.resource_exhausted("busy", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW)
    client, service = client_of(signal_workflow_execution=[busy, SignalWorkflowExecutionResponse()])
    await client.signal_workflow("x", Approval(by="ann"))  # type: ignore[call-arg]
    assert [(each.signal_name, each.input.payloads[0].data) for each in service.requests] == [("Approval", b'{"by":"ann"}')] * 2
    assert service.requests[0].request_id == service.requests[1].request_id


async def test_what_is_too_large_is_not_sent_again() -> None:
    clock = SteppingClock()
    too_large = RpcError(rpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (30000168 vs. 16777216)")
    client, service = client_of(clock, start_workflow_execution=too_large)
    with pytest.raises(RequestRefused, match=r"the request is too large .*; store large data elsewhere and pass its key"):
        await client.start_workflow("w", id="x")
    assert clock.sleeps == [] and len(service.requests) == 1


REFUSALS: list[tuple[RpcError, type[PerdureError], str]] = [
    (rpc.not_found("workflow not found"), WorkflowNotFound, "no workflow has the id 'x'; start it first"),
    (rpc.not_found("workflow execution already completed"), WorkflowClosed, "workflow 'x' has already ended"),
    (rpc.namespace_not_found("default"), RequestRefused, "there is no namespace 'default'"),
    (rpc.invalid_argument("nonsense"), RequestRefused, "nonsense"),
    (rpc.internal("reference 7"), RequestRefused, "reference 7"),
    (rpc.deadline_exceeded("late"), EngineUnavailable, "does a worker run that has this workflow"),
    (
        rpc.already_started("there", start_request_id="r", run_id="run-9"),
        WorkflowAlreadyStarted,
        "a workflow with the id 'x' exists already",
    ),
]


@pytest.mark.parametrize(("refusal", "kind", "says"), REFUSALS, ids=[says[:30] for _, _, says in REFUSALS])
async def test_refusals_become_errors_of_ours(refusal: RpcError, kind: type[ClientError], says: str) -> None:
    client, _ = client_of(signal_workflow_execution=refusal)
    with pytest.raises(ClientError) as caught:
        await client.signal_workflow("x", "go")
    assert type(caught.value) is kind
    assert says in str(caught.value)
    assert caught.value.__cause__ is refusal


# --- execute --------------------------------------------------------------------------------------------------------------


async def test_execute_starts_or_joins_by_policy_and_gives_the_result() -> None:
    client, service = client_of(start_workflow_execution=STARTED, get_workflow_execution_history=completed([1, 2]))
    assert await client.execute_workflow("w", id="x", result_type=tuple[int, int]) == (1, 2)
    start, wait = service.requests
    assert (start.workflow_id_reuse_policy, start.workflow_id_conflict_policy) == (WorkflowIdReusePolicy.REJECT_DUPLICATE, 2)
    assert (wait.execution.run_id, wait.wait_new_event, wait.history_event_filter_type) == ("run-1", True, 2)


def describing(kind: str) -> DescribeWorkflowExecutionResponse:
    response = DescribeWorkflowExecutionResponse()
    response.workflow_execution_info.type.name = kind
    return response


async def test_execute_takes_the_result_of_what_has_completed() -> None:
    taken = rpc.already_started("there", start_request_id="r", run_id="run-9")
    client, service = client_of(
        start_workflow_execution=taken, describe_workflow_execution=describing("w"), get_workflow_execution_history=completed("old")
    )
    assert await client.execute_workflow("w", id="x") == "old"
    assert service.requests[-1].execution.run_id == "run-9"


async def test_execute_does_not_join_a_workflow_of_another_type() -> None:
    client, _ = client_of(
        start_workflow_execution=StartWorkflowExecutionResponse(run_id="r", started=False), describe_workflow_execution=describing("other")
    )
    with pytest.raises(WorkflowAlreadyStarted, match=r"the id 'x' belongs to a workflow of type 'other', not 'w'; take another id"):
        await client.execute_workflow("w", id="x")


async def test_execute_with_a_conflict_policy_of_fail_fails() -> None:
    client, _ = client_of(start_workflow_execution=rpc.already_started("there", start_request_id="r", run_id="run-9"))
    with pytest.raises(WorkflowAlreadyStarted) as caught:
        await client.execute_workflow("w", id="x", id_conflict_policy=WorkflowIdConflictPolicy.FAIL)
    assert caught.value.run_id == "run-9"


# --- results --------------------------------------------------------------------------------------------------------------


async def test_the_result_is_waited_for_poll_after_poll() -> None:
    client, service = client_of(
        get_workflow_execution_history=[
            GetWorkflowExecutionHistoryResponse(next_page_token=b"t"),
            GetWorkflowExecutionHistoryResponse(),
            completed(1),
        ]
    )
    assert await client.result("x") == 1
    assert [request.next_page_token for request in service.requests] == [b"", b"t", b""]


async def test_the_result_is_that_of_the_last_run() -> None:
    failure = DataConverter.default.to_failure(ValueError("first try"))
    answers = [
        closed("CONTINUED_AS_NEW", new_execution_run_id="2"),
        closed("FAILED", failure=failure, new_execution_run_id="3"),
        closed("TIMED_OUT", new_execution_run_id="4"),
        completed("cron", new_run="5"),
        completed("end"),
    ]
    client, service = client_of(start_workflow_execution=STARTED, get_workflow_execution_history=answers)
    handle = await client.start_workflow("w", id="x")
    assert await handle.result() == "end"
    assert [request.execution.run_id for request in service.requests[1:]] == ["run-1", "2", "3", "4", "5"]


async def test_one_run_alone_can_be_asked() -> None:
    client, _ = client_of(get_workflow_execution_history=closed("CONTINUED_AS_NEW", new_execution_run_id="2"))
    with pytest.raises(PerdureError, match="continued as run 2; leave out follow_runs=False"):
        await client.get_workflow_handle("x", run_id="1").result(follow_runs=False)


async def test_a_failure_is_chained() -> None:
    failure = DataConverter.default.to_failure(ApplicationError("no money", type="InsufficientFunds"))
    client, _ = client_of(get_workflow_execution_history=closed("FAILED", failure=failure))
    with pytest.raises(
        WorkflowFailed, match=r"workflow 'x' failed: InsufficientFunds: no money; its history shows where: client.history\('x'\)"
    ) as caught:
        await client.result("x")
    assert isinstance(caught.value.__cause__, ApplicationError)
    assert caught.value.workflow_id == "x"


async def test_timed_out() -> None:
    client, _ = client_of(get_workflow_execution_history=closed("TIMED_OUT"))
    with pytest.raises(WorkflowTimedOut, match="give it a longer execution_timeout or run_timeout"):
        await client.result("x")


# --- queries, signals -------------------------------------------------------------------------------------------------------


async def test_queries_that_fail_are_rejected_or_go_unanswered() -> None:
    failure = DataConverter.default.to_failure(KeyError("x"))
    rejected = QueryWorkflowResponse()
    rejected.query_rejected.status = 2  # type: ignore[assignment]
    client, service = client_of(
        query_workflow=[rpc.invalid_argument("handler raised", QueryFailedFailure(failure=failure)), rejected, QueryWorkflowResponse()]
    )
    with pytest.raises(QueryFailed, match="workflow 'x' did not answer the query: handler raised") as caught:
        await client.query_workflow("x", "q")
    assert isinstance(caught.value.__cause__, ApplicationError)
    with pytest.raises(QueryRejected, match="workflow 'x' is COMPLETED; leave out reject_condition") as refused:
        await client.query_workflow("x", "q", reject_condition=QueryRejectCondition.NOT_OPEN)
    assert refused.value.workflow_status == "COMPLETED"
    assert await client.query_workflow("x", "q", 1) is None
    assert (service.requests[1].query_reject_condition, service.requests[2].query.query_args.payloads[0].data) == (2, b"1")


async def test_signal_with_start_carries_both() -> None:
    client, service = client_of(signal_with_start_workflow_execution=SignalWithStartWorkflowExecutionResponse(run_id="r", started=True))
    handle = await client.signal_with_start("w", 1, id="x", signal=Signal("level", int), signal_args=[7], task_queue="q")
    (request,) = service.requests
    assert (request.signal_name, request.signal_input.payloads[0].data, request.input.payloads[0].data) == ("level", b"7", b"1")
    assert (handle.first_run_id, request.task_queue.name) == ("r", "q")


# --- codec --------------------------------------------------------------------------------------------------------------------


class Reversing(PayloadCodec):
    async def encode(self, payloads: Any) -> list[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=payload.SerializeToString()[::-1]) for payload in payloads]

    async def decode(self, payloads: Any) -> list[Payload]:
        return [Payload.FromString(payload.data[::-1]) for payload in payloads]


async def test_a_codec_sees_every_payload_both_ways() -> None:
    codec = Reversing()
    answer = completed("secret")
    result = answer.history.events[0].workflow_execution_completed_event_attributes.result
    (encoded,) = await codec.encode(list(result.payloads))
    result.payloads[0].CopyFrom(encoded)
    client, service = client_of(
        converter=DataConverter(codec=codec),
        start_workflow_execution=[rpc.unavailable("once"), STARTED],
        get_workflow_execution_history=answer,
    )
    assert await client.execute_workflow("w", "argument", id="x", memo={"k": "hidden"}) == "secret"
    for request in service.requests[:2]:
        assert request.input.payloads[0].metadata["encoding"] == b"reversed"
        assert request.memo.fields["k"].metadata["encoding"] == b"reversed"
    assert service.requests[0] == service.requests[1]


# --- wrong use --------------------------------------------------------------------------------------------------------------


async def undecorated(ctx: Any) -> None: ...


WRONG: list[tuple[Callable[[WorkflowClient], Any], str]] = [
    (lambda c: c.start_workflow("w"), "start_workflow needs an id: the name of what the workflow is about, as in id=order.id"),
    (lambda c: c.execute_workflow("w", id=""), "execute_workflow: the id is ''; give a string that is not empty"),
    (lambda c: c.start_workflow("w", id=17), "the id is 17; give a string that is not empty, as in id=str(order.id)"),
    (lambda c: c.start_workflow("w", id="x" * 1001), "the id has 1001 bytes, and 1000 are allowed; shorten it"),
    (lambda c: c.start_workflow("", id="x"), "the workflow's name is empty"),
    (lambda c: c.start_workflow(undecorated, id="x"), "undecorated is not a workflow; put @workflow on it"),
    (lambda c: c.start_workflow("w", id="x", timeout=3), "say execution_timeout=… (over retries and continue-as-new) or run_timeout=…"),
    (lambda c: c.start_workflow("w", id="x", args=[1]), "say the arguments themselves, one after the other, before the options"),
    (lambda c: c.start_workflow("w", id="x", task_que="q"), "did you mean 'task_queue'?"),
    (lambda c: c.start_workflow("w", id="x", options=3), "options is 3; give StartWorkflowOptions(…)"),
    (lambda c: c.start_workflow("w", id="x", run_timeout="1h"), "run_timeout is '1h'; give seconds as a number, or a timedelta"),
    (lambda c: c.start_workflow("w", object(), id="x"), "argument 1 of workflow w (of type object) cannot be converted to JSON"),
    (lambda c: c.start_workflow("w", id="x", memo={"k": object()}), "argument 'k' of the memo"),
    (lambda c: c.signal_workflow("x", Approval), "Approval is the signal's class; send an instance: Approval(…)"),
    (lambda c: c.signal_workflow("x", Approval(by="a"), 1), "an instance of Approval is the whole signal"),  # type: ignore[call-arg, call-overload]
    (lambda c: c.signal_workflow("x", Signal("level", int)), "signal level takes 1 argument, and 0 were given"),
    (lambda c: c.signal_workflow("x", Signal("level"), 1), "signal level takes no arguments, and 1 were given"),
    (lambda c: c.signal_workflow("x", 3), "3 is no signal"),
    (lambda c: c.query_workflow("x", 3), "3 is no query"),
    (lambda c: c.signal_with_start("w", id="x"), "signal_with_start needs signal=…"),
    (lambda c: c.result(None), "needs an id"),
    (lambda c: c.describe_workflow, "WorkflowClient has no 'describe_workflow'; say describe(id)"),
    (lambda c: c.strat_workflow, "did you mean 'start_workflow'?"),
    (lambda c: c.get_workflow_handle("x").fetch_history, "WorkflowHandle has no 'fetch_history'; say history()"),
    (lambda c: WorkflowClient("memory://"), "say WorkflowClient.connect('memory://'), with `async with` or `await`"),  # type: ignore[arg-type]
    (lambda c: WorkflowClient.connect("memory://").start_workflow, "say `async with WorkflowClient.connect(…) as client`"),
    (lambda c: WorkflowClient(c.service, data_converter=3), "data_converter is 3; give a perdure.DataConverter"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("use", "says"), WRONG, ids=[says[:50] for _, says in WRONG])
async def test_wrong_use_is_answered_before_anything_is_sent(use: Any, says: str) -> None:
    client, service = client_of()
    with pytest.raises(PerdureError) as caught:
        found = use(client)
        if asyncio.iscoroutine(found):
            await found
    assert says in str(caught.value)
    assert service.requests == []


async def test_a_closed_client_says_so() -> None:
    client, _ = client_of(start_workflow_execution=STARTED)
    await client.close()
    await client.close()
    for call in (client.start_workflow("w", id="x"), client.result("x"), client.signal_workflow("x", "s"), client.describe("x")):
        with pytest.raises(EngineUnavailable, match="the client is closed; use it inside `async with"):
            await call
    assert issubclass(UsageError, TypeError)
