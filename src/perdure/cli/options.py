"""Options that many commands share, and what one invocation of the command line remembers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Invocation:
    """Passed to every command as click's `obj`."""

    debug: bool = False


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).debug = True


def debug_option(function: F) -> F:
    """`--debug` works before and after the command's name."""
    return click.option("--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Show the traceback of an error.")(function)


def engine_option(function: F) -> F:
    return click.option(
        "--engine", metavar="URL", help="The engine. Default: PERDURE_ENGINE, else engine in perdure.toml, else sqlite:///perdure.db."
    )(function)


def workflow_option(function: F) -> F:
    """Which run: --workflow-id and --run-id."""
    function = click.option("--run-id", "-r", default="", metavar="ID", help="One run of it. Default: the current one.")(function)
    return click.option("--workflow-id", "-w", required=True, metavar="ID", help="The workflow.")(function)


def input_options(function: F) -> F:
    """Arguments, as JSON."""
    function = click.option(
        "--input-file", "input_files", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="An argument as JSON in a file; repeatable, after --input.",
    )(function)  # fmt: skip
    return click.option("--input", "-i", "inputs", multiple=True, metavar="JSON", help="An argument; repeat it for several.")(function)


def confirmed(question: str) -> None:
    """Asks. Raises click.UsageError where nobody answers, click.ClickException for a no."""
    try:
        yes = click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin is not None and sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]  # closed before we came
            raise
        click.echo(err=True)
        raise click.UsageError("nobody answers; add --yes if that is meant.") from None
    if not yes:
        raise click.ClickException("nothing was done.")


def reason_option(function: F) -> F:
    return click.option("--reason", default="", metavar="TEXT", help="Why; stands in the history.")(function)


def limit_option(function: F) -> F:
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Print no more than so many.")(function)


def batch_options(function: F) -> F:
    """One workflow, or all that a query finds."""
    function = click.option("--yes", "-y", is_flag=True, help="Do not ask before a batch.")(function)
    function = click.option("--query", "-q", default="", metavar="QUERY", help="All that this finds, as a batch, instead of one.")(function)
    function = click.option("--run-id", "-r", default="", metavar="ID", help="One run of it. Default: the current one.")(function)
    return click.option("--workflow-id", "-w", default="", metavar="ID", help="The workflow.")(function)
