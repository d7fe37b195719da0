"""Clocks and memory of a piece of work, and the line of the table that says what came out."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from resource import struct_rusage
from typing import Any

import numpy as np
import psutil

from prompt_oirl.io.files import InputError


def comparison(
    work: str, unit: str, n: int, sides: Iterable[float], *, higher_is_better: bool = False, **more: Any
) -> dict[str, Any]:
    """One line of the table: baseline / ours, or the reverse if `higher_is_better`; `more` wins.

    Parameters
    ----------
    unit : of the two numbers
    n : how many items were timed
    sides : baseline, ours
    """
    baseline, ours = map(float, sides)
    ratio = ours / baseline if higher_is_better else baseline / ours
    return {"work": work, "unit": unit, "n": n, "baseline": baseline, "ours": ours, "ratio": ratio, **more}


def both_clocks(work: Callable[[], Any]) -> np.ndarray:
    """Seconds of CPU, all threads together, and by the clock, (2,)."""
    before = time.process_time(), time.perf_counter()
    work()
    return np.array([time.process_time(), time.perf_counter()]) - before


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Seconds of CPU, all threads together."""
    return both_clocks(work)[0]


def clock_seconds(work: Callable[[], Any]) -> float:
    """Seconds by the clock."""
    return both_clocks(work)[1]


def gigabytes(usage: struct_rusage) -> float:
    """The largest memory of a process so far, in 10^9 bytes; mapped pages count too."""
    return usage.ru_maxrss * 1024 / 1e9


def run_measured(command: list[str], **more: Any) -> dict[str, float]:
    """Run a command; `more` goes to Popen.

    Returns: seconds by the clock, cpu seconds, and gb: the largest memory of it and its children, 10^9 bytes.
    Raises: InputError if it fails.
    """
    before, started = os.times(), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
    watched, peak = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        try:
            family = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(p.memory_full_info().pss for p in family) / 1e9)
        except psutil.Error:
            pass  # one of them has just ended
        time.sleep(2)
    after = os.times()
    if process.returncode:
        said = process.stderr.read() if process.stderr else ""
        raise InputError(f"{' '.join(command)} failed: {said[-300:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": time.perf_counter() - started, "cpu": cpu, "gb": peak}
