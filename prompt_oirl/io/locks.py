"""Locks between processes on a folder that several of them may write; a killed process lets go by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from prompt_oirl.io.files import InputError


@contextmanager
def held(lock: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock while the block runs.

    Parameters
    ----------
    lock : its file, which stays; folders are made where missing
    busy : the complaint where another process holds it
    wait : seconds to wait for that process; default: none

    Raises: InputError if another process still holds the lock, or the folder cannot be written.
    """
    holder = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        holder.acquire(timeout=wait)
    except Timeout:
        raise InputError(busy) from None
    except (OSError, NotImplementedError) as error:  # a file system without locks, a read-only folder
        raise InputError(
            f"cannot lock {lock}: {error}; make its folder writable, or choose another"
        ) from error
    try:
        yield
    finally:
        holder.release()
