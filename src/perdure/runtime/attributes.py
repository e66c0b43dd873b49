"""Memo and search attributes of a run: read, and changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from temporalio.api.common.v1.message_pb2 import Payload, SearchAttributes
from temporalio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes
from temporalio.converter import decode_typed_search_attributes, encode_search_attributes, encode_typed_search_attribute_value

from perdure.model.errors import UsageError
from perdure.runtime.run_state import RunState

_CHANGES: Any = (SearchAttributePair, SearchAttributeUpdate)


class MemoView(Mapping[str, Any]):
    """The memo, decoded as it is read."""

    __slots__ = ("_run",)

    def __init__(self, run: RunState) -> None:
        self._run = run

    def __getitem__(self, key: str) -> Any:
        return self._run.converter.from_payload(self._run.memo[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.memo)

    def __len__(self) -> int:
        return len(self._run.memo)


def write_memo(run: RunState, updates: Mapping[str, Any]) -> dict[str, Payload]:
    """The payloads of a change to the memo, which is made at once."""
    run.refuse()
    if not updates:
        raise UsageError("upsert_memo was given nothing to change")
    payloads = {key: run.converter.to_payload(value) for key, value in updates.items()}
    for key, value in updates.items():
        if value is None:
            run.memo.pop(key, None)
        else:
            run.memo[key] = payloads[key]
    return payloads


def read_search_attributes(run: RunState) -> TypedSearchAttributes:
    message = SearchAttributes()
    for name, payload in run.search_attributes.items():
        message.indexed_fields[name].CopyFrom(payload)
    return decode_typed_search_attributes(message)


def write_search_attributes(run: RunState, updates: TypedSearchAttributes | Sequence[Any]) -> dict[str, Payload]:
    """The payloads of a change to the search attributes, which is made at once."""
    run.refuse()
    payloads: dict[str, Payload] = {}
    changes: Any = updates
    for each in changes:
        key, value = _update(each)
        payloads[key.name] = encode_typed_search_attribute_value(key, value)
        if value is None:
            run.search_attributes.pop(key.name, None)
        else:
            run.search_attributes[key.name] = payloads[key.name]
    if not payloads:
        raise UsageError("upsert_search_attributes was given nothing to change")
    return payloads


def _update(each: Any) -> tuple[SearchAttributeKey[Any], Any]:
    if isinstance(each, _CHANGES):
        return each.key, each.value
    raise UsageError(
        f"upsert_search_attributes was given {each!r}; give SearchAttributePair(key, value), or key.value_set(value) and key.value_unset()"
    )


def encode_attributes(target: SearchAttributes, attributes: TypedSearchAttributes | Sequence[SearchAttributePair[Any]]) -> None:
    """Writes search attributes into a message."""
    typed = attributes if isinstance(attributes, TypedSearchAttributes) else TypedSearchAttributes(attributes)
    encode_search_attributes(typed, target)
