"""Stop a command at its n-th write: a hook that every Python process of the command loads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# It counts the moments at which a whole temporary file is about to replace its target, and at the chosen one
# stops the process group as a user or the kernel would. With STOP_CUT the temporary loses its second half
# first, as if the write itself had been cut.
HOOK = """
import os, signal, sys
left = [int(os.environ.get("STOP_AT_WRITE") or 0)]
def stop(event, arguments):
    if event != "os.rename" or not os.fspath(arguments[0]).endswith(".tmp"):
        return
    left[0] -= 1
    if left[0] == 0:
        if os.environ.get("STOP_CUT") and os.path.isfile(arguments[0]):
            os.truncate(arguments[0], os.path.getsize(arguments[0]) // 2)
        os.killpg(0, int(os.environ["STOP_SIGNAL"]))
sys.addaudithook(stop)
"""


def stopping_environment(hooks: Path, write: int, sent: signal.Signals, cut: bool = False) -> dict[str, str]:
    """Environment of a command, leader of a process group, that gets a signal at its n-th write.

    Parameters
    ----------
    hooks : folder for the hook, made where missing
    write : 1 is the first
    sent : the signal
    cut : also take the second half of what is being written
    """
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(HOOK)
    return {
        "PYTHONPATH": os.pathsep.join([str(hooks), os.environ.get("PYTHONPATH", "")]),
        "STOP_AT_WRITE": str(write),
        "STOP_SIGNAL": str(int(sent)),
        "STOP_CUT": "1" if cut else "",
    }
