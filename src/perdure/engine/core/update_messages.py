"""Updates on workflow tasks: requests to a worker, and its answers (4.10).

Writes WorkflowExecutionUpdateAccepted and WorkflowExecutionUpdateCompleted, and WorkflowExecutionOptionsUpdated for further requests
that wait for an update. Decides which answer is wrong (the workflow task fails, as
for a wrong command), and that what a worker has seen and left unanswered is rejected. A rejection writes nothing.

Easily got wrong: answers have their place among the commands (a PROTOCOL_MESSAGE command names it), those without one come last; and
when a command closes the run, later acceptances and responses are void, but rejections still count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from google.protobuf.message import DecodeError
from temporalio.api.command.v1 import Command
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Rejection, Response
from temporalio.api.update.v1 import Outcome as UpdateOutcome
from temporalio.api.update.v1 import Request as UpdateRequest
from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueResponse

from perdure.engine.core import codes, limits
from perdure.engine.core.pending import WorkflowTask
from perdure.engine.core.plan import Plan, Refused
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.updates import UNPROCESSED, UpdateNews, Updates, report
from perdure.model.framing import framed, tag

_MESSAGES: Final = tag(PollWorkflowTaskQueueResponse, "messages")

Body: TypeAlias = Acceptance | Rejection | Response


class Answer(NamedTuple):
    """A worker's word on an update."""

    update_id: str
    body: Body


class Answers:
    """All of them of one completion, and what they will have done once they are carried out."""

    __slots__ = ("accepted", "by_message", "placed", "rejected", "responded")

    def __init__(self, by_message: dict[str, Answer]) -> None:
        self.by_message = by_message
        self.placed: set[str] = set()
        """Messages that a command gives their place."""
        self.accepted: set[str] = set()
        """Update ids, as the next two."""
        self.rejected: set[str] = set()
        self.responded: set[str] = set()

    @property
    def only_rejections(self) -> bool:
        return len(self.rejected) == len(self.by_message)


# To the worker.


def outgoing(run: Run, updates: Updates, task: WorkflowTask) -> bytes:
    """The requests that go with a workflow task which starts now, as a part of its poll response.

    What was sent and not answered goes again, but not with a heartbeat: the worker is still at it. And what an event records, the
    worker has from there.
    """
    heartbeat = task.original_scheduled_time != task.scheduled_time
    parts: list[bytes] = []
    for update_id, admitted in updates.waiting():
        resent, admitted.sent = admitted.sent, True
        if admitted.from_history or (resent and heartbeat):
            continue
        message = Message(id=f"{update_id}/request", protocol_instance_id=update_id, event_id=task.started_event_id - 1)
        message.body.Pack(admitted.request)
        parts.append(framed(_MESSAGES, message.SerializeToString()))
    return b"".join(parts)


# What the worker says: checked,


def read(messages: Iterable[Message], payload_bytes_max: int) -> Answers:
    """The answers of a completion.

    Raises:
        Refused: for one that says nothing.
    """
    answers: dict[str, Answer] = {}
    for message in messages:
        if limits.too_large(message, payload_bytes_max):
            raise _refused("message exceeds size limit", terminate=True)
        if not message.protocol_instance_id:
            raise _refused("a message has no protocol instance id")
        answers[message.id] = Answer(message.protocol_instance_id, _body(message))
    return Answers(answers)


def _body(message: Message) -> Body:
    for kind in (Acceptance, Rejection, Response):
        body = kind()
        if message.body.Is(kind.DESCRIPTOR):
            try:
                message.body.Unpack(body)
            except DecodeError:
                break
            return body
    raise _refused(f"message {message.id} cannot be read as a word on an update: {message.body.type_url}")


def _refused(message: str, *, terminate: bool = False) -> Refused:
    return Refused(codes.BAD_UPDATE_MESSAGE, message, terminate=terminate)


def check_command(plan: Plan, command: Command) -> None:
    """Checks a command that gives an answer its place."""
    message_id = command.protocol_message_command_attributes.message_id
    if not message_id:
        raise _refused("ProtocolMessageCommand has no message id")
    answers = plan.answers
    answer = answers.by_message.get(message_id) if answers is not None else None
    if answers is None or answer is None:
        raise _refused(f"ProtocolMessageCommand refers to a message that is not there: {message_id}")
    if message_id in answers.placed:
        raise _refused(f"ProtocolMessageCommand refers to a message for the second time: {message_id}")
    answers.placed.add(message_id)
    _check(plan, answers, answer)


def check_rest(plan: Plan, answers: Answers, *, closing: bool) -> None:
    """Checks the answers that no command has given a place; `closing`: after a command that closes the run."""
    for message_id, answer in answers.by_message.items():
        if message_id not in answers.placed and not (closing and not isinstance(answer.body, Rejection)):
            _check(plan, answers, answer)


def _check(plan: Plan, answers: Answers, answer: Answer) -> None:
    update_id, body = answer
    if isinstance(body, Acceptance):
        if not body.accepted_request_message_id or not body.accepted_request_sequencing_event_id:
            raise _refused(f"acceptance of update {update_id} does not say what it accepts")
        _check_waits(plan, answers, update_id, body.HasField("accepted_request"))
        answers.accepted.add(update_id)
    elif isinstance(body, Rejection):
        if not body.rejected_request_message_id or not body.HasField("failure"):
            raise _refused(f"rejection of update {update_id} does not say what it rejects, or why")
        _check_waits(plan, answers, update_id, body.HasField("rejected_request"))
        answers.rejected.add(update_id)
        return
    else:
        if not body.HasField("outcome") or body.outcome.WhichOneof("value") is None:
            raise _refused(f"response to update {update_id} has no outcome")
        updates = plan.run.updates
        known = update_id in answers.accepted or (updates is not None and update_id in updates.accepted)
        if not known or update_id in answers.responded:
            raise _refused(f"response to update {update_id}, which is not accepted")
        answers.responded.add(update_id)
    plan.next_event_id += 1


def _check_waits(plan: Plan, answers: Answers, update_id: str, echoed: bool) -> None:
    """An update that the run has forgotten is as good as admitted if the worker gives its request back."""
    updates = plan.run.updates
    waits = updates is not None and updates.waits(update_id)
    unknown = updates is None or not updates.knows(update_id)
    if update_id in answers.accepted or update_id in answers.rejected or not (waits or (unknown and echoed)):
        raise _refused(f"update {update_id} does not wait for a word")


# and carried out.


def carry_out_command(tx: Transaction, plan: Plan, command: Command) -> None:
    """Writes what an answer says, at the place that its command gives it."""
    if plan.answers is not None:
        _carry_out(tx, plan.answers.by_message[command.protocol_message_command_attributes.message_id])


def carry_out_rejections(tx: Transaction, answers: Answers) -> None:
    """Before all else: what is rejected does not depend on what the commands do to the run."""
    for answer in answers.by_message.values():
        if isinstance(answer.body, Rejection):
            _end(tx, answer.update_id, UpdateOutcome(failure=answer.body.failure))


def carry_out_rest(tx: Transaction, answers: Answers) -> None:
    """Writes the answers that no command has given a place, unless the run has closed."""
    for message_id, answer in answers.by_message.items():
        if message_id not in answers.placed and not tx.run.closed:
            _carry_out(tx, answer)


def reject_unprocessed(tx: Transaction, updates: Updates) -> None:
    """What a worker has seen and not answered it will not answer."""
    for update_id, admitted in updates.waiting():
        if admitted.sent:
            _end(tx, update_id, UNPROCESSED)


def _carry_out(tx: Transaction, answer: Answer) -> None:
    if isinstance(answer.body, Acceptance):
        _accept(tx, answer.update_id, answer.body)
    elif isinstance(answer.body, Response):
        _complete(tx, answer.update_id, answer.body)


def _accept(tx: Transaction, update_id: str, body: Acceptance) -> None:
    updates = tx.run.updates
    admitted = updates.admitted.get(update_id) if updates is not None else None
    event = tx.event(codes.UPDATE_ACCEPTED)
    a = event.workflow_execution_update_accepted_event_attributes
    a.protocol_instance_id = update_id
    a.accepted_request_message_id = body.accepted_request_message_id
    a.accepted_request_sequencing_event_id = body.accepted_request_sequencing_event_id
    if admitted is None:
        a.accepted_request.CopyFrom(body.accepted_request)
    elif not admitted.from_history:
        a.accepted_request.CopyFrom(admitted.request)
    event.links.extend((a.accepted_request if admitted is None else admitted.request).links)
    tx.append(event)
    for request in () if admitted is None else admitted.attached:
        attach_request(tx, request)
    report(tx.outcome, UpdateNews(update_id, codes.STAGE_ACCEPTED))


def attach_request(tx: Transaction, request: UpdateRequest) -> None:
    """Writes that a further request for an accepted update is to hear of its end."""
    event = tx.event(codes.WORKFLOW_OPTIONS_UPDATED)
    event.worker_may_ignore = True
    a = event.workflow_execution_options_updated_event_attributes
    a.identity = request.meta.identity
    option = a.workflow_update_options.add(update_id=request.meta.update_id, attached_request_id=request.request_id)
    option.attached_completion_callbacks.extend(request.completion_callbacks)
    event.links.extend(request.links)
    tx.add(event)


def _complete(tx: Transaction, update_id: str, body: Response) -> None:
    updates = tx.run.updates
    if updates is None:
        raise RuntimeError(f"{tx.run!r} has no updates")
    event = tx.event(codes.UPDATE_COMPLETED)
    a = event.workflow_execution_update_completed_event_attributes
    a.meta.CopyFrom(body.meta)
    a.meta.update_id = update_id
    a.accepted_event_id = updates.accepted[update_id]
    a.outcome.CopyFrom(body.outcome)
    tx.append(event)
    report(tx.outcome, UpdateNews(update_id, codes.STAGE_COMPLETED, body.outcome))


def _end(tx: Transaction, update_id: str, outcome: UpdateOutcome) -> None:
    """A rejection: as if the update had never been."""
    if tx.run.updates is not None:
        tx.run.updates.reject(update_id)
    report(tx.outcome, UpdateNews(update_id, codes.STAGE_COMPLETED, outcome))
