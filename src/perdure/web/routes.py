"""Which path is which RPC: read from the API's own `google.api.http` annotations, both prefixes of each.

The paths of Temporal's API are made of words and of fields in braces, nothing else; a word goes before a field where both fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from google.api import annotations_pb2  # type: ignore[import-untyped]
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

__all__ = ["Match", "Route", "matches", "routes"]

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Route(NamedTuple):
    """One path of one RPC."""

    verb: str
    path: str
    segments: tuple[str, ...]
    rpc: MethodDescriptor
    has_body: bool

    @property
    def method(self) -> str:
        """The RPC's name on a `WorkflowService`."""
        return _WORD.sub("_", self.rpc.name).lower()

    @property
    def request(self) -> Descriptor:
        return self.rpc.input_type

    @property
    def response(self) -> Descriptor:
        return self.rpc.output_type

    @property
    def fields(self) -> list[str]:
        """The fields that stand in the path."""
        return [segment[1:-1] for segment in self.segments if segment.startswith("{")]

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The fields in a path, by name; None if the path is another's."""
        found: dict[str, str] = {}
        for mine, given in zip(self.segments, segments, strict=True):
            if mine.startswith("{"):
                if not given:
                    return None
                found[mine[1:-1]] = given
            elif mine != given:
                return None
        return found


class Match(NamedTuple):
    """A route, and the fields that its path gave."""

    route: Route
    fields: dict[str, str]


@cache
def routes() -> tuple[Route, ...]:
    """Every path of the API, the more literal ones first."""
    services = (
        workflow_service.DESCRIPTOR.services_by_name["WorkflowService"],
        operator_service.DESCRIPTOR.services_by_name["OperatorService"],
    )
    found = [route for service in services for method in service.methods for route in _routes_of(method)]
    return tuple(sorted(found, key=lambda route: len(route.fields)))


def _routes_of(method: MethodDescriptor) -> Iterator[Route]:
    options: Any = method.GetOptions()
    http: Any = annotations_pb2.http
    if not options.HasExtension(http):
        return
    rule: Any = options.Extensions[http]
    for each in (rule, *rule.additional_bindings):
        verb: str = each.WhichOneof("pattern")
        path: str = getattr(each, verb)
        yield Route(verb.upper(), path, tuple(path.strip("/").split("/")), method, each.body == "*")


@cache
def _by_length() -> dict[int, list[Route]]:
    table: dict[int, list[Route]] = {}
    for route in routes():
        table.setdefault(len(route.segments), []).append(route)
    return table


def matches(path: str) -> list[Match]:
    """The routes that a path (still percent-encoded) may mean, whatever the verb, the most literal one first."""
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    candidates = ((route, route.match(segments)) for route in _by_length().get(len(segments), ()))
    return [Match(route, fields) for route, fields in candidates if fields is not None]
