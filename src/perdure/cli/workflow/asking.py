"""`perdure workflow query`, `stack` and `update`: what the workflow's own code answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import input_options, workflow_option
from perdure.cli.showing import harmless, in_a_line, show_json
from perdure.cli.values import add_inputs, enum_of, values_of

if TYPE_CHECKING:
    from temporalio.api.common.v1 import Payloads

STAGES = ("accepted", "completed")


@click.command()
@workflow_option
@click.option("--name", "--type", "name", required=True, metavar="NAME", help="The query's.")
@input_options
@click.option("--reject-condition", default="", metavar="CONDITION", help="NotOpen, or NotCompletedCleanly.")
@on_engine
async def query(
    target: Target, workflow_id: str, run_id: str, name: str, inputs: Sequence[str], input_files: Sequence[Path], reject_condition: str
) -> int:
    """Ask a workflow's code something; it changes nothing. A worker must be running."""
    return await _query(target, workflow_id, run_id, name, inputs, input_files, reject_condition)


@click.command()
@workflow_option
@on_engine
async def stack(target: Target, workflow_id: str, run_id: str) -> int:
    """Show where a workflow's code stands. A worker must be running."""
    return await _query(target, workflow_id, run_id, "__stack_trace", (), (), "")


async def _query(
    target: Target, workflow_id: str, run_id: str, name: str, inputs: Sequence[str], files: Sequence[Path], reject_condition: str
) -> int:
    from temporalio.api.enums.v1 import QueryRejectCondition, WorkflowExecutionStatus
    from temporalio.api.workflowservice.v1 import QueryWorkflowRequest

    from perdure.cli.values import name_of

    request = QueryWorkflowRequest(namespace=target.namespace)
    request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
    request.query.query_type = name
    if inputs or files:
        add_inputs(request.query.query_args, inputs, files)
    if reject_condition:
        number = enum_of(QueryRejectCondition, "QUERY_REJECT_CONDITION_", reject_condition, "--reject-condition")
        request.query_reject_condition = number  # type: ignore[assignment]  # enum number
    response = await target.call("query_workflow", request, workflow_id)
    if response.HasField("query_rejected"):
        status = name_of(WorkflowExecutionStatus, "WORKFLOW_EXECUTION_STATUS_", response.query_rejected.status)
        click.echo(f"Error: the query was rejected, since the workflow is {status}.", err=True)
        return 1
    _show_values(target, "queryResult", response.query_result)
    return 0


@click.command()
@workflow_option
@click.option("--name", "--type", "name", required=True, metavar="NAME", help="The update's.")
@input_options
@click.option("--update-id", default="", metavar="ID", help="By which it is known again. Default: a new UUID.")
@click.option("--wait-for-stage", type=click.Choice(STAGES), default="completed", show_default=True, help="Return when it has got so far.")
@on_engine
async def update(
    target: Target,
    workflow_id: str,
    run_id: str,
    name: str,
    inputs: Sequence[str],
    input_files: Sequence[Path],
    update_id: str,
    wait_for_stage: str,
) -> int:
    """Have a workflow's code change something, and print what it answers. A worker must be running."""
    from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
    from temporalio.api.update.v1 import WaitPolicy
    from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

    from perdure.model.ids import uuid4_text

    stage = enum_of(Stage, "UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_", wait_for_stage, "--wait-for-stage")
    request = UpdateWorkflowExecutionRequest(namespace=target.namespace, wait_policy=WaitPolicy(lifecycle_stage=stage))  # type: ignore[arg-type]  # enum number
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    request.request.meta.update_id, request.request.meta.identity = update_id or uuid4_text(), target.identity
    request.request.input.name = name
    add_inputs(request.request.input.args, inputs, input_files)
    while True:  # the engine answers after a while with the stage that was reached; the same update id asks on
        response = await target.call("update_workflow_execution", request, workflow_id)
        if response.stage >= stage or response.HasField("outcome"):
            break
    if not response.HasField("outcome"):
        show_json({"updateId": request.request.meta.update_id, "stage": wait_for_stage}) if target.as_json else click.echo(
            f"Accepted update {request.request.meta.update_id}"
        )
        return 0
    if response.outcome.HasField("failure"):
        click.echo(f"Error: the update failed: {in_a_line(response.outcome.failure.message)}", err=True)
        return 1
    _show_values(target, "result", response.outcome.success)
    return 0


def _show_values(target: Target, name: str, payloads: Payloads) -> None:
    values: list[Any] = values_of(payloads)
    if target.as_json:
        show_json({name: values})
    elif len(values) == 1 and isinstance(values[0], str):
        click.echo(harmless(values[0]))
    else:
        for value in values:
            show_json(value)
