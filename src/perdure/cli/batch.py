"""`perdure batch …`: operations over everything that a query found. They are started by `perdure workflow … --query`."""

from __future__ import annotations

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import limit_option, reason_option
from perdure.cli.paging import pages_of
from perdure.cli.showing import show_facts, show_json, show_table, time_of
from perdure.cli.values import name_of


@click.group()
def batch() -> None:
    """Look at batch operations, and stop them. `perdure workflow cancel --query …` and the like start them."""


def _job_option(function: click.decorators.FC) -> click.decorators.FC:
    return click.option("--job-id", required=True, metavar="ID", help="The batch's.")(function)


@batch.command("list")
@limit_option
@on_engine
async def list_(target: Target, limit: int | None) -> None:
    """List batch operations."""
    from temporalio.api.workflowservice.v1 import ListBatchOperationsRequest

    request = ListBatchOperationsRequest(namespace=target.namespace)
    found = await pages_of(target, "list_batch_operations", request, "operation_info", limit=limit)
    if target.as_json:
        show_json(found)
        return
    rows = [
        (each.job_id, _type(each.operation_type), _state(each.state), time_of(each, "start_time"), time_of(each, "close_time"))
        for each in found
    ]
    show_table(("JobId", "Operation", "State", "StartTime", "CloseTime"), rows)


@batch.command()
@_job_option
@on_engine
async def describe(target: Target, job_id: str) -> None:
    """Show a batch operation: how far it is."""
    from temporalio.api.workflowservice.v1 import DescribeBatchOperationRequest

    found = await target.call("describe_batch_operation", DescribeBatchOperationRequest(namespace=target.namespace, job_id=job_id))
    if target.as_json:
        show_json(found)
        return
    show_facts(
        {
            "JobId": found.job_id,
            "Operation": _type(found.operation_type),
            "State": _state(found.state),
            "Total": found.total_operation_count,
            "Complete": found.complete_operation_count,
            "Failed": found.failure_operation_count,
            "Reason": found.reason,
            "Query": found.query,
            "Identity": found.identity,
            "StartTime": time_of(found, "start_time"),
            "CloseTime": time_of(found, "close_time"),
        }
    )


@batch.command()
@_job_option
@reason_option
@on_engine
async def terminate(target: Target, job_id: str, reason: str) -> None:
    """Stop a batch operation; what it has done stays done."""
    from temporalio.api.workflowservice.v1 import StopBatchOperationRequest

    request = StopBatchOperationRequest(
        namespace=target.namespace, job_id=job_id, reason=reason or "stopped on the command line", identity=target.identity
    )
    await target.call("stop_batch_operation", request)
    if target.as_json:
        show_json({"batchJobId": job_id})
    else:
        click.echo(f"Stopped batch {job_id}")


def _type(number: int) -> str:
    from temporalio.api.enums.v1 import BatchOperationType

    return name_of(BatchOperationType, "BATCH_OPERATION_TYPE_", number)


def _state(number: int) -> str:
    from temporalio.api.enums.v1 import BatchOperationState

    return name_of(BatchOperationState, "BATCH_OPERATION_STATE_", number)
