"""Proves what schedules do when: every overlap policy, catching up, limits, pauses, backfills, and what is told of them."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.workflowservice.v1 import (
    TerminateWorkflowExecutionRequest,
)
from tests.engine.scheduling import (
    ALLOW_ALL,
    BUFFER_ALL,
    BUFFER_ONE,
    CANCEL_OTHER,
    DAY,
    HOUR,
    MINUTE,
    SKIP,
    TERMINATE_OTHER,
    bench,
    payload,
    schedule,
    stamp,
)

from perdure.model.rpc import RpcError, StatusCode


async def test_action_starts_at_its_time_with_names_that_tell_it() -> None:
    async with bench() as b:
        await b.create(schedule())
        await b.clock.advance(59)
        assert not await b.running()
        await b.clock.advance(1)
        assert await b.running() == ["job-2026-01-01T00:01:00Z"]
        started = (await b.events("job-2026-01-01T00:01:00Z"))[0].workflow_execution_started_event_attributes
        assert started.identity == "temporal-scheduler-default-s"
        shown = {key: (value.data, value.metadata["type"]) for key, value in started.search_attributes.indexed_fields.items()}
        assert shown == {
            "TemporalScheduledById": (b'"s"', b"Keyword"),
            "TemporalScheduledStartTime": (b'"2026-01-01T00:01:00Z"', b"Datetime"),
        }
        info = (await b.describe()).info
        assert info.action_count == 1
        assert info.recent_actions[0].schedule_time == stamp("2026-01-01T00:01:00") == info.recent_actions[0].actual_time
        assert info.recent_actions[0].start_workflow_status == Status.WORKFLOW_EXECUTION_STATUS_RUNNING
        assert [each.ToJsonString() for each in info.future_action_times][:2] == ["2026-01-01T00:02:00Z", "2026-01-01T00:03:00Z"]
        assert len(info.future_action_times) == 10
        await b.finish()
        info = (await b.describe()).info
        assert not info.running_workflows
        assert info.recent_actions[0].start_workflow_status == Status.WORKFLOW_EXECUTION_STATUS_COMPLETED


# Overlap.


async def test_skip_drops_what_comes_while_one_runs() -> None:
    async with bench() as b:
        await b.create(schedule())
        await b.clock.advance(3 * MINUTE)
        assert (await b.describe()).info.overlap_skipped == 2
        await b.finish()
        await b.clock.advance(MINUTE)
        assert await b.recent() == ["2026-01-01T00:01:00Z", "2026-01-01T00:04:00Z"]


async def test_buffer_one_keeps_the_first_that_waits() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=BUFFER_ONE))
        await b.clock.advance(4 * MINUTE)
        info = (await b.describe()).info
        assert (info.buffer_size, info.overlap_skipped, info.action_count) == (1, 2, 1)
        await b.finish()
        assert await b.running() == ["job-2026-01-01T00:02:00Z"]
        assert (await b.describe()).info.buffer_size == 0


async def test_buffer_all_starts_them_one_after_the_other() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=BUFFER_ALL))
        await b.clock.advance(3 * MINUTE)
        assert (await b.describe()).info.buffer_size == 2
        assert [await b.finish() for _ in range(3)] == [f"job-2026-01-01T00:0{n}:00Z" for n in (1, 2, 3)]
        info = (await b.describe()).info
        assert (info.action_count, info.overlap_skipped, info.buffer_size) == (3, 0, 0)


async def test_buffer_has_a_bound_and_what_is_beyond_is_counted() -> None:
    async with bench() as b:
        await b.create(schedule(every=1, overlap=BUFFER_ALL))
        b.clock.jump(1010)
        await b.clock.advance(1)
        info = (await b.describe()).info
        assert info.buffer_size == 1000
        assert info.buffer_dropped > 0
        assert info.action_count + info.buffer_size + info.buffer_dropped == 1011


async def test_cancel_other_asks_what_runs_to_end_and_starts_the_last_then() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=CANCEL_OTHER))
        await b.clock.advance(3 * MINUTE)
        assert await b.running() == ["job-2026-01-01T00:01:00Z"]
        kinds = [event.event_type for event in await b.events("job-2026-01-01T00:01:00Z")]
        assert kinds.count(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED) == 1
        await b.finish()
        assert await b.running() == ["job-2026-01-01T00:03:00Z"]
        assert (await b.describe()).info.overlap_skipped == 1


async def test_terminate_other_ends_what_runs_and_starts_the_next_at_once() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=TERMINATE_OTHER))
        await b.clock.advance(2 * MINUTE)
        assert await b.running() == ["job-2026-01-01T00:02:00Z"]
        assert (await b.events("job-2026-01-01T00:01:00Z"))[-1].workflow_execution_terminated_event_attributes.reason == (
            "terminated by schedule overlap policy"
        )


async def test_allow_all_starts_all_and_waits_for_none() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=ALLOW_ALL))
        await b.clock.advance(3 * MINUTE)
        assert not await b.running()
        assert await b.recent() == [f"2026-01-01T00:0{n}:00Z" for n in (1, 2, 3)]
        await b.finish()
        assert (await b.describe()).info.recent_actions[0].start_workflow_status == Status.WORKFLOW_EXECUTION_STATUS_COMPLETED


async def test_overlap_policy_is_that_of_the_moment_when_the_action_is_taken() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=BUFFER_ALL))
        await b.clock.advance(3 * MINUTE)
        await b.update(schedule(overlap=ALLOW_ALL))
        assert (await b.describe()).info.action_count == 3
        assert (await b.describe()).info.buffer_size == 0


# Catching up.


async def test_times_within_the_catchup_window_are_taken_late_and_older_ones_counted() -> None:
    async with bench() as b:
        made = schedule(overlap=BUFFER_ALL)
        made.policies.catchup_window.CopyFrom(Duration(seconds=150))
        await b.create(made)
        b.clock.jump(10 * MINUTE)
        await b.clock.advance(1)
        info = (await b.describe()).info
        assert info.missed_catchup_window == 7
        assert info.action_count + info.buffer_size == 3
        assert await b.running() == ["job-2026-01-01T00:08:00Z"]


async def test_catchup_window_is_ten_seconds_at_least_and_a_year_if_none_is_given() -> None:
    async with bench() as b:
        made = schedule()
        made.policies.catchup_window.CopyFrom(Duration(seconds=1))
        await b.create(made)
        assert (await b.describe()).schedule.policies.catchup_window.seconds == 10
        await b.create(schedule(), "other")
        described = (await b.describe("other")).schedule.policies
        assert described.catchup_window.seconds == 365 * DAY
        assert described.overlap_policy == SKIP


async def test_long_absence_is_caught_up_in_bounded_steps() -> None:
    async with bench() as b:
        await b.create(schedule(every=1))
        b.clock.jump(HOUR)
        await b.clock.advance(1)
        info = (await b.describe()).info
        assert info.action_count == 1
        assert info.overlap_skipped == HOUR


async def test_clock_that_is_set_back_takes_no_time_twice() -> None:
    async with bench() as b:
        await b.create(schedule(overlap=ALLOW_ALL))
        await b.clock.advance(3 * MINUTE)
        b.clock.jump(-2 * MINUTE)
        await b.clock.advance(2 * MINUTE)
        assert (await b.describe()).info.action_count == 3
        await b.clock.advance(MINUTE)
        assert (await b.describe()).info.action_count == 4


async def test_jitter_delays_the_action_and_not_its_name() -> None:
    async with bench() as b:
        made = schedule(HOUR)
        made.spec.jitter.CopyFrom(Duration(seconds=HOUR))
        await b.create(made)
        due = (await b.describe()).info.future_action_times[0]
        assert due.ToNanoseconds() > stamp("2026-01-01T01:00:00").ToNanoseconds()
        await b.clock.advance(HOUR)
        assert not await b.running()
        await b.patch(pause="")  # a step in between does not lose it
        await b.clock.advance(HOUR - 1)
        described = (await b.describe()).info
        assert described.recent_actions[0].schedule_time == due
        assert await b.running() == ["job-2026-01-01T01:00:00Z"]


# Pausing, limits.


async def test_paused_schedule_lets_times_pass_and_counts_none() -> None:
    async with bench() as b:
        await b.create(schedule())
        await b.patch(pause="maintenance")
        await b.clock.advance(5 * MINUTE)
        described = await b.describe()
        assert described.schedule.state.paused
        assert described.schedule.state.notes == "maintenance"
        await b.patch(unpause="on again")
        assert (await b.describe()).schedule.state.notes == "on again"
        await b.clock.advance(MINUTE)
        info = (await b.describe()).info
        assert (info.action_count, info.missed_catchup_window, info.overlap_skipped) == (1, 0, 0)
        assert await b.recent() == ["2026-01-01T00:06:00Z"]


async def test_pause_on_failure() -> None:
    async with bench() as b:
        made = schedule()
        made.policies.pause_on_failure = True
        await b.create(made)
        await b.clock.advance(MINUTE)
        await b.finish()
        await b.clock.advance(MINUTE)
        await b.fail("no disk")
        described = await b.describe()
        assert described.schedule.state.paused
        assert described.schedule.state.notes == "paused due to workflow failure: job-2026-01-01T00:02:00Z: no disk"
        assert described.info.recent_actions[1].start_workflow_status == Status.WORKFLOW_EXECUTION_STATUS_FAILED
        await b.clock.advance(5 * MINUTE)
        assert (await b.describe()).info.action_count == 2


async def test_termination_is_no_failure_and_a_timeout_is() -> None:
    async with bench() as b:
        made = schedule()
        made.policies.pause_on_failure = True
        made.action.start_workflow.workflow_run_timeout.CopyFrom(Duration(seconds=30))
        await b.create(made)
        await b.clock.advance(MINUTE)
        request = TerminateWorkflowExecutionRequest(namespace="default")
        request.workflow_execution.workflow_id = "job-2026-01-01T00:01:00Z"
        await b.service.terminate_workflow_execution(request)
        await b.clock.advance(MINUTE)
        assert not (await b.describe()).schedule.state.paused
        await b.clock.advance(30)
        assert (await b.describe()).schedule.state.notes == "paused due to workflow timeout: job-2026-01-01T00:02:00Z"


async def test_limited_actions_count_down_and_manual_ones_do_not() -> None:
    async with bench() as b:
        made = schedule(overlap=ALLOW_ALL)
        made.state.limited_actions = True
        made.state.remaining_actions = 2
        await b.create(made)
        await b.clock.advance(30)
        await b.trigger()
        assert (await b.describe()).schedule.state.remaining_actions == 2
        assert len((await b.describe()).info.future_action_times) == 2
        await b.clock.advance(5 * MINUTE)
        described = await b.describe()
        assert described.schedule.state.remaining_actions == 0
        assert described.info.action_count == 3
        await b.trigger()
        assert (await b.describe()).info.action_count == 4


async def test_schedule_without_a_future_disappears_after_a_week() -> None:
    async with bench() as b:
        await b.create(schedule(every=0))
        paused = schedule(every=0)
        paused.state.paused = True
        await b.create(paused, "paused")
        await b.clock.advance(7 * DAY - 1)
        await b.trigger()
        await b.finish()
        await b.clock.advance(7 * DAY - 10)
        assert (await b.describe()).info.action_count == 1
        await b.clock.advance(10)
        with pytest.raises(RpcError) as gone:
            await b.describe()
        assert gone.value.code is StatusCode.NOT_FOUND
        assert (await b.describe("paused")).schedule.state.paused


# Manual actions.


async def test_trigger_acts_though_the_schedule_is_paused() -> None:
    async with bench() as b:
        made = schedule()
        made.state.paused = True
        await b.create(made, initial_patch={"trigger_immediately": {}})
        assert (await b.describe()).info.action_count == 1
        await b.trigger()
        assert (await b.describe()).info.overlap_skipped == 1
        await b.clock.advance(2)
        await b.trigger(ALLOW_ALL)
        assert await b.recent() == ["2026-01-01T00:00:00Z", "2026-01-01T00:00:02Z"]


async def test_backfill_takes_both_ends_and_each_overlapping_one_anew() -> None:
    async with bench() as b:
        made = schedule()
        made.state.paused = True
        await b.create(made)
        await b.backfill("2020-01-20T04:56:00", "2020-01-20T04:58:00", ALLOW_ALL)
        await b.backfill("2020-01-20T04:58:00", "2020-01-20T05:00:30", BUFFER_ALL)
        await b.clock.advance(0)
        # 04:58 of the second runs already: it is dropped, and the next one has its turn.
        assert await b.recent() == [f"2020-01-20T04:{minute}:00Z" for minute in (56, 57, 58, 59)]
        assert await b.running() == ["job-2020-01-20T04:59:00Z"]
        assert (await b.describe()).info.buffer_size == 1


async def test_long_backfill_goes_on_as_there_is_room() -> None:
    async with bench() as b:
        made = schedule()
        made.state.paused = True
        await b.create(made)
        await b.backfill("2020-01-01T00:00:00", "2020-01-01T10:00:00", ALLOW_ALL)
        for _ in range(10):
            await b.clock.advance(0)
        assert (await b.describe()).info.action_count == 601


async def test_last_result_and_failure_are_passed_on() -> None:
    async with bench() as b:
        await b.create(schedule())
        await b.clock.advance(MINUTE)
        await b.finish("one")
        await b.clock.advance(MINUTE)
        second = (await b.task()).history.events[0].workflow_execution_started_event_attributes
        assert list(second.last_completion_result.payloads) == [payload("one")]
        await b.clock.advance(10)
        await b.fail("two")
        await b.clock.advance(MINUTE)
        third = (await b.task()).history.events[0].workflow_execution_started_event_attributes
        assert list(third.last_completion_result.payloads) == [payload("one")]
        assert third.continued_failure.message == "two"


async def test_original_workflow_id_is_kept_when_asked_for() -> None:
    async with bench() as b:
        made = schedule()
        made.policies.keep_original_workflow_id = True
        await b.create(made)
        await b.clock.advance(MINUTE)
        await b.finish()
        await b.clock.advance(MINUTE)
        assert [each.start_workflow_result.workflow_id for each in (await b.describe()).info.recent_actions] == ["job", "job"]


async def test_action_whose_workflow_id_is_taken_is_dropped() -> None:
    async with bench() as b:
        await b.create(schedule(), "first")
        await b.create(schedule())
        await b.clock.advance(MINUTE)
        counts = [(await b.describe(each)).info.action_count for each in ("first", "s")]
        assert sorted(counts) == [0, 1]
        assert not (await b.describe()).info.buffer_size
