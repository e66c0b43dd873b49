"""Proves that each asyncio primitive does the same in workflow code whatever hashes and addresses are, and on every replay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).parent.parent / "replay" / "primitives_program.py"


def _trace(seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "JUNK": str(seed)}
    done = subprocess.run([sys.executable, str(_PROGRAM)], env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_primitives_are_the_same_under_other_hashes_and_addresses() -> None:
    traces = [_trace(seed) for seed in (0, 1, 2, 3)]
    assert len(traces[0].splitlines()) >= 14
    for line, *others in zip(*(trace.splitlines() for trace in traces), strict=True):
        assert [line] * len(others) == others
