"""A user's codec (encryption, compression) applied to every payload of a message, except search attributes, which stay readable.

The engine never sees plain payloads, the runtime never sees encoded ones: the worker encodes what it sends and decodes what it
gets. Which fields of a message type lead to payloads is worked out once for each type.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from functools import lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import PayloadCodec

__all__ = ["decode", "encode"]

_PAYLOAD = Payload.DESCRIPTOR.full_name
_PAYLOADS = Payloads.DESCRIPTOR.full_name
_READABLE = frozenset(("temporal.api.common.v1.SearchAttributes",))
"""The engine has to read these."""


async def encode(message: Message, codec: PayloadCodec) -> None:
    """Encodes all payloads of a message in place."""
    for sequence in _sequences(message):
        _replace(sequence, await codec.encode(list(sequence)))
    for payload in _singles(message):
        payload.CopyFrom(_only(await codec.encode([payload])))


async def decode(message: Message, codec: PayloadCodec) -> None:
    """Decodes all payloads of a message in place."""
    for sequence in _sequences(message):
        _replace(sequence, await codec.decode(list(sequence)))
    for payload in _singles(message):
        payload.CopyFrom(_only(await codec.decode([payload])))


def _replace(sequence: MutableSequence[Payload], payloads: Iterable[Payload]) -> None:
    payloads = list(payloads)
    del sequence[:]
    sequence.extend(payloads)


def _only(payloads: Sequence[Payload]) -> Payload:
    if len(payloads) != 1:
        raise ValueError(f"A payload codec must return one payload for a value that is not in a list, not {len(payloads)}.")
    return payloads[0]


def _sequences(message: Message) -> list[Any]:
    """The lists of payloads in a message, collected before anything is changed."""
    return [found.payloads for found in _walk(message) if isinstance(found, Payloads) and found.payloads]


def _singles(message: Message) -> list[Payload]:
    return [found for found in _walk(message) if isinstance(found, Payload)]


def _walk(message: Message) -> Iterator[Message]:
    """Every `Payloads`, and every `Payload` that stands outside of one."""
    fields = _payload_fields(message.DESCRIPTOR)
    if not fields:
        return
    for field, value in message.ListFields():
        if field.name in fields:
            yield from _walk_value(field, value)


def _walk_value(field: FieldDescriptor, value: Any) -> Iterator[Message]:
    if _is_map(field):
        children: Iterable[Message] = [value[key] for key in value]
    elif _is_repeated(field):
        children = value
    else:
        children = (value,)
    for child in children:
        if isinstance(child, Payload | Payloads):
            yield child
        else:
            yield from _walk(child)


def _is_repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _target(field: FieldDescriptor) -> Descriptor | None:
    if field.message_type is None:
        return None
    return field.message_type.fields_by_name["value"].message_type if _is_map(field) else field.message_type


@lru_cache(maxsize=1024)
def _payload_fields(descriptor: Descriptor) -> frozenset[str]:
    """The fields of a message type through which payloads can be reached."""
    return frozenset(field.name for field in descriptor.fields if (target := _target(field)) is not None and _leads_to_payload(target))


@lru_cache(maxsize=1024)
def _leads_to_payload(descriptor: Descriptor) -> bool:
    pending, seen = [descriptor], set[str]()
    while pending:
        current = pending.pop()
        if current.full_name in (_PAYLOAD, _PAYLOADS):
            return True
        if current.full_name in seen or current.full_name in _READABLE:
            continue
        seen.add(current.full_name)
        pending.extend(target for field in current.fields if (target := _target(field)) is not None)
    return False
