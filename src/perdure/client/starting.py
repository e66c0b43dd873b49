"""Start requests: what the user gave, checked in the user's words, as the message that starts a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, NamedTuple

from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.converter import encode_search_attributes

from perdure.client.calls import Caller, checked_id
from perdure.model.conversion import DataConverter
from perdure.model.definitions import workflow_definition
from perdure.model.durations import set_duration
from perdure.model.errors import UsageError
from perdure.model.ids import uuid4_text
from perdure.model.options import StartWorkflowOptions, TypedSearchAttributes, WorkflowIdConflictPolicy, WorkflowIdReusePolicy

__all__ = ["Target", "Template", "Templates", "fill", "target_of"]

StartMessage = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest
_DEFAULT = StartWorkflowOptions()
_REJECT_DUPLICATE: Any = int(WorkflowIdReusePolicy.REJECT_DUPLICATE)
_USE_EXISTING: Any = int(WorkflowIdConflictPolicy.USE_EXISTING)


class Target(NamedTuple):
    """Which workflow is meant: its type's name, the type of its result (None: unknown), its arguments as an encoded `Payloads`."""

    name: str
    result_type: Any
    input: bytes


def target_of(workflow: Any, args: Sequence[Any], result_type: Any, converter: DataConverter) -> Target:
    """Resolves a workflow function, class or type name; UsageError or InvalidInput when the arguments do not fit."""
    if isinstance(workflow, str):
        if not workflow:
            raise UsageError("the workflow's name is empty; give the workflow itself, or its type's name")
        return Target(workflow, result_type, converter.encode_arguments(args, (), f"workflow {workflow}"))
    definition = workflow_definition(workflow)
    definition.shape.check_count(len(args))
    encoded = converter.encode_arguments(args, definition.arg_names, definition.shape.where) if args else b""
    return Target(definition.name, definition.result_type if result_type is None else result_type, encoded)


TEMPLATES_MAX = 128
"""Combinations of options whose templates a client keeps; the least recently used goes."""

_FEW = frozenset(
    (
        "task_queue", "execution_timeout", "run_timeout", "task_timeout", "start_delay", "id_reuse_policy", "id_conflict_policy",
        "cron_schedule",
    )
)  # fmt: skip
"""Options of which a program uses few values, all of them compared by value: what is written for them is worth keeping."""


class Template(NamedTuple):
    """An encoded start request in which all is written that follows from the options."""

    request: bytes
    options: StartWorkflowOptions


class Templates:
    """The start requests of one client: written once for each combination of options, and then copied."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._kept: Callable[..., Template] = lru_cache(TEMPLATES_MAX, typed=True)(self._make)

    def of(self, kind: type[StartMessage], options: Any, given: Mapping[str, Any], *, joining: bool = False) -> Template:
        """The options object with the keyword arguments over it; UsageError for a name that does not exist.

        `joining`: with the policies of `execute_workflow` where none are given, one run for each id, joined while it runs.
        """
        if options is None and given.keys() <= _FEW:
            try:
                return self._kept(kind, joining, **given)
            except TypeError:
                pass  # a value that cannot be hashed is no right one: it is refused below
        return self._write(kind, joining, _options(options, given))

    def _make(self, kind: type[StartMessage], joining: bool, **given: Any) -> Template:
        return self._write(kind, joining, _options(None, given))

    def _write(self, kind: type[StartMessage], joining: bool, options: StartWorkflowOptions) -> Template:
        caller = self._caller
        request = kind(namespace=caller.namespace, identity=caller.identity, request_id=options.request_id or "")
        request.task_queue.name = options.task_queue
        for name in _PLAIN:
            if (value := getattr(options, name)) is not None:
                _WRITERS[name](request, value, caller.converter)
        if joining:
            _write_joining(request, options)
        return Template(request.SerializeToString(), options)


def _options(options: Any, given: Mapping[str, Any]) -> StartWorkflowOptions:
    if options is not None and not isinstance(options, StartWorkflowOptions):
        raise UsageError(f"options is {options!r}; give StartWorkflowOptions(…), or the options as keyword arguments")
    chosen: StartWorkflowOptions = options or _DEFAULT
    return chosen.merged(given)


def _write_joining(request: StartMessage, options: StartWorkflowOptions) -> None:
    if options.id_reuse_policy is None:
        request.workflow_id_reuse_policy = _REJECT_DUPLICATE
    if options.id_conflict_policy is None and options.id_reuse_policy is not WorkflowIdReusePolicy.TERMINATE_IF_RUNNING:
        request.workflow_id_conflict_policy = _USE_EXISTING


def fill(request: StartMessage, template: Template, target: Target, workflow_id: Any, where: str) -> str:
    """Writes the fields that both kinds of start have; the checked id."""
    checked = checked_id(workflow_id, where)
    request.MergeFromString(template.request)
    request.workflow_id = checked
    request.workflow_type.name = target.name
    if not template.options.request_id:
        request.request_id = uuid4_text()
    if target.input:
        request.input.MergeFromString(target.input)
    return checked


def _write_memo(request: StartMessage, memo: Mapping[str, Any], converter: DataConverter) -> None:
    for key, payload in zip(memo, converter.encode_values(list(memo.values()), list(memo), "the memo"), strict=True):
        request.memo.fields[key].CopyFrom(payload)


def _write_search_attributes(request: StartMessage, attributes: Any, converter: DataConverter) -> None:
    typed = attributes if isinstance(attributes, TypedSearchAttributes) else TypedSearchAttributes(list(attributes))
    encode_search_attributes(typed, request.search_attributes)


def _write_summary(request: StartMessage, text: str, converter: DataConverter) -> None:
    request.user_metadata.summary.CopyFrom(converter.to_payload(text))


def _write_details(request: StartMessage, text: str, converter: DataConverter) -> None:
    request.user_metadata.details.CopyFrom(converter.to_payload(text))


def _write_reuse(request: StartMessage, policy: Any, converter: DataConverter) -> None:
    request.workflow_id_reuse_policy = int(policy)  # type: ignore[assignment]


def _write_conflict(request: StartMessage, policy: Any, converter: DataConverter) -> None:
    request.workflow_id_conflict_policy = int(policy)  # type: ignore[assignment]


def _write_cron(request: StartMessage, cron: str, converter: DataConverter) -> None:
    if cron:
        request.cron_schedule = cron


def _write_execution_timeout(request: StartMessage, value: Any, converter: DataConverter) -> None:
    set_duration(request.workflow_execution_timeout, value, "execution_timeout")


def _write_run_timeout(request: StartMessage, value: Any, converter: DataConverter) -> None:
    set_duration(request.workflow_run_timeout, value, "run_timeout")


def _write_task_timeout(request: StartMessage, value: Any, converter: DataConverter) -> None:
    set_duration(request.workflow_task_timeout, value, "task_timeout")


def _write_start_delay(request: StartMessage, value: Any, converter: DataConverter) -> None:
    set_duration(request.workflow_start_delay, value, "start_delay")


def _write_retry_policy(request: StartMessage, policy: Any, converter: DataConverter) -> None:
    policy.apply_to_proto(request.retry_policy)


def _write_priority(request: StartMessage, priority: Any, converter: DataConverter) -> None:
    request.priority.CopyFrom(priority._to_proto())


_WRITERS: Mapping[str, Callable[[StartMessage, Any, DataConverter], None]] = {
    "execution_timeout": _write_execution_timeout,
    "run_timeout": _write_run_timeout,
    "task_timeout": _write_task_timeout,
    "start_delay": _write_start_delay,
    "id_reuse_policy": _write_reuse,
    "id_conflict_policy": _write_conflict,
    "retry_policy": _write_retry_policy,
    "cron_schedule": _write_cron,
    "memo": _write_memo,
    "search_attributes": _write_search_attributes,
    "priority": _write_priority,
    "static_summary": _write_summary,
    "static_details": _write_details,
}
_PLAIN = tuple(each.name for each in fields(StartWorkflowOptions) if each.name in _WRITERS)
