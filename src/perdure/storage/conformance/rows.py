"""Short ways to write transactions, for the conformance cases and for tests."""

from __future__ import annotations

from perdure.storage.contract import ActivityRow, CurrentRow, RecordWrite, RunRow, RunWrite, Transaction, VisibilityRow, queue_key

NAMESPACE = "default"
QUEUE = queue_key(NAMESPACE, "orders")
RUNNING, COMPLETED = 1, 2
AWKWARD = ["", "Ω≈ç√", "a'b\"c\\", "line\nbreak\x1f", "nul\x00inside", "😀", "x" * 1000, "%_", " "]
"""Texts that must be kept as they are."""


def run_id(number: int) -> bytes:
    """Rising with `number`, as UUIDv7 ids rise with time."""
    return number.to_bytes(6, "big") + bytes(10)


def row(
    number: int, *, version: int = 1, status: int = RUNNING, due: int | None = None, queue: str | None = None, held_by: int | None = None
) -> RunRow:
    return RunRow(run_id(number), version, status, 3 * version + 1, due, queue, held_by, b"facts %d" % version)


def shown(
    number: int, workflow_id: str, *, namespace: str = NAMESPACE, status: int = RUNNING, close_time: int | None = None
) -> VisibilityRow:
    start = 1_700_000_000_000_000_000 + number
    return VisibilityRow(
        run_id(number), namespace, workflow_id, "Order", "orders", status, start, start, close_time, 2, 200, b"\x00memo\xff"
    )


def start(
    number: int,
    workflow_id: str,
    *,
    namespace: str = NAMESPACE,
    replaces: int | None = None,
    due: int | None = None,
    queue: str | None = QUEUE,
    held_by: int | None = None,
) -> Transaction:
    """A new run, as the engine writes it."""
    write = RunWrite(
        row(number, due=due, queue=queue, held_by=held_by), 0, 1, b"<start>", visibility=shown(number, workflow_id, namespace=namespace)
    )
    standing = None if replaces is None else run_id(replaces)
    return Transaction([write], CurrentRow(namespace, workflow_id, run_id(number), f"request {number}", standing))


def step(
    number: int,
    version: int,
    history: bytes = b"",
    *,
    activities: list[ActivityRow] | None = None,
    closed: list[int] | None = None,
    clear: bool = False,
    buffered: list[tuple[int, bytes]] | None = None,
    clear_buffered: bool = False,
    due: int | None = None,
    queue: str | None = None,
    held_by: int | None = None,
    status: int = RUNNING,
    visibility: VisibilityRow | None = None,
) -> Transaction:
    """The transaction that brings a run to `version`; the ids of its events are 3 × (version − 1) + 1 and on."""
    return Transaction(
        [
            RunWrite(
                row(number, version=version, status=status, due=due, queue=queue, held_by=held_by),
                version - 1,
                3 * (version - 1) + 1 if history else 0,
                history,
                activities or [],
                closed or [],
                clear,
                clear_buffered,
                buffered or [],
                visibility,
            )
        ]
    )


def activity(scheduled_event_id: int, *, queue: str | None = None, data: bytes = b"attempt 1") -> ActivityRow:
    return ActivityRow(scheduled_event_id, queue, data)


def record(
    key: str, expected: int = 0, data: bytes | None = b"data", *, kind: str = "schedule", namespace: str = NAMESPACE, due: int | None = None
) -> RecordWrite:
    return RecordWrite(kind, namespace, key, expected, data, due)
