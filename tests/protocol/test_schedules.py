"""Proves that the schedules of the official SDK work: every kind of spec and policy, what handles do, and what is told of a schedule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import CountSchedulesRequest, ListScheduleMatchingTimesRequest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
)
from temporalio.common import RetryPolicy, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.testing import ManualClock
from perdure.testing import server as run_server

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the clock of these servers stands at first, a Thursday."""
QUEUE = "scheduled"


@workflow.defn
class Job:
    """Ends when it is told to."""

    @workflow.run
    async def run(self, result: str) -> str:
        await workflow.wait_condition(lambda: self.ended)
        return result

    def __init__(self) -> None:
        self.ended = False

    @workflow.signal
    def end(self) -> None:
        self.ended = True


@workflow.defn
class Follower:
    """Fails at the second time, and tells what went before."""

    @workflow.run
    async def run(self) -> str:
        before = workflow.get_last_completion_result(str) if workflow.has_last_completion_result() else "nothing"
        failure = workflow.get_last_failure()
        if before == "nothing":
            return "the first"
        if failure is None:
            raise RuntimeError("the second")
        return f"{before}, then {failure}"


@workflow.defn
class Fails:
    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("as planned", non_retryable=True)


class Rig:
    """A server whose clock the test moves, and a client."""

    def __init__(self, client: Client, clock: ManualClock) -> None:
        self.client = client
        self.clock = clock

    async def create(
        self, spec: ScheduleSpec | None = None, *, schedule_id: str = "s", action: Any = None, **options: Any
    ) -> ScheduleHandle:
        of_schedule = {name: options.pop(name) for name in ("policy", "state") if name in options}
        action = action or ScheduleActionStartWorkflow(Job.run, "result", id="job", task_queue=QUEUE)
        spec = spec or ScheduleSpec(intervals=[ScheduleIntervalSpec(every=MINUTE)])
        return await self.client.create_schedule(schedule_id, Schedule(action=action, spec=spec, **of_schedule), **options)

    async def end(self, handle: ScheduleHandle) -> None:
        """Ends the workflow that runs, and waits until the schedule knows."""
        running = (await handle.describe()).info.running_actions[0]
        assert isinstance(running, ScheduleActionExecutionStartWorkflow)
        await self.client.get_workflow_handle(running.workflow_id).signal(Job.end)
        await eventually(lambda: is_not_running(handle, running.workflow_id))


async def is_not_running(handle: ScheduleHandle, workflow_id: str) -> bool:
    return workflow_id not in running_ids(await handle.describe())


def running_ids(description: ScheduleDescription) -> list[str]:
    return [each.workflow_id for each in description.info.running_actions if isinstance(each, ScheduleActionExecutionStartWorkflow)]


def recent_ids(description: ScheduleDescription) -> list[str]:
    actions = [each.action for each in description.info.recent_actions]
    return [each.workflow_id for each in actions if isinstance(each, ScheduleActionExecutionStartWorkflow)]


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Asks until it holds; the test's time-out bounds it."""
    while not await holds():
        await asyncio.sleep(0.01)


@pytest.fixture
async def rig() -> AsyncGenerator[Rig]:
    clock = ManualClock()
    async with run_server(clock=clock) as address:
        yield Rig(await Client.connect(address), clock)


@asynccontextmanager
async def working(client: Client) -> AsyncGenerator[None]:
    async with Worker(client, task_queue=QUEUE, workflows=[Job, Follower, Fails], workflow_runner=UnsandboxedWorkflowRunner()):
        yield


# Specs.

FIRST_TIMES = [
    (ScheduleSpec(calendars=[ScheduleCalendarSpec()]), ["01-02 00:00:00", "01-03 00:00:00"]),
    (
        ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(8, 10, 2)], day_of_week=[ScheduleRange(1, 5)])]),
        ["01-01 08:00:00", "01-01 10:00:00", "01-02 08:00:00", "01-02 10:00:00", "01-05 08:00:00"],
    ),
    (
        ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=6), offset=timedelta(hours=1))]),
        ["01-01 01:00:00", "01-01 07:00:00"],
    ),
    (ScheduleSpec(cron_expressions=["30 4 * * MON # weekly"]), ["01-05 04:30:00", "01-12 04:30:00"]),
    (ScheduleSpec(cron_expressions=["@every 90m/10m"]), ["01-01 00:10:00", "01-01 01:40:00"]),
    (ScheduleSpec(cron_expressions=["CRON_TZ=Asia/Tokyo 0 9 * * *"]), ["01-02 00:00:00", "01-03 00:00:00"]),
    (ScheduleSpec(cron_expressions=["0 9 * * *"], time_zone_name="America/New_York"), ["01-01 14:00:00", "01-02 14:00:00"]),
    (
        ScheduleSpec(cron_expressions=["@daily"], skip=[ScheduleCalendarSpec(day_of_month=(ScheduleRange(2, 4),))]),
        ["01-05 00:00:00", "01-06 00:00:00"],
    ),
    (
        ScheduleSpec(cron_expressions=["@daily"], start_at=datetime(2026, 1, 10, tzinfo=UTC), end_at=datetime(2026, 1, 11, tzinfo=UTC)),
        ["01-10 00:00:00", "01-11 00:00:00"],
    ),
    (ScheduleSpec(cron_expressions=["0 0 30 2 *"]), []),
]


@pytest.mark.parametrize(("spec", "times"), FIRST_TIMES)
async def test_spec_names_these_times_and_is_shown_in_canonical_form(rig: Rig, spec: ScheduleSpec, times: list[str]) -> None:
    handle = await rig.create(spec)
    description = await handle.describe()
    shown = [f"{each:%m-%d %H:%M:%S}" for each in description.info.next_action_times]
    assert shown[: len(times)] == times
    assert bool(times) == bool(shown)
    assert not description.schedule.spec.cron_expressions
    assert description.schedule.spec.skip == spec.skip
    await handle.update(lambda told: ScheduleUpdate(told.description.schedule))
    assert (await handle.describe()).schedule.spec == description.schedule.spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ScheduleSpec(cron_expressions=["not a cron"]), "cron string"),
        (ScheduleSpec(cron_expressions=["@daily"], time_zone_name="Nowhere"), "unknown time zone Nowhere"),
        (ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(0))]), "interval is too small"),
        (ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(24)])]), "Hour Start is not in range [0-23]"),
    ],
)
async def test_spec_that_cannot_be_meant_is_refused(rig: Rig, spec: ScheduleSpec, words: str) -> None:
    with pytest.raises(RPCError) as refusal:
        await rig.create(spec)
    assert refusal.value.status is RPCStatusCode.INVALID_ARGUMENT
    assert refusal.value.message.startswith("Invalid schedule spec: ")
    assert words in refusal.value.message


# Actions.


async def test_action_runs_at_its_time_and_carries_all_its_options(rig: Rig) -> None:
    action = ScheduleActionStartWorkflow(
        Job.run,
        "result",
        id="job",
        task_queue=QUEUE,
        execution_timeout=timedelta(hours=2),
        retry_policy=RetryPolicy(maximum_attempts=2),
        memo={"why": "scheduled"},
        static_summary="a summary",
    )
    handle = await rig.create(action=action)
    assert (await handle.describe()).schedule.action.retry_policy.maximum_interval == timedelta(seconds=100)  # type: ignore[union-attr]
    await rig.clock.advance(60)
    assert running_ids(await handle.describe()) == ["job-2026-01-01T00:01:00Z"]
    started = rig.client.get_workflow_handle("job-2026-01-01T00:01:00Z")
    description = await started.describe()
    assert await description.memo_value("why") == "scheduled"
    assert await description.static_summary() == "a summary"
    attributes = description.typed_search_attributes
    assert attributes[SearchAttributeKey.for_keyword("TemporalScheduledById")] == "s"
    assert attributes[SearchAttributeKey.for_datetime("TemporalScheduledStartTime")] == BEGIN + MINUTE
    event = (await started.fetch_history()).events[0].workflow_execution_started_event_attributes
    assert event.workflow_execution_timeout.seconds == 7200
    assert event.identity == "temporal-scheduler-default-s"
    async with working(rig.client):
        await rig.end(handle)
        assert await started.result() == "result"


async def test_trigger_runs_at_once(rig: Rig) -> None:
    handle = await rig.create(ScheduleSpec(), state=ScheduleState(paused=True), trigger_immediately=True)
    assert (await handle.describe()).info.num_actions == 1
    await rig.clock.advance(5)
    await handle.trigger()
    assert (await handle.describe()).info.num_actions_skipped_overlap == 1
    await handle.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    assert recent_ids(await handle.describe()) == ["job-2026-01-01T00:00:00Z", "job-2026-01-01T00:00:05Z"]


async def test_backfill_takes_the_past(rig: Rig) -> None:
    first = ScheduleBackfill(BEGIN - 30 * MINUTE, BEGIN - 29 * MINUTE, overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    handle = await rig.create(state=ScheduleState(paused=True), backfill=[first])
    assert (await handle.describe()).info.num_actions == 2
    await handle.backfill(
        ScheduleBackfill(BEGIN - 4 * MINUTE, BEGIN - 2 * MINUTE, overlap=ScheduleOverlapPolicy.ALLOW_ALL),
        ScheduleBackfill(BEGIN - 10 * MINUTE, BEGIN - 10 * MINUTE, overlap=ScheduleOverlapPolicy.ALLOW_ALL),
    )
    description = await handle.describe()
    assert description.info.num_actions == 6
    assert recent_ids(description)[-1] == "job-2025-12-31T23:50:00Z"


@pytest.mark.parametrize(
    ("overlap", "skipped", "then"),
    [
        (ScheduleOverlapPolicy.SKIP, 3, []),
        (ScheduleOverlapPolicy.BUFFER_ONE, 2, ["02"]),
        (ScheduleOverlapPolicy.BUFFER_ALL, 0, ["02", "03", "04"]),
    ],
)
async def test_what_comes_while_one_runs_is_skipped_or_buffered(
    rig: Rig, overlap: ScheduleOverlapPolicy, skipped: int, then: list[str]
) -> None:
    handle = await rig.create(policy=SchedulePolicy(overlap=overlap))
    await rig.clock.advance(240)
    assert (await handle.describe()).info.num_actions_skipped_overlap == skipped
    async with working(rig.client):
        await rig.end(handle)
        for minute in then:
            assert running_ids(await handle.describe()) == [f"job-2026-01-01T00:{minute}:00Z"]
            await rig.end(handle)
        assert not running_ids(await handle.describe())


async def test_cancel_other(rig: Rig) -> None:
    handle = await rig.create(policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.CANCEL_OTHER))
    async with working(rig.client):
        await rig.clock.advance(60)
        await rig.clock.advance(60)
        await eventually(lambda: is_not_running(handle, "job-2026-01-01T00:01:00Z"))
        assert running_ids(await handle.describe()) == ["job-2026-01-01T00:02:00Z"]
        first = await rig.client.get_workflow_handle("job-2026-01-01T00:01:00Z").describe()
        assert first.status is WorkflowExecutionStatus.CANCELED


async def test_terminate_other(rig: Rig) -> None:
    handle = await rig.create(policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.TERMINATE_OTHER))
    await rig.clock.advance(120)
    await eventually(lambda: is_not_running(handle, "job-2026-01-01T00:01:00Z"))
    assert running_ids(await handle.describe()) == ["job-2026-01-01T00:02:00Z"]
    first = await rig.client.get_workflow_handle("job-2026-01-01T00:01:00Z").describe()
    assert first.status is WorkflowExecutionStatus.TERMINATED


async def test_allow_all(rig: Rig) -> None:
    handle = await rig.create(policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL))
    await rig.clock.advance(180)
    description = await handle.describe()
    assert description.info.num_actions == 3
    assert not description.info.running_actions
    assert recent_ids(description) == [f"job-2026-01-01T00:0{minute}:00Z" for minute in (1, 2, 3)]


async def test_pause_on_failure(rig: Rig) -> None:
    action = ScheduleActionStartWorkflow(Fails.run, id="job", task_queue=QUEUE)
    handle = await rig.create(action=action, policy=SchedulePolicy(pause_on_failure=True))
    async with working(rig.client):
        await rig.clock.advance(60)
        await eventually(lambda: is_not_running(handle, "job-2026-01-01T00:01:00Z"))
    state = (await handle.describe()).schedule.state
    assert state.paused
    assert state.note == "paused due to workflow failure: job-2026-01-01T00:01:00Z: as planned"


async def test_last_result_and_last_failure_reach_the_next_workflow(rig: Rig) -> None:
    failing = ScheduleActionStartWorkflow(Follower.run, id="job", task_queue=QUEUE)
    handle = await rig.create(ScheduleSpec(), action=failing)
    # What is no ApplicationError fails the workflow task alone, unless the worker says otherwise.
    runner = UnsandboxedWorkflowRunner()
    async with Worker(
        rig.client, task_queue=QUEUE, workflows=[Follower], workflow_runner=runner, workflow_failure_exception_types=[RuntimeError]
    ):
        results = []
        for _ in range(3):
            await rig.clock.advance(1)
            await handle.trigger()
            last = recent_ids(await handle.describe())[-1]
            await eventually(lambda last=last: is_not_running(handle, last))  # type: ignore[misc]
            status = (await rig.client.get_workflow_handle(last).describe()).status
            completed = status is WorkflowExecutionStatus.COMPLETED
            results.append(await rig.client.get_workflow_handle(last).result() if completed else status)
    assert results[0] == "the first"
    assert results[1] is WorkflowExecutionStatus.FAILED
    assert results[2] == "the first, then RuntimeError: the second"


async def test_catchup_window(rig: Rig) -> None:
    handle = await rig.create(policy=SchedulePolicy(catchup_window=timedelta(seconds=90)))
    rig.clock.jump(600)
    await rig.clock.advance(1)
    info = (await handle.describe()).info
    assert info.num_actions_missed_catchup_window == 8
    assert info.num_actions == 1


# Handles.


async def test_pause_and_unpause_keep_a_note(rig: Rig) -> None:
    handle = await rig.create(state=ScheduleState(note="fresh"))
    assert (await handle.describe()).schedule.state.note == "fresh"
    await handle.pause()
    state = (await handle.describe()).schedule.state
    assert (state.paused, state.note) == (True, "Paused via Python SDK")
    await rig.clock.advance(300)
    await handle.unpause(note="go on")
    state = (await handle.describe()).schedule.state
    assert (state.paused, state.note) == (False, "go on")
    await rig.clock.advance(60)
    assert recent_ids(await handle.describe()) == ["job-2026-01-01T00:06:00Z"]


async def test_limited_actions(rig: Rig) -> None:
    handle = await rig.create(
        state=ScheduleState(limited_actions=True, remaining_actions=2), policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    )
    await rig.clock.advance(300)
    description = await handle.describe()
    assert description.info.num_actions == 2
    assert description.schedule.state.remaining_actions == 0
    assert not description.info.next_action_times


async def test_update_replaces_the_schedule_or_changes_nothing(rig: Rig) -> None:
    handle = await rig.create(memo={"of": "the schedule"})

    def hourly(told: ScheduleUpdateInput) -> ScheduleUpdate:
        told.description.schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(hours=1))])
        return ScheduleUpdate(told.description.schedule)

    await rig.clock.advance(30)
    await handle.update(hourly)
    description = await handle.describe()
    assert description.info.next_action_times[0] == BEGIN + timedelta(hours=1)
    assert description.info.last_updated_at == BEGIN + timedelta(seconds=30)
    assert await description.memo_value("of") == "the schedule"
    await rig.clock.advance(5)
    await handle.update(lambda told: None)
    assert (await handle.describe()).info.last_updated_at == description.info.last_updated_at


async def test_schedule_of_an_id_that_exists(rig: Rig) -> None:
    await rig.create()
    with pytest.raises(ScheduleAlreadyRunningError):
        await rig.create()


async def test_deleted_schedule_acts_no_more(rig: Rig) -> None:
    handle = await rig.create()
    await rig.clock.advance(60)
    await handle.delete()
    await rig.clock.advance(600)
    running = await rig.client.get_workflow_handle("job-2026-01-01T00:01:00Z").describe()
    assert running.status is WorkflowExecutionStatus.RUNNING
    with pytest.raises(RPCError) as gone:
        await rig.client.get_workflow_handle("job-2026-01-01T00:02:00Z").describe()
    assert gone.value.status is RPCStatusCode.NOT_FOUND
    await rig.create()


@pytest.mark.parametrize("name", ["describe", "pause", "unpause", "trigger", "delete"])
async def test_schedule_that_does_not_exist(rig: Rig, name: str) -> None:
    with pytest.raises(RPCError) as refusal:
        await getattr(rig.client.get_schedule_handle("none"), name)()
    assert refusal.value.status is RPCStatusCode.NOT_FOUND


async def test_list_shows_schedules_page_by_page(rig: Rig) -> None:
    for number in range(5):
        await rig.create(schedule_id=f"s{number}", memo={"number": number}, state=ScheduleState(paused=number == 3, note=f"note {number}"))
    found = [each async for each in await rig.client.list_schedules(page_size=2)]
    assert [each.id for each in found] == [f"s{number}" for number in range(5)]
    assert await found[2].memo_value("number") == 2
    assert found[3].schedule is not None
    assert found[3].schedule.state.paused
    assert found[3].schedule.state.note == "note 3"
    assert found[3].info is not None
    assert len(found[3].info.next_action_times) == 5
    count = await rig.client.workflow_service.count_schedules(CountSchedulesRequest(namespace="default"))
    assert count.count == 5


COLOUR = SearchAttributeKey.for_keyword("Colour")
QUERIES = [
    ("", [0, 1, 2, 3]),
    ("Colour = 'red'", [1, 3]),
    ("Colour != 'red' OR Colour IS NULL", [0, 2]),
    ("ScheduleId = 's2'", [2]),
    ("ScheduleId IN ('s1', 's3') AND NOT TemporalSchedulePaused = true", [1]),
    ("TemporalSchedulePaused = true", [3]),
    ("ScheduleId STARTS_WITH 's'", [0, 1, 2, 3]),
    ("WorkflowType = 'nothing'", []),
]


async def test_list_and_count_by_query(rig: Rig) -> None:
    added = AddSearchAttributesRequest(namespace="default", search_attributes={"Colour": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD})
    await rig.client.operator_service.add_search_attributes(added)
    for number in range(4):
        colour = TypedSearchAttributes([SearchAttributePair(COLOUR, "red" if number % 2 else "blue")] if number else [])
        await rig.create(schedule_id=f"s{number}", search_attributes=colour, state=ScheduleState(paused=number == 3))
    for query, numbers in QUERIES:
        found = [each.id async for each in await rig.client.list_schedules(query, page_size=1)]
        assert found == [f"s{number}" for number in numbers], query
        count = await rig.client.workflow_service.count_schedules(CountSchedulesRequest(namespace="default", query=query))
        assert count.count == len(numbers)
    assert [each async for each in rig.client.list_workflows()] == []
    with pytest.raises(RPCError) as refusal:
        [each async for each in await rig.client.list_schedules("Shape = 'round'")]
    assert refusal.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_search_attributes_are_kept_replaced_and_refused(rig: Rig) -> None:
    added = AddSearchAttributesRequest(namespace="default", search_attributes={"Colour": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD})
    await rig.client.operator_service.add_search_attributes(added)
    handle = await rig.create(search_attributes=TypedSearchAttributes([SearchAttributePair(COLOUR, "red")]))
    assert (await handle.describe()).typed_search_attributes[COLOUR] == "red"
    await handle.update(lambda told: ScheduleUpdate(told.description.schedule))
    assert (await handle.describe()).typed_search_attributes[COLOUR] == "red"
    blue = TypedSearchAttributes([SearchAttributePair(COLOUR, "blue")])
    await handle.update(lambda told: ScheduleUpdate(told.description.schedule, search_attributes=blue))
    assert (await handle.describe()).typed_search_attributes[COLOUR] == "blue"
    await handle.update(lambda told: ScheduleUpdate(told.description.schedule, search_attributes=TypedSearchAttributes.empty))
    assert not (await handle.describe()).search_attributes
    shape = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("Shape"), "round")])
    with pytest.raises(RPCError) as refusal:
        await rig.create(schedule_id="other", search_attributes=shape)
    assert refusal.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_matching_times(rig: Rig) -> None:
    await rig.create(ScheduleSpec(cron_expressions=["0 */6 * * *"]))
    request = ListScheduleMatchingTimesRequest(namespace="default", schedule_id="s")
    request.start_time.FromDatetime(BEGIN)
    request.end_time.FromDatetime(BEGIN + timedelta(hours=18))
    response = await rig.client.workflow_service.list_schedule_matching_times(request)
    assert [each.ToDatetime(UTC) for each in response.start_time] == [BEGIN + timedelta(hours=hours) for hours in (6, 12, 18)]


async def test_schedule_goes_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    clock, url = ManualClock(), f"sqlite:///{tmp_path / 'server.db'}"
    async with run_server(url, clock=clock) as address:
        rig = Rig(await Client.connect(address), clock)
        await rig.create(policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL))
    clock.jump(150)
    async with run_server(url, clock=clock) as address:
        handle = (await Client.connect(address)).get_schedule_handle("s")

        async def caught_up() -> bool:
            return (await handle.describe()).info.num_actions == 2

        await eventually(caught_up)
        assert recent_ids(await handle.describe()) == ["job-2026-01-01T00:01:00Z", "job-2026-01-01T00:02:00Z"]
