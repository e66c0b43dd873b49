"""Worker deployments and their versions: RPCs on the engine."""

from __future__ import annotations

from typing import Final, Protocol

from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentInfo, WorkerDeploymentVersion
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    DescribeWorkerDeploymentVersionResponse,
    ListWorkerDeploymentsRequest,
    ListWorkerDeploymentsResponse,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentCurrentVersionResponse,
    SetWorkerDeploymentRampingVersionRequest,
    SetWorkerDeploymentRampingVersionResponse,
)

from perdure.engine.calls.base import Calls, rpc
from perdure.engine.core.times import set_ns, to_ns
from perdure.engine.core.versions import Version, parse
from perdure.engine.deployments import LISTED_MAX, UNVERSIONED, Deployment
from perdure.engine.matching import QueueKey
from perdure.engine.queue_views import stats
from perdure.model.rpc import failed_precondition, invalid_argument

_SUMMED: Final = (
    *("deployment_version", "create_time", "drainage_info", "current_since_time", "ramping_since_time"),
    *("first_activation_time", "last_current_time", "last_deactivation_time"),
)
"""What is shown of a version in the list of its deployment, under the same names."""


class DeploymentCalls(Calls):
    """Worker deployments and their versions."""

    @rpc
    async def describe_worker_deployment(self, request: DescribeWorkerDeploymentRequest) -> DescribeWorkerDeploymentResponse:
        """A deployment, its versions and its routing."""
        deployment = self._deployment(request.namespace, request.deployment_name)
        response = DescribeWorkerDeploymentResponse(conflict_token=deployment.conflict_token)
        info = response.worker_deployment_info
        info.CopyFrom(deployment.info)
        if not info.routing_config.current_version:
            info.routing_config.current_version = UNVERSIONED
        for build_id in _newest_first(deployment):
            info.version_summaries.append(await self._summary(request.namespace, Version(info.name, build_id)))
        return response

    @rpc
    async def describe_worker_deployment_version(
        self, request: DescribeWorkerDeploymentVersionRequest
    ) -> DescribeWorkerDeploymentVersionResponse:
        """A version of a deployment, and the queues that its workers poll."""
        version = named_version(request)
        self._deployment(request.namespace, version.deployment)
        response = DescribeWorkerDeploymentVersionResponse()
        info = response.worker_deployment_version_info
        info.CopyFrom(await self.engine.drainage.version(request.namespace, version))
        polled = self.engine.deployments.polled_by(request.namespace, version)
        for queue, (kind, in_truth) in zip(info.task_queue_infos, polled, strict=True):
            shown = response.version_task_queues.add(name=queue.name, type=queue.type)
            waiting = self.engine.matching.find(QueueKey(kind, request.namespace, in_truth))
            if request.report_task_queue_stats:
                parts, key = [] if waiting is None else [waiting], QueueKey(kind, request.namespace, queue.name)
                in_all, by_priority = await stats(parts, self.engine.runs, key, self.engine.clock.now())
                shown.stats.CopyFrom(in_all)
                for level, of_level in by_priority.items():
                    shown.stats_by_priority_key[level].CopyFrom(of_level)
        return response

    @rpc
    async def list_worker_deployments(self, request: ListWorkerDeploymentsRequest) -> ListWorkerDeploymentsResponse:
        """The deployments of a namespace by name, in pages."""
        self._namespace(request.namespace)
        after = request.next_page_token.decode(errors="replace")
        names = [name for name in self.engine.deployments.names(request.namespace) if name > after]
        limit = min(request.page_size if request.page_size > 0 else LISTED_MAX, LISTED_MAX)
        response = ListWorkerDeploymentsResponse()
        for name in names[:limit]:
            deployment = self.engine.deployments.find(request.namespace, name)
            routing = deployment.routing
            listed = response.worker_deployments.add(name=name, create_time=deployment.info.create_time, routing_config=routing)
            for summary, build_id in (
                (listed.latest_version_summary, next(iter(_newest_first(deployment)), "")),
                (listed.current_version_summary, routing.current_deployment_version.build_id),
                (listed.ramping_version_summary, routing.ramping_deployment_version.build_id),
            ):
                if build_id:
                    summary.CopyFrom(await self._summary(request.namespace, Version(name, build_id)))
        if len(names) > limit:
            response.next_page_token = names[limit - 1].encode()
        return response

    @rpc
    async def set_worker_deployment_current_version(
        self, request: SetWorkerDeploymentCurrentVersionRequest
    ) -> SetWorkerDeploymentCurrentVersionResponse:
        """Sends what is not pinned to a version's workers from now on."""
        deployment = self._deployment(request.namespace, request.deployment_name)
        build_id = _build_id(request.version, request.build_id, request.deployment_name)
        check_manager(deployment, request.identity)
        _check_known(deployment, build_id, request.allow_no_pollers)
        if not request.ignore_missing_task_queues:
            self._check_queues(request.namespace, deployment, build_id, "current")
        before = RoutingConfig()
        before.CopyFrom(deployment.routing)

        def change(info: WorkerDeploymentInfo, now: int) -> None:
            routing = info.routing_config
            _set_current(routing, request.deployment_name, build_id)
            set_ns(routing.current_version_changed_time, now)
            if routing.ramping_deployment_version.build_id == build_id:
                _set_ramping(routing, request.deployment_name, "", 0.0)
            info.last_modifier_identity = request.identity

        changed = await self.engine.deployments.change(request.namespace, request.deployment_name, request.conflict_token, change)
        response = SetWorkerDeploymentCurrentVersionResponse(conflict_token=changed.conflict_token, previous_version=before.current_version)
        if before.current_deployment_version.build_id:
            response.previous_deployment_version.CopyFrom(before.current_deployment_version)
        return response

    @rpc
    async def set_worker_deployment_ramping_version(
        self, request: SetWorkerDeploymentRampingVersionRequest
    ) -> SetWorkerDeploymentRampingVersionResponse:
        """Sends a part of what is not pinned to a version's workers from now on."""
        deployment = self._deployment(request.namespace, request.deployment_name)
        build_id = _build_id(request.version, request.build_id, request.deployment_name)
        check_manager(deployment, request.identity)
        _check_known(deployment, build_id, request.allow_no_pollers)
        if not 0 <= request.percentage <= 100:
            raise invalid_argument("Percentage must be between 0 and 100 (inclusive).")
        if build_id and deployment.routing.current_deployment_version.build_id == build_id:
            raise failed_precondition("requested ramping version is already current")
        if not request.ignore_missing_task_queues:
            self._check_queues(request.namespace, deployment, build_id, "ramping")
        before = RoutingConfig()
        before.CopyFrom(deployment.routing)

        def change(info: WorkerDeploymentInfo, now: int) -> None:
            routing = info.routing_config
            if routing.ramping_deployment_version.build_id != build_id:
                set_ns(routing.ramping_version_changed_time, now)
            _set_ramping(routing, request.deployment_name, build_id, request.percentage)
            set_ns(routing.ramping_version_percentage_changed_time, now)
            info.last_modifier_identity = request.identity

        changed = await self.engine.deployments.change(request.namespace, request.deployment_name, request.conflict_token, change)
        response = SetWorkerDeploymentRampingVersionResponse(conflict_token=changed.conflict_token, previous_version=before.ramping_version)
        response.previous_percentage = before.ramping_version_percentage
        if before.ramping_deployment_version.build_id:
            response.previous_deployment_version.CopyFrom(before.ramping_deployment_version)
        return response

    async def _summary(self, namespace: str, version: Version) -> WorkerDeploymentInfo.WorkerDeploymentVersionSummary:
        info = await self.engine.drainage.version(namespace, version)
        summary = WorkerDeploymentInfo.WorkerDeploymentVersionSummary(version=info.version, status=info.status)
        for field, value in info.ListFields():
            if field.name in _SUMMED:
                getattr(summary, field.name).CopyFrom(value)
        if info.HasField("routing_changed_time"):
            summary.routing_update_time.CopyFrom(info.routing_changed_time)
        summary.drainage_status = info.drainage_info.status
        return summary

    def _check_queues(self, namespace: str, deployment: Deployment, build_id: str, what: str) -> None:
        """Refuses a version that does not poll a queue where work waits for the current one.

        Raises:
            RpcError: FailedPrecondition.
        """
        current, proposed = deployment.routing.current_deployment_version.build_id, deployment.versions.get(build_id)
        if not current or not build_id or current == build_id:
            return
        has = {(queue.name, queue.type) for queue in (proposed.task_queue_infos if proposed is not None else ())}
        version = Version(deployment.info.name, current)
        polled = self.engine.deployments.polled_by(namespace, version)
        for queue, (kind, in_truth) in zip(deployment.versions[current].task_queue_infos, polled, strict=True):
            waiting = self.engine.matching.find(QueueKey(kind, namespace, in_truth))
            if (queue.name, queue.type) not in has and waiting is not None and (waiting.ready or waiting.remainder):
                raise failed_precondition(
                    f"proposed {what} version '{Version(version.deployment, build_id)}' is missing active task queues from the current "
                    f"version; these would become unversioned if it is set as the {what} version"
                )

    def _deployment(self, namespace: str, name: str) -> Deployment:
        self._namespace(namespace)
        if not name:
            raise invalid_argument("DeploymentName is not set on request.")
        return self.engine.deployments.find(namespace, name)


class NamesVersion(Protocol):
    """A request that names a version, in the present way or as an older client does."""

    @property
    def deployment_version(self) -> WorkerDeploymentVersion: ...
    @property
    def version(self) -> str: ...


def named_version(request: NamesVersion) -> Version:
    """The version that a request means.

    Raises:
        RpcError: InvalidArgument if it names none.
    """
    named = request.deployment_version
    version = Version(named.deployment_name, named.build_id) if named.build_id else parse(request.version)
    if version is None or not version.deployment:
        raise invalid_argument("DeploymentVersion is not set on request.")
    return version


def check_manager(deployment: Deployment, identity: str) -> None:
    """Refuses who is not the manager of a deployment that has one.

    Raises:
        RpcError: FailedPrecondition.
    """
    manager = deployment.info.manager_identity
    if manager and manager != identity:
        raise failed_precondition(
            f"ManagerIdentity '{manager}' is set and does not match user identity '{identity}'; set your own identity as "
            "the ManagerIdentity, or unset it, to go on"
        )


def _newest_first(deployment: Deployment) -> list[str]:
    return sorted(deployment.versions, key=lambda build_id: to_ns(deployment.versions[build_id].create_time), reverse=True)


def _build_id(version: str, build_id: str, deployment: str) -> str:
    """The build that a request means; empty: workers without a version."""
    if build_id or version in ("", UNVERSIONED):
        return build_id
    named = version.removeprefix(f"{deployment}.").removeprefix(f"{deployment}:")
    if named == version:
        raise invalid_argument(f"version {version} is not of the Worker Deployment {deployment}")
    return named


def _check_known(deployment: Deployment, build_id: str, allow_no_pollers: bool) -> None:
    if build_id and build_id not in deployment.versions and not allow_no_pollers:
        raise failed_precondition(f"no worker of build {build_id} has polled yet")


def _set_current(routing: RoutingConfig, deployment: str, build_id: str) -> None:
    routing.ClearField("current_deployment_version")
    routing.current_version = UNVERSIONED
    if build_id:
        version = Version(deployment, build_id)
        routing.current_deployment_version.CopyFrom(version.message())
        routing.current_version = str(version)


def _set_ramping(routing: RoutingConfig, deployment: str, build_id: str, percentage: float) -> None:
    routing.ClearField("ramping_deployment_version")
    routing.ramping_version = ""
    routing.ramping_version_percentage = percentage if build_id else 0.0
    if build_id:
        version = Version(deployment, build_id)
        routing.ramping_deployment_version.CopyFrom(version.message())
        routing.ramping_version = str(version)
