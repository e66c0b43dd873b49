"""`perdure operator search-attribute …`: what workflows of a namespace may be found by, as the `temporal` command has it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from perdure.cli.on_engine import Target, on_engine
from perdure.cli.options import confirmed
from perdure.cli.showing import show_json, show_table

TYPES = ("Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList")


def type_number(name: str, kind: str, option: str) -> int:
    """Of a search attribute's type, as the protocol numbers them. Raises click.UsageError when there is none of that name."""
    from temporalio.api.enums.v1 import IndexedValueType

    known = next((each for each in TYPES if each.lower() == kind.lower()), None)
    if known is None:
        raise click.UsageError(f"{option} {name} is of type {kind!r}; the types are {', '.join(TYPES)}.")
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{re.sub(r'(?<=[a-z])(?=[A-Z])', '_', known).upper()}")


@click.group()
def operator() -> None:
    """What the operator of an engine does."""


@operator.group("search-attribute")
def search_attribute() -> None:
    """Make attributes known by which workflows can be found."""


@search_attribute.command()
@click.option("--name", "names", multiple=True, required=True, metavar="NAME", help="Repeatable, with as many --type.")
@click.option("--type", "kinds", multiple=True, required=True, metavar="TYPE", help=f"{', '.join(TYPES)}.")
@on_engine
async def create(target: Target, names: Sequence[str], kinds: Sequence[str]) -> None:
    """Add search attributes to a namespace. One that it has with this type stays."""
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest

    if len(names) != len(kinds):
        raise click.UsageError(f"there are {len(names)} --name and {len(kinds)} --type; give each attribute both.")
    request = AddSearchAttributesRequest(namespace=target.namespace)
    for name, kind in zip(names, kinds, strict=True):
        request.search_attributes[name] = type_number(name, kind, "--name")  # type: ignore[assignment]  # enum number
    await target.call("add_search_attributes", request)
    _done(target, "Created", names)


@search_attribute.command("list")
@on_engine
async def list_(target: Target) -> None:
    """List the search attributes of a namespace, and those of every namespace."""
    from temporalio.api.enums.v1 import IndexedValueType
    from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest

    found = await target.call("list_search_attributes", ListSearchAttributesRequest(namespace=target.namespace))
    if target.as_json:
        show_json(found)
        return

    def shown(number: int) -> str:
        words = IndexedValueType.Name(number).removeprefix("INDEXED_VALUE_TYPE_").split("_")  # type: ignore[arg-type]  # enum number
        return "".join(word.capitalize() for word in words)

    rows = [
        (name, shown(kind), of_whom)
        for of_whom, attributes in (("this namespace", found.custom_attributes), ("every namespace", found.system_attributes))
        for name, kind in sorted(attributes.items())
    ]
    show_table(("Name", "Type", "Of"), rows)


@search_attribute.command()
@click.option("--name", "names", multiple=True, required=True, metavar="NAME", help="Repeatable.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@on_engine
async def remove(target: Target, names: Sequence[str], yes: bool) -> None:
    """Remove search attributes from a namespace: nothing is found by them any more."""
    from temporalio.api.operatorservice.v1 import RemoveSearchAttributesRequest

    if not yes:
        confirmed(f"Remove {', '.join(names)} from namespace {target.namespace}?")
    await target.call("remove_search_attributes", RemoveSearchAttributesRequest(namespace=target.namespace, search_attributes=names))
    _done(target, "Removed", names)


def _done(target: Target, what: str, names: Sequence[str]) -> None:
    if target.as_json:
        show_json({"searchAttributes": list(names)})
    else:
        click.echo(f"{what} {', '.join(names)}")
