"""Wrong names answered with the right one: names of other libraries by a table, misspellings by likeness."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from perdure.model.errors import UnknownName, UsageError

__all__ = ["missing_attribute", "right_name", "unknown_option"]

# What people type who come from Temporal, Celery, tenacity, Prefect, DBOS or requests, and what it is called here.
_OPTIONS: Mapping[str, str] = {
    "max_attempts": "retry_policy=RetryPolicy(maximum_attempts=…)",
    "maximum_attempts": "retry_policy=RetryPolicy(maximum_attempts=…)",
    "retries": "retry_policy=RetryPolicy(maximum_attempts=…), which counts the first attempt too",
    "max_retries": "retry_policy=RetryPolicy(maximum_attempts=…), which counts the first attempt too",
    "retry": "retry_policy=RetryPolicy(…)",
    "retry_options": "retry_policy=RetryPolicy(…)",
    "retry_delay": "retry_policy=RetryPolicy(initial_interval=…)",
    "retry_backoff": "retry_policy=RetryPolicy(backoff_coefficient=…)",
    "backoff": "retry_policy=RetryPolicy(backoff_coefficient=…)",
    "initial_interval": "retry_policy=RetryPolicy(initial_interval=…)",
    "non_retryable_errors": "retry_policy=RetryPolicy(non_retryable_error_types=[…])",
    "non_retryable_error_types": "retry_policy=RetryPolicy(non_retryable_error_types=[…])",
    "timeout": "start_to_close_timeout=… (of one attempt) or schedule_to_close_timeout=… (of all attempts)",
    "timeout_seconds": "start_to_close_timeout=… (of one attempt) or schedule_to_close_timeout=… (of all attempts)",
    "heartbeat": "heartbeat_timeout=…",
    "queue": "task_queue=…",
    "task_queue_name": "task_queue=…",
    "workflow_id": "id=…",
    "id_conflict": "id_conflict_policy=…",
    "id_reuse": "id_reuse_policy=…",
    "workflow_id_reuse_policy": "id_reuse_policy=…",
    "workflow_id_conflict_policy": "id_conflict_policy=…",
    "cron": "cron_schedule=…",
    "delay": "start_delay=…",
    "args": "the arguments themselves, one after the other, before the options",
    "arg": "the argument itself, before the options",
    "input": "the argument itself, before the options",
}
_RETRY: Mapping[str, str] = {
    "max_attempts": "maximum_attempts=…",
    "attempts": "maximum_attempts=…",
    "stop_after_attempt": "maximum_attempts=…",
    "retries": "maximum_attempts=…, which counts the first attempt too",
    "max_retries": "maximum_attempts=…, which counts the first attempt too",
    "backoff": "backoff_coefficient=…",
    "multiplier": "backoff_coefficient=…",
    "max_interval": "maximum_interval=…",
    "initial_delay": "initial_interval=…",
    "delay": "initial_interval=…",
    "non_retryable_errors": "non_retryable_error_types=[…]",
    "non_retryable": "non_retryable_error_types=[…]",
}
_WORKFLOW_TIMEOUT: Mapping[str, str] = {
    "timeout": "execution_timeout=… (over retries and continue-as-new) or run_timeout=… (of one run)",
    "start_to_close_timeout": "run_timeout=… (a workflow's run; start_to_close_timeout is an activity's)",
    "schedule_to_close_timeout": "execution_timeout=… (a workflow's; schedule_to_close_timeout is an activity's)",
    "workflow_execution_timeout": "execution_timeout=…",
    "workflow_run_timeout": "run_timeout=…",
    "workflow_task_timeout": "task_timeout=…",
}
FOREIGN: Mapping[str, Mapping[str, str]] = {"activity": _OPTIONS, "retry": _RETRY, "workflow": {**_OPTIONS, **_WORKFLOW_TIMEOUT}}


def right_name(name: str, known: Iterable[str], foreign: Mapping[str, str] | None = None) -> str:
    """`; did you mean …?` for the known name that is meant, or the empty string when nothing is close."""
    if foreign is not None and name in foreign:
        return f"; {foreign[name]}" if foreign[name].startswith("leave it out") else f"; say {foreign[name]}"
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_option(where: str, names: Iterable[str], known: Iterable[str], kind: str = "activity") -> UsageError:
    """The error for options that `where` does not have."""
    known = sorted(known)
    name = next(iter(names))
    remedy = right_name(name, known, FOREIGN.get(kind)) or f"; it has {', '.join(known)}"
    return UsageError(f"{where} has no option {name!r}{remedy}")


def missing_attribute(where: str, name: str, known: Iterable[str], foreign: Mapping[str, str] | None = None) -> AttributeError:
    """The error for an attribute that `where` does not have: an AttributeError, so that `hasattr` works."""
    return UnknownName(f"{where} has no {name!r}{right_name(name, known, foreign)}")
