"""What workflow code awaits: a started activity, and a timer. Both are futures, so that `gather`, `wait` and `shield` take them.

The rule a newcomer would get wrong: cancelling a task cancels the future that it waits for, and a future's `cancel` may say
"requested, not yet done". An activity that is to be waited for does that: the task stays where it is until the activity has ended.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from perdure.model.options import CancellationType
from perdure.runtime.commands import CancelActivity, Command, ScheduleActivity, StartTimer
from perdure.runtime.loop import WorkflowFuture, WorkflowLoop

R = TypeVar("R")


class HandleHost(Protocol):
    """What a handle needs of the run that it belongs to."""

    loop: WorkflowLoop
    activation: int
    activities: dict[int, ActivityHandle[Any]]

    def add(self, command: Command) -> None: ...
    def cancel_timer(self, timer: Any) -> None: ...


class ActivityHandle(WorkflowFuture[R], Generic[R]):
    """A started activity: `await` it for its result, `cancel()` it to ask it to stop."""

    __slots__ = ("_activation", "_cancel_sent", "_cancellation_type", "_host", "command", "result_type", "scheduled_event_id")

    def __init__(self, host: HandleHost, result_type: Any, cancellation_type: int) -> None:
        loop = host.loop
        loop.created = self._hash = loop.created + 1
        super(WorkflowFuture, self).__init__(loop=loop)  # past WorkflowFuture's own, which does the same: there are many of these
        self._host = host
        self._activation = host.activation
        self._cancellation_type = cancellation_type
        self._cancel_sent = False
        self.result_type = result_type
        self.scheduled_event_id = 0
        self.command: ScheduleActivity

    @property
    def activity_id(self) -> str:
        return self.command.activity_id

    @property
    def activity_type(self) -> str:
        return self.command.activity_type

    def scheduled(self, event_id: int) -> None:
        """Its scheduling is event `event_id` of the history."""
        self.scheduled_event_id = event_id
        self._host.activities[event_id] = self

    def cancel(self, msg: Any = None) -> bool:
        """Asks the activity to stop, as its cancellation type says. True unless it has ended."""
        if self.done():
            return False
        if self._host.activation == self._activation:
            self.command.dropped = True  # not sent yet: nobody needs to know
            return super().cancel(msg)
        if self._cancellation_type != CancellationType.ABANDON and not self._cancel_sent:
            self._host.add(CancelActivity(self))
            self._cancel_sent = True
        if self._cancellation_type == CancellationType.WAIT_CANCELLATION_COMPLETED:
            return True
        return super().cancel(msg)

    @property
    def cancel_sent(self) -> bool:
        return self._cancel_sent

    def cancelled_by_engine(self) -> None:
        """The activity has ended as cancelled."""
        super().cancel()

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled() else "done" if self.done() else "running"
        return f"<ActivityHandle {self.activity_type} {self.activity_id}: {state}>"


class TimerFuture(WorkflowFuture[None]):
    """A durable timer as a future."""

    __slots__ = ("_host", "command")

    def __init__(self, host: HandleHost) -> None:
        super().__init__(loop=host.loop)
        self._host = host
        self.command: StartTimer

    def fire(self) -> None:
        if not self.done():
            self.set_result(None)

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self._host.cancel_timer(self)
        return super().cancel(msg)
