"""Continue-as-new: what the next run is started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import temporalio.common
from temporalio.api.command.v1.message_pb2 import ContinueAsNewWorkflowExecutionCommandAttributes

from perdure.model.definitions import workflow_definition
from perdure.model.durations import Duration, set_duration
from perdure.model.options import SearchAttributePair, TypedSearchAttributes
from perdure.model.suggestions import unknown_option
from perdure.runtime.attributes import encode_attributes
from perdure.runtime.run_state import RunState


class ContinueOptions(TypedDict, total=False):
    """What `ctx.continue_as_new` can change for the next run."""

    run_timeout: Duration | None
    task_timeout: Duration | None
    retry_policy: temporalio.common.RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | Sequence[SearchAttributePair[Any]] | None


_NAMES = frozenset(ContinueOptions.__annotations__)


def next_run(
    run: RunState, arguments: Sequence[Any], workflow: Any, task_queue: str | None, options: ContinueOptions
) -> ContinueAsNewWorkflowExecutionCommandAttributes:
    """The attributes of the command."""
    unknown = options.keys() - _NAMES
    if unknown:
        raise unknown_option("continue_as_new", sorted(unknown), _NAMES | {"workflow", "task_queue"}, "workflow")
    attributes = ContinueAsNewWorkflowExecutionCommandAttributes()
    definition = run.definition if workflow is None else workflow if isinstance(workflow, str) else workflow_definition(workflow)
    attributes.workflow_type.name = definition if isinstance(definition, str) else definition.name
    attributes.task_queue.name = task_queue or run.task_queue
    if isinstance(definition, str):
        attributes.input.payloads.extend(run.converter.encode_values(arguments))
    else:
        definition.shape.check_count(len(arguments))
        attributes.input.payloads.extend(run.converter.encode_values(arguments, definition.arg_names, f"workflow {definition.name}"))
    _write_options(run, attributes, options)
    return attributes


def _write_options(run: RunState, attributes: ContinueAsNewWorkflowExecutionCommandAttributes, options: ContinueOptions) -> None:
    started = run.started
    timeouts = (
        ("run_timeout", attributes.workflow_run_timeout, started.workflow_run_timeout),
        ("task_timeout", attributes.workflow_task_timeout, started.workflow_task_timeout),
    )
    for name, target, current in timeouts:
        given: Duration | None = options.get(name)  # type: ignore[assignment]
        if given is None:
            target.CopyFrom(current)
        else:
            set_duration(target, given, name)
    policy = options.get("retry_policy")
    if policy is not None:
        policy.apply_to_proto(attributes.retry_policy)
    elif started.HasField("retry_policy"):
        attributes.retry_policy.CopyFrom(started.retry_policy)
    memo = options.get("memo")
    for key, payload in (run.memo if memo is None else {key: run.converter.to_payload(value) for key, value in memo.items()}).items():
        attributes.memo.fields[key].CopyFrom(payload)
    search_attributes = options.get("search_attributes")
    if search_attributes is not None:
        encode_attributes(attributes.search_attributes, search_attributes)
    else:
        for key, payload in run.search_attributes.items():
            attributes.search_attributes.indexed_fields[key].CopyFrom(payload)
