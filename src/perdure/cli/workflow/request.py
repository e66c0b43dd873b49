"""What starts a workflow, as options and as messages: the same for `workflow start` and for what a schedule starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import click

from perdure.cli.options import input_options
from perdure.cli.values import add_inputs, duration, pair_of, payload_of

F = TypeVar("F", bound=Callable[..., Any])


class What(TypedDict):
    """The options that `what_options` adds."""

    type_: str
    task_queue: str
    inputs: Sequence[str]
    input_files: Sequence[Path]
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    memos: Sequence[str]
    search_attributes: Sequence[str]
    static_summary: str
    static_details: str


def what_options(function: F) -> F:
    """Type, queue, arguments and limits of a workflow."""
    for option in reversed(
        [
            click.option("--type", "type_", required=True, metavar="NAME", help="The workflow's type."),
            click.option("--task-queue", "-t", default="default", show_default=True, metavar="NAME", help="Where its workers poll."),
            click.option("--execution-timeout", type=duration, help="Of all its runs together."),
            click.option("--run-timeout", type=duration, help="Of one run."),
            click.option("--task-timeout", type=duration, help="Of one workflow task."),
            click.option("--memo", "memos", multiple=True, metavar="NAME=JSON", help="A note that lists show; repeatable."),
            click.option("--search-attribute", "search_attributes", multiple=True, metavar="NAME=JSON", help="To be found by; repeatable."),
            click.option("--static-summary", default="", metavar="TEXT", help="One line for who looks at it."),
            click.option("--static-details", default="", metavar="TEXT", help="More than one line."),
        ]
    ):
        function = option(function)
    return input_options(function)


def fill(request: Any, what: What) -> None:
    """Writes the options into a start request, or into a schedule's `NewWorkflowExecutionInfo`: the fields have the same names."""
    request.workflow_type.name = what["type_"]
    request.task_queue.name = what["task_queue"]
    add_inputs(request.input, what["inputs"], what["input_files"])
    for field, given in (
        (request.workflow_execution_timeout, what["execution_timeout"]),
        (request.workflow_run_timeout, what["run_timeout"]),
        (request.workflow_task_timeout, what["task_timeout"]),
    ):
        if given is not None:
            field.FromTimedelta(given)
    for text in what["memos"]:
        name, value = pair_of(text, "--memo")
        request.memo.fields[name].CopyFrom(payload_of(value))
    for text in what["search_attributes"]:
        name, value = pair_of(text, "--search-attribute")
        request.search_attributes.indexed_fields[name].CopyFrom(payload_of(value))
    if what["static_summary"]:
        request.user_metadata.summary.CopyFrom(payload_of(what["static_summary"]))
    if what["static_details"]:
        request.user_metadata.details.CopyFrom(payload_of(what["static_details"]))
