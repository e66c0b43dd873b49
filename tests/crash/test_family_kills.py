"""Proves that what one run does to another is done once, though its process is killed with `kill -9` at random moments.

The seed is printed.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from scripted_family import check_stored_once

CHILD = Path(__file__).parent / "family_child.py"


def run(database: Path, seconds: float | None) -> bool:
    """Runs the process, for a while (None: to its end), and kills it; whether it had ended by itself."""
    with subprocess.Popen([sys.executable, str(CHILD), str(database)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            return process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            process.kill()


@pytest.mark.parametrize("rounds", [1, pytest.param(15, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
def test_no_kill_loses_or_doubles_what_runs_do_to_each_other(rounds: int, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    roll = random.Random(seed)
    for number in range(rounds):
        kills, files = 0, itertools.count()
        while not kills:  # a process that was not killed says nothing; another file, then
            database = tmp_path / f"runs-{number}-{next(files)}.db"
            while kills < 6 and not run(database, roll.uniform(0.005, 0.12)):
                kills += 1
            assert run(database, None)
            check_stored_once(database)
