"""`perdure schedule …`: workflows that start by a plan."""

import click

from perdure.cli.schedule.acting import backfill, delete, toggle, trigger
from perdure.cli.schedule.looking import describe, list_
from perdure.cli.schedule.writing import create, update


@click.group()
def schedule() -> None:
    """Start workflows by a plan."""


for command in (create, update, list_, describe, toggle, trigger, backfill, delete):
    schedule.add_command(command)
