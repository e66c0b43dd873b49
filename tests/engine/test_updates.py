"""Proves that updates survive what may happen to worker, engine and storage, and that no caller waits for ever or is told too early."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure, WorkflowExecutionAlreadyStartedFailure
from temporalio.api.failure.v1 import MultiOperationExecutionAborted
from temporalio.api.workflowservice.v1 import ExecuteMultiOperationRequest, ExecuteMultiOperationResponse

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from core_updates import acceptance, rejection, response, update_request
from updating import ACCEPTED, ADMITTED, COMPLETED, Hand, said, start_request

from perdure.engine import background, live_runs, open_engine
from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage, SQLiteStorage
from perdure.storage.contract import Committed, Transaction
from perdure.testing import ManualClock

IDLE = ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
UPDATED = ["WorkflowExecutionUpdateAccepted", "WorkflowExecutionUpdateCompleted"]


class Valve(MemoryStorage):
    """A storage whose commits fail while `failing` is set."""

    failing = False

    def commit(self, group: list[Transaction]) -> list[Committed]:  # type: ignore[override]
        return [Committed.FAILED] * len(group) if self.failing else super().commit(group)


@pytest.fixture
async def hand() -> AsyncIterator[Hand]:
    engine = await open_engine(Valve())
    yield Hand(engine)
    await engine.close()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RETRY_SECONDS", 0.02)


async def refused(call: asyncio.Future[object]) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await asyncio.wait_for(call, 30)
    return caught.value


# The ordinary course.


async def test_an_update_from_admission_to_its_outcome(hand: Hand) -> None:
    run_id = await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    assert (await hand.look("u")).stage == ADMITTED
    task = await hand.poll()
    await hand.complete(task, acceptance("u", 5))
    assert (await hand.look("u", ACCEPTED)).stage == ACCEPTED and not asked.done()
    waiting = asyncio.ensure_future(hand.look("u", COMPLETED))
    await hand.signal()
    await hand.complete(await hand.poll(), response("u", "three"))
    for answer in (await asked, await waiting, await hand.look("u"), await hand.update("u")):
        assert answer.stage == COMPLETED and said(answer.outcome.success) == "three"
        ref = answer.update_ref
        assert (ref.update_id, ref.workflow_execution.workflow_id, ref.workflow_execution.run_id) == ("u", "wf", run_id)
    assert await hand.kinds() == [*IDLE, *TASK, UPDATED[0], "WorkflowExecutionSignaled", *TASK, UPDATED[1]]


async def test_a_rejection_is_told_and_leaves_nothing(hand: Hand) -> None:
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u", ACCEPTED)
    await hand.complete(await hand.poll(), rejection("u", "not now"))
    answer = await asked
    assert answer.stage == COMPLETED and answer.outcome.failure.message == "not now"
    assert await hand.kinds() == IDLE
    with pytest.raises(RpcError, match="not found"):
        await hand.look("u")
    again = await hand.ask("u")
    await hand.complete(await hand.poll(), acceptance("u", 5), response("u"))
    assert (await again).stage == COMPLETED


async def test_a_worker_that_waits_gets_the_update_and_one_that_left_loses_nothing(hand: Hand) -> None:
    await hand.start()
    await hand.idle()
    leaving, staying = hand.polling(), hand.polling()
    await asyncio.sleep(0)
    asked = hand.update("u")
    await asyncio.sleep(0)
    leaving.cancel()  # the task has been given to it
    task = await asyncio.wait_for(staying, 30)
    assert leaving.cancelled()
    await hand.complete(task, rejection("u"))
    assert (await asked).outcome.failure.message == "no" and await hand.kinds() == IDLE


# Time.


async def test_a_caller_waits_twenty_seconds_and_learns_how_far_it_is() -> None:
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    hand = Hand(engine)
    await hand.start()
    asked = await hand.ask("u")
    await clock.advance(19)
    assert not asked.done()
    await clock.advance(2)
    answer = await asked
    assert answer.stage == ADMITTED and not answer.HasField("outcome")
    again = hand.update("u", ACCEPTED)
    await hand.complete(await hand.poll(), acceptance("u"))
    assert (await again).stage == ACCEPTED
    waiting = asyncio.ensure_future(hand.look("u", COMPLETED))
    await clock.advance(21)
    assert (await waiting).stage == ACCEPTED
    await engine.close()


async def test_a_task_that_nobody_takes_is_recorded_after_five_seconds_and_keeps_its_update() -> None:
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    hand = Hand(engine)
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    await clock.advance(4)
    assert await hand.kinds() == IDLE
    await clock.advance(2)
    assert await hand.kinds() == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskTimedOut", "WorkflowTaskScheduled"]
    await hand.complete(await hand.poll(), acceptance("u", 8), response("u"))
    assert (await asked).stage == COMPLETED
    await engine.close()


async def test_a_worker_that_dies_with_an_update_is_followed_by_another() -> None:
    clock = ManualClock()
    engine = await open_engine(MemoryStorage(), clock=clock)
    hand = Hand(engine)
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    assert (await hand.poll()).messages
    await clock.advance(11)
    task = await hand.poll()
    assert task.attempt == 2 and task.messages[0].protocol_instance_id == "u"
    await hand.complete(task, acceptance("u", 8), response("u"))
    assert (await asked).stage == COMPLETED
    assert await hand.kinds() == [*IDLE, "WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskTimedOut", *TASK, *UPDATED]
    await engine.close()


# Engines come and go.


async def test_what_was_accepted_is_completed_after_a_restart(tmp_path: Path) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    hand = Hand(engine)
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    await hand.complete(await hand.poll(), acceptance("u", 5))
    await engine.close()
    assert (await asked).stage == ACCEPTED
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    hand = Hand(engine)
    assert (await hand.look("u")).stage == ACCEPTED
    again = hand.update("u")
    await hand.signal()
    await hand.complete(await hand.poll(), response("u", "after all"))
    assert said((await again).outcome.success) == "after all"
    await engine.close()
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    hand = Hand(engine)
    before = await hand.kinds()
    assert said((await hand.update("u")).outcome.success) == "after all" and await hand.kinds() == before
    await engine.close()


async def test_what_was_only_admitted_is_lost_with_its_engine_and_asked_again(tmp_path: Path) -> None:
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    hand = Hand(engine)
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    stale = await hand.poll()
    await engine.close()
    assert (await asked).stage == ADMITTED
    engine = await open_engine(SQLiteStorage(tmp_path / "runs.db"))
    hand = Hand(engine)
    with pytest.raises(RpcError, match="not found"):
        await hand.look("u")
    again = await hand.ask("u")
    task = await hand.poll()
    assert task.started_event_id == stale.started_event_id
    with pytest.raises(RpcError, match="Workflow task not found"):
        await hand.complete(stale, acceptance("u", 5))
    await hand.complete(task, acceptance("u", 5), response("u"))
    assert (await again).stage == COMPLETED and await hand.kinds() == [*IDLE, *TASK, *UPDATED]
    await engine.close()


@pytest.mark.parametrize("taken", [False, True])
async def test_a_failed_commit_does_not_lose_the_update_of_a_caller_who_waits(
    hand: Hand, taken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    lost = await hand.poll() if taken else None
    assert isinstance(hand.engine.storage, Valve)
    hand.engine.storage.failing = True
    with pytest.raises(RpcError):
        await hand.signal()
    hand.engine.storage.failing = False
    if lost is not None:
        with pytest.raises(RpcError, match="not found"):
            await hand.complete(lost, rejection("u"))
    task = await hand.poll()
    assert task.messages[0].protocol_instance_id == "u"
    await hand.complete(task, acceptance("u", 5), response("u"))
    assert (await asked).stage == COMPLETED and await hand.kinds() == [*IDLE, *TASK, *UPDATED]


async def test_an_acceptance_that_does_not_become_durable_is_not_told(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u", ACCEPTED)
    task = await hand.poll()
    assert isinstance(hand.engine.storage, Valve)
    hand.engine.storage.failing = True
    with pytest.raises(RpcError):
        await hand.complete(task, acceptance("u", 5))
    assert not asked.done()
    hand.engine.storage.failing = False
    await hand.complete(await hand.poll(), acceptance("u", 5))
    assert (await asked).stage == ACCEPTED


async def test_runs_that_somebody_waits_for_stay_in_memory(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    await hand.start()
    await hand.idle()
    asked = await hand.ask("u")
    monkeypatch.setattr(live_runs, "LIVE_RUNS_MAX", 3)
    for number in range(10):
        await hand.start(workflow_id=f"other-{number}", task_queue={"name": "elsewhere"})
    assert (await hand.look("u")).stage == ADMITTED
    asked.cancel()
    await asyncio.sleep(0)
    for number in range(10, 20):
        await hand.start(workflow_id=f"other-{number}", task_queue={"name": "elsewhere"})
    with pytest.raises(RpcError, match="not found"):
        await hand.look("u")


async def test_an_update_leaves_no_earlier_than_the_run_it_is_for() -> None:
    engine = await open_engine(Valve())
    hand = Hand(engine)
    assert isinstance(engine.storage, Valve)
    starting = asyncio.ensure_future(hand.start())
    await asyncio.sleep(0)
    asked = hand.update("u")
    engine.storage.failing = True
    assert (await refused(starting)).code is StatusCode.UNAVAILABLE  # type: ignore[arg-type]
    assert (await refused(asked)).code in (StatusCode.NOT_FOUND, StatusCode.UNAVAILABLE)  # type: ignore[arg-type]
    await engine.close()


# The end of the run.


@pytest.mark.parametrize(
    ("command", "code"), [(commands.complete(), StatusCode.NOT_FOUND), (commands.continue_as_new(), StatusCode.RESOURCE_EXHAUSTED)]
)
async def test_a_run_that_ends_answers_everybody(hand: Hand, command: object, code: StatusCode) -> None:
    run_id = await hand.start()
    await hand.idle()
    accepted = await hand.ask("accepted")
    await hand.complete(await hand.poll(), acceptance("accepted", 5))
    sent = await hand.ask("sent")
    task = await hand.poll()
    waiting = await hand.ask("waiting")
    await hand.complete(task, commands=[command])  # type: ignore[list-item]
    failure = (await accepted).outcome.failure
    assert failure.application_failure_info.type == "AcceptedUpdateCompletedWorkflow"
    assert (await refused(sent)).code is code and (await refused(waiting)).code is code  # type: ignore[arg-type]
    old = await hand.update("accepted", workflow_execution={"workflow_id": "wf", "run_id": run_id})
    assert old.outcome.failure == failure


async def test_updates_of_what_is_not_there(hand: Hand) -> None:
    assert (await refused(hand.update("u"))).code is StatusCode.NOT_FOUND  # type: ignore[arg-type]
    await hand.start()
    with pytest.raises(RpcError, match="not found"):
        await hand.look("nothing")
    with pytest.raises(RpcError, match="UpdateId"):
        await hand.look("")


async def test_ending_the_waits_answers_them(hand: Hand) -> None:
    await hand.start()
    asked = await hand.ask("u")
    hand.engine.end_waits()
    assert (await asked).stage == ADMITTED
    assert (await hand.update("u")).stage == ADMITTED


# Update-with-start.


def both(update_id: str = "u", update: dict[str, object] | None = None, **start: object) -> ExecuteMultiOperationRequest:
    request = ExecuteMultiOperationRequest(namespace="default")
    request.operations.add().start_workflow.CopyFrom(start_request(**start))
    request.operations.add().update_workflow.CopyFrom(update_request(update_id, namespace="default", **(update or {})))
    return request


def executing(hand: Hand, request: ExecuteMultiOperationRequest) -> asyncio.Task[ExecuteMultiOperationResponse]:
    return asyncio.ensure_future(hand.service.execute_multi_operation(request))


async def test_update_with_start_makes_the_run_and_brings_the_update_with_its_first_task(hand: Hand) -> None:
    doing = executing(hand, both())
    await hand.complete(await hand.poll(), acceptance("u"), response("u", "hello"))
    started, updated = (await doing).responses
    assert started.start_workflow.started and started.start_workflow.run_id == updated.update_workflow.update_ref.workflow_execution.run_id
    assert said(updated.update_workflow.outcome.success) == "hello" and await hand.kinds() == IDLE + UPDATED
    again = await hand.service.execute_multi_operation(both())
    assert again.responses[0].start_workflow.run_id == started.start_workflow.run_id
    assert again.responses[1].update_workflow == updated.update_workflow


async def test_update_with_start_of_a_run_that_fails_to_be_written_starts_another(hand: Hand, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    assert isinstance(hand.engine.storage, Valve)
    hand.engine.storage.failing = True
    assert (await refused(executing(hand, both()))).code is StatusCode.UNAVAILABLE  # type: ignore[arg-type]
    hand.engine.storage.failing = False
    doing = executing(hand, both())
    await hand.complete(await hand.poll(), acceptance("u"), response("u"))
    assert (await doing).responses[0].start_workflow.started


@pytest.mark.parametrize(
    ("policy", "started"),
    [({"workflow_id_conflict_policy": 2}, False), ({"workflow_id_conflict_policy": 3}, True), ({"request_id": "start"}, True)],
    ids=["use existing", "terminate existing", "same request"],
)
async def test_update_with_start_of_a_run_that_is_there(hand: Hand, policy: dict[str, object], started: bool) -> None:
    run_id = await hand.start()
    await hand.idle()
    doing = executing(hand, both(**{"request_id": "another", **policy}))
    task = await hand.poll()
    await hand.complete(task, acceptance("u", 2), response("u"))
    answer = (await doing).responses
    assert answer[0].start_workflow.started == started
    replaced = policy.get("workflow_id_conflict_policy") == 3
    assert (answer[0].start_workflow.run_id != run_id) == replaced
    assert await hand.kinds() == (IDLE + UPDATED if replaced else IDLE + TASK + UPDATED)


async def test_an_update_that_the_run_knows_is_found_whatever_the_policy(hand: Hand) -> None:
    await hand.start()
    asked = await hand.ask("u")
    doing = executing(hand, both(request_id="another"))
    await hand.complete(await hand.poll(), acceptance("u"), response("u"))
    assert (await doing).responses[1].update_workflow == await asked


@pytest.mark.parametrize("closed", [False, True])
async def test_a_start_that_the_policies_refuse_aborts_the_update(hand: Hand, closed: bool) -> None:
    run_id = await hand.start()
    if closed:
        await hand.complete(await hand.poll(), commands=[commands.complete()])
    error = await refused(executing(hand, both(request_id="another", workflow_id_reuse_policy=3)))  # type: ignore[arg-type]
    assert error.code is StatusCode.ALREADY_EXISTS and isinstance(error.detail, MultiOperationExecutionFailure)
    start, update = error.detail.statuses
    already = WorkflowExecutionAlreadyStartedFailure()
    assert start.details[0].Unpack(already) and already.run_id == run_id
    assert update.code == StatusCode.ABORTED and update.details[0].Unpack(MultiOperationExecutionAborted())


async def test_an_update_that_is_refused_aborts_the_start(hand: Hand) -> None:
    await hand.start()
    for number in range(10):
        await hand.ask(f"u{number}")
    error = await refused(executing(hand, both("u10", workflow_id_conflict_policy=2)))  # type: ignore[arg-type]
    assert error.code is StatusCode.RESOURCE_EXHAUSTED and isinstance(error.detail, MultiOperationExecutionFailure)
    assert [status.code for status in error.detail.statuses] == [StatusCode.ABORTED, StatusCode.RESOURCE_EXHAUSTED]


async def test_a_run_that_ends_before_its_update_is_followed_once(hand: Hand) -> None:
    doing = executing(hand, both())
    await hand.complete(await hand.poll(), commands=[commands.complete()])
    error = await refused(doing)  # type: ignore[arg-type]
    assert isinstance(error.detail, MultiOperationExecutionFailure)
    doing = executing(hand, both(request_id="second"))
    await hand.complete(await hand.poll(), commands=[commands.continue_as_new()])
    await hand.admitted("u", doing)
    await hand.complete(await hand.poll(), acceptance("u"), response("u"))
    assert (await doing).responses[1].update_workflow.stage == COMPLETED


@pytest.mark.parametrize(
    ("request_", "at_fault", "said_"),
    [
        (both(cron_schedule="* * * * *"), 0, "CronSchedule"),
        (both(workflow_start_delay={"seconds": 1}), 0, "WorkflowStartDelay"),
        (both(request_eager_execution=True), 0, "Eager"),
        (both(workflow_type={"name": "x" * 1001}), 0, "length"),
        (both(update={"workflow_execution": {"workflow_id": "other"}}), 1, "WorkflowId"),
        (both(update={"workflow_execution": {"run_id": "r"}}), 1, "RunId"),
        (both(update={"first_execution_run_id": "r"}), 1, "FirstExecutionRunId"),
        (both(update={"wait_policy": {"lifecycle_stage": 1}}), 1, "ADMITTED"),
    ],
)
async def test_operations_that_do_not_go_together(hand: Hand, request_: ExecuteMultiOperationRequest, at_fault: int, said_: str) -> None:
    error = await refused(executing(hand, request_))  # type: ignore[arg-type]
    assert isinstance(error.detail, MultiOperationExecutionFailure)
    status = error.detail.statuses[at_fault]
    assert said_ in status.message and status.code == error.code
    assert error.detail.statuses[1 - at_fault].code == StatusCode.ABORTED


async def test_other_operations_are_refused(hand: Hand) -> None:
    for request in (ExecuteMultiOperationRequest(namespace="default"), both()):
        del request.operations[1:]
        error = await refused(executing(hand, request))  # type: ignore[arg-type]
        assert error.code is StatusCode.INVALID_ARGUMENT and "exactly" in error.message
