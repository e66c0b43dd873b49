"""Options that many commands share, and what one invocation of the command line remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
