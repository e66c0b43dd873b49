"""Messages as plain values: snake_case names, decoded payloads, datetimes, enums by their short names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload, Payloads

from perdure.model.conversion import DataConverter

__all__ = ["moment", "optional_moment", "plain", "plain_payload", "short_enum"]


def moment(time: Timestamp) -> datetime:
    """A datetime in UTC; microseconds are the finest it can hold."""
    return datetime.fromtimestamp(time.seconds, UTC) + timedelta(microseconds=time.nanos // 1000)


def optional_moment(message: Message, field: str) -> datetime | None:
    return moment(getattr(message, field)) if message.HasField(field) else None


def plain_payload(payload: Payload, converter: DataConverter) -> Any:
    """The value; a short description when this converter cannot read it (encrypted, or of another language)."""
    try:
        return converter.from_payload(payload)
    except Exception:
        return f"<{payload.metadata.get('encoding', b'no encoding').decode(errors='replace')}, {len(payload.data)} bytes>"


def plain(message: Message, converter: DataConverter) -> dict[str, Any]:
    """The fields that are set, by name, as plain values."""
    return {field.name: _plain_field(field, value, converter) for field, value in message.ListFields()}


def _plain_field(field: FieldDescriptor, value: Any, converter: DataConverter) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: _plain_value(field.message_type.fields_by_name["value"], value[key], converter) for key in value}
    if field.is_repeated:
        items: Iterable[Any] = value
        return [_plain_value(field, item, converter) for item in items]
    return _plain_value(field, value, converter)


def _plain_value(field: FieldDescriptor, value: Any, converter: DataConverter) -> Any:
    if isinstance(value, Message):
        reader = _READERS.get(type(value))
        return reader(value, converter) if reader else plain(value, converter)
    return short_enum(field.enum_type, value) if field.enum_type is not None else value


_READERS: dict[type, Callable[[Any, DataConverter], Any]] = {
    Payload: plain_payload,
    Payloads: lambda value, converter: [plain_payload(each, converter) for each in value.payloads],
    Timestamp: lambda value, _: moment(value),
    Duration: lambda value, _: timedelta(seconds=value.seconds, microseconds=value.nanos // 1000),
}


def short_enum(enum: EnumDescriptor, number: int) -> str:
    """`TIMEOUT_TYPE_START_TO_CLOSE` as `START_TO_CLOSE`."""
    value = enum.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).removeprefix("_") + "_"
    return str(value.name).removeprefix(prefix)
