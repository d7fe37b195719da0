"""Fetch the released logs, the questions and logs of others into data/fetched/, every file checked by sha256.

    python scripts/fetch_data.py            # what the released logs need (76 MB)
    python scripts/fetch_data.py --datasets gsm8k,mawps
    python scripts/fetch_data.py --datasets aqua,bbh,mmlu,multiarith    # tasks of OPRO (9 MB)
    python scripts/fetch_data.py --datasets real_logs       # results that papers published (61 MB), as logs
    python scripts/fetch_data.py --mirror /media/mirror     # no network: copies from DIR/Prompt-OIRL/...
    python scripts/fetch_data.py --root /scratch/run --jobs 2
    python scripts/fetch_data.py --datasets hh              # A-LoL's; says what else to put where

What already lies there is checked and kept, so the same command resumes after an interruption. The files,
their licences and their hashes are listed in data/sources.toml. `real_logs` also writes each result as a log,
data/fetched/real_logs/NAME.csv, which `prompt-oirl` reads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.importers.published_results import write_logs
from prompt_oirl.io.download import fetch, read_by_hand, read_sources
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.io.manifest import run_step


@dataclass
class Args:
    root: Path = REPO_ROOT
    """the files go to data/fetched/ below this folder"""
    mirror: Path | None = None
    """copy from this folder instead of downloading; default: the environment variable PROMPT_OIRL_MIRROR, if
    set"""
    datasets: str = "all"
    """all (those of the released logs), or a comma list of gsm8k, svamp, mawps, OPRO's aqua, bbh, mmlu,
    multiarith, real_logs, and A-LoL's hh, comet, reddit, wow, faithdial"""
    jobs: int = 8
    """files fetched at the same time"""


def main(args: Args) -> None:
    sources, by_hand = read_sources(), read_by_hand()
    named = [f.dataset for s in sources for f in s.files] + [entry.dataset for entry in by_hand]
    known = list(dict.fromkeys(named))
    wanted = list(RELEASED) if args.datasets == "all" else [name.strip() for name in args.datasets.split(",")]
    if unknown := sorted(set(wanted) - set(known)):
        raise InputError(
            f"no dataset {', '.join(map(repr, unknown))}; pass --datasets all or some of {','.join(known)}"
        )
    files = [file for source in sources for file in source.files if file.dataset in wanted]
    mirror = args.mirror or os.environ.get("PROMPT_OIRL_MIRROR")
    folder = Paths(args.root).fetched
    fetched = fetch(files, folder, mirror=Path(mirror) if mirror else None, jobs=args.jobs)
    for entry in by_hand:
        if entry.dataset in wanted:
            place = folder / "by_hand" / entry.path
            there = "is there" if place.is_file() else f"{entry.how}: {entry.url} ({entry.licence})"
            print(f"by hand: {place}: {there}")
    if not files:
        return
    used = [source for source in sources if set(source.files) & set(files)]
    owners = dict.fromkeys(f"{s.repository} {s.licence} (c) {s.copyright}" for s in used)
    papers = dict.fromkeys(s.paper for s in used)
    print(
        f"{len(files)} files, {sum(file.size for file in files) / 1e6:.1f} MB in {folder}: {fetched} "
        f"fetched, {len(files) - fetched} already there; licences: {', '.join(owners)}; papers: "
        f"{', '.join(papers)}; notes in data/README.md"
    )
    if "real_logs" in wanted:
        sizes = write_logs(folder, folder / "real_logs")
        logs = ", ".join(f"{name}.csv ({rows:,} rows)" for name, rows in sizes.items())
        print(f"logs in {folder / 'real_logs'}: {logs}")


if __name__ == "__main__":
    run_step(main, Args)
