"""`perdure workflow start` and `execute`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import click
from typing_extensions import Unpack

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.showing import show_facts, show_json
from perdure.cli.values import duration, enum_of
from perdure.cli.workflow.request import What, fill, what_options

F = TypeVar("F", bound=Callable[..., Any])


class Start(What):
    """The options of both commands."""

    workflow_id: str
    id_reuse_policy: str
    id_conflict_policy: str
    cron: str
    start_delay: timedelta | None


def _start_options(function: F) -> F:
    for option in reversed(
        [
            click.option("--workflow-id", "-w", default="", metavar="ID", help="What it is about. Default: a new UUID."),
            click.option("--id-reuse-policy", default="", metavar="POLICY", help="When a workflow of this id has ended: AllowDuplicate, …"),
            click.option("--id-conflict-policy", default="", metavar="POLICY", help="When one is running: Fail, UseExisting, …"),
            click.option("--cron", default="", metavar="SPEC", help="Run it again and again, by this plan."),
            click.option("--start-delay", type=duration, help="Begin after this time."),
        ]
    ):
        function = option(function)
    return what_options(function)


@click.command()
@_start_options
@on_engine
async def start(target: Target, **options: Unpack[Start]) -> None:
    """Start a workflow, and do not wait for it."""
    workflow_id, run_id = await _started(target, options)
    if target.as_json:
        show_json({"workflowId": workflow_id, "runId": run_id, "type": options["type_"], "namespace": target.namespace})
    else:
        show_facts({"WorkflowId": workflow_id, "RunId": run_id, "Type": options["type_"], "TaskQueue": options["task_queue"]})


@click.command()
@_start_options
@on_engine
async def execute(target: Target, **options: Unpack[Start]) -> None:
    """Start a workflow, wait for it, and print its result."""
    from perdure.cli.workflow.history import print_result

    workflow_id, run_id = await _started(target, options)
    if not target.as_json:
        click.echo(f"Started {workflow_id}, run {run_id}", err=True)
    await print_result(target, workflow_id, run_id)


async def _started(target: Target, options: Start) -> tuple[str, str]:
    from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
    from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

    from perdure.model.ids import uuid4_text

    request = StartWorkflowExecutionRequest(
        namespace=target.namespace,
        workflow_id=options["workflow_id"] or uuid4_text(),
        request_id=uuid4_text(),
        identity=target.identity,
        cron_schedule=options["cron"],
    )
    if options["id_reuse_policy"]:
        number = enum_of(WorkflowIdReusePolicy, "WORKFLOW_ID_REUSE_POLICY_", options["id_reuse_policy"], "--id-reuse-policy")
        request.workflow_id_reuse_policy = number  # type: ignore[assignment]  # enum number
    if options["id_conflict_policy"]:
        number = enum_of(WorkflowIdConflictPolicy, "WORKFLOW_ID_CONFLICT_POLICY_", options["id_conflict_policy"], "--id-conflict-policy")
        request.workflow_id_conflict_policy = number  # type: ignore[assignment]  # enum number
    if options["start_delay"] is not None:
        request.workflow_start_delay.FromTimedelta(options["start_delay"])
    fill(request, options)
    response = await target.call("start_workflow_execution", request, request.workflow_id)
    return request.workflow_id, response.run_id
