"""What a run has to do with other runs: its children, its signals and cancel requests to others, its parent; and their fold.

Writes nothing. `unsent` names what is still to be delivered. For an open run that follows from its history: an `…Initiated`
without its answer, by event id. A closed run may have more duties: to tell its parent (`TELL_PARENT`), to end its children
(`END_CHILDREN`), and to call back who waits for its end (`CALL_BACK`). Its history cannot say that they were done, since no event
follows the close event; `facts` does. And who waits for the end of an update is called back, also while the run is open: no event says
that this was done either.

Easily got wrong: a run that was continued owes its parent nothing (the last run of the chain does), but its children end with
it all the same. One that was terminated by a reset owes nobody anything: the run that it was reset to has its children.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent

from perdure.engine.core import codes

if TYPE_CHECKING:
    from perdure.engine.core.state import Run

TELL_PARENT: Final = 0
END_CHILDREN: Final = -1
CALL_BACK: Final = -2
RESETTER: Final = "history-resetter"
"""The identity of a termination by reset."""


class End(Enum):
    """What a close event means for others."""

    LAST = "last"
    """The chain of runs has ended."""
    CONTINUED = "continued"
    """Another run goes on in its place."""
    RESET = "reset"
    """Another run goes on from some point of it, with its children."""


class Child:
    """A pending child workflow."""

    __slots__ = ("attributes", "event", "initiated_event_id", "run_id", "started_event_id")

    def __init__(self, event: HistoryEvent) -> None:
        self.event = event
        """The event that initiated it."""
        self.attributes = event.start_child_workflow_execution_initiated_event_attributes
        self.initiated_event_id = event.event_id
        self.run_id = ""
        """The first run of its chain; empty until it has been started."""
        self.started_event_id = 0
        """0 as long as that event is buffered, too."""


class External:
    """A signal or cancel request to another workflow whose answer is pending."""

    __slots__ = ("event", "initiated_event_id")

    def __init__(self, event: HistoryEvent) -> None:
        self.event = event
        self.initiated_event_id = event.event_id


def root_of(run: Run) -> WorkflowExecution:
    """The run at the root of its tree of children."""
    if run.start.HasField("root_workflow_execution"):
        return run.start.root_workflow_execution
    return WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)


def request_id(run: Run, initiated_event_id: int) -> str:
    """Of what an event asks of another run. It names the run that wrote it, not what that was reset to: what has arrived does so once.

    What this run itself asks for after a reset has an id of its own, though the run before may have had an event of the same number.
    """
    writer = run.start.original_execution_run_id or run.run_id
    for event_id, new_run_id in run.resets:
        if event_id < initiated_event_id:
            writer = new_run_id
    return f"{writer}:{initiated_event_id}"


# The fold.


def _child_initiated(run: Run, event: HistoryEvent) -> None:
    run.linked = True
    run.children[event.event_id] = Child(event)
    run.unsent[event.event_id] = None


def _child_start_failed(run: Run, event: HistoryEvent) -> None:
    _end_child(run, event.start_child_workflow_execution_failed_event_attributes.initiated_event_id)


def _child_started(run: Run, event: HistoryEvent) -> None:
    a = event.child_workflow_execution_started_event_attributes
    run.unsent.pop(a.initiated_event_id, None)
    child = run.children.get(a.initiated_event_id)
    if child is not None:
        child.run_id = a.workflow_execution.run_id
        child.started_event_id = event.event_id


def number_child_started(run: Run, event: HistoryEvent) -> int:
    """A buffered ChildWorkflowExecutionStarted has got its id; returns that of the event that initiated the child."""
    initiated = event.child_workflow_execution_started_event_attributes.initiated_event_id
    child = run.children.get(initiated)
    if child is not None:
        child.started_event_id = event.event_id
    return initiated


def join_started(event: HistoryEvent, started: dict[int, int]) -> None:
    """Gives a child's close event the id of its started event, now that it has one."""
    a: Any = getattr(event, CHILD_EVENTS[event.event_type])
    a.started_event_id = started.get(a.initiated_event_id, a.started_event_id)


def _child_ended(run: Run, event: HistoryEvent) -> None:
    _end_child(run, getattr(event, CHILD_EVENTS[event.event_type]).initiated_event_id)


def _end_child(run: Run, initiated_event_id: int) -> None:
    run.children.pop(initiated_event_id, None)
    run.unsent.pop(initiated_event_id, None)


def _external_initiated(run: Run, event: HistoryEvent) -> None:
    run.linked = True
    run.externals[event.event_id] = External(event)
    run.unsent[event.event_id] = None


def _external_answered(run: Run, event: HistoryEvent) -> None:
    initiated = getattr(event, _EXTERNAL_ANSWERS[event.event_type]).initiated_event_id
    run.externals.pop(initiated, None)
    run.unsent.pop(initiated, None)


FOLDS: Final[dict[int, Callable[[Run, HistoryEvent], None]]] = {
    codes.CHILD_INITIATED: _child_initiated,
    codes.CHILD_START_FAILED: _child_start_failed,
    codes.CHILD_STARTED: _child_started,
    codes.CHILD_COMPLETED: _child_ended,
    codes.CHILD_FAILED: _child_ended,
    codes.CHILD_CANCELED: _child_ended,
    codes.CHILD_TIMED_OUT: _child_ended,
    codes.CHILD_TERMINATED: _child_ended,
    codes.EXTERNAL_SIGNAL_INITIATED: _external_initiated,
    codes.EXTERNAL_SIGNALED: _external_answered,
    codes.EXTERNAL_SIGNAL_FAILED: _external_answered,
    codes.EXTERNAL_CANCEL_INITIATED: _external_initiated,
    codes.EXTERNAL_CANCEL_REQUESTED: _external_answered,
    codes.EXTERNAL_CANCEL_FAILED: _external_answered,
}

CHILD_EVENTS: Final[dict[int, str]] = {
    codes.CHILD_STARTED: "child_workflow_execution_started_event_attributes",
    codes.CHILD_START_FAILED: "start_child_workflow_execution_failed_event_attributes",
    codes.CHILD_COMPLETED: "child_workflow_execution_completed_event_attributes",
    codes.CHILD_FAILED: "child_workflow_execution_failed_event_attributes",
    codes.CHILD_CANCELED: "child_workflow_execution_canceled_event_attributes",
    codes.CHILD_TIMED_OUT: "child_workflow_execution_timed_out_event_attributes",
    codes.CHILD_TERMINATED: "child_workflow_execution_terminated_event_attributes",
}
"""What a parent hears of a child, and where it stands in the event."""

_EXTERNAL_ANSWERS: Final[dict[int, str]] = {
    codes.EXTERNAL_SIGNALED: "external_workflow_execution_signaled_event_attributes",
    codes.EXTERNAL_SIGNAL_FAILED: "signal_external_workflow_execution_failed_event_attributes",
    codes.EXTERNAL_CANCEL_REQUESTED: "external_workflow_execution_cancel_requested_event_attributes",
    codes.EXTERNAL_CANCEL_FAILED: "request_cancel_external_workflow_execution_failed_event_attributes",
}
"""What the sender of a signal or a cancel request hears of it, and where that stands in the event."""


_FOLLOWED: Final[dict[int, str]] = {
    codes.WORKFLOW_COMPLETED: "workflow_execution_completed_event_attributes",
    codes.WORKFLOW_FAILED: "workflow_execution_failed_event_attributes",
    codes.WORKFLOW_TIMED_OUT: "workflow_execution_timed_out_event_attributes",
    codes.WORKFLOW_CONTINUED: "workflow_execution_continued_as_new_event_attributes",
}
"""How a run may close that another follows, and where that event names it."""


# The end of a run.


def end_of(event: HistoryEvent) -> End:
    """What a close event means for others."""
    kind = event.event_type
    if kind == codes.WORKFLOW_TERMINATED:
        return End.RESET if event.workflow_execution_terminated_event_attributes.identity == RESETTER else End.LAST
    return End.CONTINUED if next_run_of(event) else End.LAST


def next_run_of(event: HistoryEvent) -> str:
    """The run that follows one which closed with this event; empty if none does."""
    where = _FOLLOWED.get(event.event_type)
    return "" if where is None else str(getattr(event, where).new_execution_run_id)


def closed(run: Run, end: End) -> None:
    """Folds the end of a run: what was not sent never will be; what remains are its duties."""
    run.externals, run.unsent, run.operations = {}, {}, None
    if run.updates is not None:
        if end is not End.RESET:  # then what was accepted is asked again
            run.updates.run_closed()
        run.unsent.update(dict.fromkeys(run.updates.untold))
    if end is End.RESET:
        run.children = {}
        return
    abandoned = codes.CLOSE_ABANDONS
    run.children = {key: child for key, child in run.children.items() if child.run_id and child.attributes.parent_close_policy != abandoned}
    if run.children:
        run.unsent[END_CHILDREN] = None
    if end is End.LAST and run.start.HasField("parent_workflow_execution"):
        run.unsent[TELL_PARENT] = None
    if end is End.LAST and run.callbacks:
        run.unsent[CALL_BACK] = None


def discharge(run: Run, duty: int) -> None:
    """A closed run has done its duty, or any run that of telling how an update has ended (by the event of `Updates.untold`)."""
    run.unsent.pop(duty, None)
    if duty == END_CHILDREN:
        run.children = {}
    if duty > 0 and run.updates is not None:
        run.updates.told(duty)
