"""`perdure namespace …`: list, describe, create, update, delete."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import confirmed
from perdure.cli.paging import pages_of
from perdure.cli.showing import show_facts, show_json, show_table, text_of
from perdure.cli.values import duration, name_of

if TYPE_CHECKING:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

F = TypeVar("F", bound=Callable[..., Any])
RETENTION = "72h"
"""Temporal's default: how long the history of a workflow that has ended is kept."""


@click.group()
def namespace() -> None:
    """Look at namespaces, create and change them. NAME may also be given as --namespace."""


def _name_argument(function: F) -> F:
    return click.argument("name", required=False, metavar="[NAME]")(function)


def _setting_options(function: F) -> F:
    for option in (
        click.option("--data", "data", multiple=True, metavar="KEY=VALUE", help="Whatever you note; repeatable."),
        click.option("--email", metavar="ADDRESS", help="The owner's."),
        click.option("--description", metavar="TEXT", help="What it is for."),
    ):
        function = option(function)
    return function


@namespace.command("list")
@on_engine
async def list_(target: Target) -> None:
    """List namespaces."""
    from temporalio.api.workflowservice.v1 import ListNamespacesRequest

    found = await pages_of(target, "list_namespaces", ListNamespacesRequest(), "namespaces")
    if target.as_json:
        show_json(found)
        return
    rows = [
        (each.namespace_info.name, _state(each.namespace_info.state), _retention(each), each.namespace_info.description) for each in found
    ]
    show_table(("Name", "State", "Retention", "Description"), rows)


@namespace.command()
@_name_argument
@on_engine
async def describe(target: Target, name: str | None) -> None:
    """Show a namespace."""
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

    found = await target.call("describe_namespace", DescribeNamespaceRequest(namespace=target.namespace if name is None else name))
    if target.as_json:
        show_json(found)
        return
    info = found.namespace_info
    show_facts(
        {
            "Name": info.name,
            "Id": info.id,
            "State": _state(info.state),
            "Description": info.description,
            "OwnerEmail": info.owner_email,
            "Retention": _retention(found),
            "Data": dict(info.data),
        }
    )


@namespace.command()
@_name_argument
@click.option("--retention", type=duration, default=RETENTION, show_default=True, help="How long ended workflows are kept.")
@_setting_options
@on_engine
async def create(
    target: Target, name: str | None, retention: timedelta, description: str | None, email: str | None, data: Sequence[str]
) -> None:
    """Create a namespace."""
    from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

    request = RegisterNamespaceRequest(
        namespace=_named(target, name), description=description or "", owner_email=email or "", data=_pairs(data)
    )
    request.workflow_execution_retention_period.FromTimedelta(retention)
    await target.call("register_namespace", request)
    _done(target, "Created", request.namespace)


@namespace.command()
@_name_argument
@click.option("--retention", type=duration, help="How long ended workflows are kept.")
@_setting_options
@on_engine
async def update(
    target: Target, name: str | None, retention: timedelta | None, description: str | None, email: str | None, data: Sequence[str]
) -> None:
    """Change a namespace."""
    from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest

    request = UpdateNamespaceRequest(namespace=_named(target, name))
    if description is not None or email is not None or data:
        request.update_info.description, request.update_info.owner_email = description or "", email or ""
        request.update_info.data.update(_pairs(data))
    if retention is not None:
        request.config.workflow_execution_retention_ttl.FromTimedelta(retention)
    await target.call("update_namespace", request)
    _done(target, "Updated", request.namespace)


@namespace.command()
@_name_argument
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@on_engine
async def delete(target: Target, name: str | None, yes: bool) -> None:
    """Delete a namespace, with everything in it."""
    from temporalio.api.operatorservice.v1 import DeleteNamespaceRequest

    chosen = _named(target, name)
    if not yes:
        confirmed(f"Delete namespace {chosen} and every workflow in it?")
    await target.call("delete_namespace", DeleteNamespaceRequest(namespace=chosen))
    _done(target, "Deleted", chosen)


def _named(target: Target, name: str | None) -> str:
    """The namespace to make, change or delete. Raises click.UsageError unless it was named: a default would be the wrong one to hit."""
    if name is None and target.names_namespace:
        return target.namespace
    if not name:
        raise click.UsageError("name the namespace, as in `perdure namespace describe payments`." if name is None else "NAME is empty.")
    return name


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator:
            raise click.UsageError(f"--data is {text!r}; write it as KEY=VALUE.")
        pairs[key] = value
    return pairs


def _state(number: int) -> str:
    from temporalio.api.enums.v1 import NamespaceState

    return name_of(NamespaceState, "NAMESPACE_STATE_", number)


def _retention(found: DescribeNamespaceResponse) -> str:
    if not found.config.HasField("workflow_execution_retention_ttl"):
        return ""
    return text_of(found.config.workflow_execution_retention_ttl.ToTimedelta() or "for ever")


def _done(target: Target, what: str, name: str) -> None:
    if target.as_json:
        show_json({"namespace": name})
    else:
        click.echo(f"{what} namespace {name}")
