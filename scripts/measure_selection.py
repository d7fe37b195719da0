"""What the interaction model and the diagnosis do: on released, own and simulated logs.

    make selection-tables                         # all parts; the logs come from make reproduce and make demo
    python scripts/measure_selection.py --parts diagnosis --logs 20

Parts: real_gsm8k, real_svamp, real_mawps, real_arith, mawps and gsm8k (simulated logs of these sizes),
diagnosis, variance. A part that is finished is skipped; --force redoes it. Writes
results/reference/selection_*.csv and the tables of docs/selection.md. About an hour on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed
from tqdm import tqdm

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv, write_text
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.model_comparison import comparison_rows
from prompt_oirl.reports.readme import markdown, replace_table
from prompt_oirl.selection import simulated_gains
from prompt_oirl.stats.metrics import format_interval


@dataclass
class Args:
    parts: str = "real_gsm8k,real_svamp,real_mawps,real_arith,mawps,gsm8k,diagnosis,variance"
    """Comma list of parts."""
    logs: int = 100
    """Simulated logs per setting (half of it at the size and rates of GSM8K, twice in the part diagnosis)."""
    assignments: int = 10
    """Fold assignments on the real logs."""
    others: str = "xgboost,linear"
    """Reward models to compare with on the real logs."""
    other_assignments: int = 10
    """Fold assignments of those, which take longer; 0 leaves them out."""
    jobs: int = 1
    """Processes side by side; -1 is one per core."""
    root: Path = REPO_ROOT
    """Folder that holds llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo finished parts."""


def main(args: Args) -> None:
    """Write the parts that are missing, then the tables of the page."""
    reference = args.root / "results" / "reference"
    for part in args.parts.split(","):
        path = reference / f"selection_{part}.csv"
        if path.is_file() and not args.force:
            print(f"{path} is there; --force redoes it")
            continue
        write_csv(path, part_rows(part, args))
        print(path.read_text(encoding="utf-8"))
    page = args.root / "docs" / "selection.md"
    if page.is_file():
        write_text(page, with_tables(page.read_text(encoding="utf-8"), reference))


def part_rows(part: str, args: Args) -> Iterable[dict[str, Any]]:
    """Rows of one part, computed while they are read."""

    def each(task: Callable[[Any], Any], calls: Iterable[Any]) -> Iterable[Any]:
        calls = list(calls)
        results = Parallel(n_jobs=args.jobs, return_as="generator")(delayed(task)(call) for call in calls)
        return tqdm(results, total=len(calls), desc=part, disable=None)

    if part.startswith("real_"):
        dataset = part.removeprefix("real_")
        data = offline_dataset.load(LLM if dataset in RELEASED else "nano", dataset, Paths(args.root))
        others = args.others.split(",") if args.other_assignments else []
        return comparison_rows(data, args.assignments, others, args.other_assignments, each)
    if part in simulated_gains.SIZES:
        return simulated_gains.gain_rows(part, args.logs, each)
    if part == "diagnosis":
        return simulated_gains.verdict_rows(2 * args.logs, each)
    if part == "variance":
        return simulated_gains.variance_rows(args.logs, each)
    raise InputError(f"--parts {part}: choose from {', '.join(Args.parts.split(','))}")


def with_tables(text: str, reference: Path) -> str:
    """The page with the tables of the finished parts; the others stay as they are."""

    def rows_of(*parts: str) -> list[dict[str, str]]:
        paths = [reference / f"selection_{part}.csv" for part in parts]
        return [row for path in paths if path.is_file() for row in read_csv(path, hint="run this script")]

    real = rows_of("real_gsm8k", "real_svamp", "real_mawps", "real_arith")
    if real:
        text = replace_table(text, "selection_real", real_table(real))
    for name, parts in (
        ("simulated", ("mawps", "gsm8k")),
        ("diagnosis", ("diagnosis",)),
        ("variance", ("variance",)),
    ):
        if rows := rows_of(*parts):
            header = [column.replace("_", " ") for column in rows[0]]
            text = replace_table(
                text, f"selection_{name}", markdown(header, [list(row.values()) for row in rows])
            )
    return text


def real_table(rows: Sequence[dict[str, str]]) -> str:
    """One line per log and model: gain, lead of the interaction model, quality of the probabilities."""
    lines = []
    for dataset, model in dict.fromkeys((row["dataset"], row["model"]) for row in rows):
        by_measure = {r["measure"]: r for r in rows if (r["dataset"], r["model"]) == (dataset, model)}
        cells = []
        for measure in ("expected calibration error", "log loss", "within-prompt AUC"):
            raw = by_measure.get(f"{measure}, uncalibrated")
            before = f" ({float(raw['value']):.3f})" if raw else ""
            cells.append(f"{float(by_measure[measure]['value']):.3f}{before}")
        gain = by_measure["gain over train-best prompt, points"]
        ahead = by_measure.get("interaction ahead of it, points")
        lines.append(
            [dataset, model, gain["assignments"], interval(gain), interval(ahead) if ahead else "", *cells]
        )
    header = [
        "log",
        "model",
        "fold assignments",
        "gain, points [90 %]",
        "interaction ahead by, points [90 %]",
        "ECE (uncalibrated)",
        "log loss",
        "within-prompt AUC",
    ]
    return markdown(header, lines)


def interval(row: dict[str, str]) -> str:
    """A value in points with its interval, two decimals."""
    return format_interval(row["value"], row["low"], row["high"], signed=True, digits=2)


if __name__ == "__main__":
    run_step(main, Args)
