"""When the event loop writes a transaction itself, in place of the writer thread.

Waking a thread and being woken by it takes as long as a write to a quick disk, and while a program does one thing after the other nobody
gains by it: the loop has nothing to do but wait. So a transaction that is alone is written by the loop. What is at stake is everything
else that runs in that loop, so two things are watched. Writes have to be quick: after one that was not, many are watched in the thread
before the loop tries again. And there must be one run at work: with two, the disk and the loop can work at the same time.

The rule a newcomer would get wrong: that a transaction was alone in its group says little. When the loop has written one, nothing else
can have come meanwhile, however many runs are at work; that the next one is of the same run says that only one is.
"""

from __future__ import annotations

from perdure.storage.contract import Transaction

QUICK_SECONDS = 0.001
"""For so long the loop may stand still: one workflow that runs from start to end keeps it as long."""
WARY_GROUPS = 20
"""So many quick groups have to follow one that was not (and the opening) before the loop writes again."""
STEADY = 3
"""What a run gains by each transaction that follows one of its own, at most, and a change of runs costs two of: one run after the other,
with a few transactions each, stays above zero; runs that take turns do not."""
_CHANGE = 2


class LoneWrites:
    """Judges by what was written last."""

    __slots__ = ("_run", "_steady", "_wary")

    def __init__(self) -> None:
        self._run: object = None
        self._steady = 0
        self._wary = WARY_GROUPS

    def suit(self, transaction: Transaction) -> bool:
        """Whether the loop should write a transaction that is alone."""
        return not self._wary and self._steady - (0 if _run_of(transaction) == self._run else _CHANGE) > 0

    def note(self, first: Transaction, size: int, seconds: float) -> None:
        """A group of so many transactions has been written, by whomever, in so many seconds."""
        if seconds > QUICK_SECONDS:
            self._wary = WARY_GROUPS
        elif self._wary:
            self._wary -= 1
        if size > 1:
            self._steady = 0
            return
        run = _run_of(first)
        if run == self._run:
            self._steady = min(self._steady + 1, STEADY)
        else:
            self._run = run
            self._steady = max(self._steady - _CHANGE, 0)


def _run_of(transaction: Transaction) -> object:
    return transaction.writes[0].row.run_id if transaction.writes else None
