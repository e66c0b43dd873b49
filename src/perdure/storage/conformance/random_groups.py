"""Random groups of transactions: what an engine writes, mixed with what it writes by mistake."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

from perdure.storage.conformance.rows import COMPLETED, NAMESPACE, QUEUE, activity, run_id, shown, start, step
from perdure.storage.contract import ActivityRow, RunDelete, Transaction, WorkflowStorage, join_history

_RUNS, _WORKFLOWS = 24, 12


class RandomGroups:
    """An endless supply; the same seed gives the same groups."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._versions = dict.fromkeys(range(_RUNS), 0)
        self.run_ids = [run_id(number) for number in range(_RUNS)]
        self.workflow_ids = [(NAMESPACE, f"workflow-{number}") for number in range(_WORKFLOWS)]

    def next_group(self, size_max: int = 40) -> list[Transaction]:
        """Between one and `size_max` transactions."""
        return [self._transaction() for _ in range(self._random.randint(1, size_max))]

    def _transaction(self) -> Transaction:
        number = self._random.randrange(_RUNS)
        choice = self._random.random()
        if choice < 0.25:
            return self._start(number)
        if choice < 0.32:
            return self._followed(number)
        if choice < 0.36:
            return self._deleted(number)
        return Transaction(self._step(number).writes)

    def _start(self, number: int) -> Transaction:
        replaces = self._random.choice([None, None, self._random.randrange(_RUNS)])
        due = self._random.choice([None, self._random.randrange(1000)])
        held_by = self._random.choice([None, 1, 2])
        self._versions[number] = max(self._versions[number], 1)
        workflow_id = f"workflow-{self._random.randrange(_WORKFLOWS)}"
        return start(number, workflow_id, replaces=replaces, due=due, queue=self._queue(), held_by=held_by)

    def _followed(self, number: int) -> Transaction:
        follows = self._start(self._random.randrange(_RUNS))
        ends = self._step(number)
        if ends.writes[0].row.run_id == follows.writes[0].row.run_id:
            return follows
        return Transaction([*ends.writes, *follows.writes], follows.current)

    def _deleted(self, number: int) -> Transaction:
        version = max(1, self._versions[number] - self._random.choice([0, 0, 0, 1]))
        return Transaction((), deletes=[RunDelete(run_id(number), version, NAMESPACE, f"workflow-{self._random.randrange(_WORKFLOWS)}")])

    def _step(self, number: int) -> Transaction:
        """Mostly what comes next; sometimes a version behind or ahead."""
        roll = self._random
        version = max(2, self._versions[number] + roll.choice([1, 1, 1, 1, 1, 0, 2]))
        self._versions[number] = version
        first = 3 * (version - 1) + 1
        history = b"<%d>" % version if roll.random() < 0.8 else b""
        activities = self._activities(first) if history else self._activities(roll.randrange(1, first))
        closed = [event_id for event_id in roll.sample(range(1, first), min(3, first - 1)) if roll.random() < 0.6]
        return step(
            number,
            version,
            history,
            activities=activities,
            closed=[event_id for event_id in closed if all(row.scheduled_event_id != event_id for row in activities)],
            clear=roll.random() < 0.1,
            buffered=[(10 * version + place, b"event %d" % version) for place in range(roll.choice([0, 0, 0, 1, 2]))],
            clear_buffered=roll.random() < 0.2,
            due=roll.choice([None, roll.randrange(1000)]),
            queue=self._queue(),
            held_by=roll.choice([None, 1, 2]),
            status=roll.choice([1, COMPLETED]),
            visibility=shown(number, "shown", status=version) if roll.random() < 0.1 else None,
        )

    def _activities(self, first: int) -> list[ActivityRow]:
        roll = self._random
        wanted = roll.choice([0, 0, 1, 2])
        return [activity(first + place, queue=self._queue(), data=roll.randbytes(4)) for place in range(wanted)]

    def _queue(self) -> str | None:
        return self._random.choice([None, QUEUE, QUEUE + "-2"])


def contents(storage: WorkflowStorage, run_ids: Sequence[bytes], workflow_ids: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Everything that can be read of these runs and workflow ids, in a form that two storages can be compared by."""
    queues = storage.waiting_queues()
    everything = 10**6
    return {
        "runs": [run and run._replace(history=[join_history(run.history)]) for run in storage.load_runs(run_ids)],
        "history": [join_history(data for _, data in storage.read_history(each, 1, 10**9)) for each in run_ids],
        "current": [storage.current_run(namespace, workflow_id) for namespace, workflow_id in workflow_ids],
        "visibility": [storage.visibility(each) for each in run_ids],
        "listed": storage.list_runs(NAMESPACE, None, everything),
        "due": storage.due_runs(2**62, everything),
        "next": [storage.next_due(after) for after in range(-1, 1001, 50)],
        "queues": queues,
        "waiting": [storage.waiting(queue, activities=which, after=None, limit=everything) for queue, which in queues],
        "abandoned": [storage.abandoned_runs(incarnation) for incarnation in (1, 2, 3)],
    }
