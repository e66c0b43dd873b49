"""Markers: values that the history remembers for the code. Side effects, and patches (which version of a change a run follows).

In replay a marker's value is needed before the events of its workflow task are matched; so the markers of a task are shown to the
code ahead (`upcoming`). Names and layout of patch markers are those of Temporal's Rust core.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol, cast

from temporalio.api.common.v1.message_pb2 import Payload
from temporalio.api.enums.v1.event_type_pb2 import EventType
from temporalio.api.history.v1.message_pb2 import HistoryEvent

from perdure.model.conversion import DataConverter
from perdure.model.errors import NondeterminismError
from perdure.runtime import guard
from perdure.runtime.commands import PATCH_MARKER, SIDE_EFFECT_MARKER, Command, RecordMarker

_SIDE_EFFECT_ID = "side-effect-id"
_SIDE_EFFECT_DATA = "data"
_PATCH_DATA = "patch-data"
_CHANGE_VERSION = "TemporalChangeVersion"


class MarkerHost(Protocol):
    """What markers need of the run."""

    converter: DataConverter
    replaying: bool

    def add(self, command: Command) -> None: ...
    def refuse(self) -> None: ...
    def read_only(self, what: str, call: Callable[[], Any]) -> Any: ...


class Markers:
    """The markers of one run."""

    __slots__ = ("_host", "_patches", "_side_effects", "_upcoming_effects", "_upcoming_patches")

    def __init__(self, host: MarkerHost) -> None:
        self._host = host
        self._side_effects = 0
        self._patches: dict[str, bool] = {}
        self._upcoming_effects: dict[str, Payload] = {}
        self._upcoming_patches: set[str] = set()

    def upcoming(self, event: HistoryEvent) -> None:
        """A marker that the activation about to be replayed has recorded."""
        attributes = event.marker_recorded_event_attributes
        if attributes.marker_name == SIDE_EFFECT_MARKER:
            self._upcoming_effects[marker_key(event)] = attributes.details[_SIDE_EFFECT_DATA].payloads[0]
        elif attributes.marker_name == PATCH_MARKER:
            self._upcoming_patches.add(marker_key(event))

    def side_effect(self, call: Callable[[], Any], type_hint: Any) -> Any:
        """The value of `call()`, called once in the life of the run."""
        host = self._host
        host.refuse()
        self._side_effects += 1
        key = str(self._side_effects)
        if host.replaying:
            payload = self._upcoming_effects.pop(key, None)
            if payload is None:
                raise NondeterminismError(
                    f"the code asks for side effect {key}, which history does not have at this place; "
                    "keep the code as it was for running workflows, or put the change behind `ctx.patched(…)`"
                )
        else:
            payload = host.converter.to_payload(self._value(call))
        details = {_SIDE_EFFECT_ID: host.converter.to_payload(key), _SIDE_EFFECT_DATA: payload}
        host.add(RecordMarker(SIDE_EFFECT_MARKER, key, details))
        return host.converter.from_payload(payload, type_hint)

    def _value(self, call: Callable[[], Any]) -> Any:
        """Calls what may block and differ: its value is recorded."""
        guarded = guard.suspend()
        try:
            return self._host.read_only("a side effect", call)
        finally:
            guard.resume(guarded)

    def patched(self, patch_id: str, *, deprecated: bool = False) -> bool:
        """Whether this run follows the new code: true unless it passed this place before the patch existed."""
        host = self._host
        host.refuse()
        known = self._patches.get(patch_id)
        if known is not None:
            return known
        known = self._patches[patch_id] = not host.replaying or patch_id in self._upcoming_patches
        if known:
            data = Payload(data=json.dumps({"id": patch_id, "deprecated": deprecated}).encode())
            data.metadata["encoding"] = b"json/plain"
            host.add(RecordMarker(PATCH_MARKER, patch_id, {_PATCH_DATA: data}))
        return known


def marker_key(event: HistoryEvent) -> str:
    """Which marker of its name an event records: the side effect's number, the patch's id."""
    attributes = event.marker_recorded_event_attributes
    if attributes.marker_name == PATCH_MARKER:
        return str(_patch(event).get("id", ""))
    details = attributes.details.get(_SIDE_EFFECT_ID)
    return str(json.loads(details.payloads[0].data)) if details is not None and details.payloads else ""


def _patch(event: HistoryEvent) -> dict[str, Any]:
    details = event.marker_recorded_event_attributes.details.get(_PATCH_DATA)
    value: Any = json.loads(details.payloads[0].data) if details is not None and details.payloads else {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def may_be_missing(event: HistoryEvent) -> bool:
    """Whether code may leave out what this event records: a patch that is deprecated, and the search attribute that lists patches
    (which Temporal's own SDKs write beside the marker).
    """
    if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
        return event.marker_recorded_event_attributes.marker_name == PATCH_MARKER and bool(_patch(event).get("deprecated"))
    if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        return list(fields) == [_CHANGE_VERSION]
    return False
