"""Run a script in this process as a user would run it in one of its own, without importing everything again.

What only a process of its own can show (kills, Ctrl-C, closed pipes, limits, the network, workers) stays with
subprocess; so do a few plain runs of every group of scripts.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import runpy
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np


def run_in_process(
    command: Sequence[str | Path], cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)` returns.

    Parameters
    ----------
    command : sys.executable, the script, its flags
    env : the environment of the run, default this one's. PYTHON* variables have no effect.
    """
    assert command[0] == sys.executable
    script, *flags = map(str, command[1:])
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=e) for e in ("strict", "backslashreplace")
    )
    with (
        _as_alone(cwd, [script, *flags], env),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = _exit_status(script)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode("utf-8"))  # type: ignore[attr-defined]
        stream.detach()
    return subprocess.CompletedProcess(list(map(str, command)), status, *texts)


def _exit_status(script: str) -> int:
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return int(ended.code or 0)
    return 0


@contextlib.contextmanager
def _as_alone(cwd: Path, argv: list[str], env: dict[str, str] | None) -> Iterator[None]:
    """Arguments, folder, environment and warnings of a process of its own; afterwards all is as before."""
    before = sys.argv, sys.path[:], Path.cwd(), dict(os.environ)
    random_before = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    torch_before = (
        (torch.get_rng_state(), torch.get_num_threads(), torch.get_default_dtype()) if torch else None
    )
    sys.argv = argv
    os.chdir(cwd)
    sys.path.insert(0, str(Path(argv[0]).resolve().parent))
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)
            warnings.showwarning = _print_warning
            yield
    finally:
        sys.argv, sys.path[:] = before[:2]
        os.chdir(before[2])
        os.environ.clear()
        os.environ.update(before[3])
        random.setstate(random_before[0])
        np.random.set_state(random_before[1])  # noqa: NPY002
        if torch and torch_before:
            torch.set_rng_state(torch_before[0])
            torch.set_num_threads(torch_before[1])
            torch.set_default_dtype(torch_before[2])


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: IO[str] | None = None,
    line: str | None = None,
) -> None:
    """On stderr, where pytest would collect it."""
    (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))
