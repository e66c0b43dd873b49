"""Values to payloads and back, synchronously: the workflow loop cannot await.

The bytes are those of temporalio's default converter, in and out; what costs there is computing type hints at every call, so here the way
to encode a type and to decode a hint is worked out once and kept (`json_encoding`, `json_decoding`). A custom payload converter
switches that off. A codec (encryption, compression) is asynchronous and works outside, over whole commands and events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import temporalio.converter
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.converter import PayloadCodec, PayloadConverter

from perdure.model.errors import InvalidInput, UsageError
from perdure.model.failures import FailureConverter
from perdure.model.framing import framed, tag
from perdure.model.json_decoding import decode_json
from perdure.model.json_encoding import encode_value, path_to_unencodable

__all__ = ["DataConverter", "PayloadCodec", "PayloadConverter"]

_DEFAULT = temporalio.converter.DataConverter.default.payload_converter
_ONE = tag(Payloads, "payloads")


class DataConverter:
    """How arguments, results, signals and errors are written down.

    `payload_converter` replaces the default conversion, `codec` transforms payloads on their way to and from storage,
    `failure_converter` replaces the conversion of errors.
    """

    default: ClassVar[DataConverter]

    def __init__(
        self,
        payload_converter: PayloadConverter | None = None,
        *,
        codec: PayloadCodec | None = None,
        failure_converter: temporalio.converter.FailureConverter | None = None,
    ) -> None:
        _check_converter(payload_converter)
        self._fast = payload_converter is None
        self.payload_converter = payload_converter or _FAST
        self.codec = codec
        self.failure_converter = failure_converter or FailureConverter()

    def to_payload(self, value: Any) -> Payload:
        """One value's payload; InvalidInput when it cannot be converted."""
        try:
            return Payload.FromString(encode_value(value)) if self._fast else self.payload_converter.to_payload(value)
        except Exception as error:
            raise self._cannot_encode(value, "", error) from error

    def encode_result(self, value: Any) -> bytes:
        """An encoded `Payloads` with one value's payload; InvalidInput when it cannot be converted."""
        try:
            return framed(_ONE, encode_value(value) if self._fast else self.payload_converter.to_payload(value).SerializeToString())
        except Exception as error:
            raise self._cannot_encode(value, "", error) from error

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """One payload's value, of the type that the hint says; InvalidInput when it is not."""
        try:
            if self._fast and payload.metadata["encoding"] == b"json/plain":
                return decode_json(payload.data, type_hint)
            return self._decode(payload, type_hint)
        except Exception as error:
            raise _cannot_decode(payload, type_hint, "", error) from error

    def _decode(self, payload: Payload, type_hint: Any) -> Any:
        """What is not JSON, or converted by the user's own."""
        if self._fast and payload.metadata["encoding"] == b"binary/null" and not payload.data and type_hint is not RawValue:
            return None
        return self.payload_converter.from_payload(payload, type_hint)

    def encode_arguments(self, values: Sequence[Any], names: Sequence[str] = (), where: str = "") -> bytes:
        """An encoded `Payloads` of arguments; InvalidInput names the parameter (`names`) of the callable (`where`)."""
        if not self._fast:
            return Payloads(payloads=self._encode_together(values, where)).SerializeToString()
        encoded = b""
        for index, value in enumerate(values):
            try:
                encoded += framed(_ONE, encode_value(value))
            except Exception as error:
                raise self._cannot_encode(value, _parameter(names, index, where), error) from error
        return encoded

    def encode_values(self, values: Sequence[Any], names: Sequence[str] = (), where: str = "") -> list[Payload]:
        """The payloads of arguments; InvalidInput names the parameter (`names`) of the callable (`where`)."""
        if not self._fast:
            return self._encode_together(values, where)
        return list(Payloads.FromString(self.encode_arguments(values, names, where)).payloads) if values else []

    def _encode_together(self, values: Sequence[Any], where: str) -> list[Payload]:
        try:
            return self.payload_converter.to_payloads(values) if values else []
        except Exception as error:
            raise InvalidInput(
                f"the arguments{_of(where)} cannot be converted by {type(self.payload_converter).__name__}: {error}"
            ) from error

    def decode_args(self, payloads: Iterable[Payload], arg_types: Sequence[Any], names: Sequence[str] = (), where: str = "") -> list[Any]:
        """The values of arguments, each by its type (None: as it comes); InvalidInput names the parameter."""
        values: list[Any] = []
        fast, typed = self._fast, len(arg_types)
        for index, payload in enumerate(payloads):
            hint = arg_types[index] if index < typed else None
            try:
                if fast and payload.metadata["encoding"] == b"json/plain":
                    values.append(decode_json(payload.data, hint))
                else:
                    values.append(self._decode(payload, hint))
            except Exception as error:
                raise _cannot_decode(payload, hint, _parameter(names, index, where), error) from error
        return values

    def to_failure(self, error: BaseException) -> Failure:
        """The failure message of an error."""
        failure = Failure()
        self.failure_converter.to_failure(error, self.payload_converter, failure)
        return failure

    def from_failure(self, failure: Failure) -> BaseException:
        """The error of a failure message, its causes chained."""
        return self.failure_converter.from_failure(failure, self.payload_converter)

    def _cannot_encode(self, value: Any, what: str, error: Exception) -> InvalidInput:
        of_what = f"{what} (of type {type(value).__qualname__})" if what else f"a value of type {type(value).__qualname__}"
        path = path_to_unencodable(value) if self._fast else ""
        reason = f"{path}: {error}" if path else str(error)
        return InvalidInput(
            f"{of_what} cannot be converted to JSON: {reason}; pass a dataclass, a pydantic model or builtin types, or give the client a "
            "payload converter"
        )

    def __repr__(self) -> str:
        parts = [] if self._fast else [type(self.payload_converter).__name__]
        parts += [f"codec={type(self.codec).__name__}"] if self.codec else []
        return f"<DataConverter {' '.join(parts) or 'default'}>"


class _FastPayloadConverter(PayloadConverter):
    """The cached conversion, as the interface that failure converters want."""

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        return [Payload.FromString(encode_value(value)) for value in values]

    def from_payloads(self, payloads: Sequence[Payload], type_hints: list[type] | None = None) -> list[Any]:
        hints: Sequence[Any] = type_hints or [None] * len(payloads)
        return [self._one(payload, hint) for payload, hint in zip(payloads, hints, strict=False)]

    def _one(self, payload: Payload, hint: Any) -> Any:
        if payload.metadata["encoding"] == b"json/plain":
            return decode_json(payload.data, hint)
        return _DEFAULT.from_payload(payload, hint)


def _check_converter(given: Any) -> None:
    if given is not None and not isinstance(given, PayloadConverter):
        raise UsageError(f"payload_converter is {given!r}; give an instance of temporalio.converter.PayloadConverter")


def _of(where: str) -> str:
    return f" of {where}" if where else ""


def _parameter(names: Sequence[str], index: int, where: str) -> str:
    name = repr(names[index]) if index < len(names) else str(index + 1)
    return f"argument {name}{_of(where)}"


def _cannot_decode(payload: Payload, hint: Any, what: str, error: Exception) -> InvalidInput:
    encoding = payload.metadata.get("encoding", b"none").decode(errors="replace")
    name = getattr(hint, "__qualname__", None) or str(hint)
    reason = _root(error)
    return InvalidInput(
        f"{what or 'the value'} ({encoding}) is not of type {name}: {reason}; send what the annotation says, or change the annotation"
    )


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


_FAST = _FastPayloadConverter()
DataConverter.default = DataConverter()
