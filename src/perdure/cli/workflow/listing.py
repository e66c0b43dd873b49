"""`perdure workflow list`, `count` and `describe`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import limit_option, workflow_option
from perdure.cli.paging import pages_of
from perdure.cli.showing import show_facts, show_json, show_table, time_of
from perdure.cli.values import name_of

if TYPE_CHECKING:
    from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse


@click.command("list")
@click.option("--query", "-q", default="", metavar="QUERY", help="Which, as in \"WorkflowType = 'order' AND ExecutionStatus = 'Running'\".")
@limit_option
@on_engine
async def list_(target: Target, query: str, limit: int | None) -> None:
    """List workflows: open ones first, the latest start first, then ended ones, the latest end first."""
    from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest

    request = ListWorkflowExecutionsRequest(namespace=target.namespace, query=query)
    found = await pages_of(target, "list_workflow_executions", request, "executions", limit=limit)
    if target.as_json:
        show_json(found)
        return
    rows = [(_status(each.status), each.execution.workflow_id, each.type.name, time_of(each, "start_time"), time_of(each, "close_time"))
            for each in found]  # fmt: skip
    show_table(("Status", "WorkflowId", "Type", "StartTime", "CloseTime"), rows)


@click.command()
@click.option("--query", "-q", default="", metavar="QUERY", help="Which; GROUP BY ExecutionStatus counts by status.")
@on_engine
async def count(target: Target, query: str) -> None:
    """Count workflows."""
    from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest

    from perdure.client.readable import plain_payload
    from perdure.model.conversion import DataConverter

    response = await target.call("count_workflow_executions", CountWorkflowExecutionsRequest(namespace=target.namespace, query=query))
    if target.as_json:
        show_json(response)
        return
    click.echo(f"Total: {response.count}")
    for group in response.groups:
        values = ", ".join(str(plain_payload(value, DataConverter.default)) for value in group.group_values)
        click.echo(f"{values}: {group.count}")


@click.command()
@workflow_option
@on_engine
async def describe(target: Target, workflow_id: str, run_id: str) -> None:
    """Show a run's state: status, times, and what is pending."""
    from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionRequest

    request = DescribeWorkflowExecutionRequest(namespace=target.namespace)
    request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
    response = await target.call("describe_workflow_execution", request, workflow_id)
    if target.as_json:
        show_json(response)
    else:
        _show_description(response)


def _show_description(response: DescribeWorkflowExecutionResponse) -> None:
    from perdure.client.descriptions import describe as described
    from perdure.model.conversion import DataConverter

    found = described(response, DataConverter.default)
    show_facts(
        {
            "WorkflowId": found.workflow_id,
            "RunId": found.run_id,
            "Type": found.workflow_type,
            "TaskQueue": found.task_queue,
            "Status": _status(found.status),
            "StartTime": found.start_time,
            "ExecutionTime": found.execution_time if found.execution_time != found.start_time else None,
            "CloseTime": found.close_time,
            "HistoryLength": found.history_length,
            "HistorySize": found.history_size_bytes,
            "Memo": dict(found.memo),
            "SearchAttributes": dict(found.search_attributes),
        }
    )
    if found.pending_activities:
        click.echo()
        columns = ("Activity", "Type", "State", "Attempt", "LastFailure", "Worker")
        show_table(
            columns,
            [
                (a.activity_id, a.activity_type, a.state, a.attempt, a.last_failure, a.last_worker_identity)
                for a in found.pending_activities
            ],
        )
    children = response.pending_children
    if children:
        click.echo()
        show_table(("Child", "RunId", "Type"), [(child.workflow_id, child.run_id, child.workflow_type_name) for child in children])


def _status(number: int) -> str:
    from temporalio.api.enums.v1 import WorkflowExecutionStatus

    return name_of(WorkflowExecutionStatus, "WORKFLOW_EXECUTION_STATUS_", number)
