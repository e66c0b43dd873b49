"""`perdure task-queue describe`: who polls a queue, and what waits there."""

from __future__ import annotations

from typing import Any

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.showing import show_json, show_table, text_of, time_of

TYPES = {"workflow": 1, "activity": 2}
"""Temporal's numbers (`TaskQueueType`)."""


@click.group("task-queue")
def task_queue() -> None:
    """Look at task queues."""


@task_queue.command()
@click.option("--task-queue", "-t", required=True, metavar="NAME", help="The queue.")
@click.option("--task-queue-type", "types", multiple=True, type=click.Choice(list(TYPES)), help="Default: both.")
@on_engine
async def describe(target: Target, task_queue: str, types: tuple[str, ...]) -> None:
    """Show who polls a queue, and what waits there."""
    found = {type_: await _describe(target, task_queue, TYPES[type_]) for type_ in types or tuple(TYPES)}
    if target.as_json:
        show_json(found)
        return
    for type_, response in found.items():
        waiting = response.stats.approximate_backlog_count if response.HasField("stats") else None
        backlog = "" if waiting is None else f", {waiting} tasks wait"
        click.echo(f"{type_} tasks: {len(response.pollers)} pollers{backlog}")
    rows = [
        (each.identity, type_, time_of(each, "last_access_time"), text_of(each.rate_per_second or None))
        for type_, response in found.items()
        for each in response.pollers
    ]
    if rows:
        click.echo()
        show_table(("Identity", "Type", "LastAccessTime", "RatePerSecond"), rows)


async def _describe(target: Target, name: str, number: int) -> Any:
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

    request = DescribeTaskQueueRequest(namespace=target.namespace, task_queue_type=number, report_stats=True)  # type: ignore[arg-type]  # enum number
    request.task_queue.name = name
    return await target.call("describe_task_queue", request)
