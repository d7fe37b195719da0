"""Step 3 of OPRO: does choosing among the found instructions per question beat the single best of them?

    cd opro_exps
    python opro_step3_select_per_query.py --task arith --scorer.ckpt_dir ../data/nano_llama --llm nano --run default --seed 0

Takes the `--pool` best instructions on train of a run of step 1 with that seed, measures each on `--fit_size` training
questions and on the test questions (what the log holds is not asked again), trains Prompt-OIRL's reward model on the
former, and lets it pick one instruction per test question (best of N). The single best is chosen on the same training
questions. Writes selection.csv and picks.csv beside the run's tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.data.log_store import LogFiles
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.features.embedders import load_embedder
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths, read_csv, write_csv
from prompt_oirl.io.manifest import run_step
from prompt_oirl.llms.generation import Decoding
from prompt_oirl.llms.options import BudgetOptions, ModelOptions
from prompt_oirl.opro import runs, tasks
from prompt_oirl.opro.scorers import BudgetSpent, LLMScorer, SharedLog, Spending, once, run_key
from prompt_oirl.reward_models import TrainingSet
from prompt_oirl.stats import policies
from prompt_oirl.stats.metrics import ClusterBootstrap, auc_within_question, interval

COLUMNS = ["task", "seed", "model", "pool", "what", "value", "ci_low", "ci_high", "n", "groups"]
PICKS = ["question_id", "group", "pick", "instruction", "right", "single_best_right"]


@dataclass
class Args:
    task: str = "arith"
    """As in step 1."""
    questions: Path | None = None
    """Own questions, as in step 1."""
    run: str = "default"
    """Name of the run of step 1."""
    seed: int = 0
    """Seed of the run of step 1."""
    pool: int = 6
    """So many of the best instructions on train."""
    model: Literal["xgboost", "lightgbm", "linear", "mlp", "knn"] = "xgboost"
    """Reward model, as in step 4 of Prompt-OIRL."""
    embedder: str = "minilm"
    """As in step 3 of Prompt-OIRL: minilm, tfidf, openai:MODEL or a sentence-transformers folder."""
    fit_size: int = 300
    """Training questions on which every instruction of the pool is measured."""
    validation_size: int = 50
    """As in step 1."""
    test_size: int = 400
    """Questions that judge the picks."""
    temperature: float = 0.0
    """Of the scorer; 0 is greedy."""
    max_gen_len: int | None = 256
    """Tokens of an answer."""
    llm: str | None = None
    """Name of the log; default: the model's name."""
    known_log: tuple[Path, ...] = ()
    """More logs, JSONL or Parquet, whose answers count if they are of the same llm and decoding."""
    root: Path = REPO_ROOT
    """Folder that holds data/, opro_exps/ and results/."""
    scorer: ModelOptions = field(default_factory=ModelOptions)
    budget: BudgetOptions = field(default_factory=BudgetOptions)


def main(args: Args) -> None:
    runs.check_names(args.task, args.run, args.llm)
    runs.check_at_least(2, pool=args.pool)
    runs.check_at_least(10, fit_size=args.fit_size)
    paths = Paths(args.root)
    task = tasks.load_task(args.task, paths, args.questions)
    folder = paths.opro_results(task.name, args.run) / f"seed{args.seed}"
    seed = runs.read_settings(folder / "run.json")["parts_seed"]
    parts = tasks.divide(task, args.fit_size, args.validation_size, args.test_size, seed)
    pool = best_instructions(folder / "trajectory.csv", args.pool)
    name = args.llm or args.scorer.name()
    log = SharedLog(LogFiles(paths.opro_log(name), task.name), run_key(folder.resolve(), "select"))
    known = runs.read_logs("--known_log", args.known_log)
    decoding = Decoding(args.temperature, 1.0, args.max_gen_len, 0)
    with runs.held_folder(folder), log.held():
        runs.check_model(log.files, args.scorer)
        scorer = LLMScorer(
            once(lambda: args.scorer.load("scorer.")), name, task, decoding, "strict", log, args.budget.budget(prefix="budget."), Spending(None), known
        )  # fmt: skip
        try:
            fit, test = (measure(scorer, pool, asked) for asked in (parts.train, parts.test))
        except BudgetSpent as spent:
            print(f"stopped by {spent}; the same command with a larger limit goes on")
            return
    scores = predict(args, parts, pool, fit)
    best = int(fit.mean(0).argmax())
    pick = policies.argmax_sound(scores, fit.mean(0), args.seed)
    clusters = parts.clusters(parts.test)
    rows = list(result_rows(args, len(pool), test, scores, pick, best, clusters))
    write_csv(folder / "selection.csv", rows, COLUMNS)
    write_csv(folder / "picks.csv", pick_rows(parts, pool, test, pick, best), PICKS)
    for row in rows:
        print(f"{row['what']:36} {row['value']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})")
    print(f"{len(pool)} instructions, {len(fit)} training and {len(test)} test questions; {folder}")


def best_instructions(trajectory: Path, size: int) -> list[Prompt]:
    """The best on train, each with its position; ties in the order they were found."""
    remedy = "run opro_step1_optimize_prompts.py again"
    rows = read_csv(trajectory, remedy=remedy, columns=["prompt_id", "kind", "instruction", "train"])
    settings = runs.read_settings(trajectory.parent / "run.json")
    try:
        ranked = sorted((r for r in rows if r["kind"] == "measured"), key=lambda r: -float(r["train"]))[:size]
    except (TypeError, ValueError) as error:
        raise InputError(f"{trajectory}: train is no number ({error}); {remedy}") from error
    if len(ranked) < 2:
        raise InputError(f"{trajectory}: fewer than two measured instructions; run step 1 for more steps")
    return [Prompt(r["prompt_id"], r["instruction"] or "", settings["position"]) for r in ranked]


def measure(scorer: LLMScorer, pool: Sequence[Prompt], asked: Sequence[Question]) -> np.ndarray:
    """Success of every instruction on every question, float32 (n, K)."""
    scores = scorer.score(pool, asked, 0, asked[0].split)
    return np.array([s.values for s in scores if s is not None], dtype=np.float32).T


def predict(args: Args, parts: tasks.Parts, pool: Sequence[Prompt], fit: np.ndarray) -> np.ndarray:
    """Predicted success float32 (n_test, K); a fifth of the training questions, whole groups, tunes the model."""
    embedder = load_embedder(args.embedder, args.seed)
    texts = [q.text for q in parts.train]
    embedder.fit([*texts, *(p.text for p in pool)])
    surface = surface_features(texts)
    mean, scale = surface.mean(0), surface.std(0) + 1e-6

    def features(asked: Sequence[str]) -> np.ndarray:
        return np.concatenate([embedder.encode(asked), (surface_features(asked) - mean) / scale], 1)

    questions, prompts = features(texts), embedder.encode([p.text for p in pool])
    groups = parts.clusters(parts.train)
    order = np.random.default_rng(args.seed).permutation(np.unique(groups))
    out = np.isin(groups, order[: max(1, len(order) // 5)])

    def part(rows: np.ndarray) -> TrainingSet:
        return TrainingSet(questions[rows], prompts, fit[rows], np.ones_like(fit[rows]), prompts.shape[1])

    model = reward_models.make(args.model, seed=args.seed)
    model.tune(part(~out), part(out))
    model.fit(part(np.ones(len(out), bool)))
    return model.predict(features([q.text for q in parts.test]), prompts)


def result_rows(
    args: Args, pool: int, test: np.ndarray, scores: np.ndarray, pick: np.ndarray, best: int, clusters: np.ndarray
) -> Iterator[dict[str, Any]]:  # fmt: skip
    bootstrap = ClusterBootstrap(clusters, 0)
    picked = policies.picked(test, pick)
    values = {
        "single best of the pool": test[:, best],
        "picked per question": picked,
        "gain of picking": picked - test[:, best],
        "random of the pool": test.mean(1),
        "any of the pool (lucky hits count)": test.max(1),
    }
    about = {
        "task": args.task,
        "seed": args.seed,
        "model": args.model,
        "pool": pool,
        "n": len(test),
        "groups": bootstrap.n_clusters,
    }
    for what, value in values.items():
        yield {
            **about,
            "what": what,
            **dict(zip(("value", "ci_low", "ci_high"), bootstrap.mean(value[:, None])[0])),
        }
    auc = auc_within_question(test, scores)
    draws = [auc_within_question(test[r], scores[r]) for r in resampled(clusters, 300)]
    low, high = interval(np.array(draws)[:, None])
    yield {**about, "what": "within-question AUC", "value": auc, "ci_low": low[0], "ci_high": high[0]}


def resampled(clusters: np.ndarray, times: int) -> Iterator[np.ndarray]:
    """Row numbers of bootstrap samples of whole groups."""
    rows = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    rng = np.random.default_rng(0)
    for _ in range(times):
        yield np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])


def pick_rows(
    parts: tasks.Parts, pool: Sequence[Prompt], test: np.ndarray, pick: np.ndarray, best: int
) -> Iterator[dict[str, Any]]:
    for i, q in enumerate(parts.test):
        j = int(pick[i])
        yield {
            "question_id": q.id, "group": parts.groups[q.id], "pick": pool[j].id, "instruction": pool[j].text,
            "right": test[i, j], "single_best_right": test[i, best],
        }  # fmt: skip


if __name__ == "__main__":
    run_step(main, Args)
