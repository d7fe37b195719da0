"""`make soak`: long runs against what fails now and then; nothing is lost, paid twice, or grows.

    python -m torture.soak step1 --items 20000      step 1 against a server with 12 kinds of fault, 5 % of all
    python -m torture.soak serve --items 100000     requests through `prompt-oirl serve`, feedback on a tenth
    python -m torture.soak dask --items 40          step 4 on a Dask cluster, a worker killed every minute

Each puts a row into results/reference/soak.csv and fills the table of docs/security.md; the exit status is 1
where something was lost or doubled, or where memory or open files grew. `items` are answers, requests, and
draws of folds (5 models each).
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tyro.conf import OmitArgPrefixes, Positional

from prompt_oirl.io.files import REPO_ROOT, read_csv
from prompt_oirl.reports.readme import fill_tables, markdown, replace_rows

ITEMS = {"step1": 20_000, "serve": 100_000, "dask": 40}
MARGIN_MB = 32.0  # that processes may have grown by then
MARGIN_FILES = 16


@dataclass(kw_only=True)
class Args:
    items: int | None = None
    """How many; default: 20,000 answers, 100,000 requests, 40 draws of folds."""
    seed: int = 0
    """Of the faults."""
    kill_seconds: float = 60.0
    """dask: seconds between two kills."""
    out: Path = REPO_ROOT
    """Folder whose results/reference/ and docs/ are written."""


def main(what: Positional[Literal["step1", "serve", "dask"]], args: OmitArgPrefixes[Args]) -> int:
    """Exit status: 1 where anything was lost, doubled or has grown."""
    items = args.items or ITEMS[what]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as work:
        soak = import_module(f"torture.soak_{what}").soak
        more = {"kill_seconds": args.kill_seconds} if what == "dask" else {}
        soaked, watch = soak(items, args.seed, Path(work), **more)
    ends = watch.ends()
    row: dict[str, Any] = {"what": what, "items": items, **vars(soaked), **ends}
    row["faults"] = json.dumps(soaked.faults)
    row |= {"seconds": round(time.monotonic() - started), "machine": machine()}
    table = args.out / "results" / "reference" / "soak.csv"
    replace_rows(table, [row], ["what"])
    fill_tables(args.out, {"soak": as_markdown(read_csv(table, hint="run it again"))})
    print(json.dumps(row, indent=1))
    wrong = [name for name in ("doubles", "losses") if row[name]]
    wrong += ["memory grew"] * (ends["mb_end"] > ends["mb_start"] + MARGIN_MB)
    wrong += ["open files grew"] * (ends["files_end"] > ends["files_start"] + MARGIN_FILES)
    for reason in wrong:
        print(f"FAILED: {what}: {reason}", file=sys.stderr)
    return min(len(wrong), 1)


def as_markdown(rows: list[dict[str, str]]) -> str:
    """soak.csv as the page shows it."""
    columns = ["what", "items", "faults met", "paid", "rows", "doubles", "losses", "MB, start to end"]
    lines = []
    for row in rows:
        numbers = [f"{int(row[name]):,}" for name in ("paid", "rows", "doubles", "losses")]
        grown = [f"{float(row['mb_start']):.0f} to {float(row['mb_end']):.0f}"]
        grown += [f"{float(row['files_start']):.0f} to {float(row['files_end']):.0f}"]
        met = f"{sum(json.loads(row['faults']).values()):,}"
        items, seconds = (f"{int(row[name]):,}" for name in ("items", "seconds"))
        lines.append([row["what"], items, met, *numbers, *grown, seconds])
    return markdown([*columns, "open files, start to end", "seconds"], lines)


def machine() -> str:
    """Cores, system and Python."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, {system}, Python {platform.python_version()}"


if __name__ == "__main__":
    import tyro

    TESTS = Path(__file__).resolve().parents[1]
    sys.path[1:1] = [str(TESTS / folder) for folder in ("importers", "serving")]
    sys.exit(tyro.cli(main, use_underscores=True))
