"""Proves that processes that share a file may be killed at any moment, the owner as well as those who joined it.

Three real processes, each with a client and a worker, work on one SQLite file. One of them, by lot, is ended with `kill -9` and started
again, over and over, while the others go on; the seed is printed. At the end everything that was acknowledged is there and has ended as it
must, and every run of an activity is explained by its attempts. None of the processes may end by itself or say that the file is locked.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_kill_loop import CHILD, Rig

from perdure.storage.sqlite import read_holder

PROCESSES = 3
OWNERS = 0.5
"""Share of the kills that are aimed at the owner."""
ATTEMPT_SECONDS = "3"
"""An attempt of a process that had joined and was killed is given up after so long."""


class SharedRig(Rig):
    """The file, a journal for each process, and the processes."""

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, seed)
        self.directory = directory
        self.processes: list[subprocess.Popen[bytes]] = []
        self.owners_killed = 0

    def spawn_one(self, slot: int, mode: str) -> subprocess.Popen[bytes]:
        journal, errors = self.directory / f"journal-{slot}", self.directory / f"errors-{slot}"
        command = [sys.executable, str(CHILD), f"sqlite:///{self.database}", str(journal), mode, str(1 + slot * 10**6)]
        with errors.open("ab") as log:
            return subprocess.Popen(command, stderr=log, env={**os.environ, "PERDURE_ATTEMPT_SECONDS": ATTEMPT_SECONDS})

    def entries(self) -> list[list[Any]]:
        journals = sorted(self.directory.glob("journal-*"))
        return [json.loads(line) for journal in journals for line in journal.read_text().splitlines()]

    def start_all(self, mode: str) -> None:
        self.processes = [self.spawn_one(slot, mode) for slot in range(PROCESSES)]

    def kill_one(self) -> None:
        """Ends one process, waits until the others are at work again, and starts it anew."""
        holder = read_holder(str(self.database))
        owners = [slot for slot, process in enumerate(self.processes) if holder is not None and process.pid == holder.pid]
        if owners and self.roll.random() < OWNERS:
            slot = owners[0]
        else:
            slot = self.roll.randrange(PROCESSES)
        self.owners_killed += slot in owners
        victim = self.processes[slot]
        assert victim.poll() is None, self.errors()
        victim.kill()
        victim.wait()
        self.wait_for_progress([number for number in range(PROCESSES) if number != slot])
        self.processes[slot] = self.spawn_one(slot, "work")

    def wait_for_progress(self, slots: list[int]) -> None:
        """Returns when each of these has had something acknowledged since."""
        seen = {slot: self._acknowledged(slot) for slot in slots}
        deadline = time.monotonic() + 60
        while any(self._acknowledged(slot) <= seen[slot] for slot in slots):
            for slot in slots:
                assert self.processes[slot].poll() is None, self.errors()
            assert time.monotonic() < deadline, f"nothing goes on: {self.errors()}"
            time.sleep(0.01)

    def _acknowledged(self, slot: int) -> int:
        journal = self.directory / f"journal-{slot}"
        lines = journal.read_text().splitlines() if journal.exists() else []
        return sum(json.loads(line)[0] in ("start", "signal", "result") for line in lines)

    def finish_all(self, seconds: float) -> None:
        """Ends what was begun: with new processes, all at once, each of which ends when its own work has."""
        for process in self.processes:
            process.kill()
            process.wait()
        self.start_all("finish")
        deadline = time.monotonic() + seconds
        try:
            for process in self.processes:
                assert process.wait(max(deadline - time.monotonic(), 0.1)) == 0, self.errors()
        finally:
            self.kill_all()

    def kill_all(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def errors(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.directory.glob("errors-*")))


def run_loop(directory: Path, kills: int, seed: int) -> None:
    print(f"seed {seed}, {kills} kills")
    rig = SharedRig(directory, seed)
    rig.start_all("work")
    try:
        rig.wait_for_progress(list(range(PROCESSES)))
        for _ in range(kills):
            rig.kill_one()
            time.sleep(rig.roll.uniform(0.0, 0.5))  # so that the kills come at any moment of what goes on
    except BaseException:
        rig.kill_all()
        raise
    began = time.monotonic()
    rig.finish_all(120)
    print(f"finished in {time.monotonic() - began:.1f} s, {rig.owners_killed} of the killed were owners")
    assert not [run for run in rig.check() if not run.closed]
    rig.check_effects()
    workflows = rig.check_results()
    print(f"{workflows} workflows, {len(rig.entries())} entries in the journals")
    assert workflows > kills
    assert "locked" not in rig.errors()


@pytest.mark.timeout(300)
def test_a_few_kills(tmp_path: Path) -> None:
    run_loop(tmp_path, 5, seed=3)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_fifty_kills(tmp_path: Path) -> None:
    seed = int(os.environ.get("PERDURE_SEED", random.randrange(10**6)))
    run_loop(tmp_path, int(os.environ.get("PERDURE_KILLS", "50")), seed)
