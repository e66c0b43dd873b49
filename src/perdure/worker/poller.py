"""`TaskPoller`: the long polls of a worker, on its task queue and on its own sticky queue.

Workflow tasks come from two queues: the normal one, and the sticky one that only this worker polls, where the engine puts the
next task of a workflow that this worker has in its cache. Each has as many polls as workflow tasks may be in progress: a slot
spends most of its time waiting for the engine to make a completion durable, and how many are really being worked on is bounded
where they are (`WorkflowTaskHandler`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
)

from perdure.model.clock import Clock
from perdure.model.durations import Duration, to_seconds
from perdure.service.contract import WorkflowService
from perdure.worker.config import WorkerConfig
from perdure.worker.poll_lane import LaneSettings, PollLane

__all__ = ["TaskPoller"]

ENGINE_POLL_SECONDS = 60.0
"""An engine answers a poll after this time by itself: no timer of ours is needed for as long or longer."""
POLLS_END_SECONDS = 1.0
"""How long an engine elsewhere has to end the polls of a worker that has said good-bye."""
_NORMAL = 1
_STICKY = 2


class TaskPoller:
    """Polls for one worker. The handlers run inside the poller's slots; of activities never more than the configuration allows."""

    def __init__(
        self,
        service: WorkflowService,
        *,
        namespace: str,
        identity: str,
        sticky_queue: str,
        config: WorkerConfig,
        clock: Clock,
        in_process: bool = True,
    ) -> None:
        self._service = service
        self._namespace = namespace
        self._identity = identity
        self._sticky_queue = sticky_queue
        self._config = config
        self._clock = clock
        self._in_process = in_process
        self._workflow_lanes: list[PollLane[PollWorkflowTaskQueueResponse]] = []
        self._activity_lanes: list[PollLane[PollActivityTaskQueueResponse]] = []

    def __repr__(self) -> str:
        return f"<TaskPoller {self._config.task_queue}: {self.activity_tasks_in_progress} activities running>"

    # --- polling -----------------------------------------------------------------------------------------------------

    def poll_workflow_tasks(self, handle: Callable[[PollWorkflowTaskQueueResponse], Awaitable[None]]) -> None:
        """Starts polling for workflow tasks, each handed to `handle`."""
        config = self._config
        slots = config.max_concurrent_workflow_tasks + config.task_queue_size
        for queue, kind, share in (
            (config.task_queue, _NORMAL, slots),
            (self._sticky_queue, _STICKY, slots if config.max_cached_workflows else 0),
        ):
            if share:
                request = self._workflow_poll(queue, kind)  # for every poll: nobody changes or keeps it
                settings = self._settings(share, config.workflow_poll_timeout, None)
                name = f'workflow tasks of "{config.task_queue}"' + (" (cached workflows)" if kind == _STICKY else "")
                self._workflow_lanes.append(
                    PollLane(name, partial(self._service.poll_workflow_task_queue, request), handle, settings, self._clock)
                )
        for lane in self._workflow_lanes:
            lane.start()

    def poll_activity_tasks(
        self, handle: Callable[[PollActivityTaskQueueResponse], Awaitable[None]], *, spares: bool = False
    ) -> PollLane[PollActivityTaskQueueResponse]:
        """Starts polling for activity tasks, each handed to `handle`; with `spares`, half of the slots stand by for others."""
        config = self._config
        request = PollActivityTaskQueueRequest(
            namespace=self._namespace,
            identity=self._identity,
            worker_instance_key=self._sticky_queue,
            task_queue=TaskQueue(name=config.task_queue, kind=_NORMAL),  # type: ignore[arg-type]  # enum number
        )
        gate = asyncio.Semaphore(config.max_concurrent_activity_tasks) if config.task_queue_size else None
        settings = self._settings(config.max_concurrent_activity_tasks + config.task_queue_size, config.activity_poll_timeout, gate)
        if spares:
            settings = replace(settings, spares=settings.slots // 2)
        lane = PollLane(
            f'activities of "{config.task_queue}"', partial(self._service.poll_activity_task_queue, request), handle, settings, self._clock
        )
        self._activity_lanes.append(lane)
        lane.start()
        return lane

    def _workflow_poll(self, queue: str, kind: int) -> PollWorkflowTaskQueueRequest:
        request = PollWorkflowTaskQueueRequest(namespace=self._namespace, identity=self._identity, worker_instance_key=self._sticky_queue)
        request.task_queue.name = queue
        request.task_queue.kind = kind  # type: ignore[assignment]  # enum number
        if kind == _STICKY:
            request.task_queue.normal_name = self._config.task_queue
        return request

    def _settings(self, slots: int, poll_timeout: Duration, gate: asyncio.Semaphore | None) -> LaneSettings:
        config = self._config
        seconds = to_seconds(poll_timeout)
        return LaneSettings(
            slots=slots,
            poll_timeout=None if seconds >= ENGINE_POLL_SECONDS else seconds,
            poll_interval=to_seconds(config.poll_interval),
            error_backoff=to_seconds(config.poll_error_backoff),
            error_backoff_max=to_seconds(config.poll_error_backoff_max),
            polls_max=None if self._in_process else config.max_concurrent_polls,
            gate=gate,
            keeps_answers=self._in_process,
        )

    # --- stopping ----------------------------------------------------------------------------------------------------

    async def close(self, say_goodbye: Callable[[], Awaitable[None]]) -> None:
        """No new polls, and the engine is told; tasks in progress go on.

        Polls of an engine elsewhere are not cancelled at once: a task may be on its way to them. The good-bye ends them there.
        """
        if self._in_process:
            for lane in self._lanes():
                lane.close()
            await say_goodbye()
            return
        polling = [task for lane in self._lanes() for task in lane.close_softly()]
        await say_goodbye()
        if polling:
            await asyncio.wait(polling, timeout=POLLS_END_SECONDS)
        for lane in self._lanes():
            lane.cancel_polls()

    async def drain(self, seconds: float) -> bool:
        """Waits until the slots have ended after `close`; False when some are still at work after that time."""
        tasks = [task for lane in self._lanes() for task in lane.unfinished()]
        if not tasks:
            return True
        _, unfinished = await asyncio.wait(tasks, timeout=seconds)
        return not unfinished

    def abort(self) -> None:
        """Cancels the slots that are still at work."""
        for lane in self._lanes():
            lane.abort()

    # --- what health checks read ---------------------------------------------------------------------------------------

    @property
    def activity_tasks_in_progress(self) -> int:
        return sum(lane.in_progress for lane in self._activity_lanes)

    @property
    def last_poll_ns(self) -> int:
        """When a poll was last answered, in nanoseconds since the epoch; 0 if none was."""
        return max((lane.last_poll_ns for lane in self._lanes()), default=0)

    @property
    def consecutive_errors(self) -> int:
        """Polls that failed in a row, of the kind that is worst off."""
        return max((lane.consecutive_errors for lane in self._lanes()), default=0)

    @property
    def last_error(self) -> Exception | None:
        """What the last poll failed with; None when polling works."""
        return next((lane.last_error for lane in self._lanes() if lane.last_error is not None), None)

    def _lanes(self) -> list[PollLane[Any]]:
        return [*self._workflow_lanes, *self._activity_lanes]
