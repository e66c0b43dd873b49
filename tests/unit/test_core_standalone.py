"""Proves activities without a workflow: their whole histories, policies of their ids, timeouts, retries, cancellation, what is shown."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import ActivityExecutionStatus as S
from temporalio.api.enums.v1 import ActivityIdConflictPolicy as C
from temporalio.api.enums.v1 import ActivityIdReusePolicy as R
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RequestCancelActivityExecutionRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskFailedByIdRequest,
    StartActivityExecutionRequest,
    TerminateActivityExecutionRequest,
    UnpauseActivityRequest,
)

sys.path.insert(0, str(Path(__file__).parent))

from core_support import Driver, FakeEnv, Ledger, _plain, kinds, payloads, seconds, snapshot

from perdure.engine.core import FireTimers, StartActivityTask, TaskKind, load, outbound
from perdure.engine.core.callbacks import SYSTEM_URL, TOKEN_HEADER, CallbackToken
from perdure.engine.core.others import CALL_BACK
from perdure.engine.core.standalone import answer_existing, check_start, start_standalone
from perdure.engine.core.standalone_views import activity_execution_info, outcome_of
from perdure.engine.core.state import STANDALONE_MARK
from perdure.model.rpc import RpcError, StatusCode


class StandaloneLedger(Ledger):
    """The rules of a workflow's history do not hold here; that the fold gives the state does."""

    def check(self) -> None:
        live, folded = snapshot(self.run), snapshot(load(self.events(), self.facts, self.activities.items(), []))
        assert live == folded, {name: (live[name], folded[name]) for name in live if live[name] != folded[name]}
        assert _plain(self.events()) and self.run.task is None


class Standalone(Driver):
    """One such activity."""

    def __init__(self, env: FakeEnv | None = None, **fields: Any) -> None:
        self.env = env or FakeEnv()
        request = start_request(**fields)
        check_start(request, {})
        outcome = start_standalone("ns" + STANDALONE_MARK, request, self.env)
        self.run = outcome.run
        self.ledgers = [StandaloneLedger(self.run)]
        self.outcome = self._commit(outcome)

    @property
    def info(self) -> Any:
        return activity_execution_info(self.run, self.events, 1)

    @property
    def failure(self) -> Any:
        return outcome_of(self.events[-1]).failure


def start_request(**fields: Any) -> StartActivityExecutionRequest:
    request = StartActivityExecutionRequest(namespace="ns", activity_id="a", request_id="r1", identity="client", input=payloads("in"))
    request.activity_type.name = "Act"
    request.task_queue.name = "queue"
    request.start_to_close_timeout.seconds = 10
    request.MergeFrom(StartActivityExecutionRequest(**fields))
    return request


def test_one_that_completes() -> None:
    driver = Standalone(user_metadata={"summary": payloads("s").payloads[0]}, priority={"priority_key": 2})
    assert driver.info.status == S.ACTIVITY_EXECUTION_STATUS_RUNNING and driver.info.attempt == 1 and driver.info.priority.priority_key == 2
    task = driver.take_activity()
    assert task.response.activity_run_id == driver.run.run_id and task.response.workflow_namespace == "ns"
    assert not task.response.workflow_execution.workflow_id and task.response.input == payloads("in")
    driver.reload()
    driver.complete_activity(task)
    assert driver.kinds == ["WorkflowExecutionStarted", "ActivityTaskScheduled", "ActivityTaskStarted", "ActivityTaskCompleted"]
    assert driver.run.closed and driver.run.next_due() is None
    assert driver.info.status == S.ACTIVITY_EXECUTION_STATUS_COMPLETED and driver.info.last_worker_identity == "worker"
    assert outcome_of(driver.events[-1]).result == payloads("done")
    with pytest.raises(RpcError):
        driver.complete_activity(task)


def test_a_poller_that_waits_gets_it_in_the_transaction_that_makes_it() -> None:
    env = FakeEnv()
    env.polled.add((TaskKind.ACTIVITY, "queue"))
    assert Standalone(env).handed_activity().attempt == 1


def test_it_is_tried_again_and_fails_in_the_end() -> None:
    driver = Standalone(retry_policy={"maximum_attempts": 2})
    driver.fail_activity(driver.take_activity())
    assert driver.info.last_failure.message == "boom" and driver.info.attempt == 2
    driver.later(1)
    driver.fail_activity(driver.take_activity(), "again")
    assert driver.kinds[2:] == ["ActivityTaskStarted", "ActivityTaskFailed"]
    assert driver.info.status == S.ACTIVITY_EXECUTION_STATUS_FAILED and driver.failure.message == "again"


def test_it_times_out() -> None:
    driver = Standalone(schedule_to_close_timeout=seconds(5))
    driver.later(5)
    assert driver.info.status == S.ACTIVITY_EXECUTION_STATUS_TIMED_OUT and driver.failure.HasField("timeout_failure_info")


def test_a_delayed_one_begins_later_and_its_deadlines_count_from_then() -> None:
    driver = Standalone(start_delay=seconds(100), schedule_to_close_timeout=seconds(5))
    with pytest.raises(RpcError):
        driver.take_activity()
    driver.later(99)
    assert not driver.run.closed
    driver.later(1)
    driver.reload()
    assert (driver.take_activity().response.scheduled_time.seconds - driver.events[0].event_time.seconds) == 100


def test_cancelling_one_that_nobody_has_ends_it() -> None:
    driver = Standalone()
    driver.do(RequestCancelActivityExecutionRequest(reason="enough", identity="client"))
    assert driver.kinds[2:] == ["WorkflowExecutionCancelRequested", "ActivityTaskCanceled"]
    assert driver.info.status == S.ACTIVITY_EXECUTION_STATUS_CANCELED and driver.info.canceled_reason == "enough"
    assert driver.failure.HasField("canceled_failure_info")
    with pytest.raises(RpcError) as refused:
        driver.do(RequestCancelActivityExecutionRequest())
    assert refused.value.code is StatusCode.NOT_FOUND


def test_cancelling_one_that_runs_tells_its_worker() -> None:
    driver = Standalone()
    driver.take_activity()
    with pytest.raises(RpcError) as refused:
        driver.do(RespondActivityTaskCanceledByIdRequest(activity_id="a"))
    assert refused.value.code is StatusCode.FAILED_PRECONDITION
    driver.do(RequestCancelActivityExecutionRequest(reason="enough"))
    assert not driver.do(RequestCancelActivityExecutionRequest(reason="again")).changed
    driver.reload()
    reply = driver.do(RecordActivityTaskHeartbeatByIdRequest(activity_id="a")).reply
    assert reply is not None and reply.cancel_requested  # type: ignore[attr-defined]
    driver.do(RespondActivityTaskCanceledByIdRequest(activity_id="a", details=payloads("bye")))
    assert driver.failure.canceled_failure_info.details == payloads("bye")


def test_termination() -> None:
    driver = Standalone()
    driver.do(TerminateActivityExecutionRequest(reason="now"))
    assert driver.info.status == S.ACTIVITY_EXECUTION_STATUS_TERMINATED and driver.failure.message == "now"
    with pytest.raises(RpcError):
        driver.do(TerminateActivityExecutionRequest())


def test_policies_of_an_id() -> None:
    driver = Standalone()
    run = driver.run
    assert answer_existing(run, start_request()).started  # type: ignore[union-attr]
    other = start_request(request_id="r2")
    with pytest.raises(RpcError) as refused:
        answer_existing(run, other)
    assert refused.value.code is StatusCode.ALREADY_EXISTS
    other.id_conflict_policy = C.ACTIVITY_ID_CONFLICT_POLICY_USE_EXISTING
    existing = answer_existing(run, other)
    assert existing is not None and not existing.started and existing.run_id == run.run_id
    driver.do(RespondActivityTaskCompletedByIdRequest(activity_id="a"))
    assert answer_existing(run, other) is None
    for policy in (R.ACTIVITY_ID_REUSE_POLICY_REJECT_DUPLICATE, R.ACTIVITY_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY):
        other.id_reuse_policy = policy
        with pytest.raises(RpcError):
            answer_existing(run, other)


def test_who_waits_for_its_end_is_called_back_and_a_further_start_may_add_one() -> None:
    first, second = Callback(), Callback()
    for callback, name in ((first, "one"), (second, "two")):
        callback.nexus.url = SYSTEM_URL
        callback.nexus.header[TOKEN_HEADER] = CallbackToken("ns", name, "run", 5, "r").encode()
    link = Link(workflow_event=Link.WorkflowEvent(namespace="ns", workflow_id="caller"))
    driver = Standalone(completion_callbacks=[first])
    options = {"attach_request_id": True, "attach_completion_callbacks": True, "attach_links": True}
    request = start_request(completion_callbacks=[second], links=[link], on_conflict_options=options)
    request.request_id = "r2"
    check_start(request, {})
    driver.do(request)
    driver.do(request)
    driver.reload()
    assert [each.request_id for each in driver.run.callbacks or ()] == ["r1", "r2"] and list(driver.info.links) == [link]
    driver.do(RespondActivityTaskCompletedByIdRequest(activity_id="a"))
    driver.reload()
    message = outbound.message(driver.run, CALL_BACK)
    assert isinstance(message, outbound.CallBack) and [each.callback for each in message.callbacks] == [first, second]
    driver.do(outbound.Discharged(CALL_BACK))
    driver.reload()
    assert not driver.run.unsent
    known = answer_existing(driver.run, request)
    assert known is not None and not known.started, "its request has been answered"
    assert known.link.activity.activity_id == "a" and known.link.activity.namespace == "ns"


@pytest.mark.parametrize(
    "fields",
    [
        {"activity_id": "x" * 2000},
        {"start_delay": seconds(-1)},
        {"heartbeat_timeout": seconds(-1)},
        {"retry_policy": {"maximum_attempts": -1}},
        {"completion_callbacks": [{}]},
        {"completion_callbacks": [{"nexus": {"url": "https://example.com"}}]},
        {"on_conflict_options": {"attach_completion_callbacks": True}},
        {"user_metadata": {"summary": {"data": b"x" * 1000}}},
    ],
)
def test_what_can_never_be_started_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RpcError) as refused:
        check_start(start_request(**fields), {})
    assert refused.value.code is StatusCode.INVALID_ARGUMENT


def test_names_and_a_timeout_are_needed() -> None:
    clear: list[Callable[[StartActivityExecutionRequest], None]] = [
        lambda r: r.ClearField("activity_id"),
        lambda r: r.ClearField("activity_type"),
        lambda r: r.ClearField("task_queue"),
        lambda r: r.ClearField("start_to_close_timeout"),
    ]
    for each in clear:
        request = start_request()
        each(request)
        with pytest.raises(RpcError):
            check_start(request, {})


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_requests_keeps_the_laws(seed: int) -> None:
    """The ledger compares state and fold after each step; here only the mix is made."""
    chance = random.Random(seed)
    driver = Standalone(start_delay=seconds(chance.randrange(2)), retry_policy={"maximum_attempts": chance.randrange(5)})
    taken: list[Any] = []
    for _ in range(60):
        steps: list[Callable[[], Any]] = [
            lambda: taken.append(driver.take_activity()),
            lambda: driver.fail_activity(taken[-1]),
            lambda: driver.later(chance.choice((0, 1, 5, 20))),
            lambda: driver.do(PauseActivityRequest(id="a")),
            lambda: driver.do(UnpauseActivityRequest(id="a")),
            lambda: driver.do(RespondActivityTaskFailedByIdRequest(activity_id="a")),
            lambda: driver.do(RecordActivityTaskHeartbeatByIdRequest(activity_id="a", details=payloads("h"))),
            lambda: driver.do(StartActivityTask(2, None)) if driver.run.closed else driver.do(FireTimers()),  # type: ignore[arg-type]
            driver.reload,
        ]
        if chance.random() < 0.03:
            steps = [lambda: driver.do(RequestCancelActivityExecutionRequest()), lambda: driver.complete_activity(taken[-1])]
        before = snapshot(driver.run)
        try:
            chance.choice(steps)()
        except (RpcError, IndexError, KeyError):
            assert snapshot(driver.run) == before
        assert driver.info.activity_id == "a"
    assert kinds(driver.events)[:2] == ["WorkflowExecutionStarted", "ActivityTaskScheduled"]
