"""What a soak counts, and what it sees of the processes under load."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import psutil

# Shares of the work: memory is compared between the tenths after the one and the other.
WARM_UP, LAST = 0.1, 0.9
EVERY = 0.2  # seconds between looks at a process


@dataclass
class Soaked:
    """What a soak found. `faults` met by kind; `paid`: answers that were given out, or fits done; `rows` of
    the log, or models; `runs`: times that the command was started until all was there."""

    faults: dict[str, int]
    paid: int
    rows: int
    doubles: int
    losses: int
    runs: int = 1


@dataclass
class Watch:
    """Looks at processes in a thread, as a context: memory and open files of all of them by work done.

    Parameters
    ----------
    processes : ids; of a process that has ended nothing is noted
    done : share of the work that is done, 0 to 1
    """

    processes: tuple[int, ...]
    done: Callable[[], float]
    looks: list[tuple[float, float, int]] = field(default_factory=list)  # share done, MB, open files
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        found = [psutil.Process(number) for number in self.processes]
        while not self._end.wait(EVERY):
            try:
                share = self.done()
                memory = sum(process.memory_info().rss for process in found) / 2**20
                self.looks.append((share, memory, sum(process.num_fds() for process in found)))
            except (psutil.Error, OSError):
                return  # ended

    def ends(self) -> dict[str, float]:
        """Medians after the warm-up and at the end; of the first and last look where work went fast."""
        first = [look for look in self.looks if WARM_UP <= look[0] <= 2 * WARM_UP] or self.looks[:1]
        last = [look for look in self.looks if look[0] >= LAST] or self.looks[-1:]
        return {
            f"{name}_{when}": round(median(look[column] for look in looks), 1)
            for column, name in ((1, "mb"), (2, "files"))
            for when, looks in (("start", first), ("end", last))
        }
