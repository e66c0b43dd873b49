"""`perdure schedule toggle`, `trigger`, `backfill` and `delete`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import reason_option
from perdure.cli.schedule.options import overlap_of, overlap_option, schedule_option
from perdure.cli.showing import show_json
from perdure.cli.values import time

if TYPE_CHECKING:
    from temporalio.api.schedule.v1 import SchedulePatch


@click.command()
@schedule_option
@click.option("--pause/--unpause", default=None, help="Which way.")
@reason_option
@on_engine
async def toggle(target: Target, schedule_id: str, pause: bool | None, reason: str) -> None:
    """Pause a schedule, or let it go on."""
    from temporalio.api.schedule.v1 import SchedulePatch

    if pause is None:
        raise click.UsageError("give either --pause or --unpause.")
    text = reason or f"{'paused' if pause else 'unpaused'} on the command line"
    await _patch(target, schedule_id, SchedulePatch(pause=text) if pause else SchedulePatch(unpause=text))
    _done(target, "Paused" if pause else "Unpaused", schedule_id)


@click.command()
@schedule_option
@overlap_option
@on_engine
async def trigger(target: Target, schedule_id: str, overlap_policy: str) -> None:
    """Start what a schedule starts, now."""
    from temporalio.api.schedule.v1 import SchedulePatch

    patch = SchedulePatch()
    patch.trigger_immediately.overlap_policy = overlap_of(overlap_policy)  # type: ignore[assignment]  # enum number
    patch.trigger_immediately.SetInParent()
    await _patch(target, schedule_id, patch)
    _done(target, "Triggered", schedule_id)


@click.command()
@schedule_option
@click.option("--start-time", type=time, required=True, help="From when.")
@click.option("--end-time", type=time, required=True, help="To when.")
@overlap_option
@on_engine
async def backfill(target: Target, schedule_id: str, start_time: datetime, end_time: datetime, overlap_policy: str) -> None:
    """Start now what a schedule would have started in a time that is past."""
    from temporalio.api.schedule.v1 import SchedulePatch

    patch = SchedulePatch()
    request = patch.backfill_request.add(overlap_policy=overlap_of(overlap_policy))
    request.start_time.FromDatetime(start_time)
    request.end_time.FromDatetime(end_time)
    await _patch(target, schedule_id, patch)
    _done(target, "Backfills", schedule_id)


@click.command()
@schedule_option
@on_engine
async def delete(target: Target, schedule_id: str) -> None:
    """Delete a schedule; what it has started goes on."""
    from temporalio.api.workflowservice.v1 import DeleteScheduleRequest

    await target.call(
        "delete_schedule", DeleteScheduleRequest(namespace=target.namespace, schedule_id=schedule_id, identity=target.identity)
    )
    _done(target, "Deleted", schedule_id)


async def _patch(target: Target, schedule_id: str, patch: SchedulePatch) -> None:
    from temporalio.api.workflowservice.v1 import PatchScheduleRequest

    from perdure.model.ids import uuid4_text

    request = PatchScheduleRequest(
        namespace=target.namespace, schedule_id=schedule_id, patch=patch, identity=target.identity, request_id=uuid4_text()
    )
    await target.call("patch_schedule", request)


def _done(target: Target, what: str, schedule_id: str) -> None:
    if target.as_json:
        show_json({"scheduleId": schedule_id})
    else:
        click.echo(f"{what} schedule {schedule_id}")
