"""What is said about one chunk of an import: between the workflow that plans it, the code that reads it and the sink that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from perdure.patterns.batch_csv import CsvFile, Range

T_contra = TypeVar("T_contra", contravariant=True)


class SupersededError(Exception):
    """Another attempt has gone on with this chunk: what this one still holds is not stored."""


@dataclass(frozen=True)
class Chunk:
    """One chunk: some rows of a file, on their way into a sink."""

    import_id: str
    source: CsvFile
    target: str
    """The sink's name: a database file, for SqliteSink."""
    range: Range
    heartbeat_every: int = 10
    store_every: int = 200
    """Rows stored, and their progress recorded, in one transaction."""
    give_up: str = ""
    """Not empty: all attempts failed, for this reason. Nothing is read any more, the reason is recorded."""


@dataclass(frozen=True)
class Position:
    """How far a chunk has come: what precedes `offset` is stored or rejected, and counted here."""

    offset: int
    row: int
    """The next row to read."""
    stored: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk's rows."""

    stored: int
    rejected: int
    unread: int = 0
    """Rows that were not read, because the chunk failed."""
    resumed_from_row: int | None = None
    """The row where this attempt went on from an earlier one; None when it read the chunk from its beginning."""


class Rejected(NamedTuple):
    """A record that is not stored, with the reason and its bytes as they stood in the file."""

    row: int
    reason: str
    record: bytes


class Sink(Protocol[T_contra]):
    """Where an import stores rows. `SqliteSink` is one; another keeps the rule of `commit`."""

    def position(self, chunk: Chunk) -> Position:
        """How far earlier attempts came: what the next one starts from."""
        ...

    def commit(
        self, chunk: Chunk, before: Position, after: Position, rows: Sequence[tuple[int, T_contra, bytes]], rejected: Sequence[Rejected]
    ) -> Position:
        """Store rows (number, value, record) and rejections, and record the position, all or nothing.

        Returns `after` with the counts completed. Raises SupersededError when the recorded position is not `before`: an attempt
        that was given up and still runs must not store what its successor stores.
        """
        ...

    def give_up(self, chunk: Chunk) -> Position:
        """Record that the chunk failed, for the reason `chunk.give_up`; how far it came."""
        ...
