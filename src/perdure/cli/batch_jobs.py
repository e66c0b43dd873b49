"""What a command does to one workflow or, with --query, to all that the query finds: as a batch that the engine carries out."""

from __future__ import annotations

from typing import Any

import click

from perdure.cli.on_engine import Target
from perdure.cli.options import confirmed
from perdure.cli.showing import show_json


def is_batch(workflow_id: str, run_id: str, query: str) -> bool:
    """Whether a query was given. Raises click.UsageError unless it is either that or a workflow."""
    if bool(workflow_id) == bool(query):
        raise click.UsageError("give either --workflow-id or --query.")
    if query and run_id:
        raise click.UsageError("--run-id is for one workflow; put RunId into the --query instead.")
    return bool(query)


async def start_batch(target: Target, query: str, reason: str, yes: bool, **operation: Any) -> None:
    """Starts a batch, after asking; prints its job id."""
    from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest, StartBatchOperationRequest

    from perdure.model.ids import uuid4_text

    if not yes:
        counted = await target.call("count_workflow_executions", CountWorkflowExecutionsRequest(namespace=target.namespace, query=query))
        confirmed(f"Start a batch over {counted.count} workflows?")
    request = StartBatchOperationRequest(
        namespace=target.namespace,
        visibility_query=query,
        job_id=uuid4_text(),
        reason=reason or "asked for on the command line",
        **operation,
    )
    await target.call("start_batch_operation", request)
    if target.as_json:
        show_json({"batchJobId": request.job_id})
    else:
        click.echo(f"Started batch {request.job_id}; see perdure batch describe --job-id {request.job_id}")
