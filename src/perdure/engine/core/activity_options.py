"""What a ScheduleActivityTask command asks for: checked, defaulted, and written as the event (3.1, 3.2).

Writes ActivityTaskScheduled. Decides the four timeouts as they will hold. Knows the run's timeout and nothing else of it.

Easily got wrong: with only start_to_close given, the run timeout (0: none) becomes schedule_to_close and the missing
schedule_to_start; and every activity has a retry policy, the default one if none was sent.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes
from temporalio.api.history.v1 import HistoryEvent

from perdure.engine.core import codes, retry
from perdure.engine.core.apply import activity_scheduled
from perdure.engine.core.limits import ID_BYTES_MAX, RESERVED_QUEUES, priority_complaint, too_long
from perdure.engine.core.pending import Shared
from perdure.engine.core.responses import shared_part
from perdure.engine.core.times import HUNDRED_YEARS, SECOND, set_ns
from perdure.engine.core.transaction import Transaction, annotate


class Timeouts(NamedTuple):
    """The four, in nanoseconds; 0: none."""

    schedule_to_close: int
    schedule_to_start: int
    start_to_close: int
    heartbeat: int


class Options(NamedTuple):
    """What activities have in common that are scheduled alike: checked once, and copied into each event."""

    complaint: str
    """What is wrong with them; empty if nothing is."""
    template: bytes
    """The event, encoded, as far as they say it."""
    shared: Shared


_Key: TypeAlias = tuple[str, str, int, int, int, int, bytes, bytes, bool, int]
KNOWN_MAX: Final = 512
"""So many different options are remembered, of the whole process; beyond, all are forgotten and learnt again."""
_known: dict[_Key, Options] = {}


def options(a: ScheduleActivityTaskCommandAttributes, run_timeout: int) -> Options:
    """The options that a command asks for, in a run with this timeout (ns; 0: none)."""
    has = a.HasField
    key = (
        a.activity_type.name,
        a.task_queue.name,
        sent_ns(a.schedule_to_close_timeout) if has("schedule_to_close_timeout") else 0,
        sent_ns(a.schedule_to_start_timeout) if has("schedule_to_start_timeout") else 0,
        sent_ns(a.start_to_close_timeout) if has("start_to_close_timeout") else 0,
        sent_ns(a.heartbeat_timeout) if has("heartbeat_timeout") else 0,
        a.retry_policy.SerializeToString() if has("retry_policy") else b"",
        a.priority.SerializeToString() if has("priority") else b"",
        a.use_workflow_build_id,
        run_timeout,
    )
    known = _known.get(key)
    if known is None:
        if len(_known) >= KNOWN_MAX:
            _known.clear()
        known = _known[key] = _make(a, key, run_timeout)
    return known


def _make(a: ScheduleActivityTaskCommandAttributes, key: _Key, run_timeout: int) -> Options:
    wrong = complaint(a)
    spans = timeouts(Timeouts(*key[2:6]), run_timeout)
    if wrong or isinstance(spans, str):
        return Options(wrong or str(spans), b"", Shared("", "", 0, 0, 0, 0, b""))
    template = _template(a, spans)
    response_part = shared_part(template.activity_task_scheduled_event_attributes)
    return Options("", template.SerializeToString(), Shared(key[0], key[1], *spans, response_part))


def complaint(a: ScheduleActivityTaskCommandAttributes) -> str:
    """What is wrong with a command's names (but for the activity's id) and retry policy; empty if nothing is."""
    activity_type, queue = a.activity_type.name, a.task_queue.name
    if not activity_type:
        return "ActivityType is not set on ScheduleActivityTaskCommand."
    if not queue:
        return f"TaskQueue is not set on ScheduleActivityTaskCommand. ActivityType={activity_type}"
    if queue.startswith(RESERVED_QUEUES):
        return f"TaskQueue name cannot start with the reserved prefix {RESERVED_QUEUES}. ActivityType={activity_type}"
    for name, text in (("ActivityType", activity_type), ("TaskQueue", queue)):
        if too_long(text):
            return f"{name} on ScheduleActivityTaskCommand exceeds length limit. Length={len(text.encode())} Limit={ID_BYTES_MAX}"
    wrong = priority_complaint(a.priority) if a.HasField("priority") else ""
    return wrong or (retry.complaint(a.retry_policy) if a.HasField("retry_policy") else "")


def timeouts(sent: Timeouts, run_timeout: int) -> Timeouts | str:
    """The timeouts that will hold; or what is wrong with those that were sent."""
    close, to_start, start_to_close, heartbeat = sent
    if min(sent) < 0:
        return "Invalid timeout on ScheduleActivityTaskCommand: it is negative."
    if close:
        to_start = min(to_start, close) if to_start else close
        start_to_close = min(start_to_close, close) if start_to_close else close
    elif start_to_close:
        close = run_timeout
        to_start = to_start or run_timeout
    else:
        return "A valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand."
    if run_timeout:
        close, to_start = min(close, run_timeout), min(to_start, run_timeout)
        start_to_close, heartbeat = min(start_to_close, run_timeout), min(heartbeat, run_timeout)
    return Timeouts(close, to_start, start_to_close, min(heartbeat, start_to_close))


def sent_ns(d: Duration) -> int:
    """Nanoseconds of a Duration as it was sent, at most 100 years; -1 if either part is negative."""
    seconds, nanos = d.seconds, d.nanos
    if seconds < 0 or nanos < 0:
        return -1
    return min(seconds * SECOND + nanos, HUNDRED_YEARS)


def _template(c: ScheduleActivityTaskCommandAttributes, spans: Timeouts) -> HistoryEvent:
    event = HistoryEvent()
    event.event_type = codes.ACTIVITY_SCHEDULED
    a = event.activity_task_scheduled_event_attributes
    a.activity_type.name = c.activity_type.name
    a.task_queue.name = c.task_queue.name
    a.task_queue.kind = codes.NORMAL_QUEUE
    set_ns(a.schedule_to_close_timeout, spans.schedule_to_close)
    set_ns(a.schedule_to_start_timeout, spans.schedule_to_start)
    set_ns(a.start_to_close_timeout, spans.start_to_close)
    set_ns(a.heartbeat_timeout, spans.heartbeat)
    a.retry_policy.CopyFrom(c.retry_policy)
    retry.fill(a.retry_policy)
    if c.HasField("priority"):
        a.priority.CopyFrom(c.priority)
    a.use_workflow_build_id = c.use_workflow_build_id
    return event


def write_scheduled(tx: Transaction, command: Command, known: Options, completed_event_id: int) -> None:
    """Appends ActivityTaskScheduled; what is pending now is ready."""
    c = command.schedule_activity_task_command_attributes
    event = tx.event_like(known.template)
    a = event.activity_task_scheduled_event_attributes
    a.activity_id = c.activity_id
    a.workflow_task_completed_event_id = completed_event_id
    has = c.HasField
    if has("header"):
        a.header.CopyFrom(c.header)
    if has("input"):
        a.input.CopyFrom(c.input)
    annotate(event, command)
    tx.number(event)
    activity = activity_scheduled(tx.run, event, known.shared)
    tx.ready.append(activity)
    if c.request_eager_execution:
        tx.eager.append(activity)
