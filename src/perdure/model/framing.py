"""Messages made from bytes: what recurs is encoded once, joined with the rest, and parsed in one call.

Rests on one rule of the protobuf encoding: encodings of a message put one after the other are the encoding of their merge.
To parse a message of ten fields costs less than to set three of them.

Easily got wrong: of a field that is given twice the later one counts, and sub-messages merge.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import Message

__all__ = ["SMALL", "framed", "tag", "varint"]

SMALL: Final = [bytes((number,)) for number in range(128)] + [bytes((number & 127 | 128, number >> 7)) for number in range(128, 16384)]
"""Most numbers and lengths, encoded."""


def tag(message: type[Message], field: str) -> bytes:
    """What opens a field."""
    found = message.DESCRIPTOR.fields_by_name[field]
    framing = 2 if found.cpp_type in (found.CPPTYPE_STRING, found.CPPTYPE_MESSAGE) else 0
    return varint(found.number << 3 | framing)


def varint(number: int) -> bytes:
    """A number that is not negative, encoded."""
    if number < 16384:
        return SMALL[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def framed(opening: bytes, data: bytes) -> bytes:
    """A text, bytes or message field; `opening` is its tag."""
    size = len(data)
    return opening + (SMALL[size] if size < 16384 else varint(size)) + data
