"""Types are a feature: both checkers, strict, infer results in users' code and reject wrong arguments, with short messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).with_name("example.py")
ROOT = EXAMPLE.parents[2]
REJECTED = {number for number, line in enumerate(EXAMPLE.read_text().splitlines(), 1) if line.endswith("# rejected")}
MESSAGE_LINES_MAX = 8


def by_mypy(tmp_path: Path) -> dict[int, list[str]]:
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary", "--show-error-codes"]
    found = subprocess.run(
        [*command, "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'typing'}", str(EXAMPLE)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": ""},
    )
    assert not found.stderr
    messages: dict[int, list[str]] = {}
    for line in found.stdout.splitlines():
        match = re.match(r".*example\.py:(\d+): (.*)", line)
        assert match, line
        messages.setdefault(int(match[1]), []).append(match[2])
    return messages


def by_pyright(tmp_path: Path) -> dict[int, list[str]]:
    config = tmp_path / "pyrightconfig.json"
    (tmp_path / EXAMPLE.name).write_text(EXAMPLE.read_text())
    paths = {"extraPaths": [str(ROOT / "src")], "include": [EXAMPLE.name]}
    config.write_text(json.dumps({**paths, "typeCheckingMode": "strict", "pythonVersion": "3.11", "reportMissingModuleSource": False}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(config)]
    found = subprocess.run(command, capture_output=True, text=True)
    messages: dict[int, list[str]] = {}
    for each in json.loads(found.stdout)["generalDiagnostics"]:
        messages.setdefault(each["range"]["start"]["line"] + 1, []).extend(each["message"].splitlines())
    return messages


@pytest.mark.timeout(300)
@pytest.mark.parametrize("check", [by_mypy, by_pyright])
def test_what_users_write_is_inferred_and_what_is_wrong_is_rejected(check, tmp_path: Path) -> None:
    messages = check(tmp_path)
    assert {line: text for line, text in messages.items() if line not in REJECTED} == {}
    assert set(messages) == REJECTED
    assert max(len(text) for text in messages.values()) <= MESSAGE_LINES_MAX, messages
