"""Where XGBoost's external memory lies: how many bytes, whether they fit, and what killed processes left."""

from __future__ import annotations

import atexit
import gc
import glob
import os
import platform
import shutil
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil

from prompt_oirl.io.files import InputError


def page_bytes(answers: int, columns: int) -> int:
    """Bytes of the pages of `answers` rows: per cell two of indices and a bit, and 8 per row."""
    return answers * (columns * 17 // 8 + 9)


def check_room(needed: int, what: str = "XGBoost's pages") -> None:
    """Refuse to begin files that don't fit: a process that cannot write mapped pages simply ends."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{what} need {needed:,} bytes in {folder}, where {free:,} are free: free some space, set "
            "TMPDIR to a folder with more, or raise --memory_gb"
        )


@lru_cache(maxsize=1)
def page_folder() -> Path:
    """Where this process keeps pages of external memory; XGBoost removes each with its matrix.

    Host and process id in the name tell later runs which folders a killed process left behind; they are
    removed here.
    """
    prefix = f"prompt_oirl_pages_{platform.node()}_"
    for left in Path(tempfile.gettempdir()).glob(f"{glob.escape(prefix)}*.*"):
        process = left.name.rpartition(".")[2]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)  # another user's stays
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=f".{os.getpid()}"))

    def remove() -> None:
        gc.collect()
        with suppress(OSError):  # not empty: a matrix is still in use
            folder.rmdir()

    atexit.register(remove)
    return folder
