"""The most memory that this process had since it was asked to begin anew."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def restart_peak() -> None:
    """Count from here; only Linux can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_megabytes() -> float:
    """The highest resident size, MB of 2**20 bytes: since `restart_peak` on Linux, else of the whole process;
    where the system keeps none, the size now."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss) / 2**20
