"""Asking a run for an update: admission (4.10). Writes no event, but WorkflowExecutionOptionsUpdated where a further request waits for it.

Decides whether an update is new, whether it may be asked now, and whether the run needs a workflow task for it: one that is pending
brings it along, else a speculative one is made (`speculative`).

Easily got wrong: an id that the run knows is answered with that update, whatever the request says otherwise, and before any limit is
judged; on a closed run it is the only thing that is answered.
"""

from __future__ import annotations

from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.update.v1 import Request as UpdateRequest
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

from perdure.engine.core import codes, limits
from perdure.engine.core.callbacks import check_callbacks
from perdure.engine.core.outcome import Env, Outcome
from perdure.engine.core.settling import settle
from perdure.engine.core.speculative import guarded, schedule_speculative
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.update_messages import attach_request
from perdure.engine.core.updates import Admitted, Updates
from perdure.model.rpc import failed_precondition, invalid_argument, not_found, permission_denied, resource_exhausted, workflow_not_ready

_STAGES = (codes.STAGE_UNSPECIFIED, codes.STAGE_ADMITTED, codes.STAGE_ACCEPTED, codes.STAGE_COMPLETED)


def check_update(request: UpdateWorkflowExecutionRequest, payload_bytes_max: int = limits.PAYLOAD_BYTES_MAX) -> None:
    """Refuses what no run may be asked.

    Raises:
        RpcError: InvalidArgument; PermissionDenied for a wait that ends at admission, which is not durable.
    """
    update = request.request
    if not request.HasField("request") or not update.HasField("meta"):
        raise invalid_argument("Update meta is not set on request.")
    if not update.HasField("input"):
        raise invalid_argument("Update input is not set on request.")
    if not update.input.name:
        raise invalid_argument("Update name is not set on request.")
    for name, text in (("UpdateId", update.meta.update_id), ("Update name", update.input.name), ("Identity", update.meta.identity)):
        if limits.too_long(text):
            raise invalid_argument(f"{name} length exceeds limit.")
    if limits.too_large(update.input, payload_bytes_max):
        raise invalid_argument("Update input exceeds size limit.")
    if limits.too_long(update.request_id):
        raise invalid_argument("RequestId length exceeds limit.")
    check_callbacks(update.completion_callbacks)
    stage = request.wait_policy.lifecycle_stage
    if stage not in _STAGES:
        raise invalid_argument("unknown LifecycleStage of WaitPolicy")
    if stage == codes.STAGE_ADMITTED:
        raise permission_denied("Waiting for UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED is not supported.")


def admit(run: Run, request: UpdateWorkflowExecutionRequest, env: Env) -> Outcome:
    """Takes an update in, or finds the one of that id. Nothing is recorded.

    Raises:
        RpcError: NotFound for a closed run or another chain; WorkflowNotReady, FailedPrecondition, ResourceExhausted for
            a run that cannot take it.
    """
    if request.first_execution_run_id and request.first_execution_run_id != run.first_run_id:
        raise not_found("workflow execution not found: the run does not belong to the chain of FirstExecutionRunId")
    if run.updates is not None and run.updates.knows(request.request.meta.update_id):
        return _find(run, run.updates, request.request, env)
    tx = Transaction(run, env)
    _check_run(run, request)
    enter(run, request)
    if run.task is None:
        schedule_speculative(tx)
    return settle(tx)


def _find(run: Run, updates: Updates, request: UpdateRequest, env: Env) -> Outcome:
    """An update that the run knows: a further request may have callbacks, which are attached to it as long as it has no outcome."""
    update_id = request.meta.update_id
    ended = run.closed or update_id in updates.completed
    if ended or not request.completion_callbacks or updates.requested_by(update_id, request.request_id):
        return Transaction(run, env).close()
    if updates.waits(update_id):
        admitted = updates.admitted[update_id]
        known = sum(len(each.completion_callbacks) for each in (admitted.request, *admitted.attached))
        check_callbacks(request.completion_callbacks, known)
        admitted.attached.append(request)
        return Transaction(run, env).close()
    check_callbacks(request.completion_callbacks, len(updates.callbacks.get(update_id, ())))
    return guarded(run, request, env, _attach)


def _attach(run: Run, request: UpdateRequest, env: Env) -> Outcome:
    tx = Transaction(run, env)
    attach_request(tx, request)
    return settle(tx)


def enter(run: Run, request: UpdateWorkflowExecutionRequest) -> None:
    """Puts a new update into the run's registry."""
    if run.updates is None:
        run.updates = Updates()
    update_id = request.request.meta.update_id
    admitted = run.updates.admitted[update_id] = Admitted(request.request, recorded=update_id in run.updates.admitted)
    admitted.from_history = False


def _check_run(run: Run, request: UpdateWorkflowExecutionRequest) -> None:
    if run.closed:
        raise not_found("workflow execution already completed")
    if run.paused is not None:
        raise failed_precondition("Workflow is paused. Cannot update the workflow.")
    task = run.task
    if task is not None and task.attempt >= limits.QUERY_ATTEMPT_MAX:
        raise workflow_not_ready("Unable to perform workflow execution update due to Workflow Task in failed state.")
    if run.close_attempted and task is not None and task.started_event_id:
        raise _exhausted("workflow operation can not be applied because workflow is closing", busy=True)
    updates = run.updates
    if updates is None:
        return
    if updates.in_flight >= limits.UPDATES_IN_FLIGHT_MAX:
        raise _exhausted(f"limit on number of concurrent in-flight updates has been reached ({limits.UPDATES_IN_FLIGHT_MAX})")
    if sum(each.size for each in updates.admitted.values()) + request.request.ByteSize() > limits.UPDATES_BYTES_MAX:
        raise _exhausted(f"limit on total size of in-flight updates has been reached ({limits.UPDATES_BYTES_MAX} bytes)")
    if updates.total >= limits.UPDATES_MAX:
        raise failed_precondition(
            f"limit on number of total updates has been reached ({limits.UPDATES_MAX}); the workflow should continue as new"
        )


def _exhausted(message: str, *, busy: bool = False) -> Exception:
    cause = ResourceExhaustedCause
    return resource_exhausted(
        message, cause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW if busy else cause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
    )
