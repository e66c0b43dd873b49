"""Encodes values as temporalio's default converter does, with what it works out at every call kept per type.

The rule that a newcomer gets wrong: `dataclasses.asdict` copies what it does not know with `deepcopy`. The bytes do not show that, so
it is left out here; everything else of it (dataclasses inside lists, tuples and dicts become dicts, named tuples keep their type) is kept.
"""

from __future__ import annotations

import dataclasses
import io
import json.encoder
import math
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, cast

import temporalio.common
import temporalio.converter
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.converter import AdvancedJSONEncoder

from perdure.model.framing import framed, tag

__all__ = ["encode_value", "path_to_unencodable"]

_slow = temporalio.converter.DataConverter.default.payload_converter
_TRANSFER_TYPE = "__temporal_transfer_type_converter"  # temporalio's own mark on classes that travel as another type
_ATOMS = frozenset({str, int, float, bool, type(None)})

_fields_of: dict[type, tuple[str, ...]] = {}


def _plain(value: Any) -> Any:
    """`dataclasses.asdict` for any value, without the copies."""
    kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind in _ATOMS:
        return value
    names = _fields_of.get(kind)
    if names is not None:
        return {name: part if type(part := getattr(value, name)) in _ATOMS else _plain(part) for name in names}
    if kind is list:
        return [_plain(each) for each in value]
    if kind is dict:
        return {_plain(key): _plain(each) for key, each in value.items()}
    return _plain_rare(value, kind)


def _plain_rare(value: Any, kind: type[Any]) -> Any:
    if dataclasses.is_dataclass(kind):
        _fields_of[kind] = tuple(field.name for field in dataclasses.fields(kind))
        return _plain(value)
    if issubclass(kind, tuple):
        parts = [_plain(each) for each in value]
        make = cast("Callable[..., Any]", kind)
        return make(*parts) if hasattr(value, "_fields") else make(parts)
    if issubclass(kind, list):
        as_list = cast("Callable[..., Any]", kind)
        return as_list(_plain(each) for each in value)
    if issubclass(kind, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value


_INSTEAD: tuple[tuple[type, str], ...] = (
    (Enum, "make it a StrEnum or an IntEnum, or pass its value"),
    (Decimal, "pass its str, or put it into a pydantic model"),
    (date, "pass a datetime, or put it into a pydantic model"),
    (timedelta, "pass its total_seconds(), or put it into a pydantic model"),
    (PurePath, "pass its str"),
)


def _instead_of(value: Any) -> str:
    """What to pass in place of a value that has no form in JSON, where that is known."""
    return next((f" ({remedy})" for kind, remedy in _INSTEAD if isinstance(value, kind)), "")


class _Encoder(AdvancedJSONEncoder):
    def default(self, o: Any) -> Any:
        kind: type[Any] = type(o)  # pyright: ignore[reportUnknownVariableType]
        if kind in _fields_of or dataclasses.is_dataclass(kind):
            return _plain(o)
        dump = getattr(o, "model_dump", None)
        if dump is not None and hasattr(kind, "__pydantic_serializer__"):
            return dump(mode="json")
        if isinstance(o, io.IOBase):
            raise TypeError("an open file stays in its process; pass its path, or what is in it")
        try:
            return super().default(o)
        except TypeError as error:
            raise TypeError(f"{error}{_instead_of(o)}") from None


_encoder = _Encoder(separators=(",", ":"), sort_keys=True)
_quoted: Callable[[str], str] = json.encoder.encode_basestring_ascii
_c_encoder: Callable[..., Callable[[Any, int], tuple[str, ...]]] | None = getattr(json.encoder, "c_make_encoder", None)


def _encode(value: Any) -> str:
    """`_encoder.encode(value)`: its C part, which is made for each value there too, without what Python puts around it."""
    if _c_encoder is None:
        return _encoder.encode(value)
    return "".join(_c_encoder({}, _encoder.default, _quoted, None, ":", ",", True, False, True)(value, 0))


def _marked(encoding: bytes) -> bytes:
    payload = Payload()
    payload.metadata["encoding"] = encoding
    return payload.SerializeToString()


# Payloads are put together from bytes: to set a key of a map, or any field, costs more.
_BINARY_NULL = _marked(b"binary/null")
_DATA = tag(Payload, "data")
_JSON_PLAIN, _BINARY_PLAIN = _marked(b"json/plain") + _DATA, _marked(b"binary/plain") + _DATA


def _json_payload(value: Any) -> bytes:
    return framed(_JSON_PLAIN, _encode(value).encode())


def _text_payload(value: str) -> bytes:
    return framed(_JSON_PLAIN, _quoted(value).encode())


def _integer_payload(value: int) -> bytes:
    return framed(_JSON_PLAIN, b"%d" % value)


def _float_payload(value: float) -> bytes:
    return framed(_JSON_PLAIN, (repr(value) if math.isfinite(value) else _encode(value)).encode())


def _boolean_payload(value: bool) -> bytes:
    return framed(_JSON_PLAIN, b"true" if value else b"false")


def _dataclass_payload(value: Any) -> bytes:
    return framed(_JSON_PLAIN, _encode(_plain(value)).encode())


def _null_payload(value: Any) -> bytes:
    return _BINARY_NULL


def _bytes_payload(value: Any) -> bytes:
    return framed(_BINARY_PLAIN, value)


def _pydantic_payload(value: Any) -> bytes:
    """As temporalio's own pydantic converter writes a model."""
    return framed(_JSON_PLAIN, value.__pydantic_serializer__.to_json(value))


def _slow_payload(value: Any) -> bytes:
    return _slow.to_payload(value).SerializeToString()


_encoders: dict[type, Callable[[Any], bytes]] = {
    type(None): _null_payload,
    bytes: _bytes_payload,
    str: _text_payload,
    int: _integer_payload,
    float: _float_payload,
    bool: _boolean_payload,
    **dict.fromkeys((list, dict, tuple), _json_payload),
}


def _encoder_of(kind: type[Any]) -> Callable[[Any], bytes]:
    """How values of exactly this type are encoded; the order of temporalio's own attempts decides."""
    if hasattr(kind, _TRANSFER_TYPE) or issubclass(kind, Message | temporalio.common.RawValue):
        return _slow_payload
    if issubclass(kind, bytes):
        return _bytes_payload
    if hasattr(kind, "__pydantic_serializer__") and hasattr(kind, "model_validate"):
        return _pydantic_payload
    if hasattr(kind, "parse_obj"):
        return _slow_payload
    if dataclasses.is_dataclass(kind) and not issubclass(kind, str | int | float | list | tuple | dict):
        return _dataclass_payload
    return _json_payload


def encode_value(value: Any) -> bytes:
    """The encoded payload of a value; TypeError or ValueError when JSON cannot hold it."""
    kind: type[Any] = type(value)  # pyright: ignore[reportUnknownVariableType]
    encoder = _encoders.get(kind)
    if encoder is None:
        encoder = _encoders[kind] = _encoder_of(kind)
    return encoder(value)


def path_to_unencodable(value: Any) -> str:
    """The way to the first part of a value that cannot be encoded, as in `lines[2].colour`; empty when it is the value itself."""
    try:
        return (_path_in(value) or "").removeprefix(".")
    except RecursionError:
        return ""


def _path_in(value: Any) -> str | None:
    """None when all of it can be encoded."""
    parts = _parts_of(value)
    if parts is not None:
        return next((step + path for step, part in parts if (path := _path_in(part)) is not None), None)
    try:
        encode_value(value)
    except Exception:
        return ""
    return None


def _parts_of(value: Any) -> Iterable[tuple[str, Any]] | None:
    parts: Any = value
    if dataclasses.is_dataclass(value):
        return [(f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return [(f"[{key!r}]", part) for key, part in parts.items()]
    if isinstance(value, list | tuple):
        return [(f"[{index}]", part) for index, part in enumerate(parts)]
    return None
