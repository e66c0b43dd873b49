"""What each setting of a worker may be: one check for each field, which returns the value in its kept form or says what is wrong."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from perdure.model.errors import ConfigError

__all__ = ["ALIASES", "CHECKS", "unknown_field"]

SLOTS_MAX = 10_000
"""Each slot is an asyncio task; more of them than this is a mistake of units."""
SECONDS_MAX = 10 * 365 * 86_400.0

ALIASES: dict[str, str] = {
    "max_concurrent_workflow_executions": "max_concurrent_workflow_tasks",
    "max_concurrent_activity_executions": "max_concurrent_activity_tasks",
}
"""Other names that are accepted."""

_FOREIGN: dict[str, str] = {
    "max_concurrent_activities": "max_concurrent_activity_tasks",
    "max_concurrent_workflows": "max_concurrent_workflow_tasks",
    "max_concurrent_workflow_task_executions": "max_concurrent_workflow_tasks",
    "max_concurrent_activity_task_executions": "max_concurrent_activity_tasks",
    "max_concurrent_workflow_task_polls": "max_concurrent_polls",
    "max_concurrent_activity_task_polls": "max_concurrent_polls",
    "sticky_queue_schedule_to_start_timeout": "sticky_schedule_to_start_timeout",
    "shutdown_timeout": "graceful_shutdown_timeout",
    "queue": "task_queue",
    "taskqueue": "task_queue",
    "cache_size": "max_cached_workflows",
}
"""Names from other SDKs, answered with ours."""

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", re.ASCII)
_UNIT = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def bad(field: str, value: object, expected: str) -> ConfigError:
    """The error for a value that cannot work."""
    return ConfigError(f"{field} must be {expected}, not {value!r}.", field=field)


def unknown_field(name: str) -> ConfigError:
    """The error for a field that does not exist, naming the one that was probably meant."""
    meant = _FOREIGN.get(name.lower())
    if meant is None:
        near = difflib.get_close_matches(name.lower(), list(CHECKS) + list(ALIASES), n=1, cutoff=0.6)
        meant = near[0] if near else None
    remedy = f'did you mean "{meant}"?' if meant else "the fields are: " + ", ".join(sorted(CHECKS)) + "."
    return ConfigError(f'A worker has no setting "{name}": {remedy}', field=name)


def _whole(minimum: int, maximum: int) -> Callable[[str, Any], int]:
    def check(field: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise bad(field, value, f"a whole number from {minimum} to {maximum}")
        return value

    return check


def _seconds(*, zero: bool) -> Callable[[str, Any], float]:
    expected = f"a duration in seconds or a timedelta, {'0 or more' if zero else 'more than 0'}"

    def check(field: str, value: Any) -> float:
        seconds = _as_seconds(value)
        if seconds is None or not math.isfinite(seconds) or seconds < 0 or (seconds == 0 and not zero) or seconds > SECONDS_MAX:
            raise bad(field, value, expected)
        return seconds

    return check


def _as_seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        return float(match[1]) * _UNIT[match[2]]
    return None


def _optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda field, value: None if value is None else check(field, value)


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise bad(field, value, "True or False")
    return value


def _queue_name(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value.encode()) > 1000:
        raise bad(field, value, 'a name of 1 to 1000 bytes, for example "orders"')
    if value.startswith("/_sys/"):
        raise bad(field, value, 'a name that does not begin with "/_sys/", which is reserved')
    return value


def _tags(field: str, value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise bad(field, value, 'a mapping of text to text, for example {"team": "orders"}')
    items: dict[Any, Any] = dict(value)  # pyright: ignore[reportUnknownArgumentType]
    for key, tag in items.items():
        if not isinstance(key, str) or not key or not isinstance(tag, str):
            raise bad(field, {key: tag}, 'a mapping of text to text, for example {"team": "orders"}')
    return items


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "task_queue": _queue_name,
    "max_concurrent_workflow_tasks": _whole(0, SLOTS_MAX),
    "max_concurrent_activity_tasks": _whole(0, SLOTS_MAX),
    "max_concurrent_polls": _whole(1, SLOTS_MAX),
    "max_cpu_bound_processes": _optional(_whole(1, 1024)),
    "workflow_poll_timeout": _seconds(zero=False),
    "activity_poll_timeout": _seconds(zero=False),
    "poll_interval": _seconds(zero=False),
    "poll_error_backoff": _seconds(zero=False),
    "poll_error_backoff_max": _seconds(zero=False),
    "task_queue_size": _whole(0, SLOTS_MAX),
    "max_cached_workflows": _whole(0, 10_000_000),
    "sticky_schedule_to_start_timeout": _seconds(zero=False),
    "default_start_to_close_timeout": _optional(_seconds(zero=False)),
    "graceful_shutdown_timeout": _seconds(zero=True),
    "max_heartbeat_throttle_interval": _seconds(zero=True),
    "default_heartbeat_throttle_interval": _seconds(zero=True),
    "stall_threshold": _seconds(zero=True),
    "replay_after_every_task": _flag,
    "enable_metrics": _flag,
    "enable_tracing": _flag,
    "tags": _tags,
}
"""The fields of a worker's configuration and what checks them, in the order of `WorkerConfig`."""
