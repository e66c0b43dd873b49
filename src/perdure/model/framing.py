"""Messages made from bytes: what recurs is encoded once, joined with the rest, and parsed in one call.

Rests on one rule of the protobuf encoding: encodings of a message put one after the other are the encoding of their merge.
To parse a message of ten fields costs less than to set three of them.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

__all__ = ["framed", "tag"]

_SMALL: Final = [bytes((number,)) for number in range(128)] + [bytes((number & 127 | 128, number >> 7)) for number in range(128, 16384)]
"""Most lengths, encoded."""


def tag(message: type[Message], field: str) -> bytes:
    """What opens a text, bytes or message field."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | 2)


def framed(opening: bytes, data: bytes) -> bytes:
    """A text, bytes or message field; `opening` is its tag."""
    size = len(data)
    return opening + (_SMALL[size] if size < 16384 else _varint(size)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
