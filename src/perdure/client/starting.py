"""Start requests: what the user gave, checked in the user's words, as the message that starts a workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from temporalio.api.common.v1 import Payload
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.converter import encode_search_attributes

from perdure.client.calls import Caller, checked_id
from perdure.model.conversion import DataConverter
from perdure.model.definitions import workflow_definition
from perdure.model.durations import set_duration
from perdure.model.errors import UsageError
from perdure.model.ids import uuid4_text
from perdure.model.options import StartWorkflowOptions, TypedSearchAttributes, WorkflowIdConflictPolicy, WorkflowIdReusePolicy

__all__ = ["Target", "joining", "start_options", "target_of", "write_start"]

StartMessage = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


class Target(NamedTuple):
    """Which workflow is meant: its type's name, the type of its result (None: unknown), its arguments' payloads."""

    name: str
    result_type: Any
    input: list[Payload]


def target_of(workflow: Any, args: Sequence[Any], result_type: Any, converter: DataConverter) -> Target:
    """Resolves a workflow function, class or type name; UsageError or InvalidInput when the arguments do not fit."""
    if isinstance(workflow, str):
        if not workflow:
            raise UsageError("the workflow's name is empty; give the workflow itself, or its type's name")
        return Target(workflow, result_type, converter.encode_values(args, (), f"workflow {workflow}"))
    definition = workflow_definition(workflow)
    definition.shape.check_count(len(args))
    payloads = converter.encode_values(args, definition.arg_names, definition.shape.where) if args else []
    return Target(definition.name, definition.result_type if result_type is None else result_type, payloads)


_DEFAULT = StartWorkflowOptions()
_JOINING = StartWorkflowOptions(
    id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE, id_conflict_policy=WorkflowIdConflictPolicy.USE_EXISTING
)


def start_options(options: Any, given: Mapping[str, Any]) -> StartWorkflowOptions:
    """The options object with the keyword arguments over it; UsageError for a name that does not exist."""
    if options is not None and not isinstance(options, StartWorkflowOptions):
        raise UsageError(f"options is {options!r}; give StartWorkflowOptions(…), or the options as keyword arguments")
    chosen: StartWorkflowOptions = options or _DEFAULT
    return chosen.merged(given) if given else chosen


def joining(options: StartWorkflowOptions) -> StartWorkflowOptions:
    """The same with the policies of `execute_workflow` where none are given: one run for each id, joined while it runs."""
    if options is _DEFAULT:
        return _JOINING
    policies: dict[str, Any] = {}
    if options.id_reuse_policy is None:
        policies["id_reuse_policy"] = WorkflowIdReusePolicy.REJECT_DUPLICATE
    if options.id_conflict_policy is None and options.id_reuse_policy is not WorkflowIdReusePolicy.TERMINATE_IF_RUNNING:
        policies["id_conflict_policy"] = WorkflowIdConflictPolicy.USE_EXISTING
    return options.merged(policies)


def write_start(request: StartMessage, caller: Caller, target: Target, workflow_id: Any, options: StartWorkflowOptions, where: str) -> None:
    """Fills the fields that both kinds of start have."""
    request.namespace = caller.namespace
    request.workflow_id = checked_id(workflow_id, where)
    request.workflow_type.name = target.name
    request.task_queue.name = options.task_queue
    request.identity = caller.identity
    request.request_id = options.request_id or uuid4_text()
    if target.input:
        request.input.payloads.extend(target.input)
    if options is not _DEFAULT:
        _write_options(request, options, caller.converter)


def _write_options(request: StartMessage, options: StartWorkflowOptions, converter: DataConverter) -> None:
    for name in _PLAIN:
        if (value := getattr(options, name)) is not None:
            _WRITERS[name](request, value, converter)


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
