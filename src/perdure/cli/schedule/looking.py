"""`perdure schedule list` and `describe`."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import limit_option
from perdure.cli.paging import pages_of
from perdure.cli.schedule.options import schedule_option
from perdure.cli.showing import show_facts, show_json, show_table, time_of
from perdure.cli.values import name_of

if TYPE_CHECKING:
    from temporalio.api.schedule.v1 import ScheduleSpec
    from temporalio.api.workflowservice.v1 import DescribeScheduleResponse

TIMES_SHOWN = 3


@click.command("list")
@click.option("--query", "-q", default="", metavar="QUERY", help="Which.")
@limit_option
@on_engine
async def list_(target: Target, query: str, limit: int | None) -> None:
    """List schedules."""
    from temporalio.api.workflowservice.v1 import ListSchedulesRequest

    request = ListSchedulesRequest(namespace=target.namespace, query=query)
    found = await pages_of(target, "list_schedules", request, "schedules", size_field="maximum_page_size", limit=limit)
    if target.as_json:
        show_json(found)
        return
    rows: list[tuple[object, ...]] = []
    for each in found:
        info = each.info
        paused = "yes" if info.paused else ""
        rows.append((each.schedule_id, info.workflow_type.name, _times(info.future_action_times, 1), paused, info.notes))
    show_table(("ScheduleId", "Type", "Next", "Paused", "Notes"), rows)


@click.command()
@schedule_option
@on_engine
async def describe(target: Target, schedule_id: str) -> None:
    """Show a schedule: its plan, what it starts, and how it has done."""
    from temporalio.api.workflowservice.v1 import DescribeScheduleRequest

    response = await target.call("describe_schedule", DescribeScheduleRequest(namespace=target.namespace, schedule_id=schedule_id))
    if target.as_json:
        show_json(response)
    else:
        _show(schedule_id, response)


def _show(schedule_id: str, response: DescribeScheduleResponse) -> None:
    from temporalio.api.enums.v1 import ScheduleOverlapPolicy

    schedule, info = response.schedule, response.info
    show_facts(
        {
            "ScheduleId": schedule_id,
            "Spec": _without_empty(schedule.spec),
            "Type": schedule.action.start_workflow.workflow_type.name,
            "WorkflowId": schedule.action.start_workflow.workflow_id,
            "TaskQueue": schedule.action.start_workflow.task_queue.name,
            "Paused": "yes" if schedule.state.paused else "no",
            "Notes": schedule.state.notes,
            "RemainingActions": schedule.state.remaining_actions if schedule.state.limited_actions else None,
            "OverlapPolicy": name_of(ScheduleOverlapPolicy, "SCHEDULE_OVERLAP_POLICY_", schedule.policies.overlap_policy),
            "Next": _times(info.future_action_times, TIMES_SHOWN),
            "Actions": info.action_count,
            "Missed": info.missed_catchup_window or None,
            "Skipped": info.overlap_skipped or None,
            "Running": [each.workflow_id for each in info.running_workflows],
            "CreateTime": time_of(info, "create_time"),
        }
    )
    if info.recent_actions:
        click.echo()
        rows = [
            (time_of(each, "schedule_time"), time_of(each, "actual_time"), each.start_workflow_result.workflow_id)
            for each in info.recent_actions
        ]
        show_table(("ScheduledTime", "ActualTime", "WorkflowId"), rows)


def _without_empty(spec: ScheduleSpec) -> ScheduleSpec | None:
    return spec if spec.ByteSize() else None


def _times(times: Any, count: int) -> str:
    return ", ".join(time.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for time in list(times)[:count])
