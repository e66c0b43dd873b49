"""Proves that a task's token is taken from clients of its namespace only, whether its run is in memory or not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    RecordActivityTaskHeartbeatRequest,
    RegisterNamespaceRequest,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
)

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

import core_commands as commands
from one_worker import Rig

from perdure.model.rpc import RpcError, StatusCode


@pytest.mark.parametrize("in_memory", [True, False])
async def test_a_token_from_another_namespace(rig: Rig, in_memory: bool) -> None:
    service = rig.service
    other = RegisterNamespaceRequest(namespace="other")
    other.workflow_execution_retention_period.seconds = 86_400
    await service.register_namespace(other)
    await rig.start()
    task = await rig.poll()
    await refused(rig, in_memory, service.respond_workflow_task_completed, RespondWorkflowTaskCompletedRequest, task.task_token)
    await refused(rig, in_memory, service.respond_workflow_task_failed, RespondWorkflowTaskFailedRequest, task.task_token)
    await rig.complete(task, commands.activity(queue="q"), namespace="default")
    poll = PollActivityTaskQueueRequest(namespace="default")
    poll.task_queue.name = "q"
    token = (await service.poll_activity_task_queue(poll)).task_token
    await refused(rig, in_memory, service.record_activity_task_heartbeat, RecordActivityTaskHeartbeatRequest, token)
    await refused(rig, in_memory, service.respond_activity_task_canceled, RespondActivityTaskCanceledRequest, token)
    await refused(rig, in_memory, service.respond_activity_task_failed, RespondActivityTaskFailedRequest, token)
    await refused(rig, in_memory, service.respond_activity_task_completed, RespondActivityTaskCompletedRequest, token)
    await service.respond_activity_task_completed(RespondActivityTaskCompletedRequest(task_token=token))


async def refused(rig: Rig, in_memory: bool, call: Any, request: Any, token: bytes) -> None:
    if not in_memory:
        for live in list(rig.engine.runs.in_memory()):
            rig.engine.runs.evict(live)
    with pytest.raises(RpcError, match="different namespace") as caught:
        await call(request(task_token=token, namespace="other"))
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
