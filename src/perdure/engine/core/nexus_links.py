"""Links between the events of callers and of handlers, as Temporal writes them and as Nexus carries them: URLs with a type.

Easily got wrong: a link of a kind that is not known here is no mistake; it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType
from temporalio.api.nexus.v1 import Link as NexusLink

_NUMBERS: Final = frozenset(EventType.keys())
_EVENT: Final = re.compile(r"/namespaces/([^/]+)/workflows/([^/]+)/([^/]+)/history")
_WORKFLOW: Final = re.compile(r"/namespaces/([^/]+)/workflows/([^/]+)/([^/]+)")
_ACTIVITY: Final = re.compile(r"/namespaces/([^/]+)/activities/([^/]+)/([^/]*)/details")
_OPERATION: Final = re.compile(r"/namespaces/([^/]+)/nexus-operations/([^/]+)/([^/]*)/details")


# From Temporal to Nexus.


def to_nexus(link: Link) -> NexusLink | None:
    """A link for a request or an answer of Nexus; None if it is of a kind that Nexus does not carry."""
    kind = link.WhichOneof("variant")
    if kind == "workflow_event":
        event = link.workflow_event
        return _url(Link.WorkflowEvent, event.namespace, "workflows", event.workflow_id, event.run_id, f"/history?{_reference(event)}")
    if kind == "workflow":
        flow = link.workflow
        query = f"?{urlencode({'reason': flow.reason})}" if flow.reason else ""
        return _url(Link.Workflow, flow.namespace, "workflows", flow.workflow_id, flow.run_id, query)
    if kind == "activity":
        act = link.activity
        return _url(Link.Activity, act.namespace, "activities", act.activity_id, act.run_id, "/details")
    if kind == "nexus_operation":
        op = link.nexus_operation
        return _url(Link.NexusOperation, op.namespace, "nexus-operations", op.operation_id, op.run_id, "/details")
    return None


def _url(
    kind: type[Link.WorkflowEvent | Link.Workflow | Link.Activity | Link.NexusOperation],
    namespace: str,
    what: str,
    name: str,
    run_id: str,
    rest: str,
) -> NexusLink:
    path = "/".join(("namespaces", quote(namespace, ""), what, quote(name, ""), quote(run_id, "")))
    return NexusLink(url=f"temporal:///{path}{rest}", type=kind.DESCRIPTOR.full_name)


def _reference(event: Link.WorkflowEvent) -> str:
    if event.HasField("request_id_ref"):
        asked = event.request_id_ref
        query = {"referenceType": "RequestIdReference", "requestID": asked.request_id, "eventType": _name(asked.event_type)}
    else:
        of = event.event_ref
        query = {"eventID": str(of.event_id), "eventType": _name(of.event_type), "referenceType": "EventReference"}
    return urlencode(query)


# From Nexus to Temporal.


def from_nexus(link: NexusLink) -> Link | None:
    """What a link of Nexus means; None if it is of another kind, or broken."""
    try:
        parts = urlsplit(link.url)
    except ValueError:
        return None
    read = _READERS.get(link.type)
    return None if read is None or parts.scheme != "temporal" else read(parts)


def _query(parts: SplitResult) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(parts.query).items()}


def _event(parts: SplitResult) -> Link | None:
    found = _EVENT.fullmatch(parts.path)
    if found is None:
        return None
    query = _query(parts)
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


def _workflow(parts: SplitResult) -> Link | None:
    found = _WORKFLOW.fullmatch(parts.path)
    if found is None:
        return None
    namespace, workflow_id, run_id = map(unquote, found.groups())
    reason = _query(parts).get("reason", "")
    return Link(workflow=Link.Workflow(namespace=namespace, workflow_id=workflow_id, run_id=run_id, reason=reason))


def _activity(parts: SplitResult) -> Link | None:
    found = _ACTIVITY.fullmatch(parts.path)
    if found is None:
        return None
    namespace, activity_id, run_id = map(unquote, found.groups())
    return Link(activity=Link.Activity(namespace=namespace, activity_id=activity_id, run_id=run_id))


def _operation(parts: SplitResult) -> Link | None:
    found = _OPERATION.fullmatch(parts.path)
    if found is None:
        return None
    namespace, operation_id, run_id = map(unquote, found.groups())
    return Link(nexus_operation=Link.NexusOperation(namespace=namespace, operation_id=operation_id, run_id=run_id))


_READERS: Final[dict[str, Callable[[SplitResult], Link | None]]] = {
    Link.WorkflowEvent.DESCRIPTOR.full_name: _event,
    Link.Workflow.DESCRIPTOR.full_name: _workflow,
    Link.Activity.DESCRIPTOR.full_name: _activity,
    Link.NexusOperation.DESCRIPTOR.full_name: _operation,
}


def _name(number: EventType.ValueType) -> str:
    return "".join(word.title() for word in EventType.Name(number).removeprefix("EVENT_TYPE_").split("_"))


def _number(name: str) -> EventType.ValueType:
    if not name.startswith("EVENT_TYPE_"):
        name = "EVENT_TYPE" + re.sub(r"([A-Z])", r"_\1", name).upper()
    return EventType.Value(name) if name in _NUMBERS else EventType.EVENT_TYPE_UNSPECIFIED
