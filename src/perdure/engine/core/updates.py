"""The updates of one run: what is asked of its code and not answered yet, and what has been (4.10).

Decides nothing. `Updates` hangs on a run from its first update on; the fold fills `accepted` and `completed` from events, which
are durable. Writes no event.

Easily got wrong: `admitted` is memory alone. Admission is not durable by rule: an update that no worker has accepted is lost with the
run's state, and whoever waits for it asks again. (Only a reset records it, so that the new run has it.)
And a rejected update leaves nothing at all, so its id may be used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from temporalio.api.common.v1 import Callback, Link
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Outcome as UpdateOutcome
from temporalio.api.update.v1 import Request as UpdateRequest

from perdure.engine.core import codes
from perdure.engine.core.callbacks import Attached, attached, link_to

if TYPE_CHECKING:
    from perdure.engine.core.outcome import Outcome
    from perdure.engine.core.state import Run


class Untold(NamedTuple):
    """An update that has ended, and those who are to hear of it."""

    update_id: str
    outcome: UpdateOutcome
    callbacks: list[Attached]


class Admitted:
    """An update that waits for a worker's word."""

    __slots__ = ("attached", "from_history", "recorded", "rejected", "request", "sent", "size")

    def __init__(self, request: UpdateRequest, *, recorded: bool = False) -> None:
        self.request = request
        self.attached: list[UpdateRequest] = []
        """Other requests for it, with callbacks of their own; recorded when it is accepted."""
        self.size = request.ByteSize()
        self.sent = False
        """A workflow task has brought it to a worker, which has not answered."""
        self.rejected = False
        """A worker has said no to an update that is recorded: only this memory knows."""
        self.from_history = recorded
        """The worker has the request from that event, and needs no message."""
        self.recorded = recorded
        """An event says so: a reset has brought it along."""


class Updates:
    """The registry of one run, by update id."""

    __slots__ = ("accepted", "admitted", "callbacks", "completed", "untold")

    def __init__(self) -> None:
        self.admitted: dict[str, Admitted] = {}
        """In the order of admission."""
        self.accepted: dict[str, int] = {}
        """Accepted and not completed, with the id of the event that says so."""
        self.completed: dict[str, int] = {}
        """With the id of the event that holds the outcome."""
        self.callbacks: dict[str, list[Attached]] = {}
        """Who is to hear of the end of an accepted one, or has not yet heard of it."""
        self.untold: dict[int, Untold] = {}
        """Ends of which somebody has not heard, by the event that is the reason: of completion, or, in a run that has closed before
        that, of acceptance. Until facts say otherwise nobody has heard of any."""

    def attach(self, update_id: str, callbacks: Iterable[Callback], event: HistoryEvent, request_id: str) -> None:
        """Folds that callbacks are attached to an accepted update."""
        known = self.callbacks.setdefault(update_id, [])
        known.extend(attached(callbacks, event, request_id))

    def requested_by(self, update_id: str, request_id: str) -> bool:
        """Whether a request with callbacks is known already; one without an id never is."""
        admitted = self.admitted.get(update_id)
        if admitted is not None and not admitted.rejected:
            return any(each.request_id == request_id for each in (admitted.request, *admitted.attached)) and bool(request_id)
        return bool(request_id) and any(each.request_id == request_id for each in self.callbacks.get(update_id, ()))

    def told(self, event_id: int) -> None:
        """All have heard of an end."""
        untold = self.untold.pop(event_id, None)
        if untold is not None:
            self.callbacks.pop(untold.update_id, None)

    def run_closed(self) -> None:
        """Folds that the run has closed: what was accepted has failed by that."""
        for update_id, event_id in self.accepted.items():
            if update_id in self.callbacks:
                self.untold[event_id] = Untold(update_id, CLOSED_ACCEPTED, self.callbacks[update_id])

    @property
    def in_flight(self) -> int:
        return len(self.waiting()) + len(self.accepted)

    @property
    def total(self) -> int:
        return self.in_flight + len(self.completed)

    def knows(self, update_id: str) -> bool:
        return self.waits(update_id) or update_id in self.accepted or update_id in self.completed

    def waits(self, update_id: str) -> bool:
        """Whether it waits for a worker's word."""
        admitted = self.admitted.get(update_id)
        return admitted is not None and not admitted.rejected

    def waiting(self) -> list[tuple[str, Admitted]]:
        """Those that wait for a worker's word."""
        return [(update_id, admitted) for update_id, admitted in self.admitted.items() if not admitted.rejected]

    def reject(self, update_id: str) -> None:
        """A worker, or the engine for it, has said no."""
        admitted = self.admitted.get(update_id)
        if admitted is not None and admitted.recorded:
            admitted.rejected = True
        else:
            self.admitted.pop(update_id, None)


# The fold.


def _admitted(run: Run, event: HistoryEvent) -> None:
    request = UpdateRequest()
    request.CopyFrom(event.workflow_execution_update_admitted_event_attributes.request)
    of(run).admitted[request.meta.update_id] = Admitted(request, recorded=True)


def _accepted(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_execution_update_accepted_event_attributes
    updates, update_id = of(run), a.protocol_instance_id
    admitted = updates.admitted.pop(update_id, None)
    updates.accepted[update_id] = event.event_id
    request = admitted.request if admitted is not None and not a.HasField("accepted_request") else a.accepted_request
    if request.completion_callbacks:
        run.linked = True
        updates.attach(update_id, request.completion_callbacks, event, request.request_id)


def _completed(run: Run, event: HistoryEvent) -> None:
    a = event.workflow_execution_update_completed_event_attributes
    updates, update_id = of(run), a.meta.update_id
    updates.accepted.pop(update_id, None)
    updates.completed[update_id] = event.event_id
    if update_id in updates.callbacks:
        outcome = UpdateOutcome()
        outcome.CopyFrom(a.outcome)
        updates.untold[event.event_id] = Untold(update_id, outcome, updates.callbacks[update_id])
        run.unsent[event.event_id] = None


def of(run: Run) -> Updates:
    """The updates of a run, which has some from now on."""
    if run.updates is None:
        run.updates = Updates()
    return run.updates


FOLDS: Final[dict[int, Callable[[Run, HistoryEvent], None]]] = {
    codes.UPDATE_ADMITTED: _admitted,
    codes.UPDATE_ACCEPTED: _accepted,
    codes.UPDATE_COMPLETED: _completed,
}


# Looking.


class UpdateState(NamedTuple):
    """How far an update has come."""

    stage: Stage.ValueType
    """ADMITTED, ACCEPTED or COMPLETED."""
    completed_event_id: int = 0
    """Of the event with its outcome; 0 for one that was accepted by a run that has closed since: it failed by that."""


def update_state(run: Run, update_id: str) -> UpdateState | None:
    """How far an update of this id has come; None if the run does not know it."""
    updates = run.updates
    if updates is None:
        return None
    if update_id in updates.completed:
        return UpdateState(codes.STAGE_COMPLETED, updates.completed[update_id])
    if update_id in updates.accepted:
        return UpdateState(codes.STAGE_COMPLETED if run.closed else codes.STAGE_ACCEPTED)
    return UpdateState(codes.STAGE_ADMITTED) if updates.waits(update_id) and not run.closed else None


def link_of(run: Run, request: UpdateRequest) -> Link | None:
    """To the event with which a request for an update was recorded; None if none was, or the request has no id to find it by."""
    updates, update_id = run.updates, request.meta.update_id
    if not request.request_id or updates is None or (update_id not in updates.accepted and update_id not in updates.completed):
        return None
    kind = codes.UPDATE_ACCEPTED
    for each in updates.callbacks.get(update_id, ()):
        if each.request_id == request.request_id:
            kind = each.event_type
    return link_to(run, request.request_id, kind)


class Abort(Enum):
    """Why an update that no worker had accepted will not be."""

    CLOSED = "closed"
    """Its run has ended; if another follows, the update may go there."""
    NOT_READY = "not ready"
    """The workflow task that brought it to a worker was answered with something wrong."""
    LOST = "lost"
    """It had not been sent when that happened: it may be asked again."""


class UpdateNews(NamedTuple):
    """Something happened to an update: for those who wait for it, once the transaction is durable."""

    update_id: str
    stage: Stage.ValueType
    outcome: UpdateOutcome | None = None
    """Of a completed one."""
    abort: Abort | None = None


def _failure(kind: str, message: str) -> UpdateOutcome:
    failure = Failure(message=message, source="Server")
    failure.application_failure_info.type = kind
    failure.application_failure_info.non_retryable = True
    return UpdateOutcome(failure=failure)


UNPROCESSED: Final = _failure(
    "UnprocessedUpdate",
    "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by the worker.",
)
CLOSED_ACCEPTED: Final = _failure(
    "AcceptedUpdateCompletedWorkflow", "Workflow Update failed because the Workflow completed before the Update completed."
)


def report(outcome: Outcome, news: UpdateNews) -> None:
    """Adds to what those who wait will hear."""
    if outcome.updates is None:
        outcome.updates = []
    outcome.updates.append(news)


def abort_all(outcome: Outcome, updates: Updates) -> None:
    """The run has closed: what was accepted fails, what was not is aborted."""
    for update_id in updates.accepted:
        report(outcome, UpdateNews(update_id, codes.STAGE_COMPLETED, CLOSED_ACCEPTED))
    for update_id, _ in updates.waiting():
        report(outcome, UpdateNews(update_id, codes.STAGE_ADMITTED, abort=Abort.CLOSED))
    updates.admitted = {update_id: admitted for update_id, admitted in updates.admitted.items() if admitted.recorded}


def abort_admitted(outcome: Outcome, updates: Updates) -> None:
    """A worker's answer was refused: none of the updates that wait can be trusted to its next one."""
    for update_id, admitted in updates.waiting():
        if not admitted.recorded:
            abort = Abort.NOT_READY if admitted.sent else Abort.LOST
            report(outcome, UpdateNews(update_id, codes.STAGE_ADMITTED, abort=abort))
            del updates.admitted[update_id]
