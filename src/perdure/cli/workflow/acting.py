"""`perdure workflow signal`, `cancel`, `terminate`, `delete` (one workflow, or a batch) and `reset`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from perdure.cli.batch_jobs import is_batch, start_batch
from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import batch_options, input_options, reason_option, workflow_option
from perdure.cli.showing import show_json
from perdure.cli.values import add_inputs, enum_of


@click.command()
@batch_options
@click.option("--name", required=True, metavar="NAME", help="The signal's.")
@input_options
@reason_option
@on_engine
async def signal(
    target: Target,
    workflow_id: str,
    run_id: str,
    query: str,
    yes: bool,
    name: str,
    inputs: Sequence[str],
    input_files: Sequence[Path],
    reason: str,
) -> None:
    """Send a signal."""
    from temporalio.api.batch.v1 import BatchOperationSignal
    from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

    from perdure.model.ids import uuid4_text

    if is_batch(workflow_id, run_id, query):
        operation = BatchOperationSignal(signal=name, identity=target.identity)
        add_inputs(operation.input, inputs, input_files)
        await start_batch(target, query, reason, yes, signal_operation=operation)
        return
    request = SignalWorkflowExecutionRequest(
        namespace=target.namespace, signal_name=name, request_id=uuid4_text(), identity=target.identity
    )
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    add_inputs(request.input, inputs, input_files)
    await target.call("signal_workflow_execution", request, workflow_id)
    _done(target, "Signalled", workflow_id)


@click.command()
@batch_options
@reason_option
@on_engine
async def cancel(target: Target, workflow_id: str, run_id: str, query: str, yes: bool, reason: str) -> None:
    """Ask a workflow to end; its code cleans up."""
    from temporalio.api.batch.v1 import BatchOperationCancellation
    from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest

    from perdure.model.ids import uuid4_text

    if is_batch(workflow_id, run_id, query):
        await start_batch(target, query, reason, yes, cancellation_operation=BatchOperationCancellation(identity=target.identity))
        return
    request = RequestCancelWorkflowExecutionRequest(
        namespace=target.namespace, reason=reason, request_id=uuid4_text(), identity=target.identity
    )
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    await target.call("request_cancel_workflow_execution", request, workflow_id)
    _done(target, "Asked to cancel", workflow_id)


@click.command()
@batch_options
@reason_option
@on_engine
async def terminate(target: Target, workflow_id: str, run_id: str, query: str, yes: bool, reason: str) -> None:
    """End a workflow at once, without its code."""
    from temporalio.api.batch.v1 import BatchOperationTermination
    from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest

    if is_batch(workflow_id, run_id, query):
        await start_batch(target, query, reason, yes, termination_operation=BatchOperationTermination(identity=target.identity))
        return
    request = TerminateWorkflowExecutionRequest(namespace=target.namespace, reason=reason, identity=target.identity)
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    await target.call("terminate_workflow_execution", request, workflow_id)
    _done(target, "Terminated", workflow_id)


@click.command()
@batch_options
@reason_option
@on_engine
async def delete(target: Target, workflow_id: str, run_id: str, query: str, yes: bool, reason: str) -> None:
    """Delete a workflow and its history; one that runs is terminated first."""
    from temporalio.api.batch.v1 import BatchOperationDeletion
    from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

    if is_batch(workflow_id, run_id, query):
        await start_batch(target, query, reason, yes, deletion_operation=BatchOperationDeletion(identity=target.identity))
        return
    request = DeleteWorkflowExecutionRequest(namespace=target.namespace)
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    await target.call("delete_workflow_execution", request, workflow_id)
    _done(target, "Deleted", workflow_id)


@click.command()
@workflow_option
@click.option("--event-id", type=click.IntRange(min=1), metavar="N", help="The end of the workflow task to go back to.")
@click.option("--type", "type_", type=click.Choice(["FirstWorkflowTask", "LastWorkflowTask"]), help="That task, instead of an event.")
@click.option("--reapply-exclude", multiple=True, metavar="KIND", help="What is not to happen again after it: Signal, Update; repeatable.")
@reason_option
@on_engine
async def reset(
    target: Target, workflow_id: str, run_id: str, event_id: int | None, type_: str | None, reapply_exclude: Sequence[str], reason: str
) -> None:
    """Go back to a point in a run's history, and on from there in a new run."""
    from temporalio.api.enums.v1 import ResetReapplyExcludeType
    from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

    from perdure.model.ids import uuid4_text

    if (event_id is None) == (type_ is None):
        raise click.UsageError("give either --event-id or --type.")
    request = ResetWorkflowExecutionRequest(namespace=target.namespace, reason=reason, request_id=uuid4_text(), identity=target.identity)
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = workflow_id, run_id
    if type_ is not None:
        event_id = await _end_of_task(target, workflow_id, run_id, type_)
    request.workflow_task_finish_event_id = event_id or 0
    for kind in reapply_exclude:
        number = enum_of(ResetReapplyExcludeType, "RESET_REAPPLY_EXCLUDE_TYPE_", kind, "--reapply-exclude")
        request.reset_reapply_exclude_types.append(number)  # type: ignore[arg-type]  # enum number
    response = await target.call("reset_workflow_execution", request, workflow_id)
    if target.as_json:
        show_json({"workflowId": workflow_id, "runId": response.run_id})
    else:
        click.echo(f"Reset {workflow_id} to event {event_id}; it goes on as run {response.run_id}")


async def _end_of_task(target: Target, workflow_id: str, run_id: str, which: str) -> int:
    from perdure.cli.workflow.history import events_of

    found = 0
    async for event in events_of(target, workflow_id, run_id, follow=False):
        if event.HasField("workflow_task_completed_event_attributes"):
            found = event.event_id
            if which == "FirstWorkflowTask":
                break
    if not found:
        raise click.ClickException(f"no workflow task of {workflow_id} has been completed: there is nothing to go back to.")
    return found


def _done(target: Target, what: str, workflow_id: str, **more: Any) -> None:
    if target.as_json:
        show_json({"workflowId": workflow_id, **more})
    else:
        click.echo(f"{what} {workflow_id}")
