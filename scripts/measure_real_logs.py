"""What the project does on real logs that others published, on LLaMA-2's and on the tiny model's.

    make real-logs
    python scripts/measure_real_logs.py --parts verdicts --seeds 3 --force

Parts: `verdicts` (is choosing per question worth it, on every log and over several seeds) and `arms`
(choosing the LLM as well). The logs of others come from `scripts/fetch_data.py --datasets real_logs`;
LLaMA-2's need step 3 of the pipeline and are left out with a remark where it has not run. A part that is
finished is skipped; --force redoes it. Writes results/reference/real_PART.csv and the tables of the pages.
About half an hour on one core, most of it embedding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.cache import shared_embedder
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.reports.readme import fill_tables, markdown
from prompt_oirl.reward_models.interaction import InteractionModel
from prompt_oirl.reward_models.training_set import TrainingSet, merge_repeats
from prompt_oirl.selection.equal_cost import fit_at_equal_cost
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.evaluation_tables import ORACLE
from prompt_oirl.selection.hindsight import hindsight_bound
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.verdict import decide_verdict
from prompt_oirl.stats.metrics import format_interval

# What an answer is assumed to cost, in cents: 1,000 output tokens at the list prices of 20, 2 and .60 dollars
# per million. The logs have no costs; only the ratios matter, and that a call of one LLM costs the same with
# every prompt.
CENTS = {"text-davinci-003": 2.0, "gpt-3.5-turbo": 0.2, "gpt-4o-mini": 0.06}
SEVERAL_LLMS = ("re2_gsm8k", "re2_csqa")
ONE_LLM = ("openai_gsm8k", "bbh_codex", "tot_game24")
BEST = "best pair"
SHOWN = {  # a log's name in the tables
    "re2_gsm8k text-davinci-003": "GSM8K, four ways to ask (text-davinci-003)",
    "re2_gsm8k gpt-3.5-turbo": "GSM8K, four ways to ask (gpt-3.5-turbo)",
    "re2_gsm8k gpt-4o-mini": "GSM8K, four ways to ask (gpt-4o-mini)",
    "re2_csqa text-davinci-003": "CommonsenseQA, four ways to ask (text-davinci-003)",
    "re2_csqa gpt-3.5-turbo": "CommonsenseQA, four ways to ask (gpt-3.5-turbo)",
    "re2_csqa gpt-4o-mini": "CommonsenseQA, four ways to ask (gpt-4o-mini)",
    "openai_gsm8k": "GSM8K, four fine-tuned GPT-3s",
    "bbh_codex": "BIG-Bench Hard, 27 tasks as segments (code-davinci-002)",
    "tot_game24": "game of 24, two prompts, 20 samples (GPT-4)",
    "gsm8k": "GSM8K (LLaMA-2-7B-chat)",
    "svamp": "SVAMP (LLaMA-2-7B-chat)",
    "mawps": "MAWPS (LLaMA-2-7B-chat)",
    "arith": "the demo's log (tiny model)",
    "nano": "prompts that OPRO tried (tiny model)",
}


@dataclass
class Args:
    parts: str = "verdicts,arms"
    """Comma list of parts."""
    seeds: int = 10
    """Seeds of the part verdicts."""
    logs: Path = REPO_ROOT / "data" / "fetched" / "real_logs"
    """Folder of the real logs."""
    root: Path = REPO_ROOT
    """Folder that holds results/ and docs/."""
    force: bool = False
    """Redo finished parts."""


def main(args: Args) -> None:
    """Write the parts that are missing, then the tables of the pages."""
    for part in args.parts.split(","):
        path = args.root / "results" / "reference" / f"real_{part}.csv"
        if path.is_file() and not args.force:
            print(f"{path} is there; --force redoes it")
            continue
        write_csv(path, part_rows(part, args))
        print(path.read_text(encoding="utf-8"))
    for part, table in {"arms": arms_table, "verdicts": verdict_table}.items():
        path = args.root / "results" / "reference" / f"real_{part}.csv"
        if path.is_file():
            fill_tables(args.root, {part: table(read_csv(path, hint="run this script"))})


def part_rows(part: str, args: Args) -> Iterator[dict[str, Any]]:
    """Rows of one part, computed while they are read."""
    if part == "arms":
        return (row for name in SEVERAL_LLMS for row in arms_rows(name, joined(args.logs, name)))
    if part == "verdicts":
        return (verdict_row(name, train, args.seeds) for name, train in all_logs(args))
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
            f"missing {whole}, or {name}_LLM.csv: "
            "run scripts/fetch_data.py --datasets real_logs, or pass --logs"
        )
    return pd.concat(
        pd.read_csv(path, dtype=str, keep_default_na=False).assign(llm=llm, cost=CENTS[llm])
        for llm, path in files.items()
    )


def all_logs(args: Args) -> Iterator[tuple[str, TrainingSet]]:
    """Every log with its features: others' by LLM, LLaMA-2's three, the tiny model's two."""
    selector = PromptSelector(shared_embedder("minilm", 0))
    for name in SEVERAL_LLMS:
        frame = joined(args.logs, name)
        for llm in frame["llm"].unique():
            yield f"{name} {llm}", selector.training_set(read_log(frame[frame["llm"] == llm]))
    for name in ONE_LLM:
        files = [path for path in (args.logs / f"{name}.csv", args.logs / f"{name}.csv.gz") if path.is_file()]
        if not files:
            raise InputError(
                f"missing {args.logs / name}.csv: run scripts/fetch_data.py --datasets real_logs"
            )
        yield name, selector.training_set(read_log(files[0]))
    for dataset in (*RELEASED, "arith"):
        try:
            data = offline_dataset.load(LLM if dataset in RELEASED else "nano", dataset, Paths(args.root))
        except InputError as error:
            print(f"{dataset} is left out: {error}")
            continue
        yield dataset, whole_set(data)
    yield "nano", selector.training_set(read_log(REPO_ROOT / "data" / "nano_opro_log" / "arith.parquet"))


def whole_set(data: offline_dataset.OfflineDataset) -> TrainingSet:
    """All questions of a dataset of the pipeline, of both splits, with the training prompts."""
    names, k = data.names, len(data.names.train_prompts)
    questions, prompts, size = data.features("whole")
    index = np.concatenate([names.train_index, names.test_index])
    ids, labels, counts = merge_repeats(
        index, np.concatenate([data.train_labels[:, :k], data.test_labels[:, :k]])
    )
    return TrainingSet(np.asarray(questions)[ids], prompts[:k], labels, counts, size, names.clusters[ids])


def verdict_row(name: str, train: TrainingSet, seeds: int) -> dict[str, Any]:
    """What `diagnose` says over several seeds, beside the bound; gains in points, means over seeds.

    `measured` is the gain of the selector as it is, 0 where it keeps to the best prompt; `estimate` that of
    choosing by the interaction all the same.
    """
    assert train.clusters is not None
    groups = len(np.unique(train.clusters))
    words, gains, supported, seconds = [], [], [], []
    for seed in tqdm(range(seeds), desc=name, disable=None):
        start = time.process_time()
        model = InteractionModel(seed)
        model.fit(train)
        found = model.study
        if found.gain is None:
            return {"log": name, "questions": len(train.labels), "prompts": len(train.prompts)}
        measured = found.gain.measured if found.supported else (0.0, 0.0, 0.0)
        gains.append([*measured, *found.gain.estimate])
        supported.append(found.supported)
        words.append(decide_verdict(found, groups).word)
        seconds.append(time.process_time() - start)
    bound, error = hindsight_bound(train)
    values = 100 * np.mean(gains, 0)
    columns = ("measured", "measured_low", "measured_high", "estimate", "low", "high")
    return {
        "log": name,
        "questions": len(train.labels),
        "groups": groups,
        "prompts": len(train.prompts),
        "best": round(float(np.nanmax(train.prompt_means)), 4),
        **{column: round(value, 3) for column, value in zip(columns, values)},
        "least_measured": round(100 * min(gain[0] for gain in gains), 3),
        "bound": round(100 * bound, 3),
        "bound_error": round(100 * error, 3),
        "chooses": sum(supported),
        "verdict": max(set(words), key=words.count),
        "same_verdict": words.count(max(set(words), key=words.count)),
        "seeds": seeds,
        "seconds": round(float(np.mean(seconds)), 2),
    }


def verdict_table(rows: Sequence[dict[str, str]]) -> str:
    """One line per log."""
    header = [
        "log",
        "questions x prompts",
        "best prompt right",
        "measured gain, points",
        "estimate [95 %]",
        "hindsight bound",
        "verdict",
        "same on",
        "CPU seconds",
    ]
    lines = []
    for row in rows:
        size = f"{int(row['questions']):,} x {row['prompts']}"
        if not row["verdict"]:
            lines.append([SHOWN.get(row["log"], row["log"]), size, *[""] * 4, "too few groups", "", ""])
            continue
        estimate = format_interval(row["estimate"], row["low"], row["high"], signed=True, digits=1)
        lines.append(
            [
                SHOWN.get(row["log"], row["log"]),
                size,
                f"{float(row['best']):.3f}",
                f"{float(row['measured']):+.2f}",
                estimate,
                f"{float(row['bound']):.2f} ± {float(row['bound_error']):.2f}",
                row["verdict"],
                f"{row['same_verdict']} of {row['seeds']} seeds",
                f"{float(row['seconds']):.1f}",
            ]
        )
    return markdown(header, lines)


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
