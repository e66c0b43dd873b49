"""The core's view of the world (`core.Env`): now, ids, chance, and the pollers that wait."""

from __future__ import annotations

import random
from collections.abc import Callable

from perdure.engine.core import Run, TaskKind
from perdure.engine.core.limits import PAYLOAD_BYTES_MAX, SUGGEST_EVENTS
from perdure.engine.core.search_attributes import Types
from perdure.engine.core.versions import Version
from perdure.engine.deployments import Deployments
from perdure.engine.matching import Matching
from perdure.engine.namespaces import Namespaces
from perdure.engine.poller import Poller
from perdure.model.clock import Clock
from perdure.model.ids import new_run_id, uuid4_text

CORRECTION_NS_MAX = 1_000_000_000
"""The clock may go back by so much before the engine believes it."""


class Environment:
    """One per engine; `begin` opens each request with a fresh `now`."""

    def __init__(
        self, clock: Clock, incarnation: int, namespaces: Namespaces, deployments: Deployments, endpoint_id: Callable[[str], str]
    ) -> None:
        self._clock = clock
        self._deployments = deployments
        self._namespaces = namespaces
        self.incarnation = incarnation
        self.suggest_events = SUGGEST_EVENTS
        self.payload_bytes_max = PAYLOAD_BYTES_MAX
        self._endpoint_id = endpoint_id
        self.now = clock.now()
        self.matching: Matching | None = None
        self._reserved: list[Poller] = []
        self.new_run_id = new_run_id
        self.new_uuid = uuid4_text
        self.random = random.Random().random

    def begin(self) -> None:
        """A request begins: the time is read once for all of it."""
        now = self._clock.now()
        # A clock that is corrected by a little does not make an event older than the one before it; one that is set back is followed.
        if now > self.now or self.now - now > CORRECTION_NS_MAX:
            self.now = now
        self._reserved.clear()

    def search_attributes(self, namespace: str) -> Types:
        """A namespace's own search attributes."""
        return self._namespaces.get(namespace).attributes

    def namespace_id(self, namespace: str) -> str:
        """The id of a namespace; empty if it is going."""
        found = self._namespaces.by_name.get(namespace)
        return "" if found is None else found.described.namespace_info.id

    def endpoint_id(self, name: str) -> str:
        """The id of a Nexus endpoint; empty if there is none of that name."""
        return self._endpoint_id(name)

    def version_outdated(self, run: Run) -> bool:
        """Whether the next workflow task of a versioned run is for another version than the last."""
        return self._deployments.outdated(run)

    def is_for(self, run: Run, version: Version | None) -> bool:
        """Whether a workflow task of a run goes to workers of this version."""
        return not self._deployments.active or self._deployments.target(run, TaskKind.WORKFLOW, run.task_queue) == version

    def version_superseded(self, run: Run) -> bool:
        """Whether another version than the run's is current."""
        return self._deployments.superseded(run)

    def polled_by(self, version: Version, namespace: str, queue: str) -> bool:
        """Whether workers of a version poll a queue for workflow tasks."""
        return self._deployments.polls(version, namespace, queue)

    def reserve(self, kind: TaskKind, run: Run, queue: str, sticky: bool) -> Poller | None:
        """A poller of the queue that waits now, taken out of it; None if none does."""
        if self.matching is None:
            return None
        if self._deployments.active and not sticky:
            queue = self._deployments.route(run, kind, queue)
        poller = self.matching.reserve(kind, run.queue_namespace, queue)
        if poller is not None:
            self._reserved.append(poller)
        return poller

    def release_reserved(self) -> None:
        """Nothing came of the request: its pollers wait again."""
        reserved, self._reserved = self._reserved, []
        for poller in reserved:
            poller.release()
