"""What of a queue's ready tasks stands in the storage only: by urgency, and how far it has been read.

Memory holds a bounded number of a queue's tasks. Of the others it knows the lanes: the tasks of one priority key, fairness key and weight,
which the storage gives in order. They are read the most urgent first; of one priority key all lanes together, each as much as its weight
says, so that nobody waits for the end of somebody else's backlog.

The rule a newcomer would get wrong: tasks that come while their lane is being read may stand before the place where reading has got to;
so such a lane is read once more from its beginning, when what was read has been taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from perdure.engine.backlog import DEFAULT_KEY, PLAIN, Backlog, Urgency

if TYPE_CHECKING:
    from perdure.engine.matching import ReadyTask

OVERTAKING_MAX: Final = 100
"""Tasks of one priority key and fairness key that may go before what memory has no room for."""
LANES_MAX: Final = 10_000
"""Lanes of a queue that are remembered; beyond, the storage is asked for the others when these have been read."""


class Remainder:
    """The lanes of a queue with tasks that memory does not hold."""

    __slots__ = ("_after", "_missed", "level", "listed", "more")

    def __init__(self) -> None:
        self._after: dict[Urgency, Any] = {}
        """How far each has been read, as its reader says it; None: not yet."""
        self._missed: set[Urgency] = set()
        self.level = 0
        """The most urgent priority key among them, or one that was; 0: none."""
        self.more = False
        """There are lanes that are not remembered,"""
        self.listed = ""
        """or were when the storage was asked for them; up to this one they are."""

    def __repr__(self) -> str:
        return f"<Remainder: {len(self._after)} lanes>"

    def __bool__(self) -> bool:
        return bool(self._after or self._missed or self.more or self.listed)

    def __contains__(self, lane: Urgency) -> bool:
        return lane in self._after or lane in self._missed

    def lanes(self) -> list[Urgency]:
        """Those that are remembered."""
        return list(dict.fromkeys((*self._after, *self._missed)))

    def is_full(self) -> bool:
        """Whether no further lane can be remembered."""
        return len(self._after) + len(self._missed) >= LANES_MAX

    def note(self, lane: Urgency) -> None:
        """A task of this lane is not held in memory."""
        if lane in self._after:
            self._missed.add(lane)
        elif self.is_full():
            self.more = True
        else:
            self._after[lane] = None
            self.level = min(self.level or lane.key, lane.key)

    def include(self, other: Remainder) -> None:
        """All lanes of another one, each from its beginning."""
        self.more = self.more or other.more or bool(other.listed)
        for lane in other.lanes():
            if lane not in self:
                self.note(lane)

    def begin(self) -> None:
        """What was read before has been taken: lanes to be read once more are."""
        missed, self._missed = self._missed, set()
        for lane in missed:
            if lane in self._after:
                self._missed.add(lane)
            else:
                self._after[lane] = None
        self.level = min((lane.key for lane in self._after), default=0)

    def shares(self, limit: int, weights: Mapping[str, float]) -> list[tuple[Urgency, Any, int]]:
        """The most urgent lanes, how far each has been read, and how much of it is to be read, of so much in all."""
        level = min((lane.key for lane in self._after), default=0)
        chosen = [lane for lane in self._after if lane.key == level][:limit]
        heavy = [weights.get(lane.fairness_key, lane.weight) for lane in chosen]
        unit = limit / (sum(heavy) or 1)
        return [(lane, self._after[lane], max(1, int(weight * unit))) for lane, weight in zip(chosen, heavy, strict=True)]

    def has_read(self, lane: Urgency, after: Any) -> None:
        """A lane has been read so far; None: to its end. Others come first next time."""
        self._after.pop(lane, None)
        if after is not None:
            self._after[lane] = after


def goes_first(lane: Urgency | None, ready: deque[ReadyTask] | Backlog, remainder: Remainder | None) -> bool:
    """Whether a task comes before those in the storage, or before most in memory: it is more urgent, or its key has waited for nothing."""
    if lane is None or lane.key > DEFAULT_KEY:
        return False
    if remainder is not None and (lane.key > remainder.level or lane in remainder):
        return False
    if not isinstance(ready, Backlog):
        return lane[:2] != PLAIN[:2]
    return ready.of_lane(lane.key, lane.fairness_key) < OVERTAKING_MAX
