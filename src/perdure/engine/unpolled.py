"""A warning for tasks that wait on a queue which nobody has ever polled: a misspelt name, or a worker that was not started."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.engine.core import TaskKind

if TYPE_CHECKING:
    from perdure.engine.matching import Matching, TaskQueue

logger = logging.getLogger("perdure.engine")

UNPOLLED_WARNING_SECONDS = 10
"""A task that has waited so long on a queue without pollers is worth a warning."""
_UNPOLLED = (
    '%s on the task queue "%s", which no worker polls; queues with a worker: %s. '
    'Start a worker with task_queue="%s", or start the workflow on one of those.'
)


def note_unpolled(matching: Matching, queue: TaskQueue) -> None:
    """A task waits, and nobody polls: warns after a while, once, if that is still so."""
    if not queue.last_poll and not queue.warned and queue.normal_name is None and not matching.closed:
        queue.warned = True
        matching.clock.call_at(matching.clock.now() + UNPOLLED_WARNING_SECONDS * 1_000_000_000, lambda: _warn(matching, queue))


def _warn(matching: Matching, queue: TaskQueue) -> None:
    if queue.last_poll or matching.closed:
        return
    polled = sorted({q.key.name for q in matching.queues() if q.key.kind == queue.key.kind and q.pollers and q.normal_name is None})
    what = "Workflow tasks wait" if queue.key.kind is TaskKind.WORKFLOW else "Activities wait"
    logger.warning(_UNPOLLED, what, queue.key.name, ", ".join(f'"{name}"' for name in polled) or "none", queue.key.name)
