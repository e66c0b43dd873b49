"""The work on one chunk: read, validate, transform, store; run by an activity (a plain `def`: it runs in a thread)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from perdure import ActivityContext
from perdure.patterns.batch_csv import CsvFile, Raw, ValidationError, check_unchanged, parse, read_range
from perdure.patterns.batch_rows import Chunk, ChunkResult, Position, Rejected, Sink

T = TypeVar("T")

Row = Mapping[str, str]


def import_chunk(
    ctx: ActivityContext, chunk: Chunk, *, validate: Callable[[Row], object], transform: Callable[[Row], T], sink: Sink[T]
) -> ChunkResult:
    """Import the rows of a chunk that no earlier attempt has stored.

    `validate` and `transform` reject a record by raising ValidationError; any other error fails the chunk, which is tried again.
    The heartbeat carries the row that was read last; where the next attempt begins is what the sink has recorded with the rows
    themselves, which is never behind and never ahead of what is stored.
    """
    if chunk.give_up:
        return _result(chunk, sink.give_up(chunk), None)
    check_unchanged(chunk.source)
    position = start = sink.position(chunk)
    records = read_range(chunk.source, start.offset, chunk.range.end)
    for batch in _batches(_beating(ctx, records, start.row, chunk.heartbeat_every), chunk.store_every):
        rows, rejected = _sort(batch, position.row, chunk.source, validate, transform)
        after = Position(batch[-1].end, position.row + len(batch))
        position = sink.commit(chunk, position, after, rows, rejected)
    return _result(chunk, position, start.row if start.row > chunk.range.first_row else None)


def _result(chunk: Chunk, position: Position, resumed_from_row: int | None) -> ChunkResult:
    unread = chunk.range.first_row + chunk.range.rows - position.row
    return ChunkResult(position.stored, position.rejected, unread, resumed_from_row)


def _beating(ctx: ActivityContext, records: Iterable[Raw], row: int, every: int) -> Iterator[Raw]:
    """The records, with a heartbeat before the first and before every tenth."""
    for count, record in enumerate(records):
        if count % every == 0:
            ctx.heartbeat(row + count)
        yield record


def _batches(records: Iterator[Raw], size: int) -> Iterator[list[Raw]]:
    while batch := list(islice(records, size)):
        yield batch


def _sort(
    records: Sequence[Raw], first_row: int, source: CsvFile, validate: Callable[[Row], object], transform: Callable[[Row], T]
) -> tuple[list[tuple[int, T, bytes]], list[Rejected]]:
    """The rows to store, and those that are rejected with the reason."""
    rows: list[tuple[int, T, bytes]] = []
    rejected: list[Rejected] = []
    for number, record in enumerate(records, first_row):
        parsed = parse(record, source)
        try:
            if parsed.problem:
                raise ValidationError(parsed.problem)
            validate(parsed.fields)
            rows.append((number, transform(parsed.fields), record.data))
        except ValidationError as error:
            rejected.append(Rejected(number, str(error), record.data))
    return rows, rejected
