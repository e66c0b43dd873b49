"""What a ScheduleActivityTask command asks for: checked, defaulted, and written as the event (3.1, 3.2).

Writes ActivityTaskScheduled. Decides the four timeouts as they will hold. Knows the run's timeout and nothing else of it.

Easily got wrong: with only start_to_close given, the run timeout (0: none) becomes schedule_to_close and the missing
schedule_to_start; and every activity has a retry policy, the default one if none was sent.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes

from perdure.engine.core import codes, retry
from perdure.engine.core.limits import ID_BYTES_MAX
from perdure.engine.core.times import HUNDRED_YEARS, SECOND
from perdure.engine.core.transaction import Transaction


class Timeouts(NamedTuple):
    """The four, in nanoseconds; 0: none."""

    schedule_to_close: int
    schedule_to_start: int
    start_to_close: int
    heartbeat: int


def complaint(a: ScheduleActivityTaskCommandAttributes) -> str:
    """What is wrong with a command's names and retry policy; empty if nothing is."""
    activity_id, activity_type, queue = a.activity_id, a.activity_type.name, a.task_queue.name
    if not activity_id:
        return "ActivityId is not set on ScheduleActivityTaskCommand."
    if not activity_type:
        return f"ActivityType is not set on ScheduleActivityTaskCommand. ActivityId={activity_id}"
    if not queue:
        return f"TaskQueue is not set on ScheduleActivityTaskCommand. ActivityId={activity_id} ActivityType={activity_type}"
    if queue.startswith("/_sys/"):
        return f"TaskQueue name cannot start with the reserved prefix /_sys/. ActivityId={activity_id} ActivityType={activity_type}"
    if len(activity_id) + len(activity_type) + len(queue) > ID_BYTES_MAX // 4:
        for name, text in (("ActivityId", activity_id), ("ActivityType", activity_type), ("TaskQueue", queue)):
            if len(text.encode()) > ID_BYTES_MAX:
                return f"{name} on ScheduleActivityTaskCommand exceeds length limit. Length={len(text.encode())} Limit={ID_BYTES_MAX}"
    return retry.complaint(a.retry_policy) if a.HasField("retry_policy") else ""


def timeouts(a: ScheduleActivityTaskCommandAttributes, run_timeout: int) -> Timeouts | str:
    """The timeouts that will hold; or what is wrong with those that were sent."""
    close = _ns(a.schedule_to_close_timeout)
    to_start = _ns(a.schedule_to_start_timeout)
    start_to_close = _ns(a.start_to_close_timeout)
    heartbeat = _ns(a.heartbeat_timeout)
    if close < 0 or to_start < 0 or start_to_close < 0 or heartbeat < 0:
        return f"Invalid timeout on ScheduleActivityTaskCommand: it is negative. ActivityId={a.activity_id}"
    if close:
        to_start = min(to_start, close) if to_start else close
        start_to_close = min(start_to_close, close) if start_to_close else close
    elif start_to_close:
        close = run_timeout
        to_start = to_start or run_timeout
    else:
        return (
            "A valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand. "
            f"ActivityId={a.activity_id} ActivityType={a.activity_type.name}"
        )
    if run_timeout:
        close, to_start = min(close, run_timeout), min(to_start, run_timeout)
        start_to_close, heartbeat = min(start_to_close, run_timeout), min(heartbeat, run_timeout)
    return Timeouts(close, to_start, start_to_close, min(heartbeat, start_to_close))


def _ns(d: Duration) -> int:
    """Of a Duration, at most 100 years; -1 if either part is negative."""
    seconds, nanos = d.seconds, d.nanos
    if seconds < 0 or nanos < 0:
        return -1
    return min(seconds * SECOND + nanos, HUNDRED_YEARS)


def write_scheduled(tx: Transaction, command: Command, limits: Timeouts, completed_event_id: int) -> int:
    """Appends ActivityTaskScheduled; returns its id."""
    c = command.schedule_activity_task_command_attributes
    event = tx.event(codes.ACTIVITY_SCHEDULED)
    a = event.activity_task_scheduled_event_attributes
    a.activity_id = c.activity_id
    a.activity_type.name = c.activity_type.name
    queue = a.task_queue
    queue.name = c.task_queue.name
    queue.kind = codes.NORMAL_QUEUE
    if c.HasField("header"):
        a.header.CopyFrom(c.header)
    if c.HasField("input"):
        a.input.CopyFrom(c.input)
    d = a.schedule_to_close_timeout
    d.seconds, d.nanos = divmod(limits.schedule_to_close, SECOND)
    d = a.schedule_to_start_timeout
    d.seconds, d.nanos = divmod(limits.schedule_to_start, SECOND)
    d = a.start_to_close_timeout
    d.seconds, d.nanos = divmod(limits.start_to_close, SECOND)
    d = a.heartbeat_timeout
    d.seconds, d.nanos = divmod(limits.heartbeat, SECOND)
    a.workflow_task_completed_event_id = completed_event_id
    if c.HasField("retry_policy"):
        a.retry_policy.CopyFrom(c.retry_policy)
        retry.fill(a.retry_policy)
    else:
        a.retry_policy.CopyFrom(retry.DEFAULT_POLICY)
    if c.HasField("priority"):
        a.priority.CopyFrom(c.priority)
    if command.HasField("user_metadata"):
        event.user_metadata.CopyFrom(command.user_metadata)
    return tx.append(event)
