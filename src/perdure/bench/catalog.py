"""The workloads by name, what each measures, and where it stands. Imports nothing heavy: the command line shows this list."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast

from perdure.bench.setting import Setting


class Workload(NamedTuple):
    measures: str
    module: str
    function: str

    async def measure(self, setting: Setting) -> None:
        function = getattr(importlib.import_module(f"perdure.bench.{self.module}"), self.function)
        await cast(Callable[[Setting], Awaitable[None]], function)(setting)


WORKLOADS = {
    "floor": Workload("the machine: fsync, SQLite commits, events built", "floor", "floor"),
    "hello": Workload("workflows with one activity: one at a time, then 200 at once", "hello", "hello"),
    "chain": Workload("100 sequential activities: one workflow at a time, then 50 at once", "chain", "chain"),
    "fanout": Workload("one workflow with 1000 parallel activities", "chain", "fanout"),
    "hello-beside-cpu": Workload("hello while another activity burns a core", "hello", "hello_beside_cpu"),
    "signals": Workload("2000 signals to one workflow: one sender, then 50", "signals", "signals"),
    "sleepers": Workload("100,000 workflows that sleep for days: start, memory, disk", "sleepers", "sleepers"),
    "recovery": Workload("10,000 waiting workflows, kill -9, reopen", "recovery", "recovery"),
    "replay": Workload("events/s through the replayer, from stored bytes", "replay", "replay"),
    "import": Workload("the demo's import of 1,000,000 generated rows", "imports", "imports"),
}
