"""What this process holds of the machine's memory, from Linux's /proc; 0 where there is none."""

from __future__ import annotations

import gc
import os
from pathlib import Path


def resident_bytes() -> int:
    """Resident set size after a full collection."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def forget_peak() -> None:
    """Lets `resident_peak_bytes` start anew, where the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def resident_peak_bytes() -> int:
    """The largest resident set since `forget_peak`."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    peak = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(peak.split()[1]) * 1024
