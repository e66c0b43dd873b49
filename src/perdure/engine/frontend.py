"""The engine as a `WorkflowService`: one method per RPC, each as short as its rule.

Decides nothing about runs. It finds the run that a request names, hands the request on and waits for durability; what the
storage refuses as stale is decided anew on the fresh state. Every error that leaves here is an `RpcError`: what nobody
expected is logged with a reference and answered as INTERNAL.
"""

from __future__ import annotations

from perdure.engine.calls.activities import ActivityCalls
from perdure.engine.calls.activity_control import ActivityControlCalls
from perdure.engine.calls.batches import BatchCalls
from perdure.engine.calls.deletion import DeletionCalls
from perdure.engine.calls.deployment_upkeep import DeploymentUpkeepCalls
from perdure.engine.calls.deployments import DeploymentCalls
from perdure.engine.calls.namespaces import NamespaceCalls
from perdure.engine.calls.nexus import NexusCalls
from perdure.engine.calls.operations import OperationCalls
from perdure.engine.calls.schedules import ScheduleCalls
from perdure.engine.calls.search_attributes import SearchAttributeCalls
from perdure.engine.calls.standalone_activities import StandaloneActivityCalls
from perdure.engine.calls.standalone_operations import StandaloneOperationCalls
from perdure.engine.calls.system import SystemCalls
from perdure.engine.calls.task_queues import TaskQueueCalls
from perdure.engine.calls.updates import UpdateCalls
from perdure.engine.calls.visibility import VisibilityCalls
from perdure.engine.calls.workers import WorkerCalls
from perdure.engine.calls.workflow_tasks import WorkflowTaskCalls
from perdure.engine.calls.workflows import WorkflowCalls


class Frontend(
    SystemCalls,
    NamespaceCalls,
    SearchAttributeCalls,
    VisibilityCalls,
    DeletionCalls,
    WorkflowCalls,
    WorkflowTaskCalls,
    ActivityCalls,
    ActivityControlCalls,
    OperationCalls,
    DeploymentCalls,
    DeploymentUpkeepCalls,
    WorkerCalls,
    StandaloneActivityCalls,
    StandaloneOperationCalls,
    TaskQueueCalls,
    ScheduleCalls,
    UpdateCalls,
    BatchCalls,
    NexusCalls,
):
    """`WorkflowService` on an embedded engine."""

    def __repr__(self) -> str:
        return f"<Frontend of {self.engine!r}>"
