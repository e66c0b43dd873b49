"""`perdure server`: Temporal's gRPC API on an engine, until it is told to stop; `start-dev` takes the options of the `temporal` command.

One line on standard output says that calls are accepted, and where; whoever starts the server waits for it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from perdure.cli.operator import type_number
from perdure.cli.options import debug_option, engine_option

if TYPE_CHECKING:
    from perdure.engine.engine import Engine
    from perdure.server import ServerOptions, SkippingClock
    from perdure.service.connect import Opened
    from perdure.service.contract import WorkflowService
    from perdure.web import HttpServer

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR, "never": logging.CRITICAL + 1}
_HOST, _PORT = "127.0.0.1", 7233
_HTTP_PORT_AFTER = 1000
"""The port of HTTP is the other one and so many, unless it is given: 8233."""
_LOCAL_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))


@dataclass(frozen=True)
class Serving:
    """What both commands come to."""

    url: str
    options: ServerOptions
    http_ports: tuple[int, ...]
    """Of the HTTP gateway."""
    namespaces: tuple[str, ...]
    search_attributes: tuple[tuple[str, str], ...]
    dynamic_config: tuple[str, ...]
    time_skipping: bool = False


_namespace_option = click.option("--namespace", "-n", "namespaces", multiple=True, metavar="NAME", help="A namespace to have; repeatable.")
_dynamic_config_option = click.option(
    "--dynamic-config-value", "dynamic_config", multiple=True, metavar="KEY=JSON", help="A setting under Temporal's name; repeatable."
)
_bind_option = click.option(
    "--allow-unauthenticated-bind", is_flag=True, help="Listen beyond this machine although there is no authentication."
)


@click.group(invoke_without_command=True)
@engine_option
@click.option("--host", default=_HOST, show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=_PORT, show_default=True, type=click.IntRange(0, 65535), help="For gRPC; 0: a free one.")
@click.option("--http-port", type=click.IntRange(0, 65535), help="For HTTP; 0: a free one.  [default: --port and 1000, which is 8233]")
@_namespace_option
@_dynamic_config_option
@_bind_option
@debug_option
@click.pass_context
def server(
    context: click.Context,
    engine: str | None,
    host: str,
    port: int,
    http_port: int | None,
    namespaces: tuple[str, ...],
    dynamic_config: tuple[str, ...],
    allow_unauthenticated_bind: bool,
) -> None:
    """Serve Temporal's gRPC API on an engine.

    Any Temporal SDK, the `temporal` command and Temporal's web UI can use it. SIGINT and SIGTERM end it gracefully.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # before gRPC is loaded: what fails there is said in our own words
    if context.invoked_subcommand is not None:
        return
    from perdure.cli.engine_url import engine_url
    from perdure.server import ServerOptions

    options = ServerOptions(host=host, port=port, allow_unauthenticated_bind=allow_unauthenticated_bind)
    _serve(Serving(engine_url(engine), options, (_http_port(http_port, port),), _with_default(namespaces), (), dynamic_config))


@server.command("start-dev")
@click.option("--ip", default=_HOST, show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", "-p", default=_PORT, show_default=True, type=click.IntRange(0, 65535), help="For gRPC; 0: a free one.")
@click.option("--db-filename", "-f", metavar="FILE", help="A SQLite file to keep everything in. Default: nothing is kept.")
@_namespace_option
@click.option("--headless", is_flag=True, help="Without dashboard; HTTP only if it is given a port.")
@click.option("--http-port", type=click.IntRange(0, 65535), help="For HTTP on another port than the dashboard's; 0: a free one.")
@click.option("--ui-port", type=click.IntRange(0, 65535), help="For the dashboard and HTTP; 0: a free one.  [default: --port and 1000]")
@click.option("--ui-ip", "--ui-asset-path", "--ui-public-path", "--ui-codec-endpoint", "unused", expose_value=False, hidden=True)
@click.option("--metrics-port", "--sqlite-pragma", "unused_too", multiple=True, expose_value=False, hidden=True)
@click.option("--ui-disable-news-fetch", "--log-config", "unused_flags", is_flag=True, expose_value=False, hidden=True)
@click.option("--search-attribute", "search_attributes", multiple=True, metavar="NAME=TYPE", help="A search attribute to have; repeatable.")
@click.option("--time-skipping", is_flag=True, help="Serve TestService: time passes at once when nobody has anything to do.")
@_dynamic_config_option
@click.option("--log-format", type=click.Choice(["text", "json", "pretty"]), default="text", help="Of the log on standard error.")
@click.option("--log-level", type=click.Choice(list(_LEVELS)), default="warn", show_default=True, help="What is logged.")
@_bind_option
@debug_option
def start_dev(
    ip: str,
    port: int,
    db_filename: str | None,
    namespaces: tuple[str, ...],
    headless: bool,
    http_port: int | None,
    ui_port: int | None,
    search_attributes: tuple[str, ...],
    time_skipping: bool,
    dynamic_config: tuple[str, ...],
    log_format: str,
    log_level: str,
    allow_unauthenticated_bind: bool,
) -> None:
    """Serve a fresh engine in memory, with the options of `temporal server start-dev`."""
    from perdure.server import ServerOptions

    _log_to_stderr(_LEVELS[log_level], as_json=log_format == "json")
    dashboard = None if headless else _http_port(ui_port, port)
    web = tuple(dict.fromkeys(each for each in (dashboard, http_port) if each is not None))
    url = f"sqlite:///{db_filename}" if db_filename else "memory://"
    options = ServerOptions(host=ip, port=port, allow_unauthenticated_bind=allow_unauthenticated_bind)
    attributes = tuple(_split(text, "--search-attribute") for text in search_attributes)
    _serve(Serving(url, options, web, _with_default(namespaces), attributes, dynamic_config, time_skipping))


def _log_to_stderr(level: int, *, as_json: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines() if as_json else logging.Formatter(logging.BASIC_FORMAT))
    logging.basicConfig(level=level, handlers=[handler])


class _JsonLines(logging.Formatter):
    """A log record as a line of JSON, with the names that Temporal's server uses."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"ts": self.formatTime(record), "level": record.levelname.lower(), "logger": record.name, "msg": record.getMessage()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _http_port(given: int | None, port: int) -> int:
    return given if given is not None else port + _HTTP_PORT_AFTER if 0 < port <= 65535 - _HTTP_PORT_AFTER else 0


def _with_default(namespaces: Sequence[str]) -> tuple[str, ...]:
    if "" in namespaces:
        raise click.UsageError("--namespace is empty; name one, or leave it out.")
    return tuple(dict.fromkeys(("default", *namespaces)))


def _split(text: str, option: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise click.UsageError(f"{option} is {text!r}; write it as NAME=VALUE.")
    return name, value


def _serve(serving: Serving) -> None:
    from perdure.worker.interpreter import run, tune

    click.echo(f"perdure server: {tune()}", err=True)
    run(_serve_until_stopped(serving))


async def _serve_until_stopped(serving: Serving) -> None:
    import asyncio

    from perdure.engine.engine import Engine
    from perdure.server import Server, SkippingClock
    from perdure.server.dynamic_config import settings_from
    from perdure.worker.stop_signals import stop_signals

    stopped = asyncio.Event()
    settings = settings_from(serving.dynamic_config)
    clock = SkippingClock() if serving.time_skipping else None
    opened = await _open(serving, clock, lambda engine: engine.configure(settings))
    joined = "" if isinstance(opened.served, Engine) else ", which another process has open"
    if joined and serving.dynamic_config:
        click.echo("perdure server: dynamic config is in force once this process has the engine; until then the other's is", err=True)
    try:
        await _add_search_attributes(opened.served.frontend(in_process=True), serving)
        served, web = Server(opened.served, serving.options), _http_servers(serving, opened.served.frontend(in_process=False))
        try:
            await served.start()
            for each in web:
                await each.start()
            with stop_signals(stopped.set):
                also = f", HTTP on {' and '.join(each.address for each in web)}" if web else ""
                click.echo(f"perdure server: gRPC on {served.address}{also}, engine {serving.url}{joined}; Ctrl-C stops it")
                await stopped.wait()
        finally:
            await asyncio.gather(served.stop(), *(each.stop() for each in web))
    finally:
        await opened.close()


async def _open(serving: Serving, clock: SkippingClock | None, configure: Callable[[Engine], None]) -> Opened:
    from perdure.model.errors import StorageLocked
    from perdure.service.connect import open_to_serve

    try:
        return await open_to_serve(serving.url, clock=clock, namespaces=serving.namespaces, configure=configure)
    except StorageLocked as error:
        if clock is None:
            raise
        raise StorageLocked(f"{error} Time can be skipped only for an engine in this very process; use another file, or none.") from error


async def _add_search_attributes(service: WorkflowService, serving: Serving) -> None:
    from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest

    for namespace in serving.namespaces if serving.search_attributes else ():
        request = AddSearchAttributesRequest(namespace=namespace)
        for name, kind in serving.search_attributes:
            request.search_attributes[name] = type_number(name, kind, "--search-attribute")  # type: ignore[assignment]  # enum number
        await service.add_search_attributes(request)


def _http_servers(serving: Serving, service: WorkflowService) -> list[HttpServer]:
    """The gateway, on the host of the gRPC port; not yet started."""
    if not serving.http_ports:
        return []
    from perdure.server.server import is_loopback
    from perdure.web import Gateway, HttpServer

    host = serving.options.host
    gateway = Gateway(service, allowed_hosts=_LOCAL_NAMES | {host} if is_loopback(host) else None)
    return [HttpServer(gateway, host, port) for port in serving.http_ports]
