"""Options of a run that operators change while it is open: the version that it is pinned to, against what its workers say; its priority.

Writes WorkflowExecutionOptionsUpdated; no workflow task follows from it. Decides what a field mask means, and whether there is a change.

Easily got wrong: a mask that names the override without giving one takes the override away.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest, UpdateWorkflowExecutionOptionsResponse

from perdure.engine.core import codes, limits
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.versions import overridden
from perdure.model.rpc import invalid_argument, not_found

_OVERRIDE: Final = "versioning_override"
_PRIORITY: Final = "priority"
_KNOWN: Final = frozenset((_OVERRIDE, _PRIORITY, *(f"{_PRIORITY}.{name}" for name in Priority.DESCRIPTOR.fields_by_name)))


def _paths(mask: FieldMask) -> list[str]:
    """What a mask names; clients that speak JSON spell it in their own way."""
    return ["".join(f"_{c.lower()}" if c.isupper() else c for c in path) for path in mask.paths]


def check_options(options: WorkflowExecutionOptions, mask: FieldMask) -> None:
    """Refuses what no run can be given.

    Raises:
        RpcError: InvalidArgument.
    """
    if not mask.paths:
        raise invalid_argument("UpdateMask is not set on request.")
    for path in _paths(mask):
        if path not in _KNOWN:
            raise invalid_argument(f"UpdateMask has a path that this engine cannot change: {path}")
    wrong = limits.priority_complaint(options.priority)
    if wrong:
        raise invalid_argument(wrong)
    if options.HasField("versioning_override"):
        override = options.versioning_override
        version = overridden(override)
        if version is None and not override.auto_upgrade and not override.behavior:
            raise invalid_argument("VersioningOverride says neither pinned nor auto-upgrade.")
        if version is not None and not (version.deployment and version.build_id):
            raise invalid_argument("VersioningOverride is pinned, and its version is not set.")


def update_options(run: Run, request: UpdateWorkflowExecutionOptionsRequest, env: Env) -> Outcome:
    """Changes the options of an open run.

    Raises:
        RpcError: NotFound if it has closed; as `check_options`.
    """
    check_options(request.workflow_execution_options, request.update_mask)
    if limits.too_long(request.identity):
        raise invalid_argument("Identity length exceeds limit.")
    if run.closed:
        raise not_found("workflow execution already completed")
    tx = Transaction(run, env)
    write_options(tx, request.workflow_execution_options, request.update_mask, request.identity)
    reply = UpdateWorkflowExecutionOptionsResponse()
    if run.versioning is not None and run.versioning.override is not None:
        reply.workflow_execution_options.versioning_override.CopyFrom(run.versioning.override)
    if run.start.HasField("priority"):
        reply.workflow_execution_options.priority.CopyFrom(run.start.priority)
    set_ns(reply.update_time, tx.now)
    tx.outcome.reply = reply
    return settle(tx)


def write_options(tx: Transaction, options: WorkflowExecutionOptions, mask: FieldMask, identity: str) -> None:
    """Writes what changes of what a mask names, if anything does."""
    run, paths = tx.run, _paths(mask)
    event = tx.event(codes.WORKFLOW_OPTIONS_UPDATED)
    event.worker_may_ignore = True
    a = event.workflow_execution_options_updated_event_attributes
    a.identity = identity
    before = None if run.versioning is None else run.versioning.override
    wanted: VersioningOverride | None = options.versioning_override if options.HasField("versioning_override") else None
    changed = _OVERRIDE in paths and before != wanted
    if changed and wanted is None:
        a.unset_versioning_override = True
    elif changed and wanted is not None:
        a.versioning_override.CopyFrom(wanted)
    if changed:
        tx.outcome.visibility_changed = tx.outcome.search_changed = True
    of_priority = [path for path in paths if path != _OVERRIDE]
    if of_priority:
        merged = WorkflowExecutionOptions(priority=run.start.priority)
        FieldMask(paths=of_priority).MergeMessage(options, merged, replace_message_field=True)
        if merged.priority != run.start.priority:
            a.priority.CopyFrom(merged.priority)
            changed = True
    if changed:
        tx.add(event)
