"""Links between the events of callers and of handlers, as Temporal writes them and as Nexus carries them: URLs with a type.

Easily got wrong: a link of a kind that is not known here is no mistake; it is left out.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import Link as NexusLink

_TYPE: Final = Link.WorkflowEvent.DESCRIPTOR.full_name
_NUMBERS: Final = frozenset(EventType.keys())
_PATH: Final = re.compile(r"/namespaces/([^/]+)/workflows/([^/]+)/([^/]+)/history")


def to_nexus(link: Link) -> NexusLink:
    """A link to an event of a workflow, for a request or an answer of Nexus."""
    event = link.workflow_event
    names = "/".join(("namespaces", quote(event.namespace, ""), "workflows", quote(event.workflow_id, ""), quote(event.run_id, "")))
    if event.HasField("request_id_ref"):
        asked = event.request_id_ref
        query = {"referenceType": "RequestIdReference", "requestID": asked.request_id, "eventType": _name(asked.event_type)}
    else:
        of = event.event_ref
        query = {"eventID": str(of.event_id), "eventType": _name(of.event_type), "referenceType": "EventReference"}
    return NexusLink(url=f"temporal:///{names}/history?{urlencode(query)}", type=_TYPE)


def from_nexus(link: NexusLink) -> Link | None:
    """The event that a link of Nexus means; None if it is of another kind, or broken."""
    try:
        parts = urlsplit(link.url)
    except ValueError:
        return None
    found = _PATH.fullmatch(parts.path)
    if link.type != _TYPE or parts.scheme != "temporal" or found is None:
        return None
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    number = _number(query.get("eventType", ""))
    made = Link()
    event = made.workflow_event
    event.namespace, event.workflow_id, event.run_id = map(unquote, found.groups())
    if query.get("referenceType") == "RequestIdReference":
        event.request_id_ref.request_id, event.request_id_ref.event_type = query.get("requestID", ""), number
    else:
        text = query.get("eventID", "0")
        event.event_ref.event_id, event.event_ref.event_type = int(text) if text.isdecimal() and len(text) < 19 else 0, number
    return made


def _name(number: EventType.ValueType) -> str:
    return "".join(word.title() for word in EventType.Name(number).removeprefix("EVENT_TYPE_").split("_"))


def _number(name: str) -> EventType.ValueType:
    if not name.startswith("EVENT_TYPE_"):
        name = "EVENT_TYPE" + re.sub(r"([A-Z])", r"_\1", name).upper()
    return EventType.Value(name) if name in _NUMBERS else EventType.EVENT_TYPE_UNSPECIFIED
