"""The end of a run, whoever brings it about: what must happen before the close event, and what is void after it.

Writes the close events that no command asks for: WorkflowExecutionTerminated and WorkflowExecutionTimedOut. Decides that
a started workflow task fails first (FORCE_CLOSE_COMMAND) and that what is buffered gets its place before the close event.

Easily got wrong: pending activities and timers get no events. They are simply gone.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.api.common.v1 import Link, Payloads

from perdure.engine.core import codes
from perdure.engine.core.outcome import RunClosed
from perdure.engine.core.task_failures import ENGINE, fail
from perdure.engine.core.transaction import Transaction
from perdure.engine.core.updates import abort_all
from perdure.engine.core.workflow_tasks import unstick


def clear_the_way(tx: Transaction) -> None:
    """Ends a started workflow task and empties the buffer, so that a close event from outside may follow."""
    task = tx.run.task
    if task is not None and task.started_event_id:
        fail(tx, codes.FORCE_CLOSE, None, ENGINE)
    tx.flush()


def terminate(tx: Transaction, reason: str, details: Payloads | None, identity: str, links: Sequence[Link] = ()) -> None:
    """Writes the end of a run that was stopped from outside."""
    clear_the_way(tx)
    event = tx.event(codes.WORKFLOW_TERMINATED)
    a = event.workflow_execution_terminated_event_attributes
    a.reason = reason
    if details is not None:
        a.details.CopyFrom(details)
    a.identity = identity
    event.links.extend(links)
    tx.append(event)
    void(tx)


def void(tx: Transaction) -> None:
    """After the close event: nothing is buffered, offered or pending any more, and no worker is waited for that knows the run."""
    tx.drop_buffer()
    tx.ready = []
    tx.task_ready = False
    tx.run.close_attempted = False
    unstick(tx.run)
    tx.outcome.effects[:] = [RunClosed()]
    if tx.run.updates is not None:
        abort_all(tx.outcome, tx.run.updates)
    tx.outcome.visibility_changed = True
