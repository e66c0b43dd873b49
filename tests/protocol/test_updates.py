"""Proves updates with the official SDK as client and worker: every stage, every end, and the events that they leave."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    PollWorkflowExecutionUpdateRequest,
    ResetWorkflowExecutionRequest,
)
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from tests.protocol.conftest import Workers

TASK = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted"]
UPDATED = ["WorkflowExecutionUpdateAccepted", "WorkflowExecutionUpdateCompleted"]
BEGUN = ["WorkflowExecutionStarted", *TASK]


@activity.defn
async def double(value: int) -> int:
    return value * 2


@workflow.defn
class Ledger:
    """Takes amounts until it is told to stop."""

    def __init__(self) -> None:
        self.amounts: list[int] = []
        self.released = self.stopped = self.continuing = False

    @workflow.run
    async def run(self, runs_left: int = 0) -> list[int]:
        await workflow.wait_condition(lambda: self.stopped or self.continuing)
        if self.continuing:
            workflow.continue_as_new(runs_left)
        return self.amounts

    @workflow.update
    def add(self, amount: int) -> int:
        self.amounts.append(amount)
        return sum(self.amounts)

    @add.validator
    def check(self, amount: int) -> None:
        if amount < 0:
            raise ApplicationError(f"{amount} is negative", type="Negative")

    @workflow.update
    async def add_doubled(self, amount: int) -> int:
        self.amounts.append(await workflow.execute_activity(double, amount, start_to_close_timeout=timedelta(seconds=10)))
        return self.amounts[-1]

    @workflow.update
    async def add_later(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        self.amounts.append(1)
        return len(self.amounts)

    @workflow.update
    async def wait_for_release(self) -> str:
        await workflow.wait_condition(lambda: self.released)
        return "released"

    @workflow.update
    async def fail(self, message: str) -> None:
        raise ApplicationError(message, {"detail": 7}, type="Wrong")

    @workflow.update
    async def add_and_stop(self, amount: int) -> str:
        self.amounts.append(amount)
        self.stopped = True
        return "stopping"

    @workflow.update
    async def who(self) -> str:
        info = workflow.current_update_info()
        assert info is not None
        return f"{info.name} {info.id}"

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.signal
    def stop(self) -> None:
        self.stopped = True

    @workflow.signal
    def continue_now(self) -> None:
        self.continuing = True

    @workflow.query
    def total(self) -> int:
        return sum(self.amounts)


async def kinds(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The event types of a history, short."""
    names = [EventType.Name(e.event_type).removeprefix("EVENT_TYPE_") for e in (await handle.fetch_history()).events]
    return [name.replace("_", " ").title().replace(" ", "") for name in names]


async def begin(client: Client, queue: str) -> WorkflowHandle[Ledger, list[int]]:
    """A ledger whose first workflow task is done."""
    handle = await client.start_workflow(Ledger.run, id=str(uuid.uuid4()), task_queue=queue)
    await handle.query(Ledger.total)
    return handle


async def exists(client: Client, workflow_id: str, update_id: str) -> None:
    """Returns when the server knows the update."""
    request = PollWorkflowExecutionUpdateRequest(namespace="default")
    request.update_ref.workflow_execution.workflow_id, request.update_ref.update_id = workflow_id, update_id
    while True:
        try:
            await client.workflow_service.poll_workflow_execution_update(request)
            return
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND


async def test_an_update_is_accepted_and_completed_in_one_task(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.add, 3, id="first") == 3
        assert await handle.execute_update(Ledger.add, 4) == 7
    history = (await handle.fetch_history()).events
    assert await kinds(handle) == BEGUN + (TASK + UPDATED) * 2
    accepted = history[7].workflow_execution_update_accepted_event_attributes
    assert (accepted.protocol_instance_id, accepted.accepted_request_message_id) == ("first", "first/request")
    assert accepted.accepted_request_sequencing_event_id == 5
    assert accepted.accepted_request.input.name == "add" and accepted.accepted_request.meta.update_id == "first"
    assert accepted.accepted_request.input.args.payloads[0].data == b"3" and accepted.accepted_request.meta.identity
    completed = history[8].workflow_execution_update_completed_event_attributes
    assert completed.accepted_event_id == 8 and completed.meta.update_id == "first"
    assert completed.outcome.success.payloads[0].data == b"3"


async def test_an_update_before_the_first_task_needs_no_task_of_its_own(client: Client, worker: Workers) -> None:
    handle = await client.start_workflow(Ledger.run, id=str(uuid.uuid4()), task_queue="later")
    asked = asyncio.create_task(handle.execute_update(Ledger.add, 3, id="u"))
    await exists(client, handle.id, "u")
    async with worker([Ledger], task_queue="later"):
        assert await asked == 3
    assert await kinds(handle) == BEGUN + UPDATED


async def test_a_rejected_update_leaves_no_event(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        for _ in range(3):
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await handle.execute_update(Ledger.add, -1)
            cause = caught.value.cause
            assert isinstance(cause, ApplicationError) and cause.type == "Negative" and cause.message == "-1 is negative"
        assert await kinds(handle) == BEGUN
        assert await handle.execute_update(Ledger.add, 2) == 2
        assert await kinds(handle) == BEGUN + TASK + UPDATED
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Ledger.add, -1)
        assert await kinds(handle) == BEGUN + TASK + UPDATED, "two events more to be sent again are no reason to record a task"


async def test_an_unknown_update_is_rejected(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update("nobody_knows_it")
        assert "nobody_knows_it" in str(caught.value.cause)
        assert await kinds(handle) == BEGUN


async def test_an_update_that_fails_after_acceptance(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(Ledger.fail, "no way")
        cause = caught.value.cause
        assert isinstance(cause, ApplicationError) and (cause.message, cause.type) == ("no way", "Wrong")
        assert cause.details == ({"detail": 7},)
        assert await kinds(handle) == BEGUN + TASK + UPDATED
        completed = (await handle.fetch_history()).events[-1].workflow_execution_update_completed_event_attributes
        assert completed.outcome.failure.application_failure_info.type == "Wrong"


async def test_an_update_that_runs_an_activity(client: Client, worker: Workers) -> None:
    async with worker([Ledger], [double]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.add_doubled, 21) == 42
    activity_events = ["ActivityTaskScheduled", "ActivityTaskStarted", "ActivityTaskCompleted"]
    assert await kinds(handle) == [*BEGUN, *TASK, UPDATED[0], *activity_events, *TASK, UPDATED[1]]


async def test_an_update_that_sleeps(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.add_later, 0.05) == 1
    assert await kinds(handle) == [*BEGUN, *TASK, UPDATED[0], "TimerStarted", "TimerFired", *TASK, UPDATED[1]]


async def test_waiting_for_acceptance_only(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        update = await handle.start_update(Ledger.wait_for_release, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        assert update.workflow_run_id == handle.result_run_id
        assert await kinds(handle) == [*BEGUN, *TASK, UPDATED[0]]
        waiting = asyncio.create_task(update.result())
        await handle.signal(Ledger.release)
        assert await waiting == "released"
        again = handle.get_update_handle_for(Ledger.wait_for_release, update.id)
        assert await again.result() == "released"
    assert await kinds(handle) == [*BEGUN, *TASK, UPDATED[0], "WorkflowExecutionSignaled", *TASK, UPDATED[1]]


async def test_waiting_for_completion_at_the_start(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        update = await handle.start_update(Ledger.add, 5, wait_for_stage=WorkflowUpdateStage.COMPLETED)
        assert await update.result() == 5


async def test_waiting_for_admission_is_refused(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        with pytest.raises((RPCError, ValueError)):
            await handle.start_update(Ledger.add, 5, wait_for_stage=WorkflowUpdateStage.ADMITTED)


async def test_the_same_id_is_the_same_update(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.add, 3, id="once") == 3
        assert await handle.execute_update(Ledger.add, 100, id="once") == 3
        together = await asyncio.gather(*(handle.execute_update(Ledger.add, 4, id="twice") for _ in range(5)))
        assert together == [7] * 5 and await handle.query(Ledger.total) == 7
        await handle.signal(Ledger.stop)
        assert await handle.result() == [3, 4]
        assert await handle.execute_update(Ledger.add, 3, id="once") == 3, "of a closed run as well"
        with pytest.raises(RPCError) as caught:
            await handle.execute_update(Ledger.add, 3, id="new")
        assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_many_updates_at_once(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        sums = await asyncio.gather(*(handle.execute_update(Ledger.add, 1) for _ in range(40)))
        assert sorted(sums) == list(range(1, 41)), "callers above the limit of ten are told to come back, and do"
        assert await handle.query(Ledger.total) == 40


async def test_an_update_knows_its_id_and_name(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.who, id="mine") == "who mine"


async def test_a_run_that_completes_with_its_update(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.add_and_stop, 9) == "stopping"
        assert await handle.result() == [9]
    assert await kinds(handle) == [*BEGUN, *TASK, *UPDATED, "WorkflowExecutionCompleted"]


async def test_a_run_that_completes_before_its_update(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        update = await handle.start_update(Ledger.wait_for_release, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        waiting = asyncio.create_task(update.result())
        with pytest.warns(RuntimeWarning, match="unfinished"):
            await handle.signal(Ledger.stop)
            await handle.result()
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await waiting
        assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "AcceptedUpdateCompletedWorkflow"


async def test_a_terminated_run_fails_what_it_accepted_and_drops_what_it_did_not(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        update = await handle.start_update(Ledger.wait_for_release, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    asked = asyncio.create_task(handle.execute_update(Ledger.add, 1, id="unseen"))
    await exists(client, handle.id, "unseen")
    await handle.terminate()
    with pytest.raises(RPCError, match="aborted by closing workflow"):
        await asked
    with pytest.raises(WorkflowUpdateFailedError):
        await update.result()
    assert (await kinds(handle))[-1] == "WorkflowExecutionTerminated"


async def test_a_run_that_continues_as_new_hands_the_caller_on(client: Client, worker: Workers) -> None:
    handle = await client.start_workflow(Ledger.run, id=str(uuid.uuid4()), task_queue="later")
    await handle.signal(Ledger.continue_now)
    asked = asyncio.create_task(client.get_workflow_handle_for(Ledger.run, handle.id).execute_update(Ledger.wait_for_release, id="u"))
    await exists(client, handle.id, "u")
    with pytest.warns(RuntimeWarning, match="unfinished"):
        async with worker([Ledger], task_queue="later"):
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await asked
    assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "AcceptedUpdateCompletedWorkflow"
    assert (await kinds(client.get_workflow_handle(handle.id, run_id=handle.result_run_id)))[-2:] == [
        "WorkflowExecutionUpdateAccepted",
        "WorkflowExecutionContinuedAsNew",
    ]


async def test_a_reset_asks_for_the_updates_again(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        assert await handle.execute_update(Ledger.add, 3, id="three") == 3
        execution = WorkflowExecution(workflow_id=handle.id)
        reset = ResetWorkflowExecutionRequest(
            namespace="default", workflow_execution=execution, workflow_task_finish_event_id=4, request_id="reset", reason="again"
        )
        reply = await client.workflow_service.reset_workflow_execution(reset)
        again = client.get_workflow_handle_for(Ledger.run, handle.id, run_id=reply.run_id)
        assert await again.get_update_handle_for(Ledger.add, "three").result() == 3
        assert await kinds(again) == [
            *BEGUN[:3],
            "WorkflowTaskFailed",
            "WorkflowExecutionUpdateAdmitted",
            *TASK,
            *UPDATED,
        ]
        assert await again.execute_update(Ledger.add, 4) == 7


async def test_updates_and_signals_together(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        waiting = asyncio.create_task(handle.execute_update(Ledger.wait_for_release))
        results = await asyncio.gather(handle.execute_update(Ledger.add, 1), handle.signal(Ledger.release), waiting)
        assert results[0] == 1 and results[2] == "released"


async def test_queries_beside_updates(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        for number in range(5):
            added, total = await asyncio.gather(handle.execute_update(Ledger.add, 1), handle.query(Ledger.total))
            assert added == number + 1 and total in (number, number + 1)


async def test_a_caller_who_gives_up_and_one_who_comes_back(client: Client, worker: Workers) -> None:
    handle = await client.start_workflow(Ledger.run, id=str(uuid.uuid4()), task_queue="later")
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await handle.execute_update(Ledger.add, 3, id="u", rpc_timeout=timedelta(milliseconds=300))
    async with worker([Ledger], task_queue="later"):
        assert await handle.execute_update(Ledger.add, 3, id="u") == 3


async def test_a_worker_that_is_replaced_between_acceptance_and_completion(client: Client, worker: Workers) -> None:
    async with worker([Ledger], task_queue="shared") as first:
        handle = await begin(client, first.task_queue)
        update = await handle.start_update(Ledger.wait_for_release, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    async with worker([Ledger], task_queue="shared"):
        await handle.signal(Ledger.release)
        assert await update.result() == "released"
        await handle.signal(Ledger.stop)
        await handle.result()


@pytest.mark.parametrize("cached", [0, 1])
async def test_a_worker_that_forgets_its_workflows(client: Client, worker: Workers, cached: int) -> None:
    async with worker([Ledger], max_cached_workflows=cached, max_concurrent_workflow_tasks=2) as running:
        handles = [await begin(client, running.task_queue) for _ in range(3)]
        for number in range(3):
            for handle in handles:
                assert await handle.execute_update(Ledger.add, 1) == number + 1
                with pytest.raises(WorkflowUpdateFailedError):
                    await handle.execute_update(Ledger.add, -1)
        for handle in handles:
            assert not {"WorkflowTaskFailed", "WorkflowTaskTimedOut"} & set(await kinds(handle))


async def test_a_history_with_updates_is_replayed(client: Client, worker: Workers) -> None:
    from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

    async with worker([Ledger], [double]) as running:
        handle = await begin(client, running.task_queue)
        await handle.execute_update(Ledger.add_doubled, 1)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Ledger.add, -1)
        await handle.execute_update(Ledger.add_later, 0.01)
        await handle.signal(Ledger.stop)
        assert await handle.result() == [2, 1]
    replayer = Replayer(workflows=[Ledger], workflow_runner=UnsandboxedWorkflowRunner())
    await replayer.replay_workflow(await handle.fetch_history())


@workflow.defn
class Stubborn:
    """Its validator raises what no validator should."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def crash(self) -> None:
        raise RuntimeError("not a failure of the update, but of the task")


async def test_an_update_that_breaks_its_task_is_tried_again(client: Client, worker: Workers) -> None:
    async with worker([Stubborn]) as running:
        handle = await client.start_workflow(Stubborn.run, id=str(uuid.uuid4()), task_queue=running.task_queue)
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
            await handle.execute_update(Stubborn.crash, rpc_timeout=timedelta(seconds=1))
        while "WorkflowTaskFailed" not in await kinds(handle):
            pass  # it is on its way
        await handle.terminate()
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def test_the_wrong_run_and_the_wrong_workflow(client: Client, worker: Workers) -> None:
    async with worker([Ledger]) as running:
        handle = await begin(client, running.task_queue)
        for wrong in (
            client.get_workflow_handle("nobody"),
            client.get_workflow_handle(handle.id, run_id=str(uuid.uuid4())),
            client.get_workflow_handle(handle.id, first_execution_run_id=str(uuid.uuid4())),
        ):
            with pytest.raises(RPCError) as caught:
                await wrong.execute_update("add", 1)
            assert caught.value.status is RPCStatusCode.NOT_FOUND
        with pytest.raises(RPCError) as caught:
            await handle.get_update_handle("nothing").result()
        assert caught.value.status is RPCStatusCode.NOT_FOUND


async def test_the_namespace_says_that_it_takes_updates(client: Client) -> None:
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert described.namespace_info.capabilities.sync_update and described.namespace_info.capabilities.async_update
