"""Worker deployments: which versions there are, which is current, and to which version's workers a task goes.

A version comes into being with the first poll of one of its workers, and is kept as a record with the queues it polls; what is current
and what is ramped up is in the record of its deployment. All of it is in memory too, since each task of a versioned queue asks.

The tasks of a version wait on a queue of their own, whose name is made here; nothing else knows that name. The rule a newcomer would
get wrong: what a task waits for may change while it waits, so it is routed again when routing changes, and when it meets a poller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from temporalio.api.deployment.v1 import RoutingConfig, WorkerDeploymentInfo, WorkerDeploymentOptions, WorkerDeploymentVersionInfo
from temporalio.api.enums.v1 import RoutingConfigUpdateState

from perdure.engine.core import Run, TaskKind
from perdure.engine.core.times import set_ns
from perdure.engine.core.versions import Version, version_of
from perdure.engine.records import Conflict, Records
from perdure.engine.version_states import new_version, rerouted
from perdure.engine.versioned_queues import MARK, TYPES, build_for, kind_of, queue_of
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError, already_exists, failed_precondition, not_found
from perdure.storage.contract import RecordWrite

KIND = "worker_deployment"
KIND_VERSION = "worker_deployment_version"
UNVERSIONED = "__unversioned__"
LISTED_MAX = 1000


class Deployment:
    """One deployment, as it is stored."""

    def __init__(self, info: WorkerDeploymentInfo, record_version: int) -> None:
        self.info = info
        self.record_version = record_version
        self.versions: dict[str, WorkerDeploymentVersionInfo] = {}
        self.version_records: dict[str, int] = {}
        self.creations: dict[str, str] = {}
        """By which requests it and its versions were made: a request that is repeated comes soon, so this is not stored."""

    @property
    def routing(self) -> RoutingConfig:
        """What is current, and what is being ramped up."""
        return self.info.routing_config

    @property
    def conflict_token(self) -> bytes:
        """Changes with each change of the routing."""
        return self.record_version.to_bytes(8, "big")


class Polled(NamedTuple):
    """A queue that some version's workers poll."""

    namespace: str
    name: str
    kind: TaskKind


class Deployments:
    """All deployments of an engine."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._all: dict[tuple[str, str], Deployment] = {}
        self._pollers: dict[Polled, list[Version]] = {}
        self._writing = asyncio.Lock()
        """Of records: polls of a new version come at once, and while routing is changed."""
        self.active = False
        """There are any: only then anything is to be routed."""
        self.on_routing: Callable[[str, set[str]], None] = lambda namespace, queues: None
        """Told which queues' tasks may have to wait elsewhere."""

    async def load(self) -> None:
        """Reads all of them."""
        for record in await self._records.list(KIND, None, limit=1_000_000):
            self._all[record.namespace, record.key] = Deployment(WorkerDeploymentInfo.FromString(record.data), record.version)
        for record in await self._records.list(KIND_VERSION, None, limit=1_000_000):
            info = WorkerDeploymentVersionInfo.FromString(record.data)
            deployment = self._all.get((record.namespace, info.deployment_version.deployment_name))
            if deployment is not None:
                self._take(record.namespace, deployment, info, record.version)

    def _take(self, namespace: str, deployment: Deployment, info: WorkerDeploymentVersionInfo, record_version: int) -> None:
        build_id = info.deployment_version.build_id
        deployment.versions[build_id] = info
        deployment.version_records[build_id] = record_version
        version = Version(info.deployment_version.deployment_name, build_id)
        for queue in info.task_queue_infos:
            polled = self._pollers.setdefault(Polled(namespace, queue.name, kind_of(queue.type)), [])
            if version not in polled:
                polled.append(version)
        self.active = True

    # Pollers.

    async def register(self, namespace: str, version: Version, kind: TaskKind, queue: str) -> str:
        """The name of the queue that a version's worker polls in truth; the version is known, durably, when it returns."""
        known = self._pollers.get(Polled(namespace, queue, kind))
        while known is None or version not in known:
            async with self._writing:
                if version not in self._pollers.get(Polled(namespace, queue, kind), ()):
                    try:
                        await self._add(namespace, version, kind, queue)
                    except Conflict:
                        await self._reload(namespace, version)
            known = self._pollers.get(Polled(namespace, queue, kind))
        return queue_of(queue, version)

    @staticmethod
    def polled(queue: str, options: WorkerDeploymentOptions) -> str:
        """The name of the queue that a worker polls in truth."""
        version = version_of(options)
        return queue if version is None else queue_of(queue, version)

    async def _add(self, namespace: str, version: Version, kind: TaskKind, queue: str) -> None:
        deployment = self._all.get((namespace, version.deployment)) or await self._new(namespace, version.deployment)
        known = deployment.versions.get(version.build_id)
        if known is None:
            found = new_version(version, self._clock.now())
            rerouted(found, RoutingConfig(), deployment.routing, self._clock.now())
        else:
            found = WorkerDeploymentVersionInfo()
            found.CopyFrom(known)
        found.task_queue_infos.add(name=queue, type=TYPES[kind])
        before = deployment.version_records.get(version.build_id, 0)
        key = MARK.join(version)
        record = await self._records.put(KIND_VERSION, namespace, key, found.SerializeToString(), expected_version=before)
        self._take(namespace, deployment, found, record)
        self.on_routing(namespace, {queue})

    async def _new(self, namespace: str, name: str, identity: str = "") -> Deployment:
        info = WorkerDeploymentInfo(name=name, last_modifier_identity=identity)
        set_ns(info.create_time, self._clock.now())
        info.routing_config_update_state = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_COMPLETED
        written = await self._records.put(KIND, namespace, name, info.SerializeToString(), expected_version=0)
        return self._all.setdefault((namespace, name), Deployment(info, written))

    async def _reload(self, namespace: str, version: Version) -> None:
        """Somebody else has written them meanwhile: two polls of a new version come at once."""
        record = await self._records.get(KIND, namespace, version.deployment)
        if record is None:
            return
        deployment = self._all.setdefault(
            (namespace, version.deployment), Deployment(WorkerDeploymentInfo.FromString(record.data), record.version)
        )
        stored = await self._records.get(KIND_VERSION, namespace, MARK.join(version))
        if stored is not None:
            self._take(namespace, deployment, WorkerDeploymentVersionInfo.FromString(stored.data), stored.version)

    def polls(self, version: Version, namespace: str, queue: str) -> bool:
        """Whether workers of a version poll a queue for workflow tasks."""
        return version in self._pollers.get(Polled(namespace, queue, TaskKind.WORKFLOW), ())

    # Routing.

    def target(self, run: Run, kind: TaskKind, queue: str) -> Version | None:
        """The version whose workers are to get a task of a run; None: workers that are not versioned."""
        versions = self._pollers.get(Polled(run.queue_namespace, queue, kind))
        versioning = run.versioning
        if versioning is not None:
            pinned = versioning.pinned
            if pinned is not None and (kind is TaskKind.WORKFLOW or (versions is not None and pinned in versions)):
                return pinned
        if versions is None:
            return None
        return self._current(run.queue_namespace, versions, run.workflow_id, versioning is not None and versioning.ramping)

    def _current(self, namespace: str, versions: list[Version], name: str, ramped: bool) -> Version | None:
        """Of the versions that poll a queue, the one that gets what is new; `name` decides on ramping, unless it is `ramped` anyway."""
        for deployment in dict.fromkeys(version.deployment for version in reversed(versions)):
            build_id = build_for(name, self._all[namespace, deployment].routing, ramped=ramped)
            if build_id:
                return Version(deployment, build_id)
        return None

    def route(self, run: Run, kind: TaskKind, queue: str) -> str:
        """The queue where a task of a run waits in truth; the same unless its workers are versioned."""
        version = self.target(run, kind, queue)
        return queue if version is None else queue_of(queue, version)

    def route_request(self, namespace: str, queue: str, request_id: str) -> str:
        """The queue where a request to a Nexus handler waits in truth; as `route`."""
        versions = self._pollers.get(Polled(namespace, queue, TaskKind.NEXUS))
        version = None if versions is None else self._current(namespace, versions, request_id, False)
        return queue if version is None else queue_of(queue, version)

    def routing_of(self, kind: TaskKind, namespace: str, queue: str) -> RoutingConfig | None:
        """Of the deployment whose workers poll a queue; None if no versioned worker ever did."""
        versions = self._pollers.get(Polled(namespace, queue, kind))
        return self._all[namespace, versions[-1].deployment].routing if versions else None

    def outdated(self, run: Run) -> bool:
        """Whether the version that did a run's last workflow task is not the one that is to do the next."""
        versioning = run.versioning
        return versioning is not None and self.target(run, TaskKind.WORKFLOW, run.task_queue) != versioning.version

    def superseded(self, run: Run) -> bool:
        """Whether a run that is pinned stays with a version that is not what is current for its queue."""
        versioning = run.versioning
        if versioning is None or versioning.version is None:
            return False
        deployment = self._all.get((run.queue_namespace, versioning.version.deployment))
        if deployment is None or not deployment.routing.current_deployment_version.build_id:
            return False
        return deployment.routing.current_deployment_version.build_id != versioning.version.build_id

    # What clients see and change.

    def find(self, namespace: str, name: str) -> Deployment:
        """A deployment.

        Raises:
            RpcError: NotFound.
        """
        deployment = self._all.get((namespace, name))
        if deployment is None:
            raise not_found(f"no Worker Deployment found with name '{name}'; does your Worker Deployment have pollers?")
        return deployment

    def names(self, namespace: str) -> list[str]:
        """Of all deployments, in order."""
        return sorted(name for found, name in self._all if found == namespace)

    def queues(self, namespace: str, name: str) -> set[str]:
        """That any version of a deployment polls."""
        deployment = self.find(namespace, name)
        return {queue.name for info in deployment.versions.values() for queue in info.task_queue_infos}

    async def change(
        self, namespace: str, name: str, token: bytes, change: Callable[[WorkerDeploymentInfo, int], None], *, routing: bool = True
    ) -> Deployment:
        """Changes a deployment, as a rule its routing, at the time that `change` is told; durable when it returns.

        Raises:
            RpcError: NotFound; FailedPrecondition if it was changed since the token was given out.
        """
        async with self._writing:
            deployment = self.find(namespace, name)
            if token and token != deployment.conflict_token:
                raise _changed()
            info = WorkerDeploymentInfo()
            info.CopyFrom(deployment.info)
            now = self._clock.now()
            change(info, now)
            info.routing_config.revision_number += routing
            versions = self._rerouted(deployment, info.routing_config, now) if routing else []
            writes = [RecordWrite(KIND, namespace, name, deployment.record_version, info.SerializeToString())]
            for version in versions:
                build_id = version.deployment_version.build_id
                key, before = MARK.join((name, build_id)), deployment.version_records.get(build_id, 0)
                writes.append(RecordWrite(KIND_VERSION, namespace, key, before, version.SerializeToString()))
            try:
                await self._records.write(*writes)
            except Conflict:
                raise _changed() from None
            deployment.info, deployment.record_version = info, deployment.record_version + 1
            for version, write in zip(versions, writes[1:], strict=True):
                self._take(namespace, deployment, version, write.expected_version + 1)
            if routing:
                self.on_routing(namespace, self.queues(namespace, name))
            return deployment

    def _rerouted(self, deployment: Deployment, routing: RoutingConfig, now: int) -> list[WorkerDeploymentVersionInfo]:
        """The versions of which a new routing changes what is stored; a version that nobody polls for yet may be among them."""
        known = dict(deployment.versions)
        for named in (routing.current_deployment_version, routing.ramping_deployment_version):
            if named.build_id and named.build_id not in known:
                known[named.build_id] = new_version(Version(deployment.info.name, named.build_id), now)
        changed: list[WorkerDeploymentVersionInfo] = []
        for version in known.values():
            copy = WorkerDeploymentVersionInfo()
            copy.CopyFrom(version)
            if rerouted(copy, deployment.routing, routing, now):
                changed.append(copy)
        return changed

    async def create(self, namespace: str, name: str, identity: str, request_id: str) -> Deployment:
        """Makes a deployment before any worker polls; durable when it returns. The same request again finds the same one.

        Raises:
            RpcError: AlreadyExists.
        """
        async with self._writing:
            known = self._all.get((namespace, name))
            if known is None:
                known = await self._new(namespace, name, identity)
                known.creations[""] = request_id
            elif not request_id or known.creations.get("") != request_id:
                raise already_exists(f"Worker Deployment '{name}' already exists")
            return known

    async def create_version(self, namespace: str, version: Version, identity: str, request_id: str) -> None:
        """Makes a version before any of its workers polls; as `create`.

        Raises:
            RpcError: NotFound if there is no such deployment; AlreadyExists.
        """
        async with self._writing:
            deployment = self.find(namespace, version.deployment)
            if version.build_id not in deployment.versions:
                info = new_version(version, self._clock.now())
                info.last_modifier_identity = identity
                key = MARK.join(version)
                written = await self._records.put(KIND_VERSION, namespace, key, info.SerializeToString(), expected_version=0)
                deployment.creations[version.build_id] = request_id
                self._take(namespace, deployment, info, written)
            elif not request_id or deployment.creations.get(version.build_id) != request_id:
                raise already_exists(f"version {version} already exists")

    async def delete(self, namespace: str, name: str) -> None:
        """Forgets a deployment; durable when it returns.

        Raises:
            RpcError: NotFound; FailedPrecondition if it has versions, or was changed meanwhile.
        """
        async with self._writing:
            deployment = self.find(namespace, name)
            if deployment.versions:
                raise failed_precondition("cannot delete a Worker Deployment that has versions; delete them first")
            try:
                await self._records.delete(KIND, namespace, name, expected_version=deployment.record_version)
            except Conflict:
                raise _changed() from None
            self._all.pop((namespace, name), None)

    def version(self, namespace: str, version: Version) -> WorkerDeploymentVersionInfo:
        """What is stored of a version.

        Raises:
            RpcError: NotFound.
        """
        known = self.find(namespace, version.deployment).versions.get(version.build_id)
        if known is None:
            raise not_found(f"build {version.build_id} not found in Worker Deployment {version.deployment}")
        return known

    def polled_by(self, namespace: str, version: Version) -> list[tuple[TaskKind, str]]:
        """The queues that a version's workers poll in truth."""
        return [(kind_of(queue.type), queue_of(queue.name, version)) for queue in self.version(namespace, version).task_queue_infos]

    async def change_version(
        self, namespace: str, version: Version, change: Callable[[WorkerDeploymentVersionInfo], None]
    ) -> WorkerDeploymentVersionInfo:
        """Changes what is stored of a version; durable when it returns.

        Raises:
            RpcError: NotFound; FailedPrecondition if it was changed meanwhile.
        """
        async with self._writing:
            info = WorkerDeploymentVersionInfo()
            info.CopyFrom(self.version(namespace, version))
            change(info)
            deployment = self.find(namespace, version.deployment)
            before, key = deployment.version_records[version.build_id], MARK.join(version)
            try:
                written = await self._records.put(KIND_VERSION, namespace, key, info.SerializeToString(), expected_version=before)
            except Conflict:
                raise _changed() from None
            self._take(namespace, deployment, info, written)
            return info

    async def delete_version(self, namespace: str, version: Version) -> None:
        """Forgets a version, until one of its workers polls again; durable when it returns. Raises as `change_version`."""
        async with self._writing:
            queues = {queue.name for queue in self.version(namespace, version).task_queue_infos}
            deployment = self.find(namespace, version.deployment)
            before = deployment.version_records[version.build_id]
            try:
                await self._records.delete(KIND_VERSION, namespace, MARK.join(version), expected_version=before)
            except Conflict:
                raise _changed() from None
            deployment.versions.pop(version.build_id, None)
            deployment.version_records.pop(version.build_id, None)
            for polled in [polled for polled, versions in self._pollers.items() if polled.namespace == namespace and version in versions]:
                self._pollers[polled].remove(version)
                if not self._pollers[polled]:
                    del self._pollers[polled]
            self.on_routing(namespace, queues)


def _changed() -> RpcError:
    return failed_precondition("conflict token mismatch: the Worker Deployment was changed meanwhile")
