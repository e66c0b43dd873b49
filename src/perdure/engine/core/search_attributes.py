"""Search attributes: which there are besides a namespace's own, what values each type takes, and what is wrong with some (5.2).

Decides whether attributes may be set. A payload is JSON; a list of one is taken for its element where the type is no list.
Knows no namespace: its own attributes come as a mapping from name to type.

Easily got wrong: null and an empty list are no values, they remove the attribute, and are right for every type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import common_pb2 as _types

from perdure.engine.core import limits
from perdure.engine.core.apply import is_null
from perdure.model.timestamps import rfc3339_ns

Value: TypeAlias = str | int | float | bool
Types: TypeAlias = Mapping[str, int]
"""Names of attributes to their `IndexedValueType`."""

TEXT: Final = _types.INDEXED_VALUE_TYPE_TEXT
KEYWORD: Final = _types.INDEXED_VALUE_TYPE_KEYWORD
INT: Final = _types.INDEXED_VALUE_TYPE_INT
DOUBLE: Final = _types.INDEXED_VALUE_TYPE_DOUBLE
BOOL: Final = _types.INDEXED_VALUE_TYPE_BOOL
DATETIME: Final = _types.INDEXED_VALUE_TYPE_DATETIME
KEYWORD_LIST: Final = _types.INDEXED_VALUE_TYPE_KEYWORD_LIST

TYPE_NAMES: Final[Types] = {
    "Text": TEXT,
    "Keyword": KEYWORD,
    "Int": INT,
    "Double": DOUBLE,
    "Bool": BOOL,
    "Datetime": DATETIME,
    "KeywordList": KEYWORD_LIST,
}
_NAME_OF: Final[Mapping[int, str]] = {kind: name for name, kind in TYPE_NAMES.items()}

SYSTEM: Final[Types] = {
    "WorkflowId": KEYWORD,
    "RunId": KEYWORD,
    "WorkflowType": KEYWORD,
    "TaskQueue": KEYWORD,
    "ExecutionStatus": KEYWORD,
    "ParentWorkflowId": KEYWORD,
    "ParentRunId": KEYWORD,
    "RootWorkflowId": KEYWORD,
    "RootRunId": KEYWORD,
    "StartTime": DATETIME,
    "ExecutionTime": DATETIME,
    "CloseTime": DATETIME,
    "HistoryLength": INT,
    "HistorySizeBytes": INT,
    "StateTransitionCount": INT,
    "ExecutionDuration": INT,
}
"""What the engine knows of every run; nobody sets them."""

PREDEFINED: Final[Types] = {
    "TemporalChangeVersion": KEYWORD_LIST,
    "BinaryChecksums": KEYWORD_LIST,
    "BuildIds": KEYWORD_LIST,
    "TemporalPauseInfo": KEYWORD_LIST,
    "TemporalReportedProblems": KEYWORD_LIST,
    "BatcherNamespace": KEYWORD,
    "BatcherUser": KEYWORD,
    "TemporalScheduledById": KEYWORD,
    "TemporalNamespaceDivision": KEYWORD,
    "TemporalScheduledStartTime": DATETIME,
    "TemporalSchedulePaused": BOOL,
}
"""Every namespace has them; workflows and clients may set them."""

SERVER_ONLY: Final[Types] = {
    "TemporalWorkerDeployment": KEYWORD,
    "TemporalWorkerDeploymentVersion": KEYWORD,
    "TemporalWorkflowVersioningBehavior": KEYWORD,
    "TemporalUsedWorkerDeploymentVersions": KEYWORD_LIST,
    "TemporalExternalPayloadCount": INT,
    "TemporalExternalPayloadSizeBytes": INT,
}
"""Every namespace has them; only the engine sets them."""

RESERVED: Final = frozenset(("NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey", *SYSTEM, *PREDEFINED, *SERVER_ONLY))
"""Names that no attribute of a namespace may have; nor may one begin with `RESERVED_PREFIX`."""
RESERVED_PREFIX: Final = "Temporal"

_INT64: Final = range(-(2**63), 2**63)


def type_name(kind: int) -> str:
    """A type as users write it: `KeywordList`."""
    return _NAME_OF[kind]


def complaint(attributes: Mapping[str, Payload], custom: Types, namespace: str) -> str:
    """What is wrong with the names and values of attributes that somebody sets; empty if nothing is."""
    for name, payload in attributes.items():
        wrong = _value_complaint(name, payload, custom, namespace)
        if wrong:
            return wrong
    return ""


def size_complaint(attributes: Mapping[str, Payload]) -> str:
    """What is wrong with their sizes; empty if nothing is."""
    if len(attributes) > limits.SEARCH_ATTRIBUTES_MAX:
        return f"number of search attributes {len(attributes)} exceeds limit {limits.SEARCH_ATTRIBUTES_MAX}"
    total = 0
    for name, payload in attributes.items():
        size = len(payload.data)
        if size > limits.SEARCH_ATTRIBUTE_BYTES_MAX:
            return f"search attribute {name} value size {size} exceeds size limit {limits.SEARCH_ATTRIBUTE_BYTES_MAX}"
        total += len(name) + size
    if total > limits.SEARCH_ATTRIBUTES_BYTES_MAX:
        return f"total size of search attributes {total} exceeds size limit {limits.SEARCH_ATTRIBUTES_BYTES_MAX}"
    return ""


def _value_complaint(name: str, payload: Payload, custom: Types, namespace: str) -> str:
    kind = custom.get(name) or PREDEFINED.get(name)
    if kind is None:
        if name in SYSTEM or name in SERVER_ONLY:
            return f"{name} attribute can't be set in SearchAttributes"
        return f"Namespace {namespace} has no mapping defined for search attribute {name}"
    try:
        values(payload, kind)
    except ValueError:
        shown = payload.data.decode(errors="replace")
        return f"invalid value for search attribute {name} of type {type_name(kind)}: {shown}"
    return ""


def set_types(attributes: Mapping[str, Payload], custom: Types) -> None:
    """Says with each value of which type it is, in place: what reads it later need not know the namespace."""
    for name, payload in attributes.items():
        kind = custom.get(name) or PREDEFINED.get(name)
        if kind is not None:
            payload.metadata["type"] = _NAME_OF[kind].encode()


def type_of(name: str, payload: Payload) -> int | None:
    """The type of a value as `set_types` noted it; None if nobody did."""
    noted = TYPE_NAMES.get(payload.metadata["type"].decode(errors="replace")) if "type" in payload.metadata else None
    return noted or PREDEFINED.get(name) or SERVER_ONLY.get(name)


def values(payload: Payload, kind: int) -> list[Value]:
    """The values of an attribute: one, of a list any number, none where it says nothing. Datetimes as nanoseconds since the epoch.

    Raises:
        ValueError: it has no value of that type.
    """
    if is_null(payload):
        return []
    found: Any = json.loads(payload.data)
    if kind == KEYWORD_LIST:
        return [_text(each) for each in _list(found)]
    if isinstance(found, list):
        (found,) = _list(found)  # which raises ValueError for more than one
    return [] if found is None else [_READERS[kind](found)]


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError("not a list")
    return [*found]


def _text(found: Any) -> str:
    if not isinstance(found, str):
        raise ValueError("not a text")
    found.encode()  # half a surrogate pair is no text
    return found


def _bool(found: Any) -> bool:
    if not isinstance(found, bool):
        raise ValueError("neither true nor false")
    return found


def _int(found: Any) -> int:
    if not isinstance(found, int) or isinstance(found, bool) or found not in _INT64:
        raise ValueError("not a whole number of 64 bits")
    return found


def _double(found: Any) -> float:
    if not isinstance(found, (int, float)) or isinstance(found, bool):
        raise ValueError("not a number")
    return float(found)


def _datetime(found: Any) -> int:
    return rfc3339_ns(_text(found))


_Reader: TypeAlias = Callable[[Any], Value]
_READERS: Final[Mapping[int, _Reader]] = {TEXT: _text, KEYWORD: _text, INT: _int, DOUBLE: _double, BOOL: _bool, DATETIME: _datetime}
