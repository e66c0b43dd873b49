"""Proves what requests about schedules answer: updates, conflicts, lists, refusals."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.schedule.v1 import BackfillRequest, ScheduleSpec
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CreateScheduleRequest,
    DeleteScheduleRequest,
    ListScheduleMatchingTimesRequest,
    ListSchedulesRequest,
    PatchScheduleRequest,
)
from tests.engine.scheduling import (
    ALLOW_ALL,
    HOUR,
    MINUTE,
    Bench,
    bench,
    payload,
    schedule,
    stamp,
)

from perdure.model.rpc import RpcError, StatusCode


async def test_update_replaces_all_but_memo_and_takes_no_earlier_times() -> None:
    async with bench() as b:
        token = await b.create(
            schedule(HOUR), memo={"fields": {"k": payload("v")}}, search_attributes={"indexed_fields": {"BatcherUser": payload("x")}}
        )
        await b.clock.advance(90)
        await b.update(schedule(MINUTE), conflict_token=token)
        described = await b.describe()
        assert described.conflict_token != token
        assert described.info.action_count == 0
        assert described.info.update_time == stamp("2026-01-01T00:01:30")
        assert described.memo.fields["k"] == payload("v")
        assert described.search_attributes.indexed_fields["BatcherUser"].data == b'"x"'
        await b.clock.advance(30)
        assert (await b.describe()).info.action_count == 1
        await b.update(schedule(HOUR), conflict_token=token)
        assert (await b.describe()).schedule.spec.interval[0].interval.seconds == MINUTE
        await b.update(schedule(HOUR), search_attributes={})
        described = await b.describe()
        assert described.schedule.spec.interval[0].interval.seconds == HOUR
        assert not described.search_attributes.indexed_fields


async def test_schedule_of_an_id_that_exists_is_refused_unless_it_is_the_same_request() -> None:
    async with bench() as b:
        token = await b.create(schedule())
        assert await b.create(schedule()) == token
        request = schedule()
        with pytest.raises(RpcError) as refusal:
            await b.service.create_schedule(_create(request, request_id="another"))
        assert refusal.value.code is StatusCode.ALREADY_EXISTS
        assert isinstance(refusal.value.detail, WorkflowExecutionAlreadyStartedFailure)
        assert refusal.value.detail.start_request_id == "create-s"


def _create(made: object, **more: object) -> object:
    return CreateScheduleRequest(namespace="default", schedule=made, **{"schedule_id": "s", **more})  # type: ignore[arg-type]


async def test_request_that_is_repeated_changes_nothing() -> None:
    async with bench() as b:
        await b.create(schedule(every=0, overlap=ALLOW_ALL))
        request = PatchScheduleRequest(namespace="default", schedule_id="s", request_id="one")
        request.patch.trigger_immediately.SetInParent()
        for seconds in (0, 5, 5):
            await b.clock.advance(seconds)
            await b.service.patch_schedule(request)
        assert await b.recent() == ["2026-01-01T00:00:00Z"]
        for number in range(25):
            request.request_id, request.patch.unpause = f"other {number}", "on"
            request.patch.ClearField("trigger_immediately")
            await b.service.patch_schedule(request)
        await b.update(schedule(HOUR), request_id="two")
        await b.update(schedule(MINUTE), request_id="two")
        assert (await b.describe()).schedule.spec.interval[0].interval.seconds == HOUR


async def test_deleted_schedule_is_gone_and_its_workflow_runs_on() -> None:
    async with bench() as b:
        await b.create(schedule())
        await b.clock.advance(MINUTE)
        execution = (await b.describe()).info.running_workflows[0]
        delete = DeleteScheduleRequest(namespace="default", schedule_id="s")
        await b.service.delete_schedule(delete)
        await b.clock.advance(5 * MINUTE)
        assert await b.status(execution) == Status.WORKFLOW_EXECUTION_STATUS_RUNNING
        for call in (b.describe(), b.trigger(), b.update(schedule()), b.service.delete_schedule(delete)):
            with pytest.raises(RpcError) as refusal:
                await call
            assert refusal.value.code is StatusCode.NOT_FOUND
        await b.finish()
        await b.create(schedule())
        assert (await b.describe()).info.action_count == 0


async def test_lists_have_pages_and_matching_times_are_told() -> None:
    async with bench() as b:
        for number in range(5):
            await b.create(schedule(HOUR), f"s{number}")
            if number == 2:
                await b.clock.advance(MINUTE)  # what is made at the same moment stands in the order of the names
        found, token = [], b""
        while True:
            page = await b.service.list_schedules(ListSchedulesRequest(namespace="default", maximum_page_size=2, next_page_token=token))
            found += [each.schedule_id for each in page.schedules]
            token = page.next_page_token
            if not token:
                break
        assert found == ["s3", "s4", "s0", "s1", "s2"]
        assert page.schedules[0].info.workflow_type.name == "Job"
        assert len(page.schedules[0].info.future_action_times) == 5
        assert (await b.service.count_schedules(CountSchedulesRequest(namespace="default"))).count == 5
        times = await b.service.list_schedule_matching_times(
            ListScheduleMatchingTimesRequest(
                namespace="default", schedule_id="s0", start_time=stamp("2030-01-01T00:00:00"), end_time=stamp("2030-01-01T03:00:00")
            )
        )
        assert [each.ToJsonString() for each in times.start_time] == [f"2030-01-01T0{hour}:00:00Z" for hour in (1, 2, 3)]


async def _refused(b: Bench, made: object, **more: object) -> str:
    with pytest.raises(RpcError) as refusal:
        await b.service.create_schedule(_create(made, **{"request_id": "r", **more}))  # type: ignore[arg-type]
    assert refusal.value.code is StatusCode.INVALID_ARGUMENT
    return refusal.value.message


async def test_what_cannot_be_meant_is_refused() -> None:
    async with bench() as b:
        wrong = schedule()
        wrong.spec.CopyFrom(ScheduleSpec(cron_string=["* * *"]))
        assert (await _refused(b, wrong)).startswith("Invalid schedule spec: ")
        wrong = schedule()
        wrong.action.start_workflow.cron_schedule = "@daily"
        assert "CronSchedule" in await _refused(b, wrong)
        wrong = schedule()
        wrong.action.start_workflow.workflow_id_reuse_policy = 3
        assert "WorkflowIdReusePolicy" in await _refused(b, wrong)
        wrong = schedule()
        wrong.action.start_workflow.task_queue.name = ""
        assert await _refused(b, wrong) == "TaskQueue is not set on request."
        wrong.ClearField("action")
        assert "action" in await _refused(b, wrong)
        assert await _refused(b, schedule(), request_id="") == "RequestId is not set on request."
        assert await _refused(b, schedule(), schedule_id="") == "ScheduleId is not set on request."
        many = [BackfillRequest(start_time=stamp("2020-01-01T00:00:00"), end_time=stamp("2021-01-01T00:00:00"))] * 101
        await b.create(schedule())
        with pytest.raises(RpcError, match="limit") as refusal:
            await b.patch(backfill_request=many)
        assert refusal.value.code is StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(RpcError, match="1000 bytes"):
            await b.patch(pause="p" * 1001)
