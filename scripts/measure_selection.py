"""What the interaction model and the diagnosis do: on the released logs, on the tiny model's and on simulated ones.

    make selection-tables                                   # all parts; the logs come from make reproduce and make demo
    python scripts/measure_selection.py --parts diagnosis --logs 20

Parts: real_gsm8k, real_svamp, real_mawps, real_arith, mawps and gsm8k (simulated logs of these sizes), diagnosis, variance. A part that is finished is skipped;
--force redoes it. Writes results/reference/selection_*.csv. About an hour on one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from prompt_oirl import reward_models
from prompt_oirl.data.questions import RELEASED
from prompt_oirl.data.released import LLM
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv, write_text
from prompt_oirl.io.manifest import run_step
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.fit_data import fit_data
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.reports.readme import markdown, replace_table
from prompt_oirl.reward_models import TrainingSet
from prompt_oirl.reward_models.cells import RIDGES, Cells, RidgePath, sigmoid
from prompt_oirl.reward_models.interaction import InteractionModel
from prompt_oirl.selection import diagnosis
from prompt_oirl.selection.simulation import GSM8K, MAWPS, SimulatedLog, simulate
from prompt_oirl.selection.variance import variance_split
from prompt_oirl.stats import metrics
from prompt_oirl.stats.metrics import ClusterBootstrap
from prompt_oirl.stats.splits import Split

BINS = 15
LOGISTIC_C = 0.0003  # what step 4's validation rows choose most often on these logs
GAINS = (0, 1, 3, 5)
WEIGHTS = (0.5, 0.75, 1.0, 1.3)
REAL = [
    "llm",
    "dataset",
    "model",
    "assignments",
    "measure",
    "value",
    "low",
    "high",
    "questions",
    "clusters",
    "note",
]
SIMULATED = [
    "size",
    "samples",
    "attainable",
    "logs",
    "mean_gain",
    "standard_error",
    "share_losing_half_a_point",
    "moved",
    "fallback",
    "settings_from_the_truth",
]
VERDICTS = [
    "rates",
    "attainable",
    "logs",
    "worth_it",
    "not_shown",
    "not_enough_data",
    "expected_gain",
    "standard_error",
]
VARIANCE = [
    "component",
    "samples",
    "logs",
    "true_share",
    "estimated_share",
    "relative_error",
    "points_of_total",
]


@dataclass
class Args:
    parts: str = "real_gsm8k,real_svamp,real_mawps,real_arith,mawps,gsm8k,diagnosis,variance"
    """Comma list of parts."""
    logs: int = 100
    """Simulated logs per setting (half of it at the size and rates of GSM8K)."""
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
    reference = args.root / "results" / "reference"
    for part in args.parts.split(","):
        path = reference / f"selection_{part}.csv"
        if path.is_file() and not args.force:
            print(f"{path} is there; --force redoes it")
            continue
        if part.startswith("real_"):
            rows, columns = list(real_rows(part.removeprefix("real_"), args)), REAL
        elif part in ("mawps", "gsm8k"):
            rows, columns = simulated_rows(part, args), SIMULATED
        elif part == "diagnosis":
            rows, columns = verdict_rows(args), VERDICTS
        elif part == "variance":
            rows, columns = variance_rows(args), VARIANCE
        else:
            raise InputError(f"--parts {part}: choose from {', '.join(Args.parts.split(','))}")
        write_csv(path, rows, columns)
        print(path.read_text())
    page = args.root / "docs" / "selection.md"
    if page.is_file():
        write_text(page, with_tables(page.read_text(encoding="utf-8"), reference))


def each(task: Callable[..., Any], calls: Sequence[tuple], jobs: int, label: str) -> list[Any]:
    results = Parallel(n_jobs=jobs, return_as="generator")(delayed(task)(*call) for call in calls)
    return list(tqdm(results, total=len(calls), desc=label, disable=None))


def with_tables(text: str, reference: Path) -> str:
    """The page with the tables of the finished parts; the others stay as they are."""
    found = {
        p.stem.removeprefix("selection_"): read_csv(p, remedy="run this script")
        for p in reference.glob("selection_*.csv")
    }
    real = [row for name in ("gsm8k", "svamp", "mawps", "arith") for row in found.get(f"real_{name}", [])]
    if real:
        text = replace_table(text, "selection_real", real_table(real))
    simulated = [row for name in ("mawps", "gsm8k") for row in found.get(name, [])]
    for name, rows in (
        ("simulated", simulated),
        ("diagnosis", found.get("diagnosis")),
        ("variance", found.get("variance")),
    ):
        if rows:
            header = [column.replace("_", " ") for column in rows[0]]
            text = replace_table(
                text, f"selection_{name}", markdown(header, [list(row.values()) for row in rows])
            )
    return text


def interval(row: dict[str, str]) -> str:
    return f"{float(row['value']):+.2f} [{float(row['low']):+.2f}, {float(row['high']):+.2f}]"


def real_table(rows: Sequence[dict[str, str]]) -> str:
    names = ["expected calibration error", "log loss", "within-prompt AUC"]
    lines = []
    for dataset, model in dict.fromkeys((row["dataset"], row["model"]) for row in rows):
        mine = {r["measure"]: r for r in rows if (r["dataset"], r["model"]) == (dataset, model)}
        gain = next(row for name, row in mine.items() if name.startswith("gain"))
        ahead = mine.get("interaction ahead of it, points")
        pairs = [
            f"{float(mine[name]['value']):.3f}"
            + (
                f" ({float(mine[f'{name}, uncalibrated']['value']):.3f})"
                if f"{name}, uncalibrated" in mine
                else ""
            )
            for name in names
        ]
        lines.append(
            [dataset, model, gain["assignments"], interval(gain), interval(ahead) if ahead else "", *pairs]
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


# --- the released logs and the tiny model's -----------------------------------------------------------------


def real_rows(dataset: str, args: Args) -> Iterator[dict[str, Any]]:
    data = offline_dataset.load(LLM if dataset in RELEASED else "nano", dataset, Paths(args.root))
    ours, rows = judged_rows(data, "interaction", args.assignments, args.jobs)
    yield from rows
    for model in args.others.split(",") if args.other_assignments else ():
        theirs, rows = judged_rows(data, model, args.other_assignments, args.jobs)
        yield from rows
        shared = min(len(ours), len(theirs))
        ahead = in_points(ours[:shared] - theirs[:shared], data)
        yield {**rows[0], **ahead, "measure": "interaction ahead of it, points", "assignments": shared}


def in_points(gains: np.ndarray, data: OfflineDataset) -> dict[str, float]:
    """Mean of gains (assignments, rows) in points and its 90 % interval; a question's mean over assignments is what the
    bootstrap over clusters resamples."""
    bootstrap = ClusterBootstrap(data.names.test_clusters)
    per_row = gains.mean(0)
    sums = np.bincount(bootstrap.cluster, per_row), np.bincount(bootstrap.cluster)
    draws = (bootstrap.weights @ sums[0]) / (bootstrap.weights @ sums[1])
    low, high = metrics.interval(draws[:, None], level=0.9)
    return {
        "value": round(100 * per_row.mean(), 3),
        "low": round(100 * low[0], 3),
        "high": round(100 * high[0], 3),
    }


def judged_rows(
    data: OfflineDataset, model: str, assignments: int, jobs: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Gains (assignments, rows) over the train-best prompt, and the table's rows."""
    names = data.names
    splits = [split for a in range(assignments) for split in names.crossfit_splits(5, a)]
    parts = each(judge_fold, [(data, split, model) for split in splits], jobs, f"{names.dataset} {model}")
    rows = np.concatenate([split.test for split in splits])
    gain, scores, raw, labels = (np.concatenate([part[i] for part in parts]) for i in range(4))
    gains = np.empty((assignments, len(names.test_index)))
    gains[np.repeat(np.arange(assignments), len(names.test_index)), rows] = gain
    common = {
        "llm": names.llm,
        "dataset": names.dataset,
        "model": model,
        "assignments": assignments,
        "questions": len(set(names.test_index.tolist())),
        "clusters": len(np.unique(names.test_clusters)),
    }
    found = [
        common
        | {"measure": "gain over train-best prompt, points", "note": "90 % interval"}
        | in_points(gains, data)
    ]
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "expected calibration error": lambda p: calibration_error(labels, p),
        "log loss": lambda p: metrics.log_loss(labels, p),
        "within-prompt AUC": lambda p: metrics.auc_within_prompt(labels, p),
        "within-question AUC": lambda p: metrics.auc_within_question(labels, p),
    }
    for name, measure in measures.items():
        found.append(common | {"measure": name, "value": round(measure(scores), 5)})
        if model == "interaction":
            found.append(common | {"measure": f"{name}, uncalibrated", "value": round(measure(raw), 5)})
    return gains, found


def judge_fold(data: OfflineDataset, split: Split, model: str) -> tuple[np.ndarray, ...]:
    """Gain of the picks, predictions, uncalibrated predictions and labels on the test rows of one fold."""
    everyone = tuple(range(len(data.names.train_prompts)))
    fit = fits.Fit(data.names.llm, data.names.dataset, "crossfit", split.name, everyone, model, "fast")
    tuned, validation, train = fits.training_sets(fit, fit_data(data, [split])[split.name])
    learner = reward_models.make(model)
    if model == "linear":
        learner.settings = {"C": LOGISTIC_C}
    elif model != "interaction":
        learner.tune(tuned, validation)
    learner.fit(train)
    texts, inverse = np.unique(data.names.test_index[split.test], return_inverse=True)
    questions = data.features(split.name)[0][texts]
    scores = learner.predict(questions, train.prompts)[inverse]
    raw = (
        uncalibrated(learner, train, questions)[inverse] if isinstance(learner, InteractionModel) else scores
    )
    labels = data.test_labels[split.test][:, : len(everyone)].astype(np.float64)
    best = int(train.prompt_means.argmax())
    return labels[np.arange(len(labels)), scores.argmax(1)] - labels[:, best], scores, raw, labels


def uncalibrated(model: InteractionModel, train: TrainingSet, questions: np.ndarray) -> np.ndarray:
    """The ridge predictions as they are, before they are weighed against held-out answers."""
    d, m = model.effects(questions)
    chosen = model.settings
    d = d / chosen["slope"] if chosen["slope"] else d
    m = m / chosen["interaction"] if chosen["interaction"] else 0 * m
    return sigmoid(Cells.of(train).prompt_logits() + d[:, None] + m)


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Expected calibration error over equal-mass bins of all cells."""
    y, p = labels.ravel(), scores.ravel()
    bins = np.array_split(np.argsort(p, kind="stable"), BINS)
    return float(sum(len(b) * abs(y[b].mean() - p[b].mean()) for b in bins) / len(y))


# --- simulated logs ------------------------------------------------------------------------------------------


def simulated_rows(size: str, args: Args) -> list[dict[str, Any]]:
    shape = MAWPS if size == "mawps" else GSM8K
    logs = args.logs if size == "mawps" else (args.logs + 1) // 2
    rows = []
    for samples in (1, 4) if size == "mawps" else (1,):
        for attainable in GAINS:
            calls = [({**shape, "samples": samples}, attainable, seed) for seed in range(logs)]
            each_log = each(simulated_gain, calls, args.jobs, f"{size} x{samples} {attainable}")
            found = np.array([gain[:2] for gain in each_log])
            best_settings = np.mean([gain[2] for gain in each_log], 0).max()
            rows.append(
                {
                    "size": size,
                    "samples": samples,
                    "attainable": attainable,
                    "logs": logs,
                    "mean_gain": round(found[:, 0].mean(), 3),
                    "standard_error": round(found[:, 0].std() / np.sqrt(logs), 3),
                    "share_losing_half_a_point": round((found[:, 0] < -0.5).mean(), 3),
                    "moved": round(found[:, 1].mean(), 3),
                    "fallback": round((found[:, 1] == 0).mean(), 3),
                    "settings_from_the_truth": round(best_settings, 3),
                }
            )
    return rows


def simulated_gain(shape: dict[str, Any], attainable: float, seed: int) -> tuple[float, float, np.ndarray]:
    """True gain in points over the train-best prompt on test questions, how often the pick is another prompt, and the
    gains (penalties, weights) without any test, of which the mean over logs says which setting would have been best."""
    log = simulate(attainable, seed=seed, **shape)
    train = log.training_set()
    model = InteractionModel()
    model.fit(train)
    picks = model.predict(log.vectors[~log.train], log.prompt_vectors).argmax(1)
    best = int(train.prompt_means.argmax())
    return log.gain(picks, best), float((picks != best).mean()), fixed_settings(log, train, model, best)


def fixed_settings(log: SimulatedLog, train: TrainingSet, model: InteractionModel, best: int) -> np.ndarray:
    """True gain for each penalty and weight of the interaction (penalties, weights), difficulty as the model has it."""
    questions = log.vectors[~log.train]
    features, cells = model.features, Cells.of(train)
    phi = features.of_all(train)
    slope = model.settings["slope"] or 1.0
    residual, information = model.interaction_targets(cells, model.effects(train.questions)[0] / slope, slope)
    path = RidgePath(phi, np.zeros(len(phi), dtype=int))
    gains = np.empty((len(RIDGES), len(WEIGHTS)))
    for i in range(len(RIDGES)):
        m = features(questions) @ path.fit(residual, information, i)
        for j, weight in enumerate(WEIGHTS):
            gains[i, j] = log.gain((model.prompt_effects + weight * m).argmax(1), best)
    return gains


def verdict_rows(args: Args) -> list[dict[str, Any]]:
    rows = []
    for name, shape, logs in (("mawps", MAWPS, args.logs), ("gsm8k", GSM8K, (args.logs + 1) // 2)):
        for attainable in (0, 3):
            calls = [(shape["rates"], attainable, 1000 + seed) for seed in range(logs)]
            found = each(verdict, calls, args.jobs, f"diagnose {name} {attainable}")
            words, values = [f[0] for f in found], 100 * np.array([f[1] for f in found])
            share = {w: round(words.count(w) / logs, 3) for w in ("worth it", "not shown", "not enough data")}
            rows.append(
                {"rates": name, "attainable": attainable, "logs": logs}
                | {w.replace(" ", "_"): s for w, s in share.items()}
                | {
                    "expected_gain": round(values.mean(), 3),
                    "standard_error": round(values.std() / np.sqrt(logs), 3),
                }
            )
    return rows


def verdict(rates: Sequence[float], attainable: float, seed: int) -> tuple[str, float]:
    log = simulate(attainable, train=1500, test=1, rates=rates, seed=seed)
    found = diagnosis.diagnose_features(log.prompt_log(), log.training_set(), curve=False)
    return found.verdict, found.gain.expected[0] if found.gain else 0.0


def variance_rows(args: Args) -> list[dict[str, Any]]:
    calls = [(np.linspace(0.2, 0.6, 8), 2, seed) for seed in range(args.logs)]
    found = each(variance, calls, args.jobs, "variance")
    true, estimated = (np.array([f[i] for f in found]).mean(0) for i in range(2))
    return [
        {
            "component": component,
            "samples": 2,
            "logs": args.logs,
            "true_share": round(true[i] / true.sum(), 4),
            "estimated_share": round(estimated[i] / true.sum(), 4),
            "relative_error": round(estimated[i] / true[i] - 1, 4),
            "points_of_total": round(100 * (estimated[i] - true[i]) / true.sum(), 3),
        }
        for i, component in enumerate(("prompt", "difficulty", "interaction", "noise"))
    ]


def variance(rates: np.ndarray, samples: int, seed: int) -> tuple[list[float], list[float]]:
    log = simulate(3, train=2000, test=1, rates=tuple(rates), samples=samples, seed=seed)
    answers = log.prompt_log()
    split = variance_split(answers.question, answers.prompt, answers.correct.astype(float), (2000, 8))
    assert split is not None
    return list(log.components().values()), [
        split.prompt,
        split.difficulty[1],
        split.interaction[1],
        split.noise[1],
    ]


if __name__ == "__main__":
    run_step(main, Args)
