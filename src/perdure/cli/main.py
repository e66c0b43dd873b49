"""`perdure`: the command, its exit codes, and the one place where an error becomes a line on standard error.

Exit codes: 0 done; 1 the workflow or operation failed; 2 bad usage; 3 engine not reachable; 130 interrupted; 141 nobody reads what is
printed (the pipe was closed, as by `| head`: what was to be done is done).
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import Any, cast

import click

from perdure.cli.options import Invocation, debug_option
from perdure.cli.showing import harmless
from perdure.model.errors import PerdureError

COMMANDS = ("demo", "server", "worker", "workflow", "schedule", "batch", "task-queue", "namespace", "operator", "bench")
"""Each is a module of its name beside this one."""
INTERRUPTED = 130
NOBODY_READS = 141
"""As a shell counts what dies of SIGPIPE."""


class NobodyReads(Exception):
    """What is printed goes nowhere: the pipe is closed."""


class _Root(click.Group):
    """Loads a command when it is typed: each stands on other things. Says `NobodyReads` before click makes a failure of it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"perdure.cli.{name}"), name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            meant = difflib.get_close_matches(args[0], COMMANDS)
            raise click.UsageError(f"No such command {args[0]!r}.{f' Did you mean {meant[0]!r}?' if meant else ''}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        with _noting_a_closed_pipe():
            return super().make_context(*args, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _noting_a_closed_pipe():
            return super().invoke(ctx)


@contextmanager
def _noting_a_closed_pipe() -> Generator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise NobodyReads from error


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="perdure")
@debug_option
def perdure() -> None:
    """Durable execution for Python."""


def main() -> None:
    """The script's entry point."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a character that cannot be printed is no reason to print nothing
    code = _run_and_flush()
    if "perdure.service.grpc_client" in sys.modules:
        # The threads under the connection to a server may abort an interpreter that is being torn down: what is done would count as failed.
        logging.shutdown()
        os._exit(code)
    sys.exit(code)


def _run_and_flush() -> int:
    code = run(sys.argv[1:])
    open_streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]  # pyright: ignore[reportUnnecessaryComparison]
    for stream in open_streams:
        try:
            stream.flush()
        except OSError:  # what is left of an answer that could not be printed
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or the interpreter complains at its end
            code = code or NOBODY_READS
    return code


def run(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; errors go to standard error."""
    invocation = Invocation()
    try:
        _check_letters(arguments)
        result = perdure.main(args=list(arguments), prog_name="perdure", standalone_mode=False, obj=invocation)
    except NobodyReads:
        return NOBODY_READS
    except Exception as error:
        line, code = explained(error)
        if invocation.debug:
            traceback.print_exception(error)
        click.echo(harmless(line), err=True)
        return code
    return result if isinstance(result, int) else 0


def _check_letters(arguments: Sequence[str]) -> None:
    """Raises click.UsageError for bytes that are no text (Python passes them on as surrogates, which can be sent nowhere)."""
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            shown = os.fsencode(argument).decode("utf-8", "backslashreplace")
            raise click.UsageError(f"{shown} is not UTF-8; the ids and values that a terminal sends must be.")


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
    if isinstance(error, OSError) and error.strerror:
        return f"Error: the operating system refused{f' {error.filename}' if error.filename else ''}: {error.strerror}. Mend that first.", 1
    return f"Error: {type(error).__name__}: {error} (not one of perdure's own errors; run again with --debug for the traceback).", 1
