"""`recovery`: many workflows wait for a signal when their process is killed with `kill -9`; how soon does the next one serve them?

The child process of this workload is `python -m perdure.bench.recovery URL PREFIX COUNT`: it starts the runs, says so when all wait
durably, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import sys
import time

from perdure import WorkflowClient
from perdure.bench import definitions
from perdure.bench.load import RUN, repeat, running
from perdure.bench.measurement import timed
from perdure.bench.setting import Setting
from perdure.bench.waiting import STARTERS, start_waiting
from perdure.model.errors import UsageError

WAITING, WAITING_SMOKE = 10_000, 100
MODULE = "perdure.bench.recovery"
READY = b"all wait\n"


async def recovery(setting: Setting) -> None:
    """One line. `first_signal_s`: from reopening until one run, signalled, has ended. `all_done_s`: until all have."""
    if setting.scheme == "memory":
        raise UsageError(
            "recovery needs an engine that survives its process: memory:// keeps nothing; leave --engine out for a fresh SQLite file"
        )
    count, senders = setting.amount(WAITING, WAITING_SMOKE), setting.concurrency or STARTERS
    url = setting.url("recovery")
    prefix = f"waiting-{RUN}"
    await prepare_and_kill(url, prefix, count)
    with timed() as watch:
        reopened = time.perf_counter()
        async with running(url) as client:
            await wake(client, f"{prefix}-0")
            first = time.perf_counter() - reopened
            times = await repeat(lambda number: wake(client, f"{prefix}-{number + 1}"), count=count - 1, concurrency=senders)
            all_done = time.perf_counter() - reopened
    setting.report(
        "recovery",
        watch,
        count=count,
        concurrency=senders,
        times=times,
        per_second=count / all_done,
        first_signal_s=first,
        all_done_s=all_done,
    )


async def wake(client: WorkflowClient, workflow_id: str) -> None:
    await client.signal_workflow(workflow_id, "go", 1)
    await client.result(workflow_id, result_type=int)


async def prepare_and_kill(url: str, prefix: str, count: int) -> None:
    """Returns when the child that prepared the runs is dead."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", MODULE, url, prefix, str(count), stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    try:
        said = await child.stdout.readline()
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
    if said != READY:
        raise RuntimeError(
            f"the process that prepares the waiting workflows ended with code {child.returncode}; its standard error says why"
        )


async def prepare(url: str, prefix: str, count: int) -> None:
    async with running(url) as client:
        await start_waiting(client, definitions.Waiting, prefix=prefix, count=count)
        sys.stdout.buffer.write(READY)
        sys.stdout.buffer.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    from perdure.worker.interpreter import run, tune

    tune()
    run(prepare(sys.argv[1], sys.argv[2], int(sys.argv[3])))
