"""Decodes JSON payloads by type hint as temporalio's `value_to_type` does, with the plan for each hint worked out once.

Only what workflows carry all day has a plan of its own here (builtins, dataclasses, lists, string-keyed dicts, unions of these);
every other hint goes to temporalio's function, so that both always agree; but for `object`, which is taken for Any.

The rule that a newcomer gets wrong: plans are not kept by the hint itself, since `A | B == B | A` while the first that fits must win.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import types
import typing
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import temporalio.common
import temporalio.converter
from temporalio.api.common.v1 import Payload
from temporalio.converter import value_to_type

__all__ = ["decode_json"]

Plan = Callable[[Any], Any]
_MISSING = object()
_TRANSFER_TYPE = "__temporal_transfer_type_converter"
_slow = temporalio.converter.DataConverter.default.payload_converter
_scan: Callable[[str, int], tuple[Any, int]] = getattr(json.JSONDecoder(), "scan_once")  # noqa: B009 - public in CPython, unknown to typeshed
_raw_plans: dict[Any, Callable[[bytes], Any]] = {}
_dataclass_plans: dict[type, Plan] = {}


def decode_json(data: bytes, hint: Any) -> Any:
    """The value of a json/plain payload, of type `hint` (None: whatever JSON says)."""
    if hint is None:
        return _loads(data)
    if type(hint) is type:
        if hint in _BUILTINS:
            value = _loads(data)
            return value if type(value) is hint else value_to_type(hint, value)
        key: Any = hint
    else:
        key = _key(hint)
    try:
        plan = _raw_plans.get(key)
    except TypeError:  # a hint that cannot be hashed, such as Literal[[]]
        return value_to_type(hint, json.loads(data))
    if plan is None:
        plan = _raw_plans[key] = _raw_plan(hint)
    return plan(data)


def _loads(data: bytes) -> Any:
    """`json.loads`, which for the usual compact UTF-8 skips guessing the encoding and looking for white space."""
    try:
        text = data.decode()
        value, end = _scan(text, 0)
    except (StopIteration, UnicodeDecodeError):
        return json.loads(data)
    return value if end == len(text) else json.loads(data)


def _key(hint: Any) -> Any:
    """The hint's structure, in order; `Literal[1]` and `Literal[True]` differ by the types of their values."""
    args = get_args(hint)
    if args:
        return get_origin(hint), tuple(_key(arg) for arg in args)
    return hint if isinstance(hint, type) else (type(hint), hint)


def _object_as_any(hint: Any) -> Any:
    """The hint with `Any` for `object`, by which strictly typed code says the same and which temporalio does not take."""
    if hint is object:
        return Any
    args, origin = get_args(hint), get_origin(hint)
    meant: tuple[Any, ...] = args if origin is Literal else tuple(_object_as_any(arg) for arg in args)
    if all(one is other for one, other in zip(args, meant, strict=True)):
        return hint
    generic: Any = Union if origin is types.UnionType else origin
    return generic[meant]


def _raw_plan(hint: Any) -> Callable[[bytes], Any]:
    """From bytes to the value."""
    hint = _object_as_any(hint)
    if hint is temporalio.common.RawValue or hasattr(hint, _TRANSFER_TYPE):
        return functools.partial(_through_temporalio, hint)
    if _has_pydantic(hint):
        validate: Callable[[bytes], Any] = _pydantic_adapter(hint).validate_json
        return validate
    if hint is Any:
        return _loads
    plan = _plan(hint)
    return lambda data: plan(_loads(data))


def _through_temporalio(hint: Any, data: bytes) -> Any:
    return _slow.from_payload(Payload(metadata={"encoding": b"json/plain"}, data=data), hint)


def _pydantic_adapter(hint: Any) -> Any:
    return importlib.import_module("pydantic").TypeAdapter(hint)  # the user's own, which made the hint


def _has_pydantic(hint: Any) -> bool:
    """Whether the hint is a pydantic (v2) model, or is built from one."""
    if isinstance(hint, type) and hasattr(hint, "__pydantic_validator__") and hasattr(hint, "model_validate"):
        return True
    return any(_has_pydantic(arg) for arg in get_args(hint) if not isinstance(arg, str | bytes | int))


def _identity(value: Any) -> Any:
    return value


def _expect(kind: type, value: Any) -> Any:
    if type(value) is kind:
        return value
    return value_to_type(kind, value)


_BUILTINS = frozenset((str, bool, int, float))
_NONE = type(None)


def _taken_as_they_are(hint: Any) -> frozenset[type]:
    """The exact types of values that are what the hint asks for, without a look at its plan: of `str`, `str | None` and the like."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    builtin = [each for each in options if each is not _NONE]
    if len(builtin) != 1 or not any(builtin[0] is each for each in _BUILTINS):
        return frozenset()
    return frozenset(options)


def _plan(hint: Any) -> Plan:
    """From what `json.loads` gives to the value."""
    hint = _object_as_any(hint)
    if hint is Any:
        return _identity
    if _has_pydantic(hint):
        validate: Plan = _pydantic_adapter(hint).validate_python
        return validate
    if any(hint is each for each in _BUILTINS):
        return functools.partial(_expect, hint)
    origin = get_origin(hint)
    if origin is list and len(get_args(hint)) == 1 and _is_plain(get_args(hint)[0]):
        return functools.partial(_decode_list, hint, _plan(get_args(hint)[0]))
    if origin is Union or origin is types.UnionType:
        return functools.partial(_decode_union, hint, tuple(_plan(arg) for arg in get_args(hint)))
    if origin is None and isinstance(hint, type) and _is_simple_dataclass(hint):
        return _dataclass_plans.setdefault(hint, _DataclassPlan(hint))
    return functools.partial(value_to_type, hint)


def _is_plain(hint: Any) -> bool:
    return not isinstance(hint, typing.TypeVar) and hint is not Ellipsis


def _is_simple_dataclass(hint: type) -> bool:
    """Not those that temporalio would take for something else first (a mapping, a NewType, a datetime)."""
    if not dataclasses.is_dataclass(hint) or hasattr(hint, "__supertype__"):
        return False
    return not issubclass(hint, dict | list | tuple | str | int | float | datetime)


def _decode_list(hint: Any, item: Plan, value: Any) -> Any:
    if type(value) is not list:
        return value_to_type(hint, value)
    try:
        return [item(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    except Exception:
        return value_to_type(hint, value)  # says which index


def _decode_union(hint: Any, plans: tuple[Plan, ...], value: Any) -> Any:
    for plan in plans:
        try:
            return plan(value)
        except Exception:
            continue
    raise TypeError(f"Failed converting to {hint} from {value}")


class _DataclassPlan:
    """Fields and their plans, worked out at the first value: hints may name classes that are defined further down."""

    __slots__ = ("_fields", "_hint", "_plain_init")

    def __init__(self, hint: type) -> None:
        self._hint = hint
        self._fields: list[tuple[str, frozenset[type], Plan]] | None = None
        self._plain_init = all(field.init for field in dataclasses.fields(hint))

    def __call__(self, value: Any) -> Any:
        if type(value) is not dict or not self._plain_init:
            return value_to_type(self._hint, value)
        fields = self._fields
        if fields is None:
            hints = get_type_hints(self._hint)
            types_of = [(field.name, hints[field.name]) for field in dataclasses.fields(self._hint)]
            fields = self._fields = [(name, _taken_as_they_are(of), _plan(of)) for name, of in types_of]
        given: dict[str, Any] = {}
        present = cast("dict[str, Any]", value)
        get = present.get
        for name, as_they_are, plan in fields:
            part = get(name, _MISSING)
            if type(part) in as_they_are:
                given[name] = part
            elif part is not _MISSING:
                try:
                    given[name] = plan(part)
                except Exception as error:
                    raise TypeError(f"Failed converting field {name} on dataclass {self._hint}") from error
        return self._hint(**given)
