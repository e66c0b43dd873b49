"""The OpenAPI document of what a service has, made from the descriptors when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from perdure.web.routes import Route, routes

__all__ = ["document"]

_STATUS: dict[str, Any] = {
    "type": "object",
    "description": "google.rpc.Status",
    "properties": {
        "code": {"type": "integer", "description": "gRPC's status code"},
        "message": {"type": "string"},
        "details": {"type": "array", "items": {"type": "object", "properties": {"@type": {"type": "string"}}}},
    },
}
_TEXT: dict[str, Any] = {"type": "string"}
_WELL_KNOWN: dict[str, dict[str, Any]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?s$", "example": "90s"},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": _TEXT}},
    "google.protobuf.FieldMask": _TEXT,
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Empty": {"type": "object"},
    **{f"google.protobuf.{name}Value": {"type": "number"} for name in ("Double", "Float", "Int32", "UInt32")},
    **{f"google.protobuf.{name}Value": _TEXT for name in ("Int64", "UInt64", "String", "Bytes")},
    "google.protobuf.BoolValue": {"type": "boolean"},
}
_SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "format": "int64"},
    FieldDescriptor.CPPTYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "string", "format": "uint64"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
}


def document(service: object, root_path: str) -> bytes:
    """The document, as JSON: every path whose RPC the service has."""
    return _document(frozenset(route.method for route in routes() if hasattr(service, route.method)), root_path)


@lru_cache(maxsize=4)
def _document(methods: frozenset[str], root_path: str) -> bytes:
    from perdure import __version__

    served = [route for route in routes() if route.method in methods]
    paths: dict[str, dict[str, Any]] = {}
    for route in served:
        paths.setdefault(route.path, {})[route.verb.lower()] = _operation(route)
    schemas = {kind.full_name: _schema(kind) for kind in _reachable(served)}
    return json.dumps(
        {
            "openapi": "3.0.3",
            "info": {
                "title": "perdure",
                "version": __version__,
                "description": "Temporal's API over HTTP/JSON. Where payloads are expected, plain JSON values may stand for them.",
            },
            "servers": [{"url": root_path or "/"}],
            "paths": dict(sorted(paths.items())),
            "components": {"schemas": {**dict(sorted(schemas.items())), "google.rpc.Status": _STATUS}},
        }
    ).encode()


def _operation(route: Route) -> dict[str, Any]:
    path_fields = route.fields
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in path_fields]
    operation: dict[str, Any] = {
        "operationId": route.rpc.name + ("" if route.path.startswith("/api/") else "-short") + f"-{len(path_fields)}",
        "tags": [route.rpc.containing_service.name],
        "parameters": parameters,
        "responses": {
            "200": {"description": "The answer.", "content": _content(_ref(route.response))},
            "default": {"description": "A refusal.", "content": _content({"$ref": "#/components/schemas/google.rpc.Status"})},
        },
    }
    if route.has_body:
        operation["requestBody"] = {"content": _content(_ref(route.request))}
    else:
        parameters += [
            {"name": name, "in": "query", "schema": schema} for name, schema in _query(route.request, "") if name not in path_fields
        ]
    return operation


def _query(kind: Descriptor, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parameters that a request without a body takes: its plain fields, and those of its messages one level down."""
    for field in kind.fields:
        if field.message_type is None or field.message_type.full_name in _WELL_KNOWN:
            yield prefix + field.name, _field_schema(field)
        elif not field.is_repeated and not prefix:
            yield from _query(field.message_type, f"{field.name}.")


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _ref(kind: Descriptor) -> dict[str, Any]:
    known = _WELL_KNOWN.get(kind.full_name)
    return dict(known) if known is not None else {"$ref": f"#/components/schemas/{kind.full_name}"}


def _reachable(served: list[Route]) -> Iterator[Descriptor]:
    """Every message that the paths need, once."""
    seen: set[str] = set()
    waiting = [kind for route in served for kind in (route.request, route.response)]
    while waiting:
        kind = waiting.pop()
        if kind.full_name in seen or kind.full_name in _WELL_KNOWN:
            continue
        seen.add(kind.full_name)
        if not kind.GetOptions().map_entry:
            yield kind
        waiting += [field.message_type for field in kind.fields if field.message_type is not None]


def _schema(kind: Descriptor) -> dict[str, Any]:
    return {"type": "object", "properties": {field.json_name: _field_schema(field) for field in kind.fields}}


def _field_schema(field: FieldDescriptor) -> dict[str, Any]:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _value_schema(kind.fields_by_name["value"])}
    return {"type": "array", "items": _value_schema(field)} if field.is_repeated else _value_schema(field)


def _value_schema(field: FieldDescriptor) -> dict[str, Any]:
    if field.message_type is not None:
        return _ref(field.message_type)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "format": "byte"}
    return dict(_SCALARS.get(field.cpp_type, _TEXT))


def _enum(kind: EnumDescriptor) -> dict[str, Any]:
    return {"type": "string", "enum": [value.name for value in kind.values]}
