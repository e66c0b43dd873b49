"""From an activity's options to the command that schedules it.

Most calls of an activity carry the same options, so that the message without id and input is built once and kept in its bytes:
parsing them costs a fraction of filling it each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from temporalio.api.command.v1.message_pb2 import Command as CommandMessage
from temporalio.api.enums.v1.command_type_pb2 import CommandType

from perdure.model.conversion import DataConverter
from perdure.model.durations import Duration, set_duration
from perdure.model.options import ActivityOptions

DEFAULT_START_TO_CLOSE_SECONDS = 600
# Distinct (activity, queue, options) kept; at the bound all are dropped and built again as they are needed.
TEMPLATES_MAX = 4096


class Template(NamedTuple):
    """A command without id and input, and how the activity is cancelled."""

    message: bytes
    activity_id: str | None
    cancellation_type: int
    options: ActivityOptions  # kept alive: its identity is part of the key


_templates: dict[Any, Template] = {}
# An object's identity, as a number. `id()` would do, but Python audits it, and the guard's hook would be called each time.
_identity = object.__hash__


def template_for(
    name: str,
    defaults: ActivityOptions,
    overrides: Mapping[str, Any],
    task_queue: str,
    worker_default: Duration | None,
    converter: DataConverter,
) -> Template:
    """The template for an activity called with `overrides` over its own `defaults`."""
    key: Any = (name, task_queue, worker_default, _identity(defaults), *overrides.items())
    try:
        found = _templates.get(key)
    except TypeError:  # an option that does not hash (a retry policy): built each time
        return _build(name, defaults, defaults.merged(overrides), task_queue, worker_default, converter)
    if found is None:
        if len(_templates) >= TEMPLATES_MAX:
            _templates.clear()
        found = _templates[key] = _build(name, defaults, defaults.merged(overrides), task_queue, worker_default, converter)
    return found


def _build(
    name: str,
    defaults: ActivityOptions,
    options: ActivityOptions,
    task_queue: str,
    worker_default: Duration | None,
    converter: DataConverter,
) -> Template:
    message = CommandMessage()
    message.command_type = CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK
    attributes = message.schedule_activity_task_command_attributes
    attributes.activity_type.name = name
    attributes.task_queue.name = options.task_queue or task_queue
    start_to_close = options.start_to_close_timeout
    if start_to_close is None and options.schedule_to_close_timeout is None:
        start_to_close = DEFAULT_START_TO_CLOSE_SECONDS if worker_default is None else worker_default
    for field, value in (
        (attributes.start_to_close_timeout, start_to_close),
        (attributes.schedule_to_close_timeout, options.schedule_to_close_timeout),
        (attributes.schedule_to_start_timeout, options.schedule_to_start_timeout),
        (attributes.heartbeat_timeout, options.heartbeat_timeout),
    ):
        if value is not None:
            set_duration(field, value)
    if options.retry_policy is not None:
        options.retry_policy.apply_to_proto(attributes.retry_policy)
    if options.priority is not None:
        attributes.priority.CopyFrom(options.priority._to_proto())
    if options.summary is not None:
        message.user_metadata.summary.CopyFrom(converter.to_payload(options.summary))
    return Template(message.SerializeToString(), options.activity_id, int(options.cancellation_type), defaults)
