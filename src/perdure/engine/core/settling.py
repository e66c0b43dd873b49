"""The end of every transaction that may have made something happen: limits, the buffer, then the offers to pollers.

Writes what the limits demand: WorkflowTaskFailed (FORCE_CLOSE_COMMAND) when too much is buffered (B6), and
WorkflowExecutionTerminated when the run has become too large (`sizes`). Decides nothing else.

Easily got wrong: the order. Pollers are reserved last, when nothing can be refused or undone any more.
"""

from __future__ import annotations

from perdure.engine.core import activities, codes, limits, workflow_tasks
from perdure.engine.core.closing import terminate
from perdure.engine.core.outcome import Outcome
from perdure.engine.core.sizes import excess
from perdure.engine.core.task_failures import ENGINE, fail
from perdure.engine.core.transaction import Transaction


def settle(tx: Transaction) -> Outcome:
    """Ends a transaction."""
    run = tx.run
    if not run.closed:
        if tx.wants_task:
            workflow_tasks.ensure(tx)
        if run.buffered:
            _settle_buffer(tx)
        if run.next_event_id > limits.HISTORY_EVENTS_MAX or run.history_bytes > limits.TRANSACTION_BYTES_MAX:
            reason = excess(tx)
            if reason:
                terminate(tx, reason, None, ENGINE)
        if tx.ready:
            activities.offer(tx)
        if tx.task_ready:
            workflow_tasks.offer(tx)
    return tx.close()


def _settle_buffer(tx: Transaction) -> None:
    run = tx.run
    if run.task is None or not run.task.started_event_id:
        tx.flush()
    elif len(run.buffered) > limits.BUFFERED_EVENTS_MAX or run.buffered_bytes > limits.BUFFERED_BYTES_MAX:
        workflow_tasks.schedule(tx, fail(tx, codes.FORCE_CLOSE, None, ENGINE))
