"""`perdure schedule create` and `update`: when, what, and how to go about overlaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click
from google.protobuf import json_format
from typing_extensions import Unpack

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.schedule.options import overlap_of, overlap_option, schedule_option
from perdure.cli.showing import show_json
from perdure.cli.values import duration, json_of, pair_of, payload_of, time
from perdure.cli.workflow.request import What, fill, what_options

if TYPE_CHECKING:
    from temporalio.api.schedule.v1 import Schedule, ScheduleSpec

F = TypeVar("F", bound=Callable[..., Any])


class Plan(What):
    """The options of both commands."""

    schedule_id: str
    workflow_id: str
    crons: Sequence[str]
    intervals: Sequence[str]
    calendars: Sequence[str]
    start_time: datetime | None
    end_time: datetime | None
    jitter: timedelta | None
    time_zone: str
    overlap_policy: str
    catchup_window: timedelta | None
    pause_on_failure: bool
    paused: bool
    notes: str
    remaining_actions: int | None
    schedule_memos: Sequence[str]
    schedule_search_attributes: Sequence[str]


def _plan_options(function: F) -> F:
    many: Any = {"multiple": True, "metavar": "NAME=JSON"}
    for option in reversed(
        [
            schedule_option,
            click.option("--workflow-id", "-w", default="", metavar="ID", help="Of what it starts; the time is added. Default: its own."),
            click.option("--cron", "crons", multiple=True, metavar="SPEC", help="When, as in '0 12 * * MON-FRI'; repeatable."),
            click.option("--interval", "intervals", multiple=True, metavar="EVERY[/PHASE]", help="As in 5h/15m; repeatable."),
            click.option("--calendar", "calendars", multiple=True, metavar="JSON", help='As in {"hour":"12"}; repeatable.'),
            click.option("--start-time", type=time, help="Not before."),
            click.option("--end-time", type=time, help="Not after."),
            click.option("--jitter", type=duration, help="Put each off by chance, by up to so long."),
            click.option("--time-zone", default="", metavar="NAME", help="Of cron and calendar. Default: UTC."),
            overlap_option,
            click.option("--catchup-window", type=duration, help="How late what was missed may still start."),
            click.option("--pause-on-failure", is_flag=True, help="Pause when one fails."),
            click.option("--paused", is_flag=True, help="Begin paused."),
            click.option("--notes", default="", metavar="TEXT", help="Why it is as it is."),
            click.option("--remaining-actions", type=click.IntRange(min=1), metavar="N", help="Start no more than so many."),
            click.option("--schedule-memo", "schedule_memos", help="A note on the schedule itself; repeatable.", **many),
            click.option("--schedule-search-attribute", "schedule_search_attributes", help="To find the schedule by; repeatable.", **many),
        ]
    ):
        function = option(function)
    return what_options(function)


@click.command()
@_plan_options
@on_engine
async def create(target: Target, **options: Unpack[Plan]) -> None:
    """Create a schedule."""
    from temporalio.api.workflowservice.v1 import CreateScheduleRequest

    from perdure.model.ids import uuid4_text

    request = CreateScheduleRequest(
        namespace=target.namespace, schedule_id=options["schedule_id"], request_id=uuid4_text(), identity=target.identity
    )
    _fill_schedule(request.schedule, options)
    _add_pairs(request, options)
    await target.call("create_schedule", request)
    _done(target, "Created", options["schedule_id"])


@click.command()
@_plan_options
@on_engine
async def update(target: Target, **options: Unpack[Plan]) -> None:
    """Replace a schedule by another of the same id."""
    from temporalio.api.workflowservice.v1 import UpdateScheduleRequest

    from perdure.model.ids import uuid4_text

    request = UpdateScheduleRequest(
        namespace=target.namespace, schedule_id=options["schedule_id"], request_id=uuid4_text(), identity=target.identity
    )
    _fill_schedule(request.schedule, options)
    _add_pairs(request, options)
    await target.call("update_schedule", request)
    _done(target, "Updated", options["schedule_id"])


def _fill_schedule(schedule: Schedule, options: Plan) -> None:
    _fill_spec(schedule.spec, options)
    workflow = schedule.action.start_workflow
    workflow.workflow_id = options["workflow_id"] or options["schedule_id"]
    fill(workflow, options)
    schedule.policies.overlap_policy = overlap_of(options["overlap_policy"])  # type: ignore[assignment]  # enum number
    schedule.policies.pause_on_failure = options["pause_on_failure"]
    if options["catchup_window"] is not None:
        schedule.policies.catchup_window.FromTimedelta(options["catchup_window"])
    schedule.state.notes, schedule.state.paused = options["notes"], options["paused"]
    if options["remaining_actions"] is not None:
        schedule.state.limited_actions, schedule.state.remaining_actions = True, options["remaining_actions"]


def _fill_spec(spec: ScheduleSpec, options: Plan) -> None:
    spec.cron_string.extend(options["crons"])
    for text in options["intervals"]:
        every, _, phase = text.partition("/")
        interval = spec.interval.add()
        try:
            interval.interval.FromTimedelta(duration(every))
            if phase:
                interval.phase.FromTimedelta(duration(phase))
        except click.BadParameter as error:
            error.param_hint = "'--interval'"
            raise
    for text in options["calendars"]:
        calendar = json_of(text, "--calendar")
        if not isinstance(calendar, dict):
            raise click.UsageError(f'--calendar is {text}; write it like {{"hour":"12"}}.')
        try:
            json_format.ParseDict(calendar, spec.calendar.add())  # pyright: ignore[reportUnknownArgumentType]
        except json_format.ParseError as error:
            raise click.UsageError(f"--calendar cannot be understood: {str(error).splitlines()[0]}") from error
    if options["start_time"] is not None:
        spec.start_time.FromDatetime(options["start_time"])
    if options["end_time"] is not None:
        spec.end_time.FromDatetime(options["end_time"])
    if options["jitter"] is not None:
        spec.jitter.FromTimedelta(options["jitter"])
    spec.timezone_name = options["time_zone"]


def _add_pairs(request: Any, options: Plan) -> None:
    for text in options["schedule_memos"]:
        name, value = pair_of(text, "--schedule-memo")
        request.memo.fields[name].CopyFrom(payload_of(value))
    for text in options["schedule_search_attributes"]:
        name, value = pair_of(text, "--schedule-search-attribute")
        request.search_attributes.indexed_fields[name].CopyFrom(payload_of(value))


def _done(target: Target, what: str, schedule_id: str) -> None:
    if target.as_json:
        show_json({"scheduleId": schedule_id})
    else:
        click.echo(f"{what} schedule {schedule_id}")
