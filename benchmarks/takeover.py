"""How long a SQLite file is without an owner: real processes on one file, the owner killed, the others call all the time.

    python benchmarks/takeover.py [KILLS]

One JSON line: for each kill, the time from the signal to the first call that any other process had answered by the next owner, and how
long the slowest of those processes had to wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.service.connect import connect
from perdure.storage.sqlite import read_holder

PROCESSES = 4
LINES_MAX = 1_000_000


async def call_all_the_time(url: str) -> None:
    """Starts one workflow after the other; says when each was acknowledged."""
    connection = await connect(url)
    number = 0
    while True:
        number += 1
        request = StartWorkflowExecutionRequest(namespace="default", workflow_id=f"{os.getpid()}-{number}", request_id=str(number))
        request.workflow_type.MergeFrom(WorkflowType(name="nothing"))
        request.task_queue.MergeFrom(TaskQueue(name="nobody"))
        await connection.service.start_workflow_execution(request)
        sys.stdout.write(f"{time.monotonic_ns()}\n")
        sys.stdout.flush()


class Caller:
    """One process, and when its calls were answered."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.answered = asyncio.Event()
        self.since = 0
        self.first: int | None = None
        self.reading = asyncio.get_running_loop().create_task(self.read())

    @classmethod
    async def start(cls, url: str) -> Caller:
        command = [sys.executable, __file__, "--call", url]
        return cls(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if self.since and int(line) > self.since and not self.answered.is_set():
                self.first = int(line)
                self.answered.set()

    def watch(self, since: int) -> None:
        self.since, self.first = since, None
        self.answered.clear()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        await self.reading


async def measure(kills: int) -> None:
    with tempfile.TemporaryDirectory(prefix="perdure-takeover-") as folder:
        database = Path(folder) / "app.db"
        url = f"sqlite:///{database}"
        callers = [await Caller.start(url) for _ in range(PROCESSES)]
        gaps, slowest = [], []
        for _ in range(kills):
            for caller in callers:
                caller.watch(time.monotonic_ns())
            await asyncio.gather(*(caller.answered.wait() for caller in callers))
            holder = read_holder(str(database))
            assert holder is not None
            owner = next(caller for caller in callers if caller.process.pid == holder.pid)
            others = [caller for caller in callers if caller is not owner]
            killed = time.monotonic_ns()
            await owner.end()
            dead = time.monotonic_ns()
            for caller in others:
                caller.watch(dead)
            await asyncio.gather(*(caller.answered.wait() for caller in others))
            after = [(caller.first - killed) / 1e6 for caller in others if caller.first is not None]
            gaps.append(min(after))
            slowest.append(max(after))
            callers = [*others, await Caller.start(url)]
        await asyncio.gather(*(caller.end() for caller in callers))
    figures = {"kills": kills, "processes": PROCESSES}
    for name, values in (("first_answer_ms", gaps), ("all_answered_ms", slowest)):
        figures |= {f"{name}_p50": round(statistics.median(values), 1), f"{name}_max": round(max(values), 1)}
    print(json.dumps({"workload": "takeover", **figures, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        asyncio.run(call_all_the_time(sys.argv[2]))
    else:
        asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
