"""The ready tasks of a queue in which some are more urgent than others: by priority key, then fairly, then in order (section 7).

A queue keeps its ready tasks in a plain deque until a task with a priority comes; from then on this takes its place, and can do
what the deque can. Within one priority key, each fairness key gets turns in proportion to its weight: a task's turn comes 1/weight
after the turn of the one before it of the same fairness key, and never before what has been taken already.

The rule a newcomer would get wrong: turns are not stored. What stands in the storage because memory was full is read in proportion to
the weights of its fairness keys (`remainder`), and gets its turns here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, NamedTuple

from temporalio.api.common.v1 import Priority

if TYPE_CHECKING:
    from perdure.engine.matching import ReadyTask

DEFAULT_KEY = 3
LEVELS: Final = range(1, 6)
"""Priority keys."""
WEIGHT_MIN, WEIGHT_MAX = 0.001, 1000.0


class Urgency(NamedTuple):
    """How urgent a task is: key 1 comes first, 5 last."""

    key: int = DEFAULT_KEY
    fairness_key: str = ""
    weight: float = 1.0


PLAIN: Final = Urgency()
"""Of a task without a priority."""


def urgency(workflow: Priority, task: Priority) -> Urgency:
    """Of a task with a priority of its own, which goes before its workflow's field by field."""
    key = min(max(task.priority_key or workflow.priority_key or DEFAULT_KEY, LEVELS[0]), LEVELS[-1])
    weight = task.fairness_weight or workflow.fairness_weight or 1.0
    return Urgency(key, task.fairness_key or workflow.fairness_key, min(max(weight, WEIGHT_MIN), WEIGHT_MAX))


class _Lane:
    """The tasks of one priority key and one fairness key, in order."""

    __slots__ = ("entries", "fairness_key", "weight")

    def __init__(self, fairness_key: str) -> None:
        self.fairness_key = fairness_key
        self.weight = 1.0
        """Of the last task that came."""
        self.entries: deque[tuple[float, int, ReadyTask]] = deque()
        """Each with its turn and its number."""


class Backlog:
    """Ready tasks, the most urgent first."""

    def __init__(self, tasks: Iterable[ReadyTask]) -> None:
        self._count = 0
        self._size = 0
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self._heads: list[tuple[int, float, int, _Lane]] = []
        """A heap of the first of each lane: priority key, turn, number."""
        self._turns: dict[tuple[int, str], float] = {}
        """Of each fairness key, the turn of its last task."""
        self._taken: dict[int, float] = {}
        """Of each priority key, the turn of the last task that was taken."""
        self._returned: list[ReadyTask] = []
        self.extend(tasks)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[ReadyTask]:
        return (task for _, task in self.keyed())

    def keyed(self) -> Iterator[tuple[int, ReadyTask]]:
        """All of them in order, with their priority keys; of one put back that is not known."""
        yield from ((DEFAULT_KEY, task) for task in reversed(self._returned))
        entries = [(key, turn, count, task) for (key, _), lane in self._lanes.items() for turn, count, task in lane.entries]
        yield from ((entry[0], entry[3]) for entry in sorted(entries, key=lambda entry: entry[:3]))

    def of_lane(self, key: int, fairness_key: str) -> int:
        """How many of a priority key and a fairness key there are."""
        lane = self._lanes.get((key, fairness_key))
        return 0 if lane is None else len(lane.entries)

    def add(self, task: ReadyTask, urgency: Urgency) -> None:
        """Takes a task in at its place."""
        key, fairness_key, weight = urgency
        lane = self._lanes.get((key, fairness_key))
        if lane is None:
            lane = self._lanes[key, fairness_key] = _Lane(fairness_key)
        lane.weight = weight
        turn = max(self._turns.get((key, fairness_key), 0.0), self._taken.get(key, 0.0)) + 1 / weight
        self._turns[key, fairness_key] = turn
        self._count += 1
        self._size += 1
        lane.entries.append((turn, self._count, task))
        if len(lane.entries) == 1:
            heappush(self._heads, (key, turn, self._count, lane))

    def append(self, task: ReadyTask) -> None:
        """Takes in a task that has no priority."""
        self.add(task, PLAIN)

    def extend(self, tasks: Iterable[ReadyTask]) -> None:
        """Takes in several that have none."""
        for task in tasks:
            self.append(task)

    def appendleft(self, task: ReadyTask) -> None:
        """Puts a task back that was taken last."""
        self._returned.append(task)
        self._size += 1

    def popleft(self) -> ReadyTask:
        """Takes the most urgent one."""
        task = self.take(lambda fairness_key, weight: True)
        if task is None:
            raise IndexError("no task is ready")
        return task

    def take(self, admits: Callable[[str, float], bool]) -> ReadyTask | None:
        """Takes the most urgent one whose fairness key, of this weight, is admitted; None if none is. One put back has been admitted."""
        if self._returned:
            self._size -= 1
            return self._returned.pop()
        refused: list[tuple[int, float, int, _Lane]] = []
        taken: ReadyTask | None = None
        while self._heads and taken is None:
            head = heappop(self._heads)
            if admits(head[3].fairness_key, head[3].weight):
                taken = self._take_head(head)
            else:
                refused.append(head)
        for head in refused:
            heappush(self._heads, head)
        return taken

    def _take_head(self, head: tuple[int, float, int, _Lane]) -> ReadyTask:
        key, turn, _, lane = head
        _, _, task = lane.entries.popleft()
        self._size -= 1
        if lane.entries:
            heappush(self._heads, (key, lane.entries[0][0], lane.entries[0][1], lane))
        else:
            del self._lanes[key, lane.fairness_key]
        if self._lanes:
            self._taken[key] = turn
        else:
            self._turns.clear()
            self._taken.clear()
        return task


def put(
    ready: deque[ReadyTask] | Backlog, task: ReadyTask, urgency: Urgency | None, weights: Mapping[str, float]
) -> deque[ReadyTask] | Backlog:
    """The ready tasks of a queue, with one more; `weights` of fairness keys go before the task's own."""
    if urgency is None:
        ready.append(task)
        return ready
    if weights:
        urgency = urgency._replace(weight=weights.get(urgency.fairness_key, urgency.weight))
    backlog = ready if isinstance(ready, Backlog) else Backlog(ready)
    backlog.add(task, urgency)
    return backlog
