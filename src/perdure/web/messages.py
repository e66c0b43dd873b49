"""Between JSON and messages: protobuf's mapping, with one short form for payloads.

Where a message expects payloads, plain JSON may stand for them: `"input": ["A-17", 42]` is two json/plain payloads, which is what every
SDK sends. (The long form, with `metadata` and `data` in base64, works as well, and is what answers have.)
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from perdure.model.rpc import RpcError, invalid_argument

__all__ = ["json_of", "message_of", "status_of"]

_PAYLOAD, _PAYLOADS = "temporal.api.common.v1.Payload", "temporal.api.common.v1.Payloads"
_JSON_PLAIN = base64.b64encode(b"json/plain").decode()
_PAYLOAD_FIELDS = {"metadata", "data", "externalPayloads", "external_payloads"}
_PARAMETER_DEPTH_MAX = 8


Json: TypeAlias = dict[str, Any]


def message_of(kind: type[Message], body: bytes, query: str, fields: dict[str, str]) -> Message:
    """A request from what came: the body, then the query's parameters, then the fields of the path.

    Raises:
        RpcError: INVALID_ARGUMENT; it is not JSON, or not this request's.
    """
    message = kind()
    descriptor: Any = kind.DESCRIPTOR
    try:
        if body.strip():
            given: Any = json.loads(body, parse_constant=_not_json, parse_float=_finite)
            if not isinstance(given, dict):
                raise invalid_argument("the body is not a JSON object")
            json_format.ParseDict(_lengthened(cast(Json, given), descriptor), message)
        parameters = [*parse_qsl(query, keep_blank_values=True, max_num_fields=1000), *fields.items()]
        if parameters:
            json_format.ParseDict(_nested(parameters, descriptor), message)
    except (ValueError, TypeError, json_format.ParseError, RecursionError) as error:
        raise invalid_argument(f"the request cannot be read as {kind.DESCRIPTOR.name}: {error}") from error
    return message


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; NaN and infinities of protobuf are texts")


def _finite(text: str) -> float:
    """A number that is too large for one must not become Infinity, which a payload could not say in JSON."""
    number = float(text)
    return number if math.isfinite(number) else _not_json(text)


def json_of(message: Message, pretty: bool = False) -> bytes:
    """A message as JSON."""
    return _encoded(json_format.MessageToDict(message), pretty)


def status_of(error: RpcError) -> bytes:
    """A refusal as google.rpc.Status in JSON."""
    details: list[Any] = []
    if error.detail is not None:
        packed = AnyMessage()
        packed.Pack(error.detail)
        details.append(json_format.MessageToDict(packed))
    return _encoded({"code": int(error.code), "message": error.message, "details": details}, pretty=False)


def _encoded(value: Any, pretty: bool) -> bytes:
    if pretty:
        return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


# --- payloads


def _lengthened(value: Json, kind: Descriptor) -> Json:
    """The same JSON with short forms of payloads written out."""
    fields = _fields(kind)
    return {name: _field_lengthened(given, fields[name]) if name in fields else given for name, given in value.items()}


def _field_lengthened(value: Any, field: FieldDescriptor) -> Any:
    kind = field.message_type
    if kind is None:
        return value
    if kind.GetOptions().map_entry:
        inner = kind.fields_by_name["value"]
        return {key: _field_lengthened(each, inner) for key, each in _object(value).items()} if isinstance(value, dict) else value
    if field.is_repeated:
        return [_message_lengthened(each, kind) for each in _list(value)] if isinstance(value, list) else value
    return _message_lengthened(value, kind)


def _message_lengthened(value: Any, kind: Descriptor) -> Any:
    if kind.full_name == _PAYLOADS and isinstance(value, list):
        return {"payloads": [_payload(each) for each in _list(value)]}
    if kind.full_name == _PAYLOAD:
        return _payload(value)
    if kind.full_name.startswith("google.protobuf."):
        return value
    return _lengthened(_object(value), kind) if isinstance(value, dict) else value


def _object(value: Any) -> Json:
    return cast(Json, value)


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value)


def _payload(value: Any) -> Any:
    if isinstance(value, dict) and "metadata" in value and _object(value).keys() <= _PAYLOAD_FIELDS:
        return _object(value)
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return {"metadata": {"encoding": _JSON_PLAIN}, "data": base64.b64encode(data).decode()}


# --- parameters


def _fields(kind: Descriptor) -> dict[str, FieldDescriptor]:
    """By both names that JSON knows a field by."""
    return {name: field for field in kind.fields for name in (field.name, field.json_name)}


def _nested(parameters: list[tuple[str, str]], kind: Descriptor) -> dict[str, Any]:
    """`execution.workflow_id=A` and its like as JSON.

    What the request has no field for is passed over, as Temporal's server does: its web UI sends some requests the parameters of others.
    """
    root: dict[str, Any] = {}
    for name, text in parameters:
        if name != "pretty":
            _set(root, kind, name, text)
    return root


def _set(place: dict[str, Any], kind: Descriptor, name: str, text: str) -> None:
    *path, last = name.split(".")
    if len(path) > _PARAMETER_DEPTH_MAX:
        raise ValueError(f"{name} is too deep")
    fields = _fields(kind)
    for part in path:
        field = fields.get(part)
        if field is None:
            return
        if field.message_type is None or field.is_repeated:
            raise ValueError(f"{part} in {name} has no fields")
        place = place.setdefault(field.json_name, {})
        fields = _fields(field.message_type)
    field = fields.get(last)
    if field is None:
        return
    value: Any = {"true": True, "false": False}.get(text.lower(), text) if field.type == FieldDescriptor.TYPE_BOOL else text
    if field.is_repeated:
        place.setdefault(field.json_name, []).append(value)
    else:
        place[field.json_name] = value
