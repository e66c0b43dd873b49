"""Real programs with a `cpu_bound` activity: whatever ends the program, no process of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, time
from perdure import ActivityContext, WorkflowClient, WorkflowContext, WorkflowWorker, activity, workflow

@activity(cpu_bound=True, start_to_close_timeout=60)
def burn(ctx: ActivityContext) -> None:
    print("child", os.getpid(), flush=True)
    while True:
        ctx.heartbeat()
        time.sleep(0.01)

@workflow
async def burning(ctx: WorkflowContext) -> None:
    await burn()

async def main() -> None:
    async with WorkflowClient.connect("memory://") as client:
        await client.start_workflow(burning, id="burning")
        await WorkflowWorker(client, workflows=[burning], activities=[burn], graceful_shutdown_timeout=0.1).run()
        print("stopped", flush=True)

if __name__ == "__main__":
    asyncio.run(main())
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # a zombie has ended; who should reap it is not ours


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind(tmp_path: Path, how: signal.Signals) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().removeprefix("child "))
        assert is_running(child)
        os.kill(parent.pid, how)
        if how is not signal.SIGKILL:
            assert "stopped" in parent.stdout.read()
            assert parent.wait(60) == 0
        end = time.monotonic() + 60
        while is_running(child) and time.monotonic() < end:
            time.sleep(0.02)
        assert not is_running(child)
