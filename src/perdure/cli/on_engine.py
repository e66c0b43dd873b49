"""What every command that speaks to an engine has in common: its options, its connection, and how a refusal reads.

The commands speak nothing but the contract, RPC by RPC, so they work on every engine; one that an engine lacks is one clear sentence.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from perdure.cli.engine_url import engine_url
from perdure.cli.options import debug_option, engine_option
from perdure.cli.showing import OUTPUTS
from perdure.model.errors import ClientError
from perdure.model.root_error import PerdureError
from perdure.model.status import StatusCode

if TYPE_CHECKING:
    from perdure.client.client import WorkflowClient

NAMESPACE_VARIABLES = ("PERDURE_NAMESPACE", "TEMPORAL_NAMESPACE")


class NotSupported(PerdureError, code="not_supported", status=StatusCode.UNIMPLEMENTED):
    """The engine does not have this operation."""


@dataclass
class Target:
    """An engine, a namespace in it, and how answers are to be shown."""

    client: WorkflowClient
    namespace: str
    output: str
    names_namespace: bool = True
    """Whether somebody named the namespace, here or in the URL; otherwise it is the default one."""

    @property
    def identity(self) -> str:
        return self.client.identity

    @property
    def as_json(self) -> bool:
        return self.output == "json"

    async def call(self, name: str, request: Any, workflow_id: str = "") -> Any:
        """An RPC by its name, tried again as the client does it; raises the client's errors in words of the command, and NotSupported."""
        method: Callable[[Any], Awaitable[Any]] | None = getattr(self.client.service, name, None)
        if method is None:
            raise NotSupported(_unsupported(name))
        try:
            return await self.client._caller.call(_supported(name, method), request, workflow_id)
        except ClientError as error:
            from perdure.cli.refusals import Subject, in_words_of_the_command

            raise in_words_of_the_command(error, Subject.of(request)) from error


def _supported(name: str, method: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    from perdure.model.rpc import RpcError

    async def answer(request: Any) -> Any:
        try:
            return await method(request)
        except RpcError as error:
            if error.code is StatusCode.UNIMPLEMENTED:
                raise NotSupported(_unsupported(name)) from error
            raise

    return answer


def _unsupported(name: str) -> str:
    camel = "".join(word.capitalize() for word in name.split("_"))
    return f"this engine does not have {camel}; use one that does (perdure server --help, or Temporal Server)"


def identity() -> str:
    """Who asks, as histories show it."""
    return f"perdure-cli:{os.getpid()}@{socket.gethostname()}"


def on_engine(function: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., int]:
    """Makes a command of a coroutine that takes a `Target` first: with --engine, --namespace, -o and --debug."""

    @engine_option
    @click.option("--namespace", "-n", envvar=NAMESPACE_VARIABLES, metavar="NAME", help="Where. Default: the URL's, else default.")
    @click.option("--output", "-o", type=click.Choice(OUTPUTS), default=OUTPUTS[0], show_default=True, help="How to print the answer.")
    @debug_option
    @functools.wraps(function)
    def command(engine: str | None, namespace: str | None, output: str, **options: Any) -> int:
        return asyncio.run(_run(function, engine_url(engine), namespace, output, options)) or 0

    return command


async def _run(function: Callable[..., Any], url: str, namespace: str | None, output: str, options: dict[str, Any]) -> int | None:
    from perdure.client.client import WorkflowClient
    from perdure.service.connect import connect, namespace_of

    if namespace == "":
        raise click.UsageError("--namespace is empty; name one, or leave it out.")
    connection = await connect(url, brief=True)
    try:
        in_url = namespace_of(url)
        chosen = namespace or in_url or "default"
        client = WorkflowClient(connection.service, namespace=chosen, identity=identity(), connection=connection)
        result: int | None = await function(Target(client, chosen, output, bool(namespace or in_url)), **options)
        return result
    finally:
        await connection.close()
