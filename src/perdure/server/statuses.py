"""From an `RpcError` to gRPC's status: code, message, and the typed detail in `grpc-status-details-bin`.

The rule a newcomer would get wrong: both travel in the trailers, of which clients take 8 KiB, and the message travels twice. What is larger
ends no call, it ends the connection, with every poll on it. So what is long is cut: texts first, and payloads, which are no payloads
when they are cut, are left out.
"""

from __future__ import annotations

import logging
from typing import Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from grpc.aio import ServicerContext
from temporalio.api.common.v1 import GrpcStatus, Payload

from perdure.model.ids import uuid4_text
from perdure.model.rpc import RpcError

logger = logging.getLogger("perdure.server")

DETAILS_KEY = "grpc-status-details-bin"
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
TRAILER_BYTES_MAX: Final = 7_500
"""Of message and detail as they travel. Java's clients take 8 KiB of trailers in all, those in Rust 16."""
MESSAGE_BYTES_MAX: Final = 2_500
"""Of a message as it travels, where each byte that is no printable ASCII takes three."""
_TEXT_BYTES: Final = (1_000, 300, 100)
"""To how many bytes the texts of a detail are cut, as far as need be."""
_ELLIPSIS_ROOM: Final = 9
"""Characters that give way to an ellipsis, which travels as nine bytes."""
_WHOLE: Final = frozenset((Payload.DESCRIPTOR, Any.DESCRIPTOR))


def status_of(error: RpcError) -> GrpcStatus:
    """A `google.rpc.Status` (`GrpcStatus` is the same message under another name), with the typed detail first; cut to what can travel."""
    status = GrpcStatus(code=error.code, message=_travelling(error.message))
    if error.detail is None:
        return status
    status.details.add().Pack(error.detail)
    for limit in _TEXT_BYTES:
        if _fits(status):
            return status
        shrunk = type(error.detail)()
        shrunk.CopyFrom(error.detail)
        _shrink(shrunk, limit)
        status.details[0].Pack(shrunk)
    if not _fits(status):
        status.details[0].Pack(type(error.detail)())
    return status


def _fits(status: GrpcStatus) -> bool:
    in_base64 = -(-status.ByteSize() // 3) * 4
    return _length(status.message.encode()) + in_base64 <= TRAILER_BYTES_MAX


def _length(text: bytes) -> int:
    return sum(1 if 0x20 <= byte < 0x7F and byte != 0x25 else 3 for byte in text)


def _travelling(message: str) -> str:
    """A message, or as much of it as may travel."""
    if len(message) * 12 <= MESSAGE_BYTES_MAX:  # a character is at most four bytes
        return message
    left = MESSAGE_BYTES_MAX
    for number, character in enumerate(message):
        left -= _length(character.encode())
        if left < 0:
            return _begun(message[:number], _ELLIPSIS_ROOM)
    return message


def _begun(text: str, room: int) -> str:
    """A text that goes on; its last characters, `room` of them, give way to what says so."""
    return text[: max(0, len(text) - room)] + "…"


def _shrink(message: Message, limit: int) -> None:
    """Cuts the texts of a message to so many bytes, and leaves out what cannot be cut."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            message.ClearField(field.name)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in list(value) if field.is_repeated else [value]:
                if each.DESCRIPTOR not in _WHOLE:
                    _shrink(each, limit)
                elif each.ByteSize() > limit:
                    message.ClearField(field.name)
                    break
        elif field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and len(value.encode()) > limit:
            setattr(message, field.name, _begun(value.encode()[:limit].decode(errors="ignore"), _ELLIPSIS_ROOM))


async def refuse(context: ServicerContext[bytes, bytes], error: RpcError) -> NoReturn:
    """Ends the call with the error's status."""
    status = status_of(error)
    await context.abort(CODES[error.code], status.message, ((DETAILS_KEY, status.SerializeToString()),))


async def fail(context: ServicerContext[bytes, bytes], method: str, error: Exception) -> NoReturn:
    """Ends the call with INTERNAL, and a reference under which the log has the cause: clients take UNKNOWN for a lost connection."""
    reference = uuid4_text()
    logger.error("%s failed; reference %s", method, reference, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"{method} failed in the server; its log says why under reference {reference}")
