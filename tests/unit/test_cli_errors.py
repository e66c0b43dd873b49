"""Proves that the command line answers errors with one line and the exit codes of the contract, and a traceback only with --debug."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import click
import pytest

from perdure.cli import main as cli
from perdure.model.errors import ConfigError, EngineUnavailable, SchemaTooNew, StorageCorrupt, StorageLocked, WorkflowFailed


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (WorkflowFailed("It failed."), 1),
        (ConfigError("task_queue is empty.", field="task_queue"), 2),
        (click.UsageError("no such thing."), 2),
        (EngineUnavailable("Nothing answers."), 3),
        (StorageLocked("Another process has it."), 3),
        (SchemaTooNew("A newer one wrote it."), 3),
        (StorageCorrupt("It is none of ours."), 3),
        (click.Abort(), 130),
        (ZeroDivisionError("oops"), 1),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (ExceptionGroup("two tasks", [EngineUnavailable("Nothing answers."), ZeroDivisionError("oops")]), 3),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    line, found = cli.explained(error)
    assert found == code
    assert line.strip() and "Traceback" not in line


def test_what_the_system_refuses_is_said_in_its_words() -> None:
    assert cli.explained(OSError(errno.ENOSPC, "No space left on device")) == (
        "Error: the operating system refused: No space left on device. Mend that first.",
        1,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["workflow", "--help"], ["workflow", "list", "--engine", "memory://"]])
def test_a_pipe_that_nobody_reads_is_neither_success_nor_failure(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-m", "perdure.cli", *arguments], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_character_that_cannot_be_printed_is_written_out() -> None:
    code = "import sys, click, perdure.cli.main as cli; cli.run = lambda _: click.echo('a\\ud800b') or 0; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, b"a\\ud800b", b"")


def test_no_arguments_is_bad_usage_and_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_a_misspelt_command_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["workflw", "list"]) == 2
    assert capsys.readouterr().err == "Error: No such command 'workflw'. Did you mean 'workflow'? See 'perdure --help'.\n"


def test_every_command_is_there_by_its_name() -> None:
    context = click.Context(cli.perdure)
    for name in cli.COMMANDS:
        command = cli.perdure.get_command(context, name)
        assert command is not None and command.name == name


def test_a_command_loads_nothing_of_another() -> None:
    code = "import sys, perdure.cli.main as cli; cli.run(['workflow', '--help']); print([name for name in sys.modules if 'bench' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == b"[]"


def test_unknown_workload_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "helo"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "'hello'" in output.err and "perdure bench --help" in output.err


@pytest.mark.parametrize("arguments", [["--debug", "bench", "floor"], ["bench", "floor", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise EngineUnavailable("Nothing answers at that address.")

    monkeypatch.setattr("perdure.cli.bench.measure", broken)
    assert cli.run(arguments) == 3
    assert "Traceback" in capsys.readouterr().err
    assert cli.run(["bench", "floor"]) == 3
    assert capsys.readouterr().err == "Error: Nothing answers at that address.\n"


def test_help_and_version_are_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert cli.run(["worker", "--help"]) == 0
    assert "MODULE[:ATTRIBUTE]" in capsys.readouterr().out
