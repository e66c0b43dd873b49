"""The gateway: an ASGI application without a framework, to be served or mounted.

An RPC's path gives its answer as JSON, or its refusal as google.rpc.Status with the HTTP status that belongs to the code. Whoever
hangs up ends their call; a long poll costs nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from perdure.model.ids import uuid4_text
from perdure.model.rpc import RpcError, StatusCode, internal, unimplemented
from perdure.service.contract import WorkflowService
from perdure.web.messages import json_of, message_of, status_of
from perdure.web.openapi import document
from perdure.web.routes import Match, matches

__all__ = ["Gateway"]

logger = logging.getLogger("perdure.web")

BODY_BYTES_MAX = 6 * 1024 * 1024
"""Temporal's limit for a request is 4 MiB; base64 takes a third more."""
OPENAPI_PATHS = ("/openapi.json", "/api/v1/openapi.json")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Refused(Exception):
    """Answered before an RPC is asked: an HTTP status of its own, and the reason."""

    def __init__(self, http_status: int, error: RpcError, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(str(error))
        self.http_status, self.error, self.headers = http_status, error, headers


class Gateway:
    """`WorkflowService` over HTTP/JSON.

    `allowed_hosts`: the names by which it may be asked (the Host header); None: any, as for an application of the user's that sees to it
    itself. A browser's request from another site (its Origin) is refused: without authentication, that is how a page would reach a
    service on its visitor's machine.
    """

    def __init__(self, service: WorkflowService, *, allowed_hosts: Collection[str] | None = None) -> None:
        self._service = service
        self._allowed_hosts = None if allowed_hosts is None else frozenset(allowed_hosts)

    def __repr__(self) -> str:
        return f"<Gateway to {self._service!r}>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check_origin(scope)
            path = _path(scope)
            if path in OPENAPI_PATHS:
                await _respond(send, scope, 200, document(self._service, scope.get("root_path", "")))
                return
            match = _matched(path, scope["method"])
            body = await _body(receive) if match.route.has_body else b""
            query = scope["query_string"].decode("latin-1")
            answer = await _unless_gone(self._call(match, body, query), receive)
            if answer is not None:
                await _respond(send, scope, 200, json_of(answer, pretty=_is_pretty(query)))
        except Refused as refused:
            await _respond(send, scope, refused.http_status, status_of(refused.error), refused.headers)
        except RpcError as error:
            await _respond(send, scope, error.code.http, status_of(error))

    async def _call(self, match: Match, body: bytes, query: str) -> Message:
        route = match.route
        method: Callable[[Any], Awaitable[Message]] | None = getattr(self._service, route.method, None)
        if method is None:
            raise unimplemented(f"unknown method {route.rpc.name} for service {route.rpc.containing_service.full_name}")
        request = message_of(GetMessageClass(route.request), body, query, match.fields)
        try:
            return await method(request)
        except RpcError:
            raise
        except Exception as error:
            reference = uuid4_text()
            logger.exception("%s failed; reference %s", route.rpc.name, reference)
            raise internal(f"{route.rpc.name} failed; the log says why under reference {reference}") from error

    def _check_origin(self, scope: Scope) -> None:
        headers: dict[bytes, str] = {name: value.decode("latin-1") for name, value in scope["headers"] if name in (b"host", b"origin")}
        host = headers.get(b"host", "")
        if self._allowed_hosts is not None and urlsplit(f"//{host}").hostname not in self._allowed_hosts:
            raise Refused(421, RpcError(StatusCode.PERMISSION_DENIED, f"this server is not asked as {host!r}"))
        origin = headers.get(b"origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Refused(403, RpcError(StatusCode.PERMISSION_DENIED, f"pages of {origin} may not call this server"))


def _matched(path: str, verb: str) -> Match:
    found = matches(path)
    if not found:
        raise Refused(404, RpcError(StatusCode.NOT_FOUND, f"there is nothing at {path}; see /openapi.json"))
    wanted = "GET" if verb == "HEAD" else verb
    for match in found:
        if match.route.verb == wanted:
            return match
    allowed = ", ".join(sorted({match.route.verb for match in found}))
    raise Refused(405, unimplemented(f"{verb} is not for {path}; use {allowed}"), ((b"allow", allowed.encode()),))


def _path(scope: Scope) -> str:
    """What is left of the path below where the application is mounted, still percent-encoded: an id may have a slash in it."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else scope["path"]
    root = scope.get("root_path", "")
    return str(path.removeprefix(root) if root and path.startswith(root + "/") else path)


def _is_pretty(query: str) -> bool:
    return any(part in ("pretty", "pretty=true", "pretty=1", "pretty=") for part in query.split("&"))


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(499, RpcError(StatusCode.CANCELLED, "the caller has gone"))
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise Refused(413, RpcError(StatusCode.RESOURCE_EXHAUSTED, f"the body has more than {BODY_BYTES_MAX} bytes"))
        if not message.get("more_body", False):
            return bytes(body)


async def _unless_gone(call: Awaitable[Message], receive: Receive) -> Message | None:
    """The answer; None, and the call cancelled, when the caller hangs up first."""
    answering = asyncio.ensure_future(call)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        return await answering if answering.done() else None
    finally:
        for task in (answering, leaving):
            task.cancel()
        await asyncio.wait((answering, leaving))
        for task in (answering, leaving):
            with contextlib.suppress(asyncio.CancelledError):
                task.exception()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(send: Send, scope: Scope, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    heads = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": heads})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _live(receive: Receive, send: Send) -> None:
    """Beginning and end of an application, where nothing is to be done."""
    while True:
        message = await receive()
        kind = message["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
