"""Where a ready task waits: on the queue that its run names, or on that of the version whose workers are to get it, by its urgency.

The rule a newcomer would get wrong: the place is right when the task is put there, and may be wrong when a poller comes; `has_moved`
says so then.
"""

from __future__ import annotations

from perdure.engine.backlog import urgency
from perdure.engine.core import Run, TaskKind
from perdure.engine.deployments import Deployments
from perdure.engine.matching import Matching, QueueKey, ReadyTask, TaskQueue


class Placing:
    """Puts ready tasks where their workers poll."""

    def __init__(self, deployments: Deployments, matching: Matching) -> None:
        self.deployments = deployments
        self._matching = matching

    def place(self, run: Run, kind: TaskKind, task: ReadyTask) -> None:
        """Puts a ready task on its queue; one of an activity that is no longer pending goes nowhere."""
        if kind is TaskKind.WORKFLOW:
            name, priority = run.task_queue, run.start.priority if run.start.HasField("priority") else None
        else:
            activity = run.activities.get(task.scheduled_event_id)
            if activity is None:
                return
            named = activity.attributes.HasField("priority") or run.start.HasField("priority")
            name, priority = activity.queue, activity.attributes.priority if named else None
        how = None if priority is None else urgency(run.start.priority, priority)
        self._matching.queue(self.key(run, kind, name)).add_ready(task, how)

    def key(self, run: Run, kind: TaskKind, name: str) -> QueueKey:
        """The queue where tasks of a run wait that its history has on the queue `name`."""
        if self.deployments.active:
            name = self.deployments.route(run, kind, name)
        return QueueKey(kind, run.queue_namespace, name)

    def has_moved(self, run: Run, queue: TaskQueue, task: ReadyTask) -> bool:
        """Whether another version's workers are to get a task that was waiting here."""
        if not self.deployments.active or queue.normal_name is not None:
            return False
        activity = run.activities.get(task.scheduled_event_id)
        name = run.task_queue if queue.key.kind is TaskKind.WORKFLOW else "" if activity is None else activity.queue
        return bool(name) and self.key(run, queue.key.kind, name) != queue.key
