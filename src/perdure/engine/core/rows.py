"""What the history does not say of a pending activity: its row in the store, which opens with a format number.

State, attempt, times and holder of the attempt, last heartbeat, last failure; what operators did to it, if they did.
Whether its cancellation was requested, its timeouts, its input and the rest are in the history. Easily got wrong: absent
and empty heartbeat details differ.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure

from perdure.engine.core.interventions import Intervention, Pause

if TYPE_CHECKING:
    from perdure.engine.core.pending import Activity

FORMAT: Final = 1
_INTERVENTION: Final = Struct("<BIqHHHI")
_PAUSED: Final = 1
_RESET: Final = 2
_RESET_HEARTBEATS: Final = 4
_OPTIONS: Final = 8
_ROW: Final = Struct("<BBIIqqqqIIII")


def activity_row(a: Activity) -> bytes:
    """What the history does not say of a pending activity, as `read_activity` takes it."""
    identity, request_id = a.identity.encode(), a.request_id.encode()
    details = a.heartbeat_details.SerializeToString() if a.heartbeat_details is not None else b""
    failure = a.last_failure.SerializeToString() if a.last_failure is not None else b""
    flags = a.state | (a.in_process << 2) | ((a.heartbeat_details is not None) << 3) | ((a.last_failure is not None) << 4)
    rest = b""
    if a.intervention is not None:
        flags |= 32
        rest = _intervention(a.intervention)
    fixed = _ROW.pack(
        FORMAT,
        flags,
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
    return b"".join((fixed, identity, request_id, details, failure, rest))


def _intervention(i: Intervention) -> bytes:
    pause = i.pause
    texts = (b"", b"", b"") if pause is None else (pause.identity.encode(), pause.reason.encode(), pause.request_id.encode())
    options = b"" if i.options is None else i.options.SerializeToString()
    flags = (_PAUSED if pause is not None else 0) | (_RESET if i.reset else 0) | (_RESET_HEARTBEATS if i.reset_heartbeats else 0)
    flags |= _OPTIONS if i.options is not None else 0
    fixed = _INTERVENTION.pack(flags, i.stamp, 0 if pause is None else pause.time, *map(len, texts), len(options))
    return b"".join((fixed, *texts, options))


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
    if flags & 32:
        _read_intervention(a, data, at + failure)


def _read_intervention(a: Activity, data: bytes, at: int) -> None:
    flags, stamp, time, identity, reason, request_id, options = _INTERVENTION.unpack_from(data, at)
    at += _INTERVENTION.size
    i = a.intervene()
    if flags & _PAUSED:
        ends = at + identity, at + identity + reason
        i.pause = Pause(time, data[at : ends[0]].decode(), data[ends[0] : ends[1]].decode(), data[ends[1] : ends[1] + request_id].decode())
    at += identity + reason + request_id
    i.reset, i.reset_heartbeats = bool(flags & _RESET), bool(flags & _RESET_HEARTBEATS)
    i.stamp = stamp
    if flags & _OPTIONS:
        a.override(ActivityOptions.FromString(data[at : at + options]))
