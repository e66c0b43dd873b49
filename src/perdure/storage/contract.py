"""What a storage keeps, and what the engine may rely on.

A storage is a plain object whose methods may block. The engine commits one group at a time: by `commit` from its writer's
thread, by `commit_at_once` from the event loop while that thread has nothing; it reads from other threads meanwhile. `open` and
`close` are called while nothing else is. A storage that never waits (`blocking` is False, as in memory) is called from the event
loop alone.

What is kept of a run: its history in batches of serialised events, one small row that each transaction rewrites, one
row for each pending activity, one for each buffered event, and one that lists show. Nothing in proportion to the pending
work is rewritten, and there is no second truth: what can be dispatched, and what is due, are columns of these rows.
What is no run (a namespace, a schedule, a batch operation) is a record: a small versioned row of its own.

The rule a newcomer would get wrong: `commit` answers for each transaction on its own. A conflict in one neither fails
nor delays its neighbours, and UNKNOWN means exactly that: the transaction may have been written, and must be read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from perdure.storage.run_queries import Field, Place, RunQuery, Scalar, SearchValue

HISTORY_FORMAT = 1
"""Of the bytes in a history batch: 1 is a serialised `temporal.api.history.v1.History`."""


class RunRow(NamedTuple):
    """The hot row of a run: rewritten by each of its transactions, and all that is asked of sleeping runs."""

    run_id: bytes
    """The 16 bytes of the run's UUIDv7."""
    version: int
    """Counts the run's transactions from 1: how another process's write is noticed."""
    status: int
    """`temporal.api.enums.v1.WorkflowExecutionStatus`."""
    next_event_id: int
    due: int | None
    """When its next timer fires, in nanoseconds since the epoch; None if nothing is to happen by itself."""
    queue: str | None
    """The queue where its workflow task waits for a worker: `namespace`, U+001F, `name`; None if none waits."""
    incarnation: int | None
    """Of the engine, while a worker inside the engine's process holds its workflow task or one of its activities: the oldest."""
    facts: bytes
    """What the history does not say (`Run.facts`)."""


class ActivityRow(NamedTuple):
    """One pending activity."""

    scheduled_event_id: int
    queue: str | None
    """The queue where it waits for a worker, like `RunRow.queue`; None while it runs or backs off."""
    data: bytes
    """What the history does not say (`Activity.row`)."""


class CurrentRow(NamedTuple):
    """Which run a workflow id means; `replaces` is what the writer believes stands there."""

    namespace: str
    workflow_id: str
    run_id: bytes
    request_id: str
    """The request that started the run: a repeated start is recognised by it."""
    replaces: bytes | None
    """The run id that stands there now; None: no run has this id. A conflict if it is otherwise."""


class VisibilityRow(NamedTuple):
    """What lists show of a run; written when it starts, when its attributes change and when it closes."""

    run_id: bytes
    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    status: int
    start_time: int
    """Nanoseconds since the epoch, as the other times here."""
    execution_time: int
    close_time: int | None
    history_length: int
    history_bytes: int
    attributes: bytes
    """Memo and search attributes, the root and parent run: a serialised `WorkflowExecutionInfo` with these fields alone."""


class RunWrite(NamedTuple):
    """What one transaction writes of one run."""

    row: RunRow
    expected_version: int
    """The version that stands there now; 0: the run must not exist. A conflict if it is otherwise."""
    first_event_id: int = 0
    history: bytes = b""
    """A serialised `History`; empty: no event. Joining the bytes of two batches makes one: the storage may do so."""
    activities: Sequence[ActivityRow] = ()
    closed_activities: Sequence[int] = ()
    """The scheduled event ids of those that are no longer pending."""
    clear_activities: bool = False
    """All of them go: the run has closed."""
    clear_buffered: bool = False
    """The buffered events so far go, before `buffered` is added."""
    buffered: Sequence[tuple[int, bytes]] = ()
    """Number (rising in the run) and serialised `HistoryEvent` of each event that waits for an id."""
    visibility: VisibilityRow | None = None
    search: Sequence[SearchValue] | None = None
    """All values by which queries find the run from now on, in place of those before; None: they stay.

    Each value once; given together with `visibility` only."""


class RunDelete(NamedTuple):
    """A run that goes, with all its rows; if its workflow id means this run, it means none from now on."""

    run_id: bytes
    expected_version: int
    """The version that stands there now. A conflict if it is otherwise."""
    namespace: str
    workflow_id: str


class ClosedRun(NamedTuple):
    """A closed run, as far as its deletion asks for it."""

    run_id: bytes
    version: int
    workflow_id: str
    close_time: int | None
    """None: it is open."""


class Record(NamedTuple):
    """Something small that is no run: a namespace, a schedule, a batch operation."""

    kind: str
    """What it is: whoever writes a kind decides what its `data` means."""
    namespace: str
    """Empty where it belongs to no namespace."""
    key: str
    """Never empty; one of its kind and namespace."""
    version: int
    """Counts its writes from 1; a record that was deleted and is written again begins anew."""
    due: int | None
    """When something is to happen to it, in nanoseconds since the epoch; None if nothing is to happen by itself."""
    data: bytes


class RecordWrite(NamedTuple):
    """A record made, changed or deleted."""

    kind: str
    namespace: str
    key: str
    expected_version: int
    """The version that stands there now; 0: it must not exist. A conflict if it is otherwise."""
    data: bytes | None
    """None: it is deleted."""
    due: int | None = None


class Transaction(NamedTuple):
    """One atomic change: of one run, or of a run and the one that follows or precedes it or to which it does something, or of records,
    or of both."""

    writes: Sequence[RunWrite]
    current: CurrentRow | None = None
    records: Sequence[RecordWrite] = ()
    """Of each record at most one write."""
    deletes: Sequence[RunDelete] = ()
    """Not together with `writes` or `current`."""


class Committed(Enum):
    """What became of a transaction."""

    YES = "yes"
    """It is durable."""
    CONFLICT = "conflict"
    """Nothing of it was written: a version (of a run, of a record), a run id or a current run was not what it expected."""
    FAILED = "failed"
    """Nothing of it was written: the storage could not (disk full, read-only, database gone before the commit)."""
    UNKNOWN = "unknown"
    """It may have been written: the storage failed during the commit itself."""


class StoredRun(NamedTuple):
    """A run as it was last committed."""

    row: RunRow
    history: list[bytes]
    """Its batches in order, each a serialised `History`."""
    activities: list[ActivityRow]
    buffered: list[bytes]


class CurrentRun(NamedTuple):
    """The run that a workflow id means."""

    run_id: bytes
    request_id: str


class Due(NamedTuple):
    """A run that has something to do at `due` (nanoseconds since the epoch)."""

    due: int
    run_id: bytes


class Waiting(NamedTuple):
    """A task that waits on a queue; `scheduled_event_id` is 0 for a workflow task."""

    run_id: bytes
    scheduled_event_id: int


class WorkflowStorage(Protocol):
    """The contract. Every method raises `StorageError` for what it cannot do; none of them raises anything else."""

    @property
    def blocking(self) -> bool:
        """Whether its methods may wait (for a disk, a network): then they are called in threads."""
        ...

    @property
    def url(self) -> str:
        """Where it is, for messages and logs."""
        ...

    def open(self) -> None:
        """Takes possession: locks, creates or migrates the schema, checks the durability settings.

        Raises:
            StorageLocked: another process has it.
            SchemaTooNew: a newer perdure wrote it.
        """
        ...

    def close(self) -> None:
        """Gives it up; what was committed stays. Closing twice is no error."""
        ...

    def next_incarnation(self) -> int:
        """Counts, durably, how often an engine has opened it: 1 for the first."""
        ...

    def commit(self, group: Sequence[Transaction]) -> list[Committed]:
        """Writes a group with one flush to disk, and says what became of each transaction, in order.

        Transactions of one run follow each other within a group; if one of them fails, those built on it conflict.
        When it returns YES, the transaction survives the loss of power.
        """
        ...

    def commit_at_once(self, group: Sequence[Transaction]) -> list[Committed] | None:
        """As `commit`, for a caller who can wait for one write to a quick disk and for nothing else.

        None, and nothing was done, where more is due than that: then `commit` does it, in a thread.
        """
        ...

    def load_run(self, run_id: bytes) -> StoredRun | None:
        """All that is kept of a run; None if there is no such run."""
        ...

    def load_runs(self, run_ids: Sequence[bytes]) -> list[StoredRun | None]:
        """As `load_run`, for many at once."""
        ...

    def current_run(self, namespace: str, workflow_id: str) -> CurrentRun | None:
        """The newest run of a workflow id, open or closed."""
        ...

    def visibility(self, run_id: bytes) -> VisibilityRow | None:
        """What lists show of a run: its namespace and workflow id too, which no other row holds."""
        ...

    def read_history(self, run_id: bytes, first_event_id: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        """History batches, with the id of their first event, from the batch that holds `first_event_id` on.

        Stops after the batch with which `limit_bytes` is reached; at least one batch, if there is one.
        """
        ...

    def due_runs(self, until: int, limit: int) -> list[Due]:
        """Open runs due at or before `until`, the earliest first."""
        ...

    def next_due(self, after: int) -> int | None:
        """The earliest `due` later than `after`; None if there is none."""
        ...

    def waiting_queues(self) -> list[tuple[str, bool]]:
        """Each queue on which a task waits, with whether it is activities (True) or workflow tasks (False)."""
        ...

    def waiting(self, queue: str, *, activities: bool, after: Waiting | None, limit: int) -> list[Waiting]:
        """Tasks waiting on a queue, in the order of run id and event id, after `after`."""
        ...

    def abandoned_runs(self, incarnation: int) -> list[bytes]:
        """Runs with a task that an in-process worker of an incarnation older than `incarnation` held."""
        ...

    def list_runs(self, namespace: str, after: bytes | None, limit: int) -> list[VisibilityRow]:
        """Runs of a namespace in the order of their ids, which is that of their starts, after `after`: to look at all of them."""
        ...

    def find_runs(self, query: RunQuery, after: Place | None, limit: int) -> list[VisibilityRow]:
        """Runs that a query asks for: the open ones, the latest start first, then the closed ones, the latest close first.

        Runs of the same times come in the falling order of their ids. `after` is where the page before ended.
        """
        ...

    def count_runs(self, query: RunQuery, group_by: Field | None) -> list[tuple[Scalar | None, int]]:
        """How many runs a query asks for: by the values of a field (None: those without one), or all of them under None.

        The largest group comes first. A field with several values counts with the first of them.
        """
        ...

    def closed_runs(self, namespace: str, until: int, limit: int) -> list[ClosedRun]:
        """Runs of a namespace that closed at or before `until`, the earliest first."""
        ...

    def first_close(self, namespace: str) -> int | None:
        """When the earliest closed run of a namespace closed; None if none has."""
        ...

    def runs_of_namespace(self, namespace: str, limit: int) -> list[ClosedRun]:
        """Some runs of a namespace, open or closed: to delete all of them."""
        ...

    def record(self, kind: str, namespace: str, key: str) -> Record | None:
        """One record; None if there is none."""
        ...

    def records(self, kind: str, namespace: str | None, after_key: str | None, limit: int, after_namespace: str = "") -> list[Record]:
        """Records of a kind, in the order of namespace and key, which is that of their code points.

        Of one namespace: those after `after_key`. Of all (None): those after the key `after_key` of `after_namespace`.
        """
        ...

    def record_kinds(self) -> list[str]:
        """The kinds of which there are records."""
        ...

    def due_records(self, until: int, limit: int) -> list[Record]:
        """Records due at or before `until`, the earliest first."""
        ...

    def next_due_record(self, after: int) -> int | None:
        """The earliest `due` of a record later than `after`; None if there is none."""
        ...

    def sizes(self) -> dict[str, int]:
        """Bytes on disk by file, and rows by table: for `describe`, `bench` and tests."""
        ...

    def backup(self, path: str) -> None:
        """A consistent copy while the engine runs (a storage that cannot raises StorageError and says what to use)."""
        ...


def queue_key(namespace: str, name: str) -> str:
    """The text by which rows name a queue."""
    return f"{namespace}\x1f{name}"


def split_queue_key(key: str) -> tuple[str, str]:
    """Namespace and name of a queue, as `queue_key` joined them."""
    namespace, _, name = key.partition("\x1f")
    return namespace, name


def join_history(batches: Iterable[bytes]) -> bytes:
    """One serialised `History` from several: protobuf joins repeated fields."""
    return b"".join(batches)
