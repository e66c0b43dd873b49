"""From rows to a run: the fold of its history, and the facts beside it. Called in a reader's thread.

The rule a newcomer would get wrong: runs that are wanted at once are read together, and one that is damaged harms no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from temporalio.api.history.v1 import History, HistoryEvent

from perdure.engine.core import Run, load
from perdure.model.errors import StorageCorrupt
from perdure.model.ids import run_id_bytes, run_id_text
from perdure.storage.contract import StoredRun, WorkflowStorage, join_history


class LoadedRun(NamedTuple):
    """A run as the storage has it."""

    run: Run
    version: int
    close_event: bytes
    """As a serialised `History`; empty while it is open."""


def load_runs(storage: WorkflowStorage, run_ids: Sequence[str]) -> list[LoadedRun | StorageCorrupt | None]:
    """Reads and folds runs, in order; None for one that does not exist, what is wrong for one whose rows are no history.

    Raises:
        StorageError: the storage cannot be read.
    """
    stored = storage.load_runs([run_id_bytes(run_id) for run_id in run_ids])
    return [None if found is None else _fold(found) for found in stored]


def _fold(stored: StoredRun) -> LoadedRun | StorageCorrupt:
    try:
        return fold(stored)
    except StorageCorrupt as error:
        return error


def fold(stored: StoredRun) -> LoadedRun:
    """The state that a run's rows say.

    Raises:
        StorageCorrupt: they are no history.
    """
    try:
        events = History.FromString(join_history(stored.history)).events
        run = load(
            events,
            stored.row.facts,
            ((row.scheduled_event_id, row.data) for row in stored.activities),
            [HistoryEvent.FromString(event) for event in stored.buffered],
        )
    except Exception as error:  # what a fold stumbles over that finds something else than it wrote
        raise StorageCorrupt(f"The history of run {run_id_text(stored.row.run_id)} cannot be read: {error}") from error
    close_event = History(events=events[-1:]).SerializeToString() if run.closed and events else b""
    return LoadedRun(run, stored.row.version, close_event)
