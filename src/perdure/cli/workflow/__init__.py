"""`perdure workflow …`: starting workflows, looking at them, and acting on them."""

import click

from perdure.cli.workflow.acting import cancel, delete, reset, signal, terminate
from perdure.cli.workflow.asking import query, stack, update
from perdure.cli.workflow.history import result, show, watch
from perdure.cli.workflow.listing import count, describe, list_
from perdure.cli.workflow.starting import execute, start


@click.group()
def workflow() -> None:
    """Start workflows, look at them, act on them."""


for command in (
    start,
    execute,
    list_,
    count,
    describe,
    show,
    result,
    watch,
    signal,
    query,
    stack,
    update,
    cancel,
    terminate,
    reset,
    delete,
):
    workflow.add_command(command)
