"""The one door to a run: each kind of request and who handles it.

Decides nothing. A handler that refuses raises RpcError and has changed nothing; one that returns an `Outcome` has changed
the run, and rolling that back means to discard the run and load it again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatRequest,
    RequestCancelActivityExecutionRequest,
    RequestCancelNexusOperationExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetActivityRequest,
    ResetStickyTaskQueueRequest,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartActivityExecutionRequest,
    StartNexusOperationExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateActivityExecutionRequest,
    TerminateNexusOperationExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionRequest,
)

from perdure.engine.core import (
    activity_control,
    activity_requests,
    completion,
    control,
    firing,
    inbound,
    nexus_answers,
    outbound,
    pausing,
    policies,
    reset,
    run_options,
    signals,
    standalone,
    standalone_operations,
    standalone_runs,
    update_requests,
    workflow_tasks,
)
from perdure.engine.core.outcome import (
    AbandonInProcess,
    Env,
    FireTimers,
    Outcome,
    StartActivityTask,
    StartWorkflowTask,
    StickyUnavailable,
    UnstartActivity,
)
from perdure.engine.core.speculative import guarded
from perdure.engine.core.state import Run
from perdure.model.rpc import unimplemented

Request: TypeAlias = (
    AbandonInProcess
    | FireTimers
    | StartActivityTask
    | StartWorkflowTask
    | StickyUnavailable
    | UnstartActivity
    | PauseActivityRequest
    | PauseWorkflowExecutionRequest
    | RecordActivityTaskHeartbeatByIdRequest
    | outbound.Answer
    | outbound.Discharged
    | nexus_answers.OperationAnswer
    | reset.WasReset
    | inbound.Received
    | RecordActivityTaskHeartbeatRequest
    | RequestCancelActivityExecutionRequest
    | RequestCancelNexusOperationExecutionRequest
    | RequestCancelWorkflowExecutionRequest
    | ResetActivityRequest
    | ResetStickyTaskQueueRequest
    | RespondActivityTaskCanceledByIdRequest
    | RespondActivityTaskCanceledRequest
    | RespondActivityTaskCompletedByIdRequest
    | RespondActivityTaskCompletedRequest
    | RespondActivityTaskFailedByIdRequest
    | RespondActivityTaskFailedRequest
    | RespondWorkflowTaskCompletedRequest
    | RespondWorkflowTaskFailedRequest
    | SignalWithStartWorkflowExecutionRequest
    | SignalWorkflowExecutionRequest
    | StartNexusOperationExecutionRequest
    | StartWorkflowExecutionRequest
    | TerminateActivityExecutionRequest
    | TerminateNexusOperationExecutionRequest
    | TerminateWorkflowExecutionRequest
    | UnpauseActivityRequest
    | UnpauseWorkflowExecutionRequest
    | UpdateActivityOptionsRequest
    | UpdateWorkflowExecutionOptionsRequest
    | UpdateWorkflowExecutionRequest
)

_HANDLERS: Final[dict[type[Any], Callable[[Run, Any, Env], Outcome]]] = {
    StartWorkflowTask: workflow_tasks.start_workflow_task,
    StickyUnavailable: workflow_tasks.sticky_unavailable,
    ResetStickyTaskQueueRequest: workflow_tasks.reset_sticky,
    RespondWorkflowTaskCompletedRequest: completion.task_completed,
    RespondWorkflowTaskFailedRequest: completion.task_failed,
    StartActivityTask: activity_requests.start_activity,
    UnstartActivity: activity_requests.unstart_activity,
    RespondActivityTaskCompletedRequest: activity_requests.completed,
    RespondActivityTaskFailedRequest: activity_requests.failed,
    RespondActivityTaskCanceledRequest: activity_requests.canceled,
    RecordActivityTaskHeartbeatRequest: activity_requests.heartbeat,
    RespondActivityTaskCompletedByIdRequest: activity_requests.completed_by_id,
    RespondActivityTaskFailedByIdRequest: activity_requests.failed_by_id,
    RespondActivityTaskCanceledByIdRequest: activity_requests.canceled_by_id,
    RecordActivityTaskHeartbeatByIdRequest: activity_requests.heartbeat_by_id,
    PauseActivityRequest: activity_control.pause,
    UnpauseActivityRequest: activity_control.unpause,
    ResetActivityRequest: activity_control.reset,
    UpdateActivityOptionsRequest: activity_control.update_options,
    PauseWorkflowExecutionRequest: pausing.pause,
    UnpauseWorkflowExecutionRequest: pausing.unpause,
    UpdateWorkflowExecutionOptionsRequest: run_options.update_options,
    FireTimers: firing.fire_timers,
    AbandonInProcess: firing.abandon_in_process,
    SignalWorkflowExecutionRequest: signals.signal,
    SignalWithStartWorkflowExecutionRequest: policies.signal_existing,
    StartWorkflowExecutionRequest: policies.use_existing,
    RequestCancelWorkflowExecutionRequest: control.request_cancel,
    TerminateWorkflowExecutionRequest: control.request_terminate,
    outbound.ChildStarted: outbound.child_started,
    outbound.ChildRefused: outbound.child_refused,
    outbound.ExternalReached: outbound.external_reached,
    outbound.SignalRefused: outbound.signal_refused,
    outbound.CancelRefused: outbound.cancel_refused,
    outbound.Discharged: outbound.discharged,
    nexus_answers.OperationStarted: nexus_answers.operation_started,
    nexus_answers.OperationEnded: nexus_answers.operation_ended,
    nexus_answers.CancelAnswered: nexus_answers.cancel_answered,
    inbound.SignalFromWorkflow: inbound.signal_from_workflow,
    inbound.CancelFromWorkflow: inbound.cancel_from_workflow,
    inbound.TerminateByParent: inbound.terminate_by_parent,
    inbound.ChildClosed: inbound.child_closed,
    RequestCancelActivityExecutionRequest: standalone.request_cancel,
    TerminateActivityExecutionRequest: standalone.request_terminate,
    RequestCancelNexusOperationExecutionRequest: standalone_operations.request_cancel,
    TerminateNexusOperationExecutionRequest: standalone_operations.request_terminate,
    StartNexusOperationExecutionRequest: standalone_runs.attach_start,
    StartActivityExecutionRequest: standalone_runs.attach_start,
    UpdateWorkflowExecutionRequest: update_requests.admit,
    reset.WasReset: reset.was_reset,
}
_AT_HOME_WITH_SPECULATION: Final = frozenset(
    (
        workflow_tasks.start_workflow_task,
        workflow_tasks.sticky_unavailable,
        completion.task_completed,
        control.request_terminate,
        update_requests.admit,
    ),
)
"""Handlers that know what to do with a speculative workflow task; for all others it becomes an ordinary one."""


def handle(run: Run, request: Request, env: Env) -> Outcome:
    """Does what a request asks of a run.

    A start or a signal-with-start comes here when `policies.decide_start` said USE_EXISTING.

    Raises:
        RpcError: the request is refused, and the run is as it was.
    """
    handler = _HANDLERS.get(type(request))
    if handler is None:
        raise unimplemented(f"{type(request).__name__} is not something a run can be asked")
    if run.updates is None or handler in _AT_HOME_WITH_SPECULATION:
        return handler(run, request, env)
    return guarded(run, request, env, handler)
