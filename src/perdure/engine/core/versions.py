"""Worker deployment versions as a run sees them: by which version its last workflow task was done, and what holds for the next.

Plain records and their fold; which version a task goes to is `engine.deployments`' to say, since that depends on what is current.

Easily got wrong: a pinned run stays with its version whatever becomes current, and so does one that overrides; all others follow what
their task queue's deployment says now. A worker that is not versioned makes a run that was versioned unversioned again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.deployment.v1 import WorkerDeploymentVersion as VersionMessage
from temporalio.api.enums.v1 import ContinueAsNewVersioningBehavior, VersioningBehavior, WorkerVersioningMode
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes, WorkflowTaskCompletedEventAttributes
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionVersioningInfo

PINNED: Final = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
AUTO_UPGRADE: Final = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
USE_RAMPING: Final = ContinueAsNewVersioningBehavior.CONTINUE_AS_NEW_VERSIONING_BEHAVIOR_USE_RAMPING_VERSION
_VERSIONED: Final = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
DEPLOYMENT: Final = "TemporalWorkerDeployment"
"""The search attributes by which runs of versioned workers are found: these three."""
VERSION: Final = "TemporalWorkerDeploymentVersion"
BEHAVIOR: Final = "TemporalWorkflowVersioningBehavior"
PINNED_SHOWN: Final = "Pinned"
_SHOWN: Final = {int(PINNED): PINNED_SHOWN, int(AUTO_UPGRADE): "AutoUpgrade"}


class Version(NamedTuple):
    """A version of a deployment."""

    deployment: str
    build_id: str

    def __str__(self) -> str:
        return f"{self.deployment}.{self.build_id}"

    def message(self) -> VersionMessage:
        """As the protocol has it."""
        return VersionMessage(deployment_name=self.deployment, build_id=self.build_id)


class Versioning(NamedTuple):
    """What is known of a run's version."""

    behavior: int = 0
    version: Version | None = None
    """Of the worker that did the last workflow task; before the first one, what the run before it was pinned to."""
    override: VersioningOverride | None = None
    ramping: bool = False
    """Until the first workflow task is done, it goes to the version that is being ramped up."""

    @property
    def pinned(self) -> Version | None:
        """The version it does not leave; None: it follows what is current."""
        override = self.override
        if override is not None:
            return overridden(override)
        return self.version if self.behavior == PINNED else None


def overridden(override: VersioningOverride) -> Version | None:
    """The version to which an override pins; None if it makes the run follow what is current."""
    if override.HasField("pinned"):
        return Version(override.pinned.version.deployment_name, override.pinned.version.build_id)
    if override.behavior == PINNED:
        return parse(override.pinned_version) or Version(override.deployment.series_name, override.deployment.build_id)
    return None


def spelt(version: Version) -> str:
    """A version as queries name it."""
    return f"{version.deployment}:{version.build_id}"


def shown(versioning: Versioning) -> dict[str, str]:
    """Search attributes: of the version that is in force, and how."""
    pinned = versioning.pinned
    version = pinned or versioning.version
    overriding = versioning.override is not None
    behavior = PINNED if pinned is not None else AUTO_UPGRADE if overriding else versioning.behavior
    found = {BEHAVIOR: _SHOWN[behavior]} if behavior in _SHOWN else {}
    if version is not None:
        found |= {DEPLOYMENT: version.deployment, VERSION: spelt(version)}
    return found


def parse(text: str) -> Version | None:
    """A version as older fields spell it: `deployment.build`, or with a colon."""
    for separator in (":", "."):
        deployment, found, build_id = text.partition(separator)
        if found and deployment and build_id:
            return Version(deployment, build_id)
    return None


def version_of(options: WorkerDeploymentOptions) -> Version | None:
    """The version of a worker; None if it is not versioned."""
    if options.worker_versioning_mode != _VERSIONED or not options.deployment_name or not options.build_id:
        return None
    return Version(options.deployment_name, options.build_id)


@lru_cache(maxsize=256)
def completed_part(deployment: str, build_id: str, behavior: VersioningBehavior.ValueType) -> bytes:
    """What WorkflowTaskCompleted says of a versioned worker, encoded."""
    version = Version(deployment, build_id)
    a = WorkflowTaskCompletedEventAttributes(versioning_behavior=behavior)
    a.worker_deployment_version, a.worker_deployment_name = str(version), deployment
    a.deployment_version.CopyFrom(version.message())
    return a.SerializeToString()


def at_start(a: WorkflowExecutionStartedEventAttributes) -> Versioning | None:
    """What a run begins with; None: nothing."""
    override = a.versioning_override if a.HasField("versioning_override") else None
    inherited = a.inherited_pinned_version
    version = Version(inherited.deployment_name, inherited.build_id) if inherited.build_id else None
    ramping = a.inherited_auto_upgrade_info.continue_as_new_initial_versioning_behavior == USE_RAMPING
    if override is None and version is None and not ramping:
        return None
    return Versioning(PINNED if version is not None else 0, version, override, ramping)


def inherit(versioning: Versioning, initial: int, a: WorkflowExecutionStartedEventAttributes) -> None:
    """Writes what a run that continues another has of it; `initial`: how its workflow wants that to begin (0: as it was)."""
    if versioning.override is not None and overridden(versioning.override) is not None:
        a.versioning_override.CopyFrom(versioning.override)
    if initial:
        a.inherited_auto_upgrade_info.continue_as_new_initial_versioning_behavior = initial  # type: ignore[assignment]
    elif versioning.behavior == PINNED and versioning.version is not None:
        a.inherited_pinned_version.CopyFrom(versioning.version.message())


def after_task(versioning: Versioning | None, behavior: int, version: VersionMessage) -> Versioning | None:
    """What holds once a workflow task is done by a worker of a version, or of none (an empty one)."""
    override = None if versioning is None else versioning.override
    if behavior and version.build_id:
        return Versioning(behavior, Version(version.deployment_name, version.build_id), override)
    return None if override is None else Versioning(0, None, override)


def versioning_info(versioning: Versioning) -> WorkflowExecutionVersioningInfo:
    """What a description says."""
    info = WorkflowExecutionVersioningInfo()
    info.behavior = versioning.behavior  # type: ignore[assignment]
    if versioning.version is not None:
        info.version = str(versioning.version)
        info.deployment_version.CopyFrom(versioning.version.message())
    if versioning.override is not None:
        info.versioning_override.CopyFrom(versioning.override)
    return info
