"""Speed, measured side by side in one run: what users did before, and what this project does.

    python scripts/bench.py                      # everything this machine can show
    python scripts/bench.py --parts generation

Updates results/reference/bench.csv. Each line is the median of interleaved repeats, so that both sides see
the same load (`repeats` 1: once). Only the ratio means anything on another machine. Parts: generation,
prefix, step4_one, step4_profile, step4_sweep, embedding, selection, logs, diagnosis, big_log, scale, cluster,
spread, spread_interaction, install, startup; those outside WITHOUT_LOGS need the released logs after steps 2
and 3. Their code is in scripts/benchmarks/.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from benchmarks import (
    big_log,
    cluster,
    diagnosis,
    generation,
    install,
    logs,
    prefix,
    scale,
    serving,
    startup,
    training,
)

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import check_finished, run_step
from prompt_oirl.reports.readme import fill_tables, markdown

COLUMNS = ["work", "baseline", "ours", "ratio", "unit", "n", "repeats", "machine"]


@dataclass
class Args:
    parts: str = "all"
    """all, or a comma list."""
    repeats: int = 3
    """Repeats of each side."""
    out: Path = REPO_ROOT / "results" / "reference" / "bench.csv"
    """Table to update; lines of other parts stay."""


def main(args: Args) -> None:
    """Measure the chosen parts and update their lines of the table."""
    chosen = list(PARTS) if args.parts == "all" else args.parts.split(",")
    unknown = set(chosen) - set(PARTS)
    if unknown:
        raise InputError(f"--parts {args.parts}: choose all or from {', '.join(PARTS)}")
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: give 1 or more")
    if set(chosen) - WITHOUT_LOGS:
        for dataset in RELEASED:
            for step in (2, 3):
                manifest = Paths().labels(LLM) / f"{dataset}_step{step}.json"
                check_finished(manifest, REPO_ROOT, "run scripts/fetch_data.py, then steps 2 and 3")
    signal.signal(signal.SIGTERM, end_children)
    lines = (
        {row["work"] + row["unit"]: row for row in read_csv(args.out, hint="")} if args.out.is_file() else {}
    )
    for part in chosen:
        for line in PARTS[part](args.repeats):
            row = {"machine": machine(), "repeats": args.repeats, **line}
            numbers = f"{row['baseline']:,.4g} -> {row['ours']:,.4g} {row['unit']}"
            print(f"{row['work']}: {numbers}, ratio {row['ratio']:.3g}")
            lines[row["work"] + row["unit"]] = row
            write_csv(args.out, lines.values(), COLUMNS)
    if args.out.resolve().parent == REPO_ROOT / "results" / "reference":
        fill_tables(REPO_ROOT, tables(read_csv(args.out, hint="")))


def end_children(*_: object) -> None:
    """End the processes that a part has started, and this one after them."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    raise SystemExit(128 + signal.SIGTERM)


def tables(lines: list[dict[str, str]]) -> dict[str, str]:
    """The lines as tables of README and docs: parts of a fit, sizes of logs, everything else."""
    found: dict[str, list[list[str]]] = {
        name: [] for name in ("profile", "scale", "spread", "diagnosis", "bench")
    }
    for line in lines:
        work, unit = line["work"], line["unit"]
        numbers = [_number(line[c]) for c in ("baseline", "ours", "ratio") if line[c]]
        if work.startswith("step 4, GSM8K,"):
            found["profile"].append([work, *numbers, unit])
        elif ", simulated log of " in work or ", log of " in work:  # the largest has no baseline
            sides = [_number(line[c]) if line[c] else "" for c in ("baseline", "ours", "ratio")]
            found["diagnosis"].append([work.split("; baseline")[0], *sides, unit])
        elif " from the files of " in work:
            found["spread"].append([work, *numbers, unit])
        elif " from files on " in work:
            # The smallest log has no baseline: its only number is ours.
            measured, times = (numbers[1], numbers[2]) if len(numbers) == 3 else (numbers[-1], "")
            found["scale"].append([work.split("; baseline")[0], measured, unit, times])
        else:
            found["bench"].append([work, *numbers, unit])
    headers = {
        "profile": ["work", "alone", "shared", "ratio", "unit"],
        "scale": ["work", "measured", "unit", "times a tenth of the answers"],
        "diagnosis": ["work", "before", "now", "ratio", "unit"],
        "spread": ["work", "one process", "two workers", "ratio", "unit"],
        "bench": ["work", "baseline", "ours", "ratio", "unit"],
    }
    return {name: markdown(headers[name], rows) for name, rows in found.items()}


def _number(text: str) -> str:
    value = float(text)
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def machine() -> str:
    """The processor, GPU and versions that the numbers belong to."""
    import torch

    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    processor = next(
        (line.split(":")[1].strip() for line in about.splitlines() if line.startswith("model name")),
        platform.processor(),
    )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{os.cpu_count()} cores {processor}{device}, {versions}"


PARTS: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "generation": generation.generation,
    "prefix": prefix.prefix,
    "step4_one": training.step4_one,
    "step4_profile": training.step4_profile,
    "step4_sweep": training.step4_sweep,
    "embedding": serving.embedding,
    "selection": serving.selection,
    "logs": logs.logs,
    "diagnosis": diagnosis.diagnosis,
    "big_log": big_log.big_log,
    "scale": scale.scale,
    "cluster": cluster.cluster,
    "spread": cluster.spread,
    "spread_interaction": partial(cluster.spread, model="interaction"),
    "install": install.installs,
    "startup": startup.startup,
}
WITHOUT_LOGS = {
    "generation",
    "prefix",
    "diagnosis",
    "big_log",
    "scale",
    "spread",
    "spread_interaction",
    "install",
    "startup",
}  # parts that do not need the released logs

if __name__ == "__main__":
    run_step(main, Args)
