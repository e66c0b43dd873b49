"""`perdure workflow show`, `watch` and `result`: what happened, what is happening, and what came of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click
from google.protobuf import json_format

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import workflow_option
from perdure.cli.showing import in_a_line, show_json, text_of
from perdure.model.errors import ClientError, WorkflowError

if TYPE_CHECKING:
    from temporalio.api.history.v1 import HistoryEvent

ATTRIBUTES_SHOWN = 200
"""Characters of an event's attributes in one line, unless all are asked for."""


@click.command()
@workflow_option
@click.option("--follow", "-f", is_flag=True, help="Go on with new events until the run has ended.")
@click.option("--reverse", is_flag=True, help="The last event first.")
@click.option("--detailed", is_flag=True, help="All of each event's attributes.")
@on_engine
async def show(target: Target, workflow_id: str, run_id: str, follow: bool, reverse: bool, detailed: bool) -> None:
    """Show a run's history. With -o json: as every replayer reads it."""
    if follow and reverse:
        raise click.UsageError("give either --follow or --reverse.")
    events = reversed_events(target, workflow_id, run_id) if reverse else events_of(target, workflow_id, run_id, follow)
    if target.as_json:
        from temporalio.api.history.v1 import History

        show_json(History(events=[event async for event in events]))
        return
    async for event in events:
        click.echo(_line(event, detailed))


@click.command()
@workflow_option
@on_engine
async def watch(target: Target, workflow_id: str, run_id: str) -> int:
    """Show what happens in a run as it happens, until it has ended; the exit code says how."""
    last: Any = None
    async for last in events_of(target, workflow_id, run_id, follow=True):
        click.echo(json.dumps(json_format.MessageToDict(last)) if target.as_json else _line(last, detailed=False))
    return 0 if last is not None and last.HasField("workflow_execution_completed_event_attributes") else 1


@click.command()
@workflow_option
@on_engine
async def result(target: Target, workflow_id: str, run_id: str) -> None:
    """Wait for a workflow's end and print its result; how it failed, if it did, is the error."""
    await print_result(target, workflow_id, run_id)


async def print_result(target: Target, workflow_id: str, run_id: str) -> None:
    """Waits and prints. Raises the error that the workflow ended with."""
    handle: Any = target.client.get_workflow_handle(workflow_id, run_id=run_id)
    try:
        value = await handle.result()
    except ClientError as error:
        from perdure.cli.refusals import Subject, in_words_of_the_command

        raise in_words_of_the_command(error, Subject("workflow", workflow_id, run_id)) from error
    except WorkflowError as error:
        if target.as_json:
            show_json({"workflowId": workflow_id, "status": error.code, "failure": str(error.__cause__ or error)})
        raise _how_it_ended(error, workflow_id) from error
    show_json({"workflowId": workflow_id, "status": "completed", "result": value} if target.as_json else value)


def _how_it_ended(error: WorkflowError, workflow_id: str) -> WorkflowError:
    """The same error in one line, and where to look further in words of the command."""
    from perdure.model.errors import WorkflowFailed, WorkflowTimedOut

    if isinstance(error, WorkflowTimedOut):
        return WorkflowTimedOut(f"workflow {workflow_id!r} timed out; give it a longer --execution-timeout or --run-timeout, or none")
    if not isinstance(error, WorkflowFailed):
        return error
    cause = error.__cause__
    why = f"{getattr(cause, 'type', None) or type(cause).__name__}: {cause}"
    where = f"`perdure workflow show -w {shlex.quote(workflow_id)}` shows where"
    return WorkflowFailed(f"workflow {workflow_id!r} failed: {' '.join(why.split())}; {where}")


async def events_of(target: Target, workflow_id: str, run_id: str, follow: bool) -> AsyncIterator[HistoryEvent]:
    """A run's events in order; with `follow`, until it has ended."""
    from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest

    request = GetWorkflowExecutionHistoryRequest(namespace=target.namespace, wait_new_event=follow)
    request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
    while True:
        response = await target.call("get_workflow_execution_history", request, workflow_id)
        for event in response.history.events:
            yield event
        request.next_page_token = response.next_page_token
        if not request.next_page_token:
            return


async def reversed_events(target: Target, workflow_id: str, run_id: str) -> AsyncIterator[HistoryEvent]:
    """A run's events, the last one first."""
    from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest

    request = GetWorkflowExecutionHistoryReverseRequest(namespace=target.namespace)
    request.execution.workflow_id, request.execution.run_id = workflow_id, run_id
    while True:
        response = await target.call("get_workflow_execution_history_reverse", request, workflow_id)
        for event in response.history.events:
            yield event
        request.next_page_token = response.next_page_token
        if not request.next_page_token:
            return


def _line(message: HistoryEvent, detailed: bool) -> str:
    from perdure.client.history import HistoryEvent as Readable
    from perdure.model.conversion import DataConverter

    event = Readable(message, DataConverter.default)
    text = in_a_line({name: value for name, value in event.attributes.items() if value not in ("", [], {}, 0)})
    if not detailed and len(text) > ATTRIBUTES_SHOWN:
        text = text[: ATTRIBUTES_SHOWN - 1] + "…"
    return f"{event.id:>5}  {text_of(event.time)}  {click.style(event.type, bold=True):<35}  {text}"
