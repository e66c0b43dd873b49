"""When the workers of a deployment's version may be stopped: once no open workflow is pinned to it.

The rule a newcomer would get wrong: nothing watches a version that drains. The runs are counted when somebody asks, so the answer is
never old; and where a run was pinned to a drained version after all (by an override, or as a child), it is draining again.
"""

from __future__ import annotations

import contextlib

from temporalio.api.deployment.v1 import WorkerDeploymentVersionInfo

from perdure.engine.core import codes
from perdure.engine.core.search_attributes import KEYWORD
from perdure.engine.core.times import set_ns
from perdure.engine.core.versions import BEHAVIOR, PINNED_SHOWN, VERSION, Version, spelt
from perdure.engine.deployments import Deployments
from perdure.engine.indexing import stored_name
from perdure.engine.reader import Reader
from perdure.engine.version_states import DRAINED, DRAINING, fill_status
from perdure.model.clock import Clock
from perdure.model.rpc import RpcError
from perdure.storage.run_queries import All, Attribute, Check, Column, Operator, RunQuery, encoded


class Drainage:
    """What is known of versions, brought up to date."""

    def __init__(self, deployments: Deployments, reader: Reader, clock: Clock) -> None:
        self._deployments = deployments
        self._reader = reader
        self._clock = clock

    async def version(self, namespace: str, version: Version) -> WorkerDeploymentVersionInfo:
        """What is to be shown of a version.

        Raises:
            RpcError: NotFound.
        """
        info = self._deployments.version(namespace, version)
        if info.HasField("drainage_info"):
            info = await self._checked(namespace, version, info)
        shown = WorkerDeploymentVersionInfo()
        shown.CopyFrom(info)
        fill_status(shown, self._deployments.find(namespace, version.deployment).routing)
        return shown

    async def _checked(self, namespace: str, version: Version, info: WorkerDeploymentVersionInfo) -> WorkerDeploymentVersionInfo:
        status = DRAINING if await self._pinned(namespace, version) else DRAINED
        now = self._clock.now()

        def change(info: WorkerDeploymentVersionInfo) -> None:
            if info.HasField("drainage_info"):
                set_ns(info.drainage_info.last_checked_time, now)
                if info.drainage_info.status != status:
                    info.drainage_info.status = status
                    set_ns(info.drainage_info.last_changed_time, now)

        if info.drainage_info.status != status:
            with contextlib.suppress(RpcError):  # somebody may have changed it meanwhile: what was found holds all the same
                return await self._deployments.change_version(namespace, version, change)
        checked = WorkerDeploymentVersionInfo()
        checked.CopyFrom(info)
        change(checked)
        return checked

    async def _pinned(self, namespace: str, version: Version) -> int:
        """How many open runs are pinned to a version."""
        condition = All(
            (
                Check(Column("status"), Operator.AMONG, (codes.RUNNING, codes.RUN_PAUSED)),
                Check(Attribute(stored_name(VERSION, KEYWORD)), Operator.AMONG, (encoded(spelt(version)),)),
                Check(Attribute(stored_name(BEHAVIOR, KEYWORD)), Operator.AMONG, (encoded(PINNED_SHOWN),)),
            )
        )
        groups = await self._reader.read(self._reader.storage.count_runs, RunQuery(namespace, condition), None)
        return sum(number for _, number in groups)
