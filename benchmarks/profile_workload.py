"""Where the time of a workload goes, by floor, module and function.

    python benchmarks/profile_workload.py hello --concurrency 200 --count 2000            samples every thread's stack
    python benchmarks/profile_workload.py chain --concurrency 1 --calls                   counts calls (cProfile) on the loop's thread

Samples are taken by a thread of this process, about every millisecond, so they see what holds the GIL and, for the other threads, where
they wait. `self` is the innermost Python frame, with the C code that it calls; `floor` is the innermost frame that belongs to perdure.
Counting calls slows small functions down: trust its counts, not its times.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib
import pstats
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from perdure.bench.catalog import WORKLOADS
from perdure.bench.measurement import Measurement
from perdure.bench.setting import Setting
from perdure.worker.interpreter import run, tune

INTERVAL_SECONDS = 0.001
LOADED_BEFORE = ("perdure.engine", "perdure.storage.sqlite", "perdure.client.client", "perdure.worker.worker", "perdure.bench.definitions")
"""So that imports do not show in the profile."""


@dataclass
class Samples:
    """What one thread was seen doing."""

    total: int = 0
    functions: Counter[str] = field(default_factory=Counter)
    modules: Counter[str] = field(default_factory=Counter)
    floors: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    inclusive: Counter[str] = field(default_factory=Counter)

    def take(self, frame: FrameType) -> None:
        self.total += 1
        module = frame.f_globals.get("__name__", "?")
        self.functions[f"{module}.{frame.f_code.co_qualname}"] += 1
        self.modules[module] += 1
        self.lines[f"{module}:{frame.f_lineno} {frame.f_code.co_name}"] += 1
        self.floors[floor_of(frame)] += 1
        self.inclusive.update(set(callers(frame)))


def callers(frame: FrameType | None) -> Iterator[str]:
    """The functions of perdure on the stack."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("perdure."):
            yield f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back


def floor_of(frame: FrameType | None) -> str:
    """The package of perdure (two deep in the engine) whose code is running, or on whose behalf other code is."""
    while frame is not None:
        parts = str(frame.f_globals.get("__name__", "")).split(".")
        if parts[0] == "perdure" and len(parts) > 1 and parts[-1] != "interpreter":
            return ".".join(parts[1:3]) if parts[1] == "engine" else parts[1]
        frame = frame.f_back
    return "loop and others"


class Sampler(threading.Thread):
    """Looks at every thread's stack until `done` is set."""

    def __init__(self) -> None:
        super().__init__(name="sampler", daemon=True)
        self.done = threading.Event()
        self.threads: dict[str, Samples] = {}

    def run(self) -> None:
        while not self.done.is_set():
            names = {thread.ident: thread.name for thread in threading.enumerate() if thread is not self}
            for ident, frame in sys._current_frames().items():
                if ident in names:
                    self.threads.setdefault(names[ident], Samples()).take(frame)
            time.sleep(INTERVAL_SECONDS)


def show(title: str, counter: Counter[str], total: int, top: int) -> None:
    print(f"\n  {title}")
    for name, count in counter.most_common(top):
        print(f"    {100 * count / total:5.1f} %  {name}")


def sampled(setting: Setting, workload: str, top: int) -> None:
    sampler = Sampler()
    sampler.start()
    run(WORKLOADS[workload].measure(setting))
    sampler.done.set()
    sampler.join()
    for name, samples in sorted(sampler.threads.items(), key=lambda item: item[0] != "MainThread"):
        print(f"\n{name}: {samples.total} samples")
        show("by floor (innermost perdure frame)", samples.floors, samples.total, top)
        show("by function of perdure, with what it calls", samples.inclusive, samples.total, 3 * top)
        show("by module (self)", samples.modules, samples.total, top)
        show("by function (self)", samples.functions, samples.total, top)
        show("by line (self)", samples.lines, samples.total, top)


def counted(setting: Setting, workload: str, top: int) -> None:
    profile = cProfile.Profile()
    profile.enable()
    run(WORKLOADS[workload].measure(setting))
    profile.disable()
    statistics = pstats.Stats(profile).strip_dirs().sort_stats("tottime")
    statistics.print_stats(top)
    statistics.sort_stats("ncalls").print_stats(top)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("--engine")
    parser.add_argument("--count", type=int)
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--top", type=int, default=25)
    options = parser.parse_args()
    tune()
    for module in LOADED_BEFORE:
        importlib.import_module(module)

    def write(measurement: Measurement) -> None:
        print(measurement.json_line())

    with tempfile.TemporaryDirectory(prefix="perdure-profile-") as folder:
        setting = Setting(folder=Path(folder), engine=options.engine, count=options.count, concurrency=options.concurrency, write=write)
        (counted if options.calls else sampled)(setting, options.workload, options.top)


if __name__ == "__main__":
    main()
