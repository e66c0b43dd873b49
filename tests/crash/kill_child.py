"""The process that `test_kill_loop` kills: engine, worker and client with a mixed load on one SQLite file.

What was acknowledged goes into the journal at once, one JSON object per line; so does each run of an activity, by the activity
itself. `work` goes on with what the journal has begun and begins more until it is killed; `finish` only goes on, and ends. The last
argument is where it begins to number its workflows: several such processes may share a file.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from perdure import WorkflowAlreadyStarted, WorkflowClient, WorkflowIdReusePolicy, WorkflowWorker

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

import mixed_load
from mixed_load import ACTIVITIES, KINDS, SIGNALS_EACH, WORKFLOWS, start_one

AT_ONCE = 12


class Journal:
    """Appended to with one write each: `kill -9` leaves whole lines."""

    def __init__(self, path: str) -> None:
        self.begun: list[str] = []
        self.done: set[str] = set()
        if os.path.exists(path):
            for entry in map(json.loads, Path(path).read_text().splitlines()):
                if entry[0] == "begin":
                    self.begun.append(entry[1])
                elif entry[0] == "result":
                    self.done.add(entry[1])
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *entry: Any) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")


async def drive(client: WorkflowClient, journal: Journal, name: str) -> None:
    """One workflow from where it is to its result."""
    kind, _, number = name.partition("-")
    handle = client.get_workflow_handle(name)
    with suppress(WorkflowAlreadyStarted):
        await start_one(client, kind, int(number), id_reuse_policy=WorkflowIdReusePolicy.REJECT_DUPLICATE)
    journal.write("start", name)
    if kind == "mailbox":
        for value in range(SIGNALS_EACH):
            await handle.signal(mixed_load.Mailbox.add, value, request_id=f"{name}/{value}")
            journal.write("signal", name, f"{name}/{value}", value)
    if kind == "cancel":
        await asyncio.sleep(0.02)
        await handle.cancel()
    journal.write("result", name, await handle.result())


async def main(url: str, path: str, mode: str, first: str = "1") -> None:
    journal = Journal(path)
    mixed_load.journal = lambda *entry: journal.write("run", os.getpid(), *entry)
    async with WorkflowClient.connect(url) as client, WorkflowWorker(client, workflows=WORKFLOWS, activities=ACTIVITIES):
        journal.write("ready", os.getpid())
        left = iter([name for name in journal.begun if name not in journal.done])
        new = (f"{kind}-{number}" for number in itertools.count(len(journal.begun) // len(KINDS) + int(first)) for kind in KINDS)

        async def lane() -> None:
            for name in left:
                await drive(client, journal, name)
            if mode == "work":
                for name in new:
                    journal.write("begin", name)
                    await drive(client, journal, name)

        async with asyncio.TaskGroup() as lanes:
            for _ in range(AT_ONCE):
                lanes.create_task(lane())


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # activities fail here because they are meant to
    asyncio.run(main(*sys.argv[1:]))
