"""Options of a run that operators change while it is open: the version that it is pinned to, against what its workers say.

Writes WorkflowExecutionOptionsUpdated; no workflow task follows from it. Decides what a field mask means, and whether there is a change.

Easily got wrong: a mask that names the override without giving one takes the override away.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
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

_PATHS: Final = frozenset(("versioning_override", "versioningOverride"))


def check_options(options: WorkflowExecutionOptions, mask: FieldMask) -> None:
    """Refuses what no run can be given.

    Raises:
        RpcError: InvalidArgument.
    """
    if not mask.paths:
        raise invalid_argument("UpdateMask is not set on request.")
    for path in mask.paths:
        if path not in _PATHS:
            raise invalid_argument(f"UpdateMask has a path that this engine cannot change: {path}")
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
    write_options(tx, request.workflow_execution_options, request.identity)
    reply = UpdateWorkflowExecutionOptionsResponse()
    if run.versioning is not None and run.versioning.override is not None:
        reply.workflow_execution_options.versioning_override.CopyFrom(run.versioning.override)
    set_ns(reply.update_time, tx.now)
    tx.outcome.reply = reply
    return settle(tx)


def write_options(tx: Transaction, options: WorkflowExecutionOptions, identity: str) -> None:
    """Writes the change, if it is one."""
    versioning = tx.run.versioning
    before = None if versioning is None else versioning.override
    wanted: VersioningOverride | None = options.versioning_override if options.HasField("versioning_override") else None
    if before == wanted:
        return
    event = tx.event(codes.WORKFLOW_OPTIONS_UPDATED)
    event.worker_may_ignore = True
    a = event.workflow_execution_options_updated_event_attributes
    a.identity = identity
    if wanted is None:
        a.unset_versioning_override = True
    else:
        a.versioning_override.CopyFrom(wanted)
    tx.add(event)
