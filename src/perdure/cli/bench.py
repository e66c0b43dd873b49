"""`perdure bench`: measures, one line per measurement."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from perdure.bench.catalog import WORKLOADS
from perdure.bench.measurement import Measurement
from perdure.bench.setting import Setting
from perdure.bench.table import header, row
from perdure.cli.options import Invocation, debug_option

Options = dict[str, Any]


def _list_of_workloads() -> str:
    return "\b\n" + "\n".join(f"{name:<18}{workload.measures}" for name, workload in WORKLOADS.items())


@click.command(epilog=_list_of_workloads())
@click.argument("workloads", metavar="WORKLOAD...", nargs=-1, required=True, type=click.Choice(list(WORKLOADS)))
@click.option("--engine", metavar="URL", help="The engine to measure. Default: SQLite on a fresh file, removed afterwards.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="How many workflows, steps, signals or rows.")
@click.option("--concurrency", type=click.IntRange(min=1), metavar="C", help="How many at once; prints that line only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option(
    "--dir",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the files go. Default: TMPDIR; mind the disk.",
)
@click.option("--smoke", is_flag=True, help="Seconds instead of minutes, to see that it works; the figures mean little.")
@debug_option
def bench(workloads: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Measure perdure on this machine, with durability on.

    Each workload runs in a process of its own, when there are several, so that none inherits another's memory.
    """
    write = write_json if as_json else TableWriter()
    if len(workloads) == 1:
        measure(workloads[0], options, write)
        return 0
    debug = click.get_current_context().ensure_object(Invocation).debug
    return max(measure_in_child(workload, options, write, debug) for workload in workloads)


def measure(workload: str, options: Options, write: Callable[[Measurement], None]) -> None:
    """Runs one workload in this process, in a folder that is removed afterwards."""
    from perdure.worker.interpreter import run, tune

    with tempfile.TemporaryDirectory(prefix="perdure-bench-", dir=options["folder"], ignore_cleanup_errors=True) as folder:
        chosen = {name: options[name] for name in ("engine", "count", "concurrency", "smoke")}
        setting = Setting(folder=Path(folder), interpreter=asdict(tune()), write=write, **chosen)
        run(WORKLOADS[workload].measure(setting))


def measure_in_child(workload: str, options: Options, write: Callable[[Measurement], None], debug: bool) -> int:
    """Runs one workload in a process of its own and passes its lines on as they come; returns its exit code."""
    command = [sys.executable, "-m", "perdure.cli", "bench", workload, "--json", *(["--debug"] if debug else [])]
    for name, flag in {"engine": "--engine", "count": "--count", "concurrency": "--concurrency", "folder": "--dir"}.items():
        command += [flag, str(options[name])] if options[name] is not None else []
    command += ["--smoke"] if options["smoke"] else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            write(Measurement.from_fields(json.loads(line)))
    return child.returncode


def write_json(measurement: Measurement) -> None:
    click.echo(measurement.json_line())


class TableWriter:
    """Writes rows as they come, under one header."""

    def __init__(self) -> None:
        self._begun = False

    def __call__(self, measurement: Measurement) -> None:
        if not self._begun:
            click.echo(header())
            self._begun = True
        click.echo(row(measurement))
