"""What becomes of a deployment's version as routing changes, and what is shown of it.

A version that is current or ramping takes new work. When it stops being either it is DRAINING, until it is seen to be DRAINED
(`drainage`); being made current or ramping again forgets that. A version that never took new work is INACTIVE,
and CREATED as long as none of its workers has polled.

The rule a newcomer would get wrong: status, and since when it is current or ramping, follow from the routing and are not stored.
"""

from __future__ import annotations

from typing import Final

from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentVersionInfo
from temporalio.api.enums.v1 import VersionDrainageStatus, WorkerDeploymentVersionStatus

from perdure.engine.core.times import set_ns
from perdure.engine.core.versions import Version

_S: Final = WorkerDeploymentVersionStatus
DRAINING: Final = VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINING
DRAINED: Final = VersionDrainageStatus.VERSION_DRAINAGE_STATUS_DRAINED


def new_version(version: Version, now: int) -> WorkerDeploymentVersionInfo:
    """A version that nothing is known of yet."""
    info = WorkerDeploymentVersionInfo(version=str(version), deployment_name=version.deployment)
    info.deployment_version.CopyFrom(version.message())
    set_ns(info.create_time, now)
    return info


def rerouted(info: WorkerDeploymentVersionInfo, before: RoutingConfig, after: RoutingConfig, now: int) -> bool:
    """Notes of a version what a change of the routing makes of it; False if that is nothing."""
    build_id = info.deployment_version.build_id
    was, becomes = _share(build_id, before), _share(build_id, after)
    if was == becomes:
        return False
    set_ns(info.routing_changed_time, now)
    if becomes is None:
        set_ns(info.last_deactivation_time, now)
        info.drainage_info.status = DRAINING
        set_ns(info.drainage_info.last_changed_time, now)
        set_ns(info.drainage_info.last_checked_time, now)
    elif was is None:
        if not info.HasField("first_activation_time"):
            set_ns(info.first_activation_time, now)
        info.ClearField("last_deactivation_time")
        info.ClearField("drainage_info")
    if becomes == _ALL:
        set_ns(info.last_current_time, now)
    return True


_ALL: Final = -1.0


def _share(build_id: str, routing: RoutingConfig) -> float | None:
    """The percentage of what is new that a version gets; `_ALL` of the rest for the current one, None for others."""
    if build_id == routing.current_deployment_version.build_id:
        return _ALL
    return routing.ramping_version_percentage if build_id == routing.ramping_deployment_version.build_id else None


def fill_status(info: WorkerDeploymentVersionInfo, routing: RoutingConfig) -> None:
    """Adds what follows from the routing."""
    build_id = info.deployment_version.build_id
    if build_id == routing.current_deployment_version.build_id:
        info.status = _S.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT
        info.current_since_time.CopyFrom(routing.current_version_changed_time)
    elif build_id == routing.ramping_deployment_version.build_id:
        info.status = _S.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING
        info.ramping_since_time.CopyFrom(routing.ramping_version_changed_time)
        info.ramp_percentage = routing.ramping_version_percentage
    elif not info.HasField("drainage_info"):
        polled = bool(info.task_queue_infos)
        info.status = _S.WORKER_DEPLOYMENT_VERSION_STATUS_INACTIVE if polled else _S.WORKER_DEPLOYMENT_VERSION_STATUS_CREATED
    elif info.drainage_info.status == DRAINED:
        info.status = _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED
    else:
        info.status = _S.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING
