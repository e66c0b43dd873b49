"""What the history does not say of a pending activity: its row in the store, which opens with a format number.

State, attempt, times and holder of the attempt, last heartbeat, last failure. Whether its cancellation was requested, its
timeouts, its input and the rest are in the history. Easily got wrong: absent and empty heartbeat details differ.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure

if TYPE_CHECKING:
    from perdure.engine.core.pending import Activity

FORMAT: Final = 1
_ROW: Final = Struct("<BBIIqqqqIIII")


def activity_row(a: Activity) -> bytes:
    """What the history does not say of a pending activity, as `read_activity` takes it."""
    identity, request_id = a.identity.encode(), a.request_id.encode()
    details = a.heartbeat_details.SerializeToString() if a.heartbeat_details is not None else b""
    failure = a.last_failure.SerializeToString() if a.last_failure is not None else b""
    fixed = _ROW.pack(
        FORMAT,
        a.state | (a.in_process << 2) | ((a.heartbeat_details is not None) << 3) | ((a.last_failure is not None) << 4),
        a.attempt,
        a.incarnation,
        a.scheduled_time,
        a.started_time,
        a.heartbeat_time,
        a.last_completed_time,
        len(identity),
        len(request_id),
        len(details),
        len(failure),
    )
    return b"".join((fixed, identity, request_id, details, failure))


def read_activity(a: Activity, data: bytes) -> None:
    """Puts a row's facts into an activity as the fold made it."""
    fixed = _ROW.unpack_from(data)
    if fixed[0] != FORMAT:
        raise ValueError(f"the row of an activity has format {fixed[0]}; this perdure reads {FORMAT}")
    flags, a.attempt, a.incarnation, a.scheduled_time, a.started_time, a.heartbeat_time, a.last_completed_time = fixed[1:8]
    a.state = flags & 3
    a.in_process = bool(flags & 4)
    at = _ROW.size
    identity, request_id, details, failure = fixed[8:]
    a.identity = data[at : at + identity].decode()
    at += identity
    a.request_id = data[at : at + request_id].decode()
    at += request_id
    a.heartbeat_details = Payloads.FromString(data[at : at + details]) if flags & 8 else None
    at += details
    a.last_failure = Failure.FromString(data[at : at + failure]) if flags & 16 else None
