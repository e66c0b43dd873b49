"""Task tokens: what a worker hands back to say which task it means. Opaque to it, versioned, and ours.

A token names the run, so that the request can be routed, and the attempt, so that a stale one is recognised. It proves
nothing: whoever may call the service may forge one. Easily got wrong: a token outlives the run's memory, so every
field is checked against the state again; here only the form is.
"""

from __future__ import annotations

from struct import Struct, error
from typing import TYPE_CHECKING, Final, NamedTuple

from perdure.model.ids import run_id_bytes, run_id_text
from perdure.model.rpc import RpcError, invalid_argument

if TYPE_CHECKING:
    from perdure.engine.core.state import Run

VERSION: Final = 1
WORKFLOW: Final = 1
ACTIVITY: Final = 2
_TOKEN: Final = Struct("<BB16sQQIHHH")


class TaskToken(NamedTuple):
    """A decoded token; `kind` is WORKFLOW or ACTIVITY, for an activity `activity_id` is set and `started_event_id` is its stamp."""

    kind: int
    namespace: str
    workflow_id: str
    run_id: str
    scheduled_event_id: int
    started_event_id: int
    attempt: int
    activity_id: str


def encode_token(
    kind: int,
    namespace: str,
    workflow_id: str,
    run_id: str,
    scheduled_event_id: int,
    started_event_id: int,
    attempt: int,
    activity_id: str = "",
) -> bytes:
    """The bytes of a token."""
    names = (namespace.encode(), workflow_id.encode(), activity_id.encode())
    raw = run_id_bytes(run_id)
    fixed = _TOKEN.pack(VERSION, kind, raw, scheduled_event_id, started_event_id, attempt, len(names[0]), len(names[1]), len(names[2]))
    return fixed + b"".join(names)


def token_of(run: Run, kind: int, scheduled_event_id: int, started_event_id: int, attempt: int, activity_id: str = "") -> bytes:
    """As `encode_token`, of a task of a run in memory."""
    namespace, workflow_id = run.token_names or _names(run)
    activity = activity_id.encode()
    fixed = _TOKEN.pack(
        VERSION, kind, run.run_id_bytes, scheduled_event_id, started_event_id, attempt, len(namespace), len(workflow_id), len(activity)
    )
    return fixed + namespace + workflow_id + activity


def _names(run: Run) -> tuple[bytes, bytes]:
    run.token_names = names = run.namespace.encode(), run.workflow_id.encode()
    return names


def token_run_id(data: bytes) -> str:
    """The id of the run that a token names; empty if it is no token. The rest is for others to check."""
    return run_id_text(data[2:18]) if len(data) >= _TOKEN.size else ""


def names_run(data: bytes, run: Run) -> bool:
    """Whether a token's other names are those of the run whose id it has."""
    namespace, workflow_id = run.token_names or _names(run)
    return data.startswith(namespace + workflow_id, _TOKEN.size)


def decode_token(data: bytes, kind: int) -> TaskToken:
    """What a token says.

    Raises:
        RpcError: InvalidArgument, for bytes that are no token of this kind.
    """
    if not data:
        raise invalid_argument("Task token not set on request.")
    try:
        version, found, raw, scheduled, started, attempt, namespace, workflow, activity = _TOKEN.unpack_from(data)
        if version != VERSION or found != kind or len(data) != _TOKEN.size + namespace + workflow + activity:
            raise _garbage()
        rest = data[_TOKEN.size :]
        names = rest[:namespace].decode(), rest[namespace : namespace + workflow].decode(), rest[namespace + workflow :].decode()
    except (error, UnicodeDecodeError):
        raise _garbage() from None
    return TaskToken(kind, names[0], names[1], run_id_text(raw), scheduled, started, attempt, names[2])


def token_attempt(data: bytes) -> tuple[int, int, int]:
    """Of an activity's token only the scheduled event id, the attempt and the stamp: the run is known already.

    Raises:
        RpcError: InvalidArgument, for bytes that are no token of an activity.
    """
    if len(data) < _TOKEN.size:
        decode_token(data, ACTIVITY)
    version, kind, _, scheduled, stamp, attempt, namespace, workflow, activity = _TOKEN.unpack_from(data)
    if version != VERSION or kind != ACTIVITY or len(data) != _TOKEN.size + namespace + workflow + activity:
        raise _garbage()
    return scheduled, attempt, stamp


def _garbage() -> RpcError:
    return invalid_argument("Error deserializing task token.")
