"""Options of activities and workflows: frozen dataclasses to keep, `TypedDict`s of the same names for keyword arguments.

Durations are seconds or `timedelta`. A wrong name or value is refused when the options are made, in the user's words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypedDict, TypeVar, cast

import temporalio.common
from temporalio.common import Priority, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from perdure.model.durations import Duration, set_duration, to_ns, to_seconds
from perdure.model.errors import UsageError
from perdure.model.names import check_name
from perdure.model.retry import RetryPolicy
from perdure.model.suggestions import unknown_option

__all__ = [
    "ActivityOptions",
    "ActivityOptionsDict",
    "CancellationType",
    "ChildWorkflowOptions",
    "ChildWorkflowOptionsDict",
    "Duration",
    "ParentClosePolicy",
    "Priority",
    "QueryRejectCondition",
    "RetryPolicy",
    "SearchAttributeKey",
    "SearchAttributePair",
    "StartWorkflowOptions",
    "StartWorkflowOptionsDict",
    "TypedSearchAttributes",
    "WorkflowIdConflictPolicy",
    "WorkflowIdReusePolicy",
    "check_names",
    "set_duration",
    "to_ns",
    "to_seconds",
]


class WorkflowIdReusePolicy(IntEnum):
    """Whether an id may be used again when its last workflow is *closed*. Temporal's numbers."""

    ALLOW_DUPLICATE = 1
    """Yes, however it ended (the default)."""
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    """Only when it failed, timed out, was cancelled or terminated."""
    REJECT_DUPLICATE = 3
    """No."""
    TERMINATE_IF_RUNNING = 4
    """Temporal's old name for ALLOW_DUPLICATE with WorkflowIdConflictPolicy.TERMINATE_EXISTING."""


class WorkflowIdConflictPolicy(IntEnum):
    """What to do when a workflow with the id is *running*. Temporal's numbers."""

    FAIL = 1
    """Raise WorkflowAlreadyStarted (the default)."""
    USE_EXISTING = 2
    """Give a handle to the one that runs."""
    TERMINATE_EXISTING = 3
    """Terminate it, then start the new one."""


class QueryRejectCondition(IntEnum):
    """For which workflows a query is not to be answered. Temporal's numbers."""

    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class CancellationType(IntEnum):
    """How a workflow cancels an activity. Temporal's numbers."""

    TRY_CANCEL = 0
    """Ask the activity to stop and go on at once (the default)."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask it, and wait until it has ended."""
    ABANDON = 2
    """Do not tell it; go on at once."""


class ParentClosePolicy(IntEnum):
    """What becomes of a child workflow when its parent ends. Temporal's numbers."""

    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3


class ActivityOptionsDict(TypedDict, total=False):
    """`ActivityOptions` as keyword arguments."""

    start_to_close_timeout: Duration | None
    schedule_to_close_timeout: Duration | None
    schedule_to_start_timeout: Duration | None
    heartbeat_timeout: Duration | None
    retry_policy: temporalio.common.RetryPolicy | None
    task_queue: str | None
    cancellation_type: CancellationType
    activity_id: str | None
    priority: Priority | None
    summary: str | None


class StartWorkflowOptionsDict(TypedDict, total=False):
    """`StartWorkflowOptions` as keyword arguments."""

    task_queue: str
    execution_timeout: Duration | None
    run_timeout: Duration | None
    task_timeout: Duration | None
    id_reuse_policy: WorkflowIdReusePolicy | None
    id_conflict_policy: WorkflowIdConflictPolicy | None
    retry_policy: temporalio.common.RetryPolicy | None
    cron_schedule: str
    start_delay: Duration | None
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | Sequence[SearchAttributePair[Any]] | None
    priority: Priority | None
    static_summary: str | None
    static_details: str | None
    request_id: str | None


class ChildWorkflowOptionsDict(TypedDict, total=False):
    """`ChildWorkflowOptions` as keyword arguments."""

    task_queue: str | None
    execution_timeout: Duration | None
    run_timeout: Duration | None
    task_timeout: Duration | None
    id_reuse_policy: WorkflowIdReusePolicy | None
    retry_policy: temporalio.common.RetryPolicy | None
    cron_schedule: str
    parent_close_policy: ParentClosePolicy
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | Sequence[SearchAttributePair[Any]] | None
    priority: Priority | None
    static_summary: str | None
    static_details: str | None


_OptionsT = TypeVar("_OptionsT", bound="_Options")


class _Options:
    """Checked on creation; `merged` gives a copy with other values."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, check in _CHECKS_OF[type(self)]:
            if (value := getattr(self, name)) is not None:
                check(value, name)

    def merged(self: _OptionsT, overrides: Mapping[str, Any]) -> _OptionsT:
        """These options with `overrides` in place of some; UsageError for a name that does not exist."""
        if not overrides:
            return self
        check_names(type(self).__name__, overrides, type(self))
        return type(self)(**{name: getattr(self, name) for name in _NAMES[type(self)]} | dict(overrides))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityOptions(_Options):
    """How an activity is run. `ActivityOptions()` is valid.

    Without `start_to_close_timeout` (the time of one attempt) the activity's own holds, else the worker's, else 10 minutes.
    """

    start_to_close_timeout: Duration | None = None
    schedule_to_close_timeout: Duration | None = None
    schedule_to_start_timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    retry_policy: temporalio.common.RetryPolicy | None = None
    task_queue: str | None = None
    cancellation_type: CancellationType = CancellationType.TRY_CANCEL
    activity_id: str | None = None
    priority: Priority | None = None
    summary: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWorkflowOptions(_Options):
    """How a workflow is started. `request_id` makes a repeated start the same start; one is made up when it is not given."""

    task_queue: str = "default"
    execution_timeout: Duration | None = None
    run_timeout: Duration | None = None
    task_timeout: Duration | None = None
    id_reuse_policy: WorkflowIdReusePolicy | None = None
    id_conflict_policy: WorkflowIdConflictPolicy | None = None
    retry_policy: temporalio.common.RetryPolicy | None = None
    cron_schedule: str = ""
    start_delay: Duration | None = None
    memo: Mapping[str, Any] | None = None
    search_attributes: TypedSearchAttributes | Sequence[SearchAttributePair[Any]] | None = None
    priority: Priority | None = None
    static_summary: str | None = None
    static_details: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildWorkflowOptions(_Options):
    """How a workflow starts a child workflow. The task queue is the parent's unless given."""

    task_queue: str | None = None
    execution_timeout: Duration | None = None
    run_timeout: Duration | None = None
    task_timeout: Duration | None = None
    id_reuse_policy: WorkflowIdReusePolicy | None = None
    retry_policy: temporalio.common.RetryPolicy | None = None
    cron_schedule: str = ""
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE
    memo: Mapping[str, Any] | None = None
    search_attributes: TypedSearchAttributes | Sequence[SearchAttributePair[Any]] | None = None
    priority: Priority | None = None
    static_summary: str | None = None
    static_details: str | None = None


def _check_enum(kind: type[IntEnum]) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        if not isinstance(value, kind):
            raise UsageError(f"{name} is {value!r}; give one of {', '.join(f'{kind.__name__}.{each.name}' for each in kind)}")

    return check


def _check_memo(memo: Any, name: str) -> None:
    given: Any = memo
    if not isinstance(memo, Mapping) or not all(isinstance(key, str) for key in given):
        raise UsageError(f"{name} is {memo!r}; give a dict with strings as keys")


def _check_search_attributes(given: Any, name: str) -> None:
    if isinstance(given, TypedSearchAttributes):
        return
    if not isinstance(given, list | tuple) or not all(isinstance(each, SearchAttributePair) for each in cast("list[Any]", given)):
        raise UsageError(f"{name} is {given!r}; give pairs, as in [SearchAttributePair(SearchAttributeKey.for_keyword('customer'), 'c-1')]")


def _check_text(text: Any, name: str) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{name} is {text!r}; give a string")


def _check_policy(policy: Any, name: str) -> None:
    if not isinstance(policy, temporalio.common.RetryPolicy):
        raise UsageError(f"{name} is {policy!r}; give a RetryPolicy, as in retry_policy=RetryPolicy(maximum_attempts=3)")


def _check_time(duration: Any, name: str) -> None:
    if not duration:
        raise UsageError(f"{name} is {duration!r}; give the seconds that one attempt may take, or leave it out")


def _check_priority(priority: Any, name: str) -> None:
    if not isinstance(priority, Priority):
        raise UsageError(f"{name} is {priority!r}; give a Priority, as in Priority(priority_key=1)")


_CHECKS: Mapping[str, Callable[[Any, str], object]] = {
    "retry_policy": _check_policy,
    "start_to_close_timeout": _check_time,
    "task_queue": lambda name, what: check_name(name, what, 'task_queue="orders"'),
    "activity_id": lambda name, what: check_name(name, what, 'activity_id="charge"'),
    "request_id": lambda name, what: check_name(name, what, "request_id=str(message.id)"),
    "id_reuse_policy": _check_enum(WorkflowIdReusePolicy),
    "id_conflict_policy": _check_enum(WorkflowIdConflictPolicy),
    "cancellation_type": _check_enum(CancellationType),
    "parent_close_policy": _check_enum(ParentClosePolicy),
    "memo": _check_memo,
    "search_attributes": _check_search_attributes,
    "priority": _check_priority,
    "cron_schedule": _check_text,
    "static_summary": _check_text,
    "static_details": _check_text,
    "summary": _check_text,
}


_WORKFLOW_DURATIONS = ("execution_timeout", "run_timeout", "task_timeout")
_DURATIONS: Mapping[type, tuple[str, ...]] = {
    ActivityOptions: ("start_to_close_timeout", "schedule_to_close_timeout", "schedule_to_start_timeout", "heartbeat_timeout"),
    StartWorkflowOptions: (*_WORKFLOW_DURATIONS, "start_delay"),
    ChildWorkflowOptions: _WORKFLOW_DURATIONS,
}
_NAMES: Mapping[type, frozenset[str]] = {each: frozenset(f.name for f in dataclasses.fields(each)) for each in _DURATIONS}
_CHECKS_OF: Mapping[type, Sequence[tuple[str, Callable[[Any, str], object]]]] = {
    each: [*((name, to_ns) for name in durations), *((name, check) for name, check in _CHECKS.items() if name in _NAMES[each])]
    for each, durations in _DURATIONS.items()
}


def check_names(where: str, given: Mapping[str, Any], options: type[_Options], *, also: frozenset[str] = frozenset()) -> None:
    """UsageError, with the right name, for the first of `given` that `options` does not have."""
    if given.keys() <= _NAMES[options]:
        return
    unknown = given.keys() - _NAMES[options] - also
    if unknown:
        kind = "activity" if options is ActivityOptions else "workflow"
        raise unknown_option(where, sorted(unknown), _NAMES[options] | also, kind)


def _refuse_unknown_names(options: type[_Options]) -> None:
    """Makes the generated constructor answer a wrong name with the right one."""
    generated = options.__init__

    def __init__(self: _Options, *args: Any, **given: Any) -> None:  # noqa: N807
        check_names(options.__name__, given, options)
        generated(self, *args, **given)

    setattr(options, "__init__", __init__)  # noqa: B010 - type checkers keep the generated signature


for _each in _DURATIONS:
    _refuse_unknown_names(_each)
