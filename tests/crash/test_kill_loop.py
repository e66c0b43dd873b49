"""Proves that a process may be killed at any moment: what was acknowledged is there, and everything goes on at once.

A real process with engine, worker and client works on one SQLite file and is ended with `kill -9` at random moments (the seed is
printed), again and again. After each kill and at the end: every acknowledged start, signal and result is in the file, every history
is legal and folds, an activity's every run is explained by its attempts, and one that may run once has not run twice.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType as E
from temporalio.api.history.v1 import History, HistoryEvent

from perdure.engine.core import Run
from perdure.engine.loading import fold
from perdure.storage import SQLiteStorage
from perdure.storage.contract import join_history

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from core_support import check_history
from mixed_load import expected

CHILD = Path(__file__).parent / "kill_child.py"
EARLY = 0.15
"""Share of the kills that come before the process has said that it is ready: while it opens and recovers."""


class Rig:
    """The file, the journal, and what is known of them."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.database, self.journal = directory / "runs.db", directory / "journal"
        self.roll = random.Random(seed)
        self.closed: set[bytes] = set()
        """Runs that have been checked and cannot change any more."""
        self.events: dict[tuple[str, str], list[HistoryEvent]] = {}

    def spawn(self, mode: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(CHILD), f"sqlite:///{self.database}", str(self.journal), mode])

    def entries(self) -> list[list[Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    def kill_once(self) -> bool:
        """Runs the process for a while and kills it; whether it had got ready."""
        process = self.spawn("work")
        try:
            if self.roll.random() < EARLY:
                time.sleep(self.roll.uniform(0.3, 0.9))
            else:
                self._wait_ready(process)
                time.sleep(self.roll.uniform(0.05, 0.8))
        finally:
            ended = process.poll()
            process.kill()
            process.wait()
        assert ended is None, f"the process ended by itself with {ended}"
        return any(entry[:2] == ["ready", process.pid] for entry in self.entries())

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while ["ready", process.pid] not in self.entries():
            assert process.poll() is None, "the process ended while it opened the file"
            assert time.monotonic() < deadline, "the process does not get ready"
            time.sleep(0.02)

    def finish(self, seconds: float) -> None:
        process = self.spawn("finish")
        try:
            assert process.wait(seconds) == 0
        finally:
            process.kill()
            process.wait()

    def check(self) -> list[Run]:
        """Reads the file as the next process would; the runs that are open or were not checked before."""
        if not self.database.exists():
            return []
        storage = SQLiteStorage(self.database)
        storage.open()
        try:
            runs = [self._check_run(storage, shown.run_id) for shown in storage.list_runs("default", None, 10**6)]
        finally:
            storage.close()
        self._check_acknowledged()
        return [run for run in runs if run is not None]

    def _check_run(self, storage: SQLiteStorage, run_id: bytes) -> Run | None:
        if run_id in self.closed:
            return None
        stored = storage.load_run(run_id)
        assert stored is not None
        events = list(History.FromString(join_history(stored.history)).events)
        check_history(events)
        run = fold(stored).run
        assert (stored.row.status, stored.row.next_event_id) == (run.status, run.next_event_id)
        assert {row.scheduled_event_id for row in stored.activities} <= set(run.activities)
        if run.closed:
            self.closed.add(run_id)
            assert (stored.row.due, stored.activities, stored.buffered) == (None, [], [])
        self.events[run.workflow_id, run.run_id] = [*events, *run.buffered]
        return run

    def _check_acknowledged(self) -> None:
        histories: defaultdict[str, list[HistoryEvent]] = defaultdict(list)
        for (workflow_id, _), events in self.events.items():
            histories[workflow_id] += events
        for entry in self.entries():
            if entry[0] == "start":
                assert histories[entry[1]], f"the acknowledged start of {entry[1]} is lost"
            elif entry[0] == "signal":
                _, workflow_id, request_id, _ = entry
                found = [e for e in histories[workflow_id] if e.workflow_execution_signaled_event_attributes.request_id == request_id]
                assert len(found) == 1, f"the acknowledged signal {request_id} is there {len(found)} times"
            elif entry[0] == "result":
                _, workflow_id, value = entry
                closes = [e for e in histories[workflow_id] if e.event_type == E.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED]
                assert len(closes) == 1
                payload = closes[0].workflow_execution_completed_event_attributes.result.payloads[0]
                assert json.loads(payload.data) == value

    def check_effects(self) -> None:
        """Each run of an activity is one attempt of it; what has completed has run; what may run once has not run twice."""
        runs: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
        names: dict[tuple[str, str, str], str] = {}
        for entry in self.entries():
            if entry[0] == "run":
                _, _, workflow_id, run_id, activity_id, attempt, name = entry
                runs[workflow_id, run_id, activity_id].append(attempt)
                names[workflow_id, run_id, activity_id] = name
        for key, attempts in runs.items():
            assert not [attempt for attempt, count in Counter(attempts).items() if count > 1], f"an attempt of {key} ran twice"
            last, completed = self._attempts(key)
            assert max(attempts) <= last, f"{key} ran attempt {max(attempts)}, and the history knows {last}"
            assert not completed or last in attempts
            assert names[key] != "once" or attempts == [1]

    def _attempts(self, key: tuple[str, str, str]) -> tuple[int, bool]:
        """The number of the last attempt of an activity, and whether it completed."""
        events = self.events[key[0], key[1]]
        scheduled = next(e.event_id for e in events if e.activity_task_scheduled_event_attributes.activity_id == key[2])
        started = [e.activity_task_started_event_attributes for e in events if e.event_type == E.EVENT_TYPE_ACTIVITY_TASK_STARTED]
        last = [each.attempt for each in started if each.scheduled_event_id == scheduled]
        completed = any(e.activity_task_completed_event_attributes.scheduled_event_id == scheduled for e in events)
        return last[0], completed

    def check_results(self) -> int:
        """Everything begun has ended as it must; how many that were."""
        entries = self.entries()
        begun = {entry[1] for entry in entries if entry[0] == "begin"}
        results = {entry[1]: entry[2] for entry in entries if entry[0] == "result"}
        signals: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for entry in entries:
            if entry[0] == "signal":
                signals[entry[1]][entry[2]] = entry[3]
        assert begun == set(results)
        for workflow_id, value in results.items():
            kind, _, number = workflow_id.partition("-")
            allowed = expected(kind, int(number), signals[workflow_id])
            assert value in allowed
            if kind == "steps" and value != allowed[0]:
                assert self._lost_once(workflow_id), f"{workflow_id} says that its activity was lost, and it was not"
        return len(begun)

    def _lost_once(self, workflow_id: str) -> bool:
        events = [e for (each, _), events in self.events.items() if each == workflow_id for e in events]
        return any(e.event_type == E.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT for e in events)


def run_loop(directory: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}, {kills} kills")
    rig = Rig(directory, seed)
    ready = 0
    for _ in range(kills):
        ready += rig.kill_once()
        rig.check()
    began = time.monotonic()
    rig.finish(50)  # at once: before the first attempt that was under way could time out
    print(f"finished in {time.monotonic() - began:.1f} s")
    assert not [run for run in rig.check() if not run.closed]
    rig.check_effects()
    workflows = rig.check_results()
    print(f"{workflows} workflows, {ready} kills at work, {len(rig.entries())} entries in the journal")
    assert workflows > kills // 2


@pytest.mark.timeout(300)
def test_a_few_kills(tmp_path: Path) -> None:
    run_loop(tmp_path, 5, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("PERDURE_SEED", random.randrange(10**6)))
    run_loop(tmp_path, int(os.environ.get("PERDURE_KILLS", "100")), seed)
