"""The driver of `make torture`: tries until the time is over, counts, the command that repeats a failure."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
TESTS = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(TESTS / folder) for folder in ("importers", "serving", "alol")]

LINES_SHOWN, LONGEST_LINE = 12, 400
KINDS = ("kill", "fuzz", "hostile_text", "hostile_servers", "concurrency", "places")


@dataclass(kw_only=True)
class Args:
    hours: float = 1 / 3
    """How long; the try under way is finished."""
    seed: int = 0
    """Of every draw; try number n has the seed seed + n."""
    kind: str = ""
    """Only this kind: kill, fuzz, hostile_text, hostile_servers, concurrency or places."""
    only: str = ""
    """Only this case of the kind."""
    tries: int = 10**9
    """At most so many."""


def main(args: Args) -> int:
    """Exit status: 1 where anything failed."""
    kinds = {name: import_module(f"torture.{name}") for name in KINDS if args.kind in ("", name)}
    if not kinds:
        sys.exit(f"error: --kind {args.kind!a}: give one of {', '.join(KINDS)}")
    cases = {name: [c for c in kind.CASES if args.only in ("", c)] for name, kind in kinds.items()}
    if not all(cases.values()):
        sys.exit(f"error: --only {args.only!a}: give --kind and one of its cases")
    tried, failed, spent = Counter[str](), Counter[str](), dict.fromkeys(kinds, 0.0)
    work = Path(tempfile.mkdtemp(prefix="torture-"))
    until = time.monotonic() + 3600 * args.hours
    for number in range(args.tries):
        if number and time.monotonic() > until:
            break
        name = min(spent, key=spent.__getitem__)
        seed, started = args.seed + number, time.monotonic()
        case = random.Random(f"{seed}/{name}").choice(cases[name])
        shown = f"{name} {case}"
        try:
            tried[shown] += kinds[name].attempt(case, random.Random(f"{seed}/{name}/{case}"), work) or 1
        except Exception:
            tried[shown] += 1
            failed[shown] += 1
            _print_end(traceback.format_exc())
            print(f"FAILED, repeat: make torture seed={seed} kind={name} only={case!r} tries=1", flush=True)
        spent[name] += time.monotonic() - started
    for shown, count in sorted(tried.items()):
        print(f"{shown}: {count:,} tries, {failed[shown]} failed")
    print(f"all: {tried.total():,} in {sum(spent.values()):.0f} s, {failed.total()} failed; seed {args.seed}")
    shutil.rmtree(work, ignore_errors=True)
    return min(failed.total(), 1)


def _print_end(text: str) -> None:
    for line in text.strip().splitlines()[-LINES_SHOWN:]:
        print(line[:LONGEST_LINE])


if __name__ == "__main__":
    import tyro

    sys.exit(main(tyro.cli(Args, use_underscores=True)))
