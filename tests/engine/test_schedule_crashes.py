"""Proves that a schedule acts exactly once, wherever its process is killed and whatever the storage fails at; and hears of what closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest
from tests.engine.faulty_storage import FaultyStorage
from tests.engine.scheduling import ALLOW_ALL, BUFFER_ALL, CANCEL_OTHER, MINUTE, TERMINATE_OTHER, Bench, bench, schedule

from perdure.model.rpc import RpcError, StatusCode
from perdure.storage import MemoryStorage
from perdure.storage.contract import Committed, Transaction
from perdure.testing import ManualClock


class Killed:
    """A storage whose process is killed at a transaction: before it is written, or after and before anybody hears of it."""

    def __init__(self, inner: MemoryStorage, at: int, written: bool) -> None:
        self.inner = inner
        self.left = at
        self.written = written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        answers: list[Committed] = []
        for transaction in group:
            self.left -= 1
            if self.left > 0 or (self.left == 0 and self.written):
                answers.extend(self.inner.commit([transaction]))
            else:
                answers.append(Committed.UNKNOWN)
            if self.left <= 0:
                answers[-1] = Committed.UNKNOWN
        return answers

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed]:
        return self.commit(group)


async def act_until_killed(storage: Killed, clock: ManualClock, overlap: int) -> None:
    async with bench(storage, clock) as b:  # type: ignore[arg-type]
        try:
            await b.create(schedule(overlap=overlap), initial_patch={"trigger_immediately": {}})
        except RpcError:
            return
        await clock.advance(2 * MINUTE)


TRANSACTIONS = 9
"""A schedule made, and three actions of a decision, a start and its count each, but for the first decision; fewer for some policies."""


@pytest.mark.parametrize("overlap", [ALLOW_ALL, TERMINATE_OTHER])
@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("at", range(1, TRANSACTIONS + 1))
async def test_each_action_is_taken_once_wherever_the_process_is_killed(overlap: int, written: bool, at: int) -> None:
    memory, clock = MemoryStorage(), ManualClock()
    async with bench(memory, clock):
        pass  # the namespace is made
    await act_until_killed(Killed(memory, at, written), clock, overlap)
    async with bench(memory, clock) as b:
        await b.create(schedule(overlap=overlap), initial_patch={"trigger_immediately": {}})  # the caller who got no answer asks again
        await clock.advance(3 * MINUTE)
        names = await started(b)
        assert set(names.values()) == {1}
        assert {name.partition(":")[2] for name in names} >= {"03:00Z", "04:00Z", "05:00Z"} or at == 1
        assert (await b.describe()).info.action_count == len(names)
        assert len(names) == len({*await b.recent()})


async def started(b: Bench) -> Counter[str]:
    """How often each workflow id has been started."""
    return Counter(row.workflow_id for row in b.engine.storage.list_runs("default", None, 1000))


@pytest.mark.parametrize("seed", range(8))
async def test_each_action_is_taken_once_whatever_the_storage_fails_at(seed: int) -> None:
    storage = FaultyStorage(MemoryStorage(), seed)
    async with bench(storage) as b:  # type: ignore[arg-type]
        await b.create(schedule(overlap=ALLOW_ALL))
        storage.arm()
        await b.clock.advance(60 * MINUTE)
        storage.disarm()
        await b.clock.advance(MINUTE)
        names = await started(b)
        assert storage.faults
        assert set(names.values()) == {1}
        assert len(names) == 61
        assert (await b.describe()).info.action_count == 61


async def test_workflow_that_closed_unheard_is_heard_of_after_a_restart() -> None:
    memory, clock = MemoryStorage(), ManualClock()
    storage = Killed(memory, 1_000, written=True)
    async with bench(storage, clock) as b:  # type: ignore[arg-type]
        await b.create(schedule(overlap=BUFFER_ALL))
        await clock.advance(2 * MINUTE)
        b.engine.dispatch.on_closed = lambda run: None  # the process is killed between the close and its hearing
        await b.finish()
        assert await b.running() == ["job-2026-01-01T00:01:00Z"]
    async with bench(memory, clock) as b:
        await clock.advance(1)
        assert await b.running() == ["job-2026-01-01T00:02:00Z"]


async def test_cancellation_that_was_cut_off_is_asked_for_again() -> None:
    memory, clock = MemoryStorage(), ManualClock()
    async with bench(Killed(memory, 1_000, written=True), clock) as b:  # type: ignore[arg-type]
        await b.create(schedule(overlap=CANCEL_OTHER))
        await clock.advance(MINUTE)
        b.engine.storage.left = 2  # type: ignore[attr-defined]  # the decision to cancel is the last thing written
        await clock.advance(MINUTE)
    async with bench(memory, clock) as b:
        await clock.advance(1)
        events = await b.events("job-2026-01-01T00:01:00Z")
        assert [event.HasField("workflow_execution_cancel_requested_event_attributes") for event in events].count(True) == 1
        await b.finish()
        assert await b.running() == ["job-2026-01-01T00:02:00Z"]


async def test_sleeping_schedules_cost_rows_alone() -> None:
    async with bench() as b:
        for number in range(300):
            await b.create(schedule(3600, workflow_id=f"job{number}"), f"s{number}")
        await b.clock.advance(0)
        assert repr(b.engine.schedules) == "<Schedules: 0 taking a step>"
        assert repr(b.engine.record_timers) == "<RecordTimers: 0 records are being handled>"
        await b.clock.advance(3600)
        for _ in range(10):
            await b.clock.advance(0)
        assert len(await started(b)) == 300
        assert repr(b.engine.schedules) == "<Schedules: 0 taking a step>"


async def test_chain_that_goes_on_as_another_run_is_the_same_action() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=BUFFER_ALL))
        await b.clock.advance(2 * MINUTE)
        again = Command(command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
        again.continue_as_new_workflow_execution_command_attributes.workflow_type.name = "Job"
        again.continue_as_new_workflow_execution_command_attributes.task_queue.name = "queue"
        await b.answer(again)
        await b.clock.advance(5)
        assert await b.running() == ["job-2026-01-01T00:01:00Z"]
        await b.finish()
        assert await b.running() == ["job-2026-01-01T00:02:00Z"]
        request = TerminateWorkflowExecutionRequest(namespace="default")
        request.workflow_execution.workflow_id = "job-2026-01-01T00:02:00Z"
        await b.service.terminate_workflow_execution(request)
        await b.clock.advance(0)
        assert not await b.running()


async def test_schedule_whose_record_cannot_be_read_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    memory, clock = MemoryStorage(), ManualClock()
    async with bench(memory, clock) as b:
        await b.create(schedule())
        await b.create(schedule(workflow_id="other"), "other")
        record = memory.record("schedule", "default", "s")
        assert record is not None
        await b.engine.records.put("schedule", "default", "s", b"\xff" * 20, expected_version=record.version, due=record.due)
        await clock.advance(3 * MINUTE)
        assert (await b.describe("other")).info.action_count == 1
        with pytest.raises(RpcError) as broken:
            await b.describe()
        assert broken.value.code is StatusCode.INTERNAL
    # It is tried again each second, and no more often.
    assert 100 < sum("Handling schedule s failed" in line.message for line in caplog.records) < 140
