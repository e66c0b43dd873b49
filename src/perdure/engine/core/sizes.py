"""How large a run may become: its history, its pending work, and what one transaction adds to them (section 9).

Decides only that there is too much, and what that is called; `settling` terminates the run for it. A transaction that is too large is
not written at all, and whoever asked for it is refused; a run whose workflow task asked for it is terminated without it.

Easily got wrong: weighing what is pending costs in proportion to it. No run whose history is shorter than the smallest of these limits
can pass one, so only those with a longer one are weighed; heartbeat details, which are in no history, count once it is. And the first
transaction of a run that a reset made copies a history: that is not counted as new.
"""

from __future__ import annotations

from typing import Final

from perdure.engine.core import limits
from perdure.engine.core.state import Run
from perdure.engine.core.transaction import Transaction
from perdure.model.rpc import RpcError, StatusCode

TOO_LARGE: Final = "Transaction size exceeds limit."


class TransactionTooLarge(RpcError):
    """A request asks for more than one transaction may add: the run must be discarded, and read again as it was before."""

    def __init__(self) -> None:
        super().__init__(StatusCode.INVALID_ARGUMENT, TOO_LARGE)


def excess(tx: Transaction) -> str:
    """Of what the run has too much after this transaction; empty if of nothing.

    Raises:
        TransactionTooLarge: the transaction itself is; nothing of it may be written.
    """
    run = tx.run
    if run.history_bytes > limits.HISTORY_BYTES_MAX:
        return "Workflow history size exceeds limit."
    if run.next_event_id > limits.HISTORY_EVENTS_MAX:
        return "Workflow history count exceeds limit."
    if tx.outcome.first_event_id > 1 and sum(map(len, tx.written)) > limits.TRANSACTION_BYTES_MAX:
        raise TransactionTooLarge
    if state_bytes(run) > limits.STATE_BYTES_MAX:
        return "Workflow mutable state size exceeds limit."
    return ""


def state_bytes(run: Run) -> int:
    """What is kept of a run beside its history, as Temporal counts it: pending work with its inputs, memo, attributes, buffered events."""
    total = run.buffered_bytes + run.start_event.ByteSize()
    for activity in run.activities.values():
        total += activity.event.ByteSize()
        for part in (activity.heartbeat_details, activity.last_failure):
            total += part.ByteSize() if part is not None else 0
    total += sum(child.event.ByteSize() for child in run.children.values())
    total += sum(external.event.ByteSize() for external in run.externals.values())
    for fields in (run.memo, run.search_attributes):
        total += sum(len(key) + value.ByteSize() for key, value in fields.items())
    return total + sum(map(len, run.signal_request_ids))
