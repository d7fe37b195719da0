"""The committed tables on the tiny model's log: each prompt, what choosing can bring, and what step 4's
models gain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.arith.benchmark import read_rows
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import InputError, Paths, read_csv
from prompt_oirl.reports.readme import markdown
from prompt_oirl.reports.summary import read_summary
from prompt_oirl.stats.metrics import ClusterBootstrap, format_interval

MODELS = ("xgboost", "lightgbm", "linear", "mlp", "knn")
INTERVAL = ("value", "ci_low", "ci_high")
MODEL_COLUMNS = ["model", "validation_auc", "features", "selector", "metric", *INTERVAL]
MODEL_COLUMNS += ["n_questions", "n_clusters"]
SHOWN = [
    ("irl_0", "gain_over_train_best"),
    ("irl_0", "success_rate"),
    ("train_best", "success_rate"),
    ("reward_model_held_out_prompts", "auc_within_question"),
]


@dataclass(frozen=True)
class Answers:
    """Answers to one split as arrays (questions, prompts, samples), of the prompts that were asked there."""

    prompts: list[Prompt]
    right: np.ndarray
    cut: np.ndarray
    tokens: np.ndarray
    steps: np.ndarray
    groups: np.ndarray

    @classmethod
    def of(cls, split: str, log: Sequence[LogRow], prompts: Sequence[Prompt], arith: Path) -> Answers:
        """Gather a split of the log.

        Parameters
        ----------
        split : train, validation or test
        log : rows of any split; those of the others are passed over
        prompts : those that were asked in the split are kept, in this order
        arith : folder of the benchmark's question files

        Raises: InputError if an answer of the split is missing.
        """
        rows = [row for row in log if row.split == split]
        questions = read_rows(split, arith)
        asked = {row.prompt_id for row in rows}
        kept = [prompt for prompt in prompts if prompt.id in asked]
        row_of = {q["id"]: i for i, q in enumerate(questions)}
        column_of = {p.id: j for j, p in enumerate(kept)}
        shape = (len(questions), len(kept), 1 + max(row.sample for row in rows))
        right, cut, tokens = (np.full(shape, np.nan) for _ in range(3))
        for row in rows:
            at = (row_of[row.question_id], column_of[row.prompt_id], row.sample)
            right[at], tokens[at] = row.correct, row.tokens_out or 0
            cut[at] = row.finish_reason == "length"
        if np.isnan(right).any():
            raise InputError(f"data/nano_log lacks {split} answers; run make nano-log")
        groups = np.unique([q["group"] for q in questions], return_inverse=True)[1]
        return cls(kept, right, cut, tokens, np.array([q["steps"] for q in questions]), groups)

    def columns(self, role: str) -> list[int]:
        """Columns of the prompts of this role."""
        return [j for j, prompt in enumerate(self.prompts) if prompt.role == role]


def prompt_rows(test: Answers) -> Iterator[dict[str, Any]]:
    """Per prompt, and per number of steps for the sixteen published ones."""
    for j, prompt in enumerate(test.prompts):
        for steps in ("all", *(() if prompt.role == "unseen" else sorted(set(test.steps.tolist())))):
            of = np.ones(len(test.steps), bool) if steps == "all" else test.steps == steps
            bootstrap = ClusterBootstrap(test.groups[of])
            accuracy = bootstrap.mean(test.right[of, j].mean(1)[:, None])[0]
            yield {
                "prompt_id": prompt.id,
                "role": prompt.role,
                "steps": steps,
                "questions": int(of.sum()),
                "groups": bootstrap.n_clusters,
                **dict(zip(("accuracy", "ci_low", "ci_high"), accuracy)),
                "cut": test.cut[of, j].mean(),
                "tokens": test.tokens[of, j].mean(),
            }


def choice_rows(test: Answers) -> Iterator[dict[str, Any]]:
    """What the log itself says about choosing among the six training prompts."""
    bootstrap = ClusterBootstrap(test.groups)
    size = {"questions": len(test.groups), "groups": bootstrap.n_clusters}

    def line(measure: str, values: np.ndarray, note: str = "") -> dict[str, Any]:
        estimate = dict(zip(INTERVAL, bootstrap.mean(values[:, None])[0]))
        return {"measure": measure, **estimate, **size, "note": note}

    right = test.right[:, test.columns("train")]
    success = right.mean(2)
    best = int(success.mean(0).argmax())
    without_luck = any_prompt_without_luck(right)
    yield line("best single prompt", success[:, best], test.prompts[test.columns("train")[best]].id)
    yield line("any of six", right[:, :, 0].max(1), "lucky hits count")
    yield line("any of six, without luck", without_luck, "one sample chooses, the other judges")
    yield line("any of six, without luck, above best single", without_luck - success[:, best])
    agree = (right[:, :, 0] == right[:, :, 1]).mean(1)
    yield line("two samples of a cell agree", agree)
    unseen = test.right[:, test.columns("unseen")]
    yield {
        "measure": "standard deviation over unseen phrasings",
        "value": spread_beyond_noise(unseen),
        "note": f"{unseen.shape[1]} phrasings, sampling noise taken out",
        **size,
    }


def any_prompt_without_luck(right: np.ndarray) -> np.ndarray:
    """Success (questions,) of knowing which prompts solve a question; `right` is (questions, prompts, 2).

    One sample says which prompts solve it (all of them, if none does), the other says how often these do;
    averaged over both directions. Counting a question as solved if any answer is right counts lucky hits too.
    """
    rates = []
    for chooser, other in ((0, 1), (1, 0)):
        good = right[:, :, chooser] > 0
        good |= ~good.any(1, keepdims=True)
        rates.append((right[:, :, other] * good).sum(1) / good.sum(1))
    return np.mean(rates, 0)


def spread_beyond_noise(right: np.ndarray) -> float:
    """Standard deviation over prompts of their true accuracy; `right` is (questions, prompts, samples).

    The covariance of the accuracies on two disjoint halves of the questions holds no sampling noise.
    """
    halves = right[::2].mean((0, 2)), right[1::2].mean((0, 2))
    return float(np.sqrt(max(0.0, np.cov(*halves)[0, 1])))


def validation_auc(model: str, paths: Paths) -> float | None:
    """Mean over the five folds; None if the model was not trained."""
    path = paths.models("nano") / f"arith_{model}_validation.csv"
    if not path.is_file():
        return None
    rows = [
        r
        for r in read_csv(path, hint="run step 4")
        if r["split"].startswith("folds5") and r["k"] == "6" and r["features"] == "both"
    ]
    return float(np.mean([float(r["auc_within_question"]) for r in rows])) if rows else None


def model_rows(paths: Paths) -> Iterator[dict[str, Any]]:
    """Per reward model that ran: its AUC on validation, and on test its gain and its ranking of unseen
    prompts."""
    for model in MODELS:
        auc = validation_auc(model, paths)
        if auc is None:
            continue
        folder = paths.results("nano", "arith", "crossfit" + ("" if model == "xgboost" else f"_{model}"))
        for row in read_summary(folder / "summary.csv"):
            shown = (row["selector"], row["metric"]) in SHOWN
            if shown and row["k"] == "6" and row["split"] == "crossfit":
                yield {"model": model, "validation_auc": auc, **{c: row[c] for c in MODEL_COLUMNS[2:]}}


def render_prompts(rows: Sequence[dict[str, str]]) -> str:
    """The model's README: one line per published prompt, one column per number of steps."""
    cells: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["role"] != "unseen":
            said = f"{float(row['accuracy']):.2f} / {float(row['cut']):.2f} / {float(row['tokens']):.0f}"
            cells.setdefault(row["prompt_id"], {})[row["steps"]] = said
    columns = list(next(iter(cells.values())))
    return markdown(["prompt", *columns], [[prompt, *said.values()] for prompt, said in cells.items()])


def render_choice(rows: Sequence[dict[str, str]]) -> str:
    """README's first table: accuracies as shares, differences in points."""
    lines = []
    for row in rows:
        points = "above" in row["measure"]
        lines.append([row["measure"] + (", points" if points else ""), value_text(row, points), row["note"]])
    return markdown([f"{int(rows[0]['questions']):,} test questions", "value [95 %]", ""], lines)


def render_models(rows: Sequence[dict[str, str]]) -> str:
    """README's second table: every model, the one chosen on validation first, and its sanity checks."""
    cells: dict[tuple[float, str], dict[tuple[str, str], dict[str, str]]] = {}
    for row in rows:
        of = cells.setdefault((-float(row["validation_auc"]), row["model"]), {})
        of[row["features"], row["metric"]] = row
    lines = []
    for (auc, model), of in sorted(cells.items()):
        gain, ranking = of["both", "gain_over_train_best"], of["both", "auc_within_question"]
        lines.append([model, f"{-auc:.3f}", value_text(gain, True), value_text(ranking)])
        for features in ("question_only", "prompt_only", "shuffled_labels"):
            sanity = of.get((features, "gain_over_train_best"))
            if sanity:
                lines.append([f"{model}, {features.replace('_', ' ')}", "", value_text(sanity, True), ""])
    header = ["reward model", "AUC within question, validation", "gain over the train-best prompt, points"]
    return markdown([*header, "AUC within question, GPT-4's ten prompts"], lines)


def value_text(row: dict[str, str], points: bool = False) -> str:
    """A value with its interval, where there is one."""
    if not row["ci_low"]:
        return f"{float(row['value']):.3f}"
    return format_interval(*(row[c] for c in INTERVAL), points=points)


RENDER = {"nano_choice": render_choice, "nano_models": render_models, "nano_prompts": render_prompts}
