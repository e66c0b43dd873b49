"""What a run looks like from outside: the parts of DescribeWorkflowExecution.

Decides nothing, changes nothing. The messages are new and belong to their receiver. Easily got wrong: an activity asked to
stop shows CANCEL_REQUESTED only while a worker has it; and one that is paused is PAUSE_REQUESTED as long as a worker has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingChildExecutionInfo, PendingWorkflowTaskInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.engine.core import codes, limits
from perdure.engine.core.callbacks import infos
from perdure.engine.core.codes import BACKOFF, STARTED
from perdure.engine.core.nexus import pending_info
from perdure.engine.core.others import CALL_BACK, Child, root_of
from perdure.engine.core.pending import Activity, WorkflowTask, options_of
from perdure.engine.core.state import Run
from perdure.engine.core.times import set_ns
from perdure.engine.core.versions import shown as versioning_attributes
from perdure.engine.core.versions import versioning_info

PROBLEMS: Final = "TemporalReportedProblems"
"""The search attribute that a run has while its workflow tasks keep failing,"""
PAUSE_INFO: Final = "TemporalPauseInfo"
"""and while it is paused."""


def describe(run: Run) -> DescribeWorkflowExecutionResponse:
    """All that the core knows of it."""
    r = DescribeWorkflowExecutionResponse()
    config = r.execution_config
    config.task_queue.name = run.task_queue
    config.task_queue.kind = codes.NORMAL_QUEUE
    config.workflow_execution_timeout.CopyFrom(run.start.workflow_execution_timeout)
    config.workflow_run_timeout.CopyFrom(run.start.workflow_run_timeout)
    config.default_workflow_task_timeout.CopyFrom(run.start.workflow_task_timeout)
    if run.start_event.HasField("user_metadata"):
        config.user_metadata.CopyFrom(run.start_event.user_metadata)
    r.workflow_execution_info.CopyFrom(execution_info(run))
    for activity in run.activities.values():
        r.pending_activities.append(activity_info(activity))
    if run.children and not run.closed:
        r.pending_children.extend(_child_info(child) for child in run.children.values())
    if run.operations:
        r.pending_nexus_operations.extend(pending_info(op) for op in run.operations.values())
    if run.callbacks or run.updates is not None:
        r.callbacks.extend(infos(run, CALL_BACK not in run.unsent))
    if run.task is not None:
        r.pending_workflow_task.CopyFrom(_task_info(run.task))
    if run.reset_points:
        r.workflow_execution_info.auto_reset_points.points.extend(run.reset_points)
    extended = r.workflow_extended_info
    if run.execution_expiration:
        set_ns(extended.execution_expiration_time, run.execution_expiration)
    if run.run_expiration:
        set_ns(extended.run_expiration_time, run.run_expiration)
    extended.cancel_requested = run.cancel_requested
    extended.original_start_time.CopyFrom(run.start_event.event_time)
    if run.reset_time:
        set_ns(extended.last_reset_time, run.reset_time)
    extended.reset_run_id = run.reset_run_id
    begun = extended.request_id_infos[run.start_request_id]
    begun.event_id, begun.event_type = 1, codes.WORKFLOW_STARTED
    for request_id, event_id in run.attached_request_ids.items():
        attached = extended.request_id_infos[request_id]
        attached.event_id, attached.event_type, attached.buffered = event_id, codes.WORKFLOW_OPTIONS_UPDATED, not event_id
    for request_id, event_id in (run.linked_signals or {}).items():
        signal = extended.request_id_infos[request_id]
        signal.event_id, signal.event_type, signal.buffered = event_id, codes.WORKFLOW_SIGNALED, not event_id
    if run.paused is not None:
        extended.pause_info.identity, extended.pause_info.reason = run.paused.identity, run.paused.reason
        set_ns(extended.pause_info.paused_time, run.paused.time)
    return r


def execution_info(run: Run) -> WorkflowExecutionInfo:
    """What lists show of it, memo and search attributes included."""
    info = WorkflowExecutionInfo()
    info.execution.workflow_id = run.workflow_id
    info.execution.run_id = run.run_id
    info.type.name = run.workflow_type
    set_ns(info.start_time, run.start_time)
    set_ns(info.execution_time, run.execution_time)
    if run.closed:
        set_ns(info.close_time, run.close_time)
        set_ns(info.execution_duration, max(0, run.close_time - run.execution_time))
    info.status = run.status
    info.history_length = run.next_event_id - 1
    info.history_size_bytes = run.history_bytes
    info.task_queue = run.task_queue
    info.first_run_id = run.first_run_id
    info.root_execution.CopyFrom(root_of(run))
    if run.start.HasField("parent_workflow_execution"):
        info.parent_namespace_id = run.start.parent_workflow_namespace_id
        info.parent_execution.CopyFrom(run.start.parent_workflow_execution)
    info.state_transition_count = run.next_event_id - 1
    if run.versioning is not None:
        info.versioning_info.CopyFrom(versioning_info(run.versioning))
        if run.versioning.version is not None:
            info.worker_deployment_name = run.versioning.version.deployment
    if run.start.HasField("priority"):
        info.priority.CopyFrom(run.start.priority)
    info.memo.SetInParent()
    for key, value in run.memo.items():
        info.memo.fields[key].CopyFrom(value)
    info.search_attributes.SetInParent()
    for key, value in shown_attributes(run).items():
        info.search_attributes.indexed_fields[key].CopyFrom(value)
    return info


def shown_attributes(run: Run) -> Mapping[str, Payload]:
    """Its search attributes, with what the engine itself says of it."""
    if run.task_failures < limits.REPORTED_FAILURES and run.paused is None and run.versioning is None:
        return run.search_attributes
    shown = {**run.search_attributes}
    if run.versioning is not None:
        shown |= {name: _keyword(word) for name, word in versioning_attributes(run.versioning).items()}
    if run.task_failures >= limits.REPORTED_FAILURES:
        category, _, cause = run.reported_cause.partition(":")
        shown[PROBLEMS] = _keywords(f"category={category}", f"cause={category}Cause{cause}")
    if run.paused is not None:
        shown[PAUSE_INFO] = _keywords(f"Workflow:{run.workflow_id}", f"Reason:{run.paused.reason}")
    return shown


def _keywords(*words: str) -> Payload:
    return _attribute(b"KeywordList", words)


def _keyword(word: str) -> Payload:
    return _attribute(b"Keyword", word)


def _attribute(kind: bytes, value: object) -> Payload:
    payload = Payload()
    payload.metadata["encoding"] = b"json/plain"
    payload.metadata["type"] = kind
    payload.data = json.dumps(value, separators=(",", ":")).encode()
    return payload


def activity_info(a: Activity) -> PendingActivityInfo:
    """What is shown of an activity that is pending."""
    info = PendingActivityInfo()
    info.activity_id = a.activity_id
    info.activity_type.name = a.activity_type
    info.attempt = a.attempt
    policy = a.attributes.retry_policy
    info.maximum_attempts = policy.maximum_attempts
    info.state = _pending_state(a)
    if a.state == STARTED:
        set_ns(info.last_started_time, a.started_time)
    else:
        set_ns(info.scheduled_time, a.scheduled_time)
    if a.state == BACKOFF:
        set_ns(info.next_attempt_schedule_time, a.scheduled_time)
        set_ns(info.current_retry_interval, max(0, a.scheduled_time - a.last_completed_time))
    if a.last_completed_time:
        set_ns(info.last_attempt_complete_time, a.last_completed_time)
    if a.schedule_to_close:
        set_ns(info.expiration_time, a.first_scheduled_time + a.schedule_to_close)
    if a.heartbeat_details is not None:
        info.heartbeat_details.CopyFrom(a.heartbeat_details)
        set_ns(info.last_heartbeat_time, a.heartbeat_time)
    if a.last_failure is not None:
        info.last_failure.CopyFrom(a.last_failure)
    info.last_worker_identity = a.identity
    info.activity_options.CopyFrom(options_of(a.attributes))
    if a.attributes.HasField("priority"):
        info.priority.CopyFrom(a.attributes.priority)
    paused = a.paused
    if paused is not None:
        info.paused = True
        set_ns(info.pause_info.pause_time, paused.time)
        info.pause_info.manual.identity = paused.identity
        info.pause_info.manual.reason = paused.reason
    return info


def _pending_state(a: Activity) -> PendingActivityState.ValueType:
    if a.state == STARTED:
        if a.cancel_requested_event_id:
            return codes.PENDING_CANCEL_REQUESTED
        return codes.PENDING_STARTED if a.paused is None else codes.PENDING_PAUSE_REQUESTED
    return codes.PENDING_SCHEDULED if a.paused is None else codes.PENDING_PAUSED


def _child_info(child: Child) -> PendingChildExecutionInfo:
    info = PendingChildExecutionInfo()
    info.workflow_id = child.attributes.workflow_id
    info.run_id = child.run_id
    info.workflow_type_name = child.attributes.workflow_type.name
    info.initiated_id = child.initiated_event_id
    info.parent_close_policy = child.attributes.parent_close_policy
    return info


def _task_info(task: WorkflowTask) -> PendingWorkflowTaskInfo:
    info = PendingWorkflowTaskInfo()
    info.attempt = task.attempt
    set_ns(info.scheduled_time, task.scheduled_time)
    set_ns(info.original_scheduled_time, task.original_scheduled_time)
    if task.started_event_id:
        info.state = codes.PENDING_TASK_STARTED
        set_ns(info.started_time, task.started_time)
    else:
        info.state = codes.PENDING_TASK_SCHEDULED
    return info
