"""Activities that come with the reply to the completion that schedules them, instead of through the queue and a poll.

The worker asks for it (`request_eager_execution`) where it has the activity and a slot that waits for nothing else. The slot is
reserved before the completion is sent, and given back if the engine keeps the activity to itself. All others go through the queue.
"""

from __future__ import annotations

from collections.abc import Collection

from temporalio.api.enums.v1.command_type_pb2 import CommandType
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
)

from perdure.worker.poll_lane import PollLane, Slot

__all__ = ["EAGER_PER_COMPLETION_MAX", "EagerActivities"]

EAGER_PER_COMPLETION_MAX = 3
"""As in Temporal's SDKs: a workflow that fans out leaves slots to others, and its activities to other workers."""
_SCHEDULE = CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK

ActivityLane = PollLane[PollActivityTaskQueueResponse]


class EagerActivities:
    """Asks for activities, and runs them in the slots of `lane`, for one worker."""

    def __init__(self, lane: ActivityLane, names: Collection[str], task_queue: str) -> None:
        self._lane = lane
        self._names = names
        self._task_queue = task_queue

    def ask(self, completion: RespondWorkflowTaskCompletedRequest) -> list[Slot]:
        """Marks the activities that this worker can run at once; the slots that wait for them: to be passed to `begin`."""
        slots: list[Slot] = []
        if not self._lane.standing_by:
            return slots
        for command in completion.commands:
            if command.command_type != _SCHEDULE:
                continue
            activity = command.schedule_activity_task_command_attributes
            if activity.activity_type.name not in self._names or activity.task_queue.name != self._task_queue:
                continue
            slot = self._lane.reserve()
            if slot is None:
                break
            activity.request_eager_execution = True
            slots.append(slot)
            if len(slots) == EAGER_PER_COMPLETION_MAX:
                break
        return slots

    def begin(self, slots: list[Slot], reply: RespondWorkflowTaskCompletedResponse | None) -> None:
        """Runs what came with the reply (None: there is none), and gives the other slots back."""
        for slot, task in zip(slots, reply.activity_tasks if reply is not None else (), strict=False):
            self._lane.give(slot, task)
        for slot in slots[0 if reply is None else len(reply.activity_tasks) :]:
            self._lane.give_back(slot)
