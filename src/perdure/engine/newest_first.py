"""Pages of what is kept as records (schedules, batch operations), the newest first, as lists of workflows are.

Records stand in the order of their names, so each page looks at all of them; in memory are no more than two pages.

The rule a newcomer would get wrong: a token names the last entry that was shown, by its time and name, and not a number of entries. So
what is made or deleted between two pages moves nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from heapq import nsmallest
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from perdure.model.rpc import invalid_argument

__all__ = ["Place", "newest_first"]

T = TypeVar("T")

_TIME: Final = Struct(">q")


class Place(NamedTuple):
    """Where an entry stands: places are in the order of the list."""

    before_epoch: int
    """Nanoseconds; so the newest is the smallest."""
    name: str

    @classmethod
    def of(cls, created: int, name: str) -> Place:
        """Of what was made then."""
        return cls(-created, name)

    def token(self) -> bytes:
        """With which what comes after is asked for."""
        return _TIME.pack(self.before_epoch) + self.name.encode()


async def newest_first(entries: AsyncIterable[T], place: Callable[[T], Place], size: int, token: bytes) -> tuple[list[T], bytes]:
    """The page after a token, and the token for the next; empty after the last.

    Raises:
        RpcError: INVALID_ARGUMENT for a token that is none.
    """
    after = _read(token) if token else None
    kept: list[T] = []
    async for entry in entries:
        if after is None or place(entry) > after:
            kept.append(entry)
            if len(kept) > 2 * size + 1:
                kept = nsmallest(size + 1, kept, key=place)
    kept = nsmallest(size + 1, kept, key=place)
    return kept[:size], place(kept[size - 1]).token() if len(kept) > size else b""


def _read(token: bytes) -> Place:
    if len(token) < _TIME.size:
        raise invalid_argument("Invalid NextPageToken.")
    try:
        return Place(_TIME.unpack_from(token)[0], token[_TIME.size :].decode())
    except ValueError:
        raise invalid_argument("Invalid NextPageToken.") from None
