"""The contract in the middle: Temporal's RPCs as async methods, Temporal's messages as arguments and results.

Client and worker know nothing else of the engine; whatever stands behind it (the embedded engine, a socket, Temporal Server) refuses
with `RpcError` only. A request and a reply belong to whoever receives them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from perdure.service.rpcs.activities import ActivityRpcs
from perdure.service.rpcs.activity_control import ActivityControlRpcs
from perdure.service.rpcs.batches import BatchRpcs
from perdure.service.rpcs.deletion import DeletionRpcs
from perdure.service.rpcs.deployments import DeploymentRpcs
from perdure.service.rpcs.namespaces import NamespaceRpcs
from perdure.service.rpcs.nexus import NexusRpcs
from perdure.service.rpcs.operations import OperationRpcs
from perdure.service.rpcs.schedules import ScheduleRpcs
from perdure.service.rpcs.search_attributes import SearchAttributeRpcs
from perdure.service.rpcs.standalone_activities import StandaloneActivityRpcs
from perdure.service.rpcs.standalone_operations import StandaloneOperationRpcs
from perdure.service.rpcs.system import SystemRpcs
from perdure.service.rpcs.task_queues import TaskQueueRpcs
from perdure.service.rpcs.updates import UpdateRpcs
from perdure.service.rpcs.visibility import VisibilityRpcs
from perdure.service.rpcs.workers import WorkerRpcs
from perdure.service.rpcs.workflow_tasks import WorkflowTaskRpcs
from perdure.service.rpcs.workflows import WorkflowRpcs

__all__ = ["WorkflowService"]


@runtime_checkable
class WorkflowService(
    SystemRpcs,
    NamespaceRpcs,
    SearchAttributeRpcs,
    VisibilityRpcs,
    DeletionRpcs,
    WorkflowRpcs,
    WorkflowTaskRpcs,
    ActivityRpcs,
    ActivityControlRpcs,
    OperationRpcs,
    DeploymentRpcs,
    WorkerRpcs,
    StandaloneActivityRpcs,
    StandaloneOperationRpcs,
    TaskQueueRpcs,
    ScheduleRpcs,
    UpdateRpcs,
    BatchRpcs,
    NexusRpcs,
    Protocol,
):
    """One async method per RPC. Raises `RpcError` and nothing else."""
