"""The queues that a version's workers poll in truth, and which of two builds gets what is new.

The rule a newcomer would get wrong: a name is always among those that the ramping version gets once it is, as the percentage grows.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from temporalio.api.deployment.v1 import RoutingConfig
from temporalio.api.enums.v1 import TaskQueueType

from perdure.engine.core import TaskKind
from perdure.engine.core.versions import Version

if TYPE_CHECKING:
    from perdure.engine.matching import Matching, QueueKey, TaskQueue

MARK = "\x1d"
"""Separates a queue's name from the version whose workers poll it."""
TYPES = {
    TaskKind.WORKFLOW: TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    TaskKind.ACTIVITY: TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    TaskKind.NEXUS: TaskQueueType.TASK_QUEUE_TYPE_NEXUS,
}


def kind_of(queue_type: TaskQueueType.ValueType) -> TaskKind:
    """What waits on queues of a type."""
    return next(kind for kind, known in TYPES.items() if known == queue_type)


def queue_of(queue: str, version: Version) -> str:
    """The name of the queue that a version's workers poll in truth."""
    return f"{queue}{MARK}{version.deployment}{MARK}{version.build_id}"


def build_for(name: str, routing: RoutingConfig, *, ramped: bool) -> str:
    """The build that gets what has this name, or, `ramped`, the ramping one if there is any; empty: none."""
    ramping = routing.ramping_deployment_version.build_id
    if ramping and (ramped or zlib.crc32(name.encode()) % 10_000 < routing.ramping_version_percentage * 100):
        return ramping
    return routing.current_deployment_version.build_id


def parts(matching: Matching, key: QueueKey) -> list[TaskQueue]:
    """The queue that clients name so, and those of its versions, as far as anybody has used them."""
    beginning = key.name + MARK
    return [
        queue
        for queue in matching.queues()
        if queue.key[:2] == key[:2] and (queue.key.name == key.name or queue.key.name.startswith(beginning))
    ]
