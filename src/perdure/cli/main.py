"""`perdure`: the command, its exit codes, and the one place where an error becomes a line on standard error.

Exit codes: 0 done; 1 the workflow or operation failed; 2 bad usage; 3 engine not reachable; 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import click

from perdure.cli.batch import batch
from perdure.cli.bench import bench
from perdure.cli.demo import demo
from perdure.cli.namespace import namespace
from perdure.cli.options import Invocation, debug_option
from perdure.cli.schedule import schedule
from perdure.cli.server import server
from perdure.cli.task_queue import task_queue
from perdure.cli.worker import worker
from perdure.cli.workflow import workflow
from perdure.model.errors import PerdureError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="perdure")
@debug_option
def perdure() -> None:
    """Durable execution for Python."""


for command in (demo, server, worker, workflow, schedule, batch, task_queue, namespace, bench):
    perdure.add_command(command)


def main() -> None:
    """The script's entry point."""
    code = run(sys.argv[1:])
    if "perdure.service.grpc_client" in sys.modules:
        # The threads under the connection to a server may abort an interpreter that is being torn down: what is done would count as failed.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; errors go to standard error."""
    invocation = Invocation()
    try:
        result = perdure.main(args=list(arguments), prog_name="perdure", standalone_mode=False, obj=invocation)
    except Exception as error:
        line, code = explained(error)
        if invocation.debug:
            traceback.print_exception(error)
        click.echo(line, err=True)
        return code
    return result if isinstance(result, int) else 0


def explained(error: Exception) -> tuple[str, int]:
    """The line to print for an error, and the exit code."""
    if isinstance(error, click.Abort):
        return "Interrupted.", INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error.format_message(), 2
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "perdure"
        return f"Error: {error.format_message()} See '{path} --help'.", 2
    if isinstance(error, click.ClickException):
        return f"Error: {error.format_message()}", error.exit_code
    if isinstance(error, PerdureError):
        return f"Error: {error}", error.exit_code
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        return explained(group.exceptions[0])  # tasks side by side mostly fail for one reason
    return f"Error: {type(error).__name__}: {error} (not one of perdure's own errors; run again with --debug for the traceback).", 1
