"""What the project does on real logs that others published.

    python scripts/measure_real_logs.py --logs FOLDER
    python scripts/measure_real_logs.py --logs FOLDER --parts arms --force

The logs are not part of the project. FOLDER holds them as NAME.csv with a column llm, or as NAME_LLM.csv or
NAME_LLM.csv.gz, with the columns question, prompt and correct: re2_gsm8k and re2_csqa are the answers
published with Re-Reading (https://github.com/Tebmer/Rereading-LLM-Reasoning, Apache-2.0). Parts: arms. A
part that is finished is skipped; --force redoes it. Writes results/reference/PART.csv and the tables of the
pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.io.files import REPO_ROOT, InputError, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.selection.equal_cost import fit_at_equal_cost
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.evaluation_tables import ORACLE
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.stats.metrics import format_interval

# What an answer is assumed to cost, in cents: 1,000 output tokens at the list prices of 20, 2 and .60 dollars
# per million. The logs have no costs; only the ratios matter, and that a call of one LLM costs the same with
# every prompt.
CENTS = {"text-davinci-003": 2.0, "gpt-3.5-turbo": 0.2, "gpt-4o-mini": 0.06}
SEVERAL_LLMS = ("re2_gsm8k", "re2_csqa")
BEST = "best pair"


@dataclass
class Args:
    parts: str = "arms"
    """Comma list of parts."""
    logs: Path = REPO_ROOT / "data" / "fetched" / "real_logs"
    """Folder of the real logs."""
    root: Path = REPO_ROOT
    """Folder that holds results/ and docs/."""
    force: bool = False
    """Redo finished parts."""


def main(args: Args) -> None:
    """Write the parts that are missing, then the tables of the pages."""
    for part in args.parts.split(","):
        path = args.root / "results" / "reference" / f"{part}.csv"
        if path.is_file() and not args.force:
            print(f"{path} is there; --force redoes it")
            continue
        write_csv(path, part_rows(part, args.logs))
        print(path.read_text())
    arms = args.root / "results" / "reference" / "arms.csv"
    if arms.is_file():
        fill_tables(args.root, {"arms": arms_table(read_csv(arms, hint="run this script"))})


def part_rows(part: str, logs: Path) -> Iterator[dict[str, Any]]:
    """Rows of one part, computed while they are read."""
    if part == "arms":
        return (row for name in SEVERAL_LLMS for row in arms_rows(name, joined(logs, name)))
    raise InputError(f"--parts {part}: choose from {Args.parts}")


def joined(logs: Path, name: str) -> pd.DataFrame:
    """The log of several LLMs, from one file or from one of each, with the columns llm and cost."""
    whole = logs / f"{name}.csv"
    if whole.is_file():
        frame = pd.read_csv(whole, dtype=str, keep_default_na=False)
        return frame.assign(cost=frame["llm"].map(CENTS))
    files = {
        llm: path
        for llm in CENTS
        for path in (logs / f"{name}_{llm}.csv", logs / f"{name}_{llm}.csv.gz")
        if path.is_file()
    }
    if not files:
        raise InputError(
            f"missing {whole}, or {name}_LLM.csv: the real logs are not part of the project, pass --logs"
        )
    return pd.concat(
        pd.read_csv(path, dtype=str, keep_default_na=False).assign(llm=llm, cost=CENTS[llm])
        for llm, path in files.items()
    )


def arms_rows(name: str, frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Choosing a pair of prompt and LLM per question against the best pair, at any cost and at equal cost.

    At equal cost the cost weight is such that, within the training folds, the choices cost no more than the
    best pair does.
    """
    log = read_log(frame, arms=("prompt", "llm"))
    selector = PromptSelector(shared_embedder("minilm", 0))
    ways = {
        "per question": evaluate(selector, log),
        "per question, equal cost": evaluate(selector, log, learn=fit_at_equal_cost),
    }
    shown = [("per question", "best prompt", BEST), *((way, "selector", way) for way in ways)]
    for way, policy, choice in [*shown, ("per question", ORACLE, "any pair right (bound)")]:
        found = ways[way]
        row = next(r for r in found.policies if r["policy"] == policy)
        yield {
            "log": name,
            "questions": len(log.questions),
            "pairs": len(log.prompts),
            "choice": choice,
            "cents": row["cost"],
            "success": row["success"],
            "low": row["success_low"],
            "high": row["success_high"],
            "gain": row["gain"],
            "gain_low": row["gain_low"],
            "gain_high": row["gain_high"],
            "moved": float((found.picks != found.best).mean()) if policy == "selector" else None,
        }


def arms_table(rows: Sequence[dict[str, str]]) -> str:
    """Cost, success and gain of each choice."""
    header = [
        "log",
        "choice",
        "cents per question",
        "right",
        "gain over the best pair, points",
        "not the best pair",
    ]
    lines = [
        [
            row["log"],
            row["choice"],
            f"{float(row['cents']):.2f}",
            format_interval(row["success"], row["low"], row["high"]),
            format_interval(row["gain"], row["gain_low"], row["gain_high"], points=True)
            if row["choice"] != BEST
            else "",
            f"{float(row['moved']):.0%}" if row["moved"] else "",
        ]
        for row in rows
    ]
    return markdown(header, lines)


if __name__ == "__main__":
    run_step(main, Args)
