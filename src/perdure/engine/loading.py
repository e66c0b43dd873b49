"""From rows to a run: the fold of its history, and the facts beside it. Called in a reader's thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from google.protobuf.message import DecodeError
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


def load_runs(storage: WorkflowStorage, run_ids: Sequence[str]) -> list[LoadedRun | None]:
    """Reads and folds runs, in order; None for one that does not exist.

    Raises:
        StorageError: it cannot be read, or what it holds is no history (StorageCorrupt).
    """
    stored = storage.load_runs([run_id_bytes(run_id) for run_id in run_ids])
    return [None if found is None else fold(found) for found in stored]


def fold(stored: StoredRun) -> LoadedRun:
    """The state that a run's rows say."""
    try:
        events = History.FromString(join_history(stored.history)).events
        run = load(
            events,
            stored.row.facts,
            ((row.scheduled_event_id, row.data) for row in stored.activities),
            [HistoryEvent.FromString(event) for event in stored.buffered],
        )
    except (DecodeError, ValueError, KeyError) as error:
        raise StorageCorrupt(f"The history of run {run_id_text(stored.row.run_id)} cannot be read: {error}") from error
    close_event = History(events=events[-1:]).SerializeToString() if run.closed and events else b""
    return LoadedRun(run, stored.row.version, close_event)
