"""`perdure worker`: runs the workflows and activities of a module until it is told to stop."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perdure.cli.engine_url import engine_url, worker_config_file
from perdure.cli.options import debug_option, engine_option

if TYPE_CHECKING:
    from perdure.cli.target import Definitions, Factory
    from perdure.client.client import WorkflowClient
    from perdure.worker.config import WorkerConfig


@click.command()
@click.argument("target", metavar="MODULE[:ATTRIBUTE]")
@engine_option
@click.option("--task-queue", metavar="Q", help='The queue to poll. Default: the configuration\'s, else "default".')
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings (TOML). Default: [worker] in perdure.toml.")
@debug_option
def worker(target: str, engine: str | None, task_queue: str | None, config: Path | None) -> None:
    """Run a worker for the workflows and activities in MODULE.

    ATTRIBUTE names a list of them, or a function that takes the client and returns a WorkflowWorker. SIGINT and SIGTERM end it gracefully.
    """
    from perdure.cli.target import Definitions, load_target
    from perdure.worker.config import WorkerConfig
    from perdure.worker.interpreter import run, tune

    url = engine_url(engine)
    found = load_target(target)
    if not isinstance(found, Definitions) and (task_queue or config):
        raise click.UsageError(f"{target} makes its own worker: set the queue and the configuration there.")
    path = None if not isinstance(found, Definitions) else worker_config_file(config)
    settings = WorkerConfig.load(path, task_queue=task_queue) if task_queue else WorkerConfig.load(path)
    click.echo(f"perdure worker: {tune()}", err=True)
    run(serve(url, found, settings))


async def serve(url: str, found: Definitions | Factory, config: WorkerConfig) -> None:
    """Runs until a signal says stop; returns when what was running has ended."""
    from perdure.client.client import WorkflowClient

    async with WorkflowClient.connect(url) as client:
        made = await make_worker(client, found, config)
        click.echo(f"perdure worker: task queue {made.task_queue}, engine {url}; Ctrl-C stops it", err=True)
        await made.run()


async def make_worker(client: WorkflowClient, found: Definitions | Factory, config: WorkerConfig) -> Any:
    from perdure.cli.target import Definitions
    from perdure.worker.worker import WorkflowWorker

    if isinstance(found, Definitions):
        return WorkflowWorker(client, workflows=found.workflows, activities=found.activities, config=config)
    made = found(client)
    if inspect.isawaitable(made):
        made = await made
    if not isinstance(made, WorkflowWorker):
        raise click.UsageError(f"{getattr(found, '__name__', found)} returned {type(made).__name__}; it must return a WorkflowWorker.")
    return made
