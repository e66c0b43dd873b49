"""`perdure demo`: the main job on real input, killed and resumed in front of the user."""

from __future__ import annotations

from pathlib import Path

import click

from perdure.cli.engine_url import engine_url
from perdure.cli.options import debug_option, engine_option


@click.command()
@engine_option
@click.option("--csv", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="Import your own file of users.")
@click.option("--json", "as_json", is_flag=True, help="Print one object with the figures instead.")
@debug_option
def demo(engine: str | None, csv: Path | None, as_json: bool) -> int:
    """Import a real file and fulfil orders, with a kill -9 half way."""
    from perdure.demo.command import run_demo

    return run_demo(engine=engine_url(engine), csv=csv, as_json=as_json)
