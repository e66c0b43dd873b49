"""Options of several schedule commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from perdure.cli.values import enum_of

F = TypeVar("F", bound=Callable[..., Any])


def schedule_option(function: F) -> F:
    return click.option("--schedule-id", "-s", required=True, metavar="ID", help="The schedule.")(function)


def overlap_option(function: F) -> F:
    return click.option(
        "--overlap-policy", default="", metavar="POLICY", help="When the last one still runs: Skip, BufferOne, BufferAll, CancelOther, …"
    )(function)


def overlap_of(text: str) -> int:
    """The policy's number; 0 when none was given."""
    from temporalio.api.enums.v1 import ScheduleOverlapPolicy

    return enum_of(ScheduleOverlapPolicy, "SCHEDULE_OVERLAP_POLICY_", text, "--overlap-policy") if text else 0
