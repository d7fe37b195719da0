"""How often do the graders err? Draw answers to be labelled by reading, then score the graders.

    python scripts/evaluate_graders.py --draw sheet.jsonl   # 200 answers with question and gold, no verdict
    python scripts/evaluate_graders.py                      # score both labelled sets

Two sets, of which only ids and labels are committed, never texts. `llama2` (data/grader_labels.csv): 300
released answers of LLaMA-2, 120 of all uniformly and 180 of those on which the graders of that day
disagreed, weighted back to all answers by stratum. `new` (data/grader_labels_new.csv): 200 answers of other
sources and in today's forms, drawn by labelled_answers.py; its error rate is that of a stated mixture, no
population. Half of each set was for improving the strict grader; the figures are those of the other half.

Read so: what an answer settles on last, in its own answer and not in a question that runs on behind it; a
hedge, a refusal and an unfinished thought settle on nothing; a text cut short counts if it had reached the
result of the whole question; units are not graded. `original` takes every gold for a number, so it errs on
the new set's choices, truth values and texts. Needs step 2 of LLaMA-2 and
`scripts/fetch_data.py --datasets real_logs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from labelled_answers import HALVES, Answer, draw

from prompt_oirl import grading
from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv, write_jsonl
from prompt_oirl.io.manifest import run_step

MEASURED = ("original", "strict", "math")
SEED = 0
LABELS = REPO_ROOT / "data" / "grader_labels.csv"
NEW_LABELS = REPO_ROOT / "data" / "grader_labels_new.csv"
LABEL_COLUMNS = ["dataset", "question_id", "prompt_id", "stratum", "stratum_size", "half", "label"]
NEW_LABEL_COLUMNS = ["key", "id", "stratum", "kind", "half", "label"]
COLUMNS = ["set", "grader", "half", "n", "error_rate", "ci_low", "ci_high", "wrongly_right", "wrongly_wrong"]


@dataclass
class Args:
    root: Path = REPO_ROOT
    """Folder whose llama_exps/LMllama2 step 2 has filled."""
    draw: Path | None = None
    """Write the answers of the new set here, to be labelled, instead of scoring."""
    out: Path = REPO_ROOT / "results" / "reference" / "graders.csv"
    """Table to write."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    released = [row for dataset in RELEASED for row in stored_answers(dataset, paths)]
    new = draw(paths, released)
    if args.draw:
        write_jsonl(args.draw, map(sheet_row, new))
        print(f"{len(new)} answers to read in {args.draw}")
        return
    graders = [g for g in MEASURED if g in grading.GRADERS and (g != "math" or find_spec("math_verify"))]
    if "math" not in graders:
        print("not scored: math, which needs math-verify")
    rows = []
    for name, answers, labels in (("llama2", *labelled_llama2(released)), ("new", *labelled_new(new))):
        for half in HALVES:
            kept = [i for i, answer in enumerate(answers) if answer.half == half]
            scored = error_rows([answers[i] for i in kept], np.array([labels[i] for i in kept]), graders)
            rows += [{"set": name, "half": half} | row for row in scored]
    write_csv(args.out, rows, COLUMNS)
    for row in rows:
        print(
            f"{row['set']:7} {row['half']:12} {row['grader']:22} {row['error_rate']:.2%} "
            f"[{row['ci_low']:.2%}, {row['ci_high']:.2%}] of answers, n = {row['n']}"
        )


def stored_answers(dataset: str, paths: Paths) -> list[LogRow]:
    """The rows of a released log that hold an answer."""
    log = paths.labels(LLM) / f"{dataset}_interactions.jsonl"
    rows = interactions.read(log, hint="run llama_step2_reorg_data.py first")
    return [row for row in rows if row.answer is not None]


def sheet_row(answer: Answer) -> dict[str, str]:
    """One answer to be labelled by reading: no verdict, no source and no half stand there."""
    return {
        "key": answer.key,
        "question": answer.question,
        "gold": answer.gold,
        "answer": answer.text,
    }


def labelled_llama2(released: Sequence[LogRow]) -> tuple[list[Answer], list[bool]]:
    """The labelled answers of LLaMA-2 and their labels."""
    found = {(row.dataset, row.question_id, row.prompt_id): row for row in released}
    labels = read_csv(LABELS, hint="restore it from git", columns=LABEL_COLUMNS)
    total = sum({r["stratum"]: int(r["stratum_size"]) for r in labels}.values())
    answers = []
    for r in labels:
        row = found[r["dataset"], r["question_id"], r["prompt_id"]]
        share = int(r["stratum_size"]) / total
        id_ = f"{row.dataset}:{row.question_id}:{row.prompt_id}"
        text = row.answer or ""
        answers.append(Answer(id_, r["stratum"], row.question, row.gold, "number", text, share, r["half"]))
    return answers, [r["label"] == "1" for r in labels]


def labelled_new(drawn: Sequence[Answer]) -> tuple[list[Answer], list[bool]]:
    """The answers drawn again, and the labels that reading gave them.

    Raises: InputError if an answer is not as it was read.
    """
    rows = read_csv(NEW_LABELS, hint="restore it from git", columns=NEW_LABEL_COLUMNS)
    labels = {r["key"]: r["label"] == "1" for r in rows}
    strange = [answer.id for answer in drawn if answer.key not in labels]
    if strange:
        raise InputError(
            f"{NEW_LABELS}: {len(strange)} drawn answers are not as they were read: {strange[:3]}"
        )
    return list(drawn), [labels[answer.key] for answer in drawn]


def error_rows(
    answers: Sequence[Answer], label: np.ndarray, graders: Sequence[str]
) -> Iterator[dict[str, object]]:
    """Weighted error rates with bootstrap intervals within strata, and the paired differences to `original`.

    Parameters
    ----------
    answers : those of one half
    label : bool for each, is it right?
    graders : their names, `original` first
    """
    strata = sorted({a.stratum for a in answers})
    members = [np.flatnonzero([a.stratum == s for a in answers]) for s in strata]
    shares = [answers[m[0]].share for m in members]

    def rate(values: np.ndarray) -> float:
        return float(sum(w * values[m].mean() for w, m in zip(shares, members)))

    def row(grader: str, errors: np.ndarray) -> dict[str, object]:
        rng = np.random.default_rng(SEED)
        draws = [
            sum(w * errors[rng.choice(m, len(m))].mean() for w, m in zip(shares, members))
            for _ in range(4000)
        ]
        low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
        return {
            "grader": grader,
            "n": len(answers),
            "error_rate": rate(errors),
            "ci_low": low,
            "ci_high": high,
        }

    errors = {}
    for name in graders:
        verdict = np.array([grading.verdict(name, a.text, a.gold, a.kind, a.question) for a in answers])
        errors[name] = (verdict != label).astype(float)
        parts = {"wrongly_right": rate(verdict & ~label), "wrongly_wrong": rate(~verdict & label)}
        yield row(name, errors[name]) | parts
    for name in graders[1:]:
        yield row(f"{name} minus original", errors[name] - errors["original"])


if __name__ == "__main__":
    run_step(main, Args)
