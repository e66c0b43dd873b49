"""Worker deployments and versions made by hand, changed and removed: RPCs on the engine. (Their routing: `deployments`.)

The rule a newcomer would get wrong: a version that is removed comes back with the next poll of one of its workers, so one that is
polled is not removed at all.
"""

from __future__ import annotations

from temporalio.api.deployment.v1 import WorkerDeploymentInfo, WorkerDeploymentVersionInfo
from temporalio.api.workflowservice.v1 import (
    CreateWorkerDeploymentRequest,
    CreateWorkerDeploymentResponse,
    CreateWorkerDeploymentVersionRequest,
    CreateWorkerDeploymentVersionResponse,
    DeleteWorkerDeploymentRequest,
    DeleteWorkerDeploymentResponse,
    DeleteWorkerDeploymentVersionRequest,
    DeleteWorkerDeploymentVersionResponse,
    SetWorkerDeploymentManagerRequest,
    SetWorkerDeploymentManagerResponse,
    UpdateWorkerDeploymentVersionMetadataRequest,
    UpdateWorkerDeploymentVersionMetadataResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.calls.deployments import check_manager, named_version
from perdure.engine.core import limits
from perdure.engine.core.versions import Version
from perdure.engine.deployments import Deployment
from perdure.engine.matching import QueueKey
from perdure.engine.version_states import DRAINING
from perdure.engine.versioned_queues import MARK
from perdure.model.rpc import failed_precondition, invalid_argument

NAME_BYTES_MAX = 255
"""Of a deployment and of a build."""


class DeploymentUpkeepCalls(Calls):
    """Worker deployments and versions changed and removed."""

    @rpc
    async def create_worker_deployment(self, request: CreateWorkerDeploymentRequest) -> CreateWorkerDeploymentResponse:
        """Makes a deployment before its workers poll."""
        self._namespace(request.namespace)
        _check_name("DeploymentName", request.deployment_name, "." + ":" + MARK)
        made = await self.engine.deployments.create(request.namespace, request.deployment_name, request.identity, request.request_id)
        return CreateWorkerDeploymentResponse(conflict_token=made.conflict_token)

    @rpc
    async def create_worker_deployment_version(
        self, request: CreateWorkerDeploymentVersionRequest
    ) -> CreateWorkerDeploymentVersionResponse:
        """Makes a version before its workers poll."""
        self._namespace(request.namespace)
        version = Version(request.deployment_version.deployment_name, request.deployment_version.build_id)
        _check_name("DeploymentName", version.deployment, MARK)
        _check_name("BuildId", version.build_id, MARK)
        if request.HasField("compute_config"):
            raise invalid_argument("ComputeConfig is set on request: this engine starts no workers.")
        await self.engine.deployments.create_version(request.namespace, version, request.identity, request.request_id)
        return CreateWorkerDeploymentVersionResponse()

    @rpc
    async def delete_worker_deployment(self, request: DeleteWorkerDeploymentRequest) -> DeleteWorkerDeploymentResponse:
        """Forgets a deployment that has no versions."""
        check_manager(self._named(request.namespace, request.deployment_name), request.identity)
        await self.engine.deployments.delete(request.namespace, request.deployment_name)
        return DeleteWorkerDeploymentResponse()

    @rpc
    async def delete_worker_deployment_version(
        self, request: DeleteWorkerDeploymentVersionRequest
    ) -> DeleteWorkerDeploymentVersionResponse:
        """Forgets a version that nothing is sent to, nobody polls for and (unless that does not matter) no open workflow is pinned to."""
        version = named_version(request)
        deployment = self._named(request.namespace, version.deployment)
        self.engine.deployments.version(request.namespace, version)
        check_manager(deployment, request.identity)
        routing = deployment.routing
        if version.build_id in (routing.current_deployment_version.build_id, routing.ramping_deployment_version.build_id):
            raise failed_precondition(f"version {version} cannot be deleted: it is current or ramping")
        if not request.skip_drainage and (await self.engine.drainage.version(request.namespace, version)).drainage_info.status == DRAINING:
            raise failed_precondition(f"version {version} cannot be deleted: it is draining")
        if self._is_polled(request.namespace, version):
            raise failed_precondition(f"version {version} cannot be deleted: it has active pollers")
        await self.engine.deployments.delete_version(request.namespace, version)
        return DeleteWorkerDeploymentVersionResponse()

    @rpc
    async def update_worker_deployment_version_metadata(
        self, request: UpdateWorkerDeploymentVersionMetadataRequest
    ) -> UpdateWorkerDeploymentVersionMetadataResponse:
        """Adds and removes what users note of a version."""
        version = named_version(request)
        self._namespace(request.namespace)

        def change(info: WorkerDeploymentVersionInfo) -> None:
            entries = info.metadata.entries
            for key, value in request.upsert_entries.items():
                entries[key].CopyFrom(value)
            for key in request.remove_entries:
                entries.pop(key, None)
            if limits.too_large(info.metadata, limits.MEMO_BYTES_MAX):
                raise invalid_argument("Metadata exceeds size limit.")
            info.last_modifier_identity = request.identity

        changed = await self.engine.deployments.change_version(request.namespace, version, change)
        return UpdateWorkerDeploymentVersionMetadataResponse(metadata=changed.metadata)

    @rpc
    async def set_worker_deployment_manager(self, request: SetWorkerDeploymentManagerRequest) -> SetWorkerDeploymentManagerResponse:
        """Says who alone may change a deployment; an empty identity: anybody."""
        if limits.too_long(request.manager_identity) or limits.too_long(request.identity):
            raise invalid_argument("ManagerIdentity or Identity length exceeds limit.")
        if request.self and not request.identity:
            raise invalid_argument("Identity is not set on request.")
        before = self._named(request.namespace, request.deployment_name).info.manager_identity
        manager = request.identity if request.self else request.manager_identity

        def change(info: WorkerDeploymentInfo, now: int) -> None:
            info.manager_identity, info.last_modifier_identity = manager, request.identity

        changed = await self.engine.deployments.change(
            request.namespace, request.deployment_name, request.conflict_token, change, routing=False
        )
        return SetWorkerDeploymentManagerResponse(conflict_token=changed.conflict_token, previous_manager_identity=before)

    def _named(self, namespace: str, name: str) -> Deployment:
        self._namespace(namespace)
        if not name:
            raise invalid_argument("DeploymentName is not set on request.")
        return self.engine.deployments.find(namespace, name)

    def _is_polled(self, namespace: str, version: Version) -> bool:
        queues = self.engine.deployments.polled_by(namespace, version)
        found = (self.engine.matching.find(QueueKey(kind, namespace, name)) for kind, name in queues)
        return any(queue is not None and queue.has_poller() for queue in found)


def _check_name(what: str, name: str, without: str) -> None:
    if not name:
        raise invalid_argument(f"{what} is not set on request.")
    if limits.too_long(name, NAME_BYTES_MAX):
        raise invalid_argument(f"{what} length exceeds limit.")
    if any(mark in name for mark in without):
        raise invalid_argument(f"{what} has a character that it cannot have: {name!r}")
