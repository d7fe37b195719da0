"""Steps 2 and 3: what found instructions are worth on other questions, alone and chosen per question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl import reward_models
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.data.questions import Question
from prompt_oirl.features.embedders import load_embedder
from prompt_oirl.features.surface import surface_features
from prompt_oirl.io.files import InputError, read_csv, sha256
from prompt_oirl.opro import runs
from prompt_oirl.opro.scorers import LLMScorer, Score
from prompt_oirl.opro.tasks import Parts
from prompt_oirl.reward_models import TrainingSet
from prompt_oirl.stats import policies
from prompt_oirl.stats.metrics import ClusterBootstrap, question_pairs

INTERVAL = ("value", "ci_low", "ci_high")
NO_STEP = -1  # the step of instructions that no loop proposed


def evaluation_settings(options: Any) -> dict[str, Any]:
    """What decides the table; `options` are the flags of step 2."""
    names = ["task", "part", "position", "top", "grader", "train_size", "validation_size", "test_size"]
    return {
        "instructions": sha256(options.instructions),
        "questions": options.questions and sha256(options.questions),
        **{name: getattr(options, name) for name in (*names, "temperature", "max_gen_len", "seed")},
        "scorer": options.scorer_name,
        **({"second_round": True} if options.second_round else {}),
    }


def evaluation_rows(
    about: Mapping[str, str], prompts: Sequence[Prompt], scores: Sequence[Score | None], clusters: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Accuracy and paired gain over the first instruction, each with its 95 % interval over groups.

    Parameters
    ----------
    about : columns that are the same in every row
    scores : one per prompt, of the same n questions; None is left out
    clusters : int64 (n,), group of every question
    """
    bootstrap = ClusterBootstrap(clusters, 0)
    first = scores[0]
    for prompt, score in zip(prompts, scores):
        if score is None or first is None:
            continue
        accuracy, gain = bootstrap.mean(np.stack([score.values, score.values - first.values], 1))
        yield {
            **about,
            "prompt_id": prompt.id,
            "position": prompt.position,
            **dict(zip(("accuracy", "ci_low", "ci_high"), accuracy)),
            **dict(zip(("gain_over_first", "gain_ci_low", "gain_ci_high"), gain)),
            "n": len(score.values),
            "groups": bootstrap.n_clusters,
            "instruction": prompt.text,
        }


def best_instructions(trajectory: Path, size: int) -> list[Prompt]:
    """The `size` best on train of a run of step 1, each with its position; ties in the order they were found.

    Raises: InputError if the table is damaged or holds fewer than two measured instructions.
    """
    hint = "run opro_step1_optimize_prompts.py again"
    rows = read_csv(trajectory, hint=hint, columns=["prompt_id", "kind", "instruction", "train"])
    settings = runs.read_settings(trajectory.parent / "run.json")
    try:
        ranked = sorted((r for r in rows if r["kind"] == "measured"), key=lambda r: -float(r["train"]))[:size]
    except (TypeError, ValueError) as error:
        raise InputError(f"{trajectory}: train is no number ({error}); {hint}") from error
    if len(ranked) < 2:
        raise InputError(f"{trajectory}: fewer than two measured instructions; run step 1 for more steps")
    return [Prompt(r["prompt_id"], r["instruction"] or "", settings["position"]) for r in ranked]


def measure(scorer: LLMScorer, pool: Sequence[Prompt], asked: Sequence[Question]) -> np.ndarray:
    """Success of every instruction of the pool on every question, float32 (n, K).

    Parameters
    ----------
    scorer : asks the language model for the answers that its logs lack
    pool : K instructions
    asked : n questions of one part, at least one

    Returns: success in 0..1.
    Raises: BudgetSpent if the scorer's budget does not suffice.
    """
    scores = scorer.score(pool, asked, 0, asked[0].split)
    return np.array([s.values for s in scores if s is not None], dtype=np.float32).T


def predict(
    model: str, embedder_name: str, seed: int, parts: Parts, pool: Sequence[Prompt], labels: np.ndarray
) -> np.ndarray:
    """Predicted success of every instruction on every test question.

    The embedder is fitted on training questions alone; a fifth of their groups tunes the reward model.

    Parameters
    ----------
    model : name of a reward model
    labels : float32 (n, K), success on the training questions
    seed : seeds embedder, model and the draw of the tuning groups

    Returns: float32 (n_test, K).
    """
    embedder = load_embedder(embedder_name, seed)
    texts = [q.text for q in parts.train]
    embedder.fit(texts)
    surface = surface_features(texts)
    mean, scale = surface.mean(0), surface.std(0) + 1e-6

    def features(asked: Sequence[str]) -> np.ndarray:
        return np.concatenate([embedder.encode(asked), (surface_features(asked) - mean) / scale], 1)

    prompts = embedder.encode([p.text for p in pool])
    clusters = parts.clusters(parts.train)
    data = TrainingSet(
        features(texts), prompts, labels, np.ones_like(labels), prompts.shape[1], clusters=clusters
    )
    return reward_models.train(model, data, seed=seed).predict(
        features([q.text for q in parts.test]), prompts
    )


def selection_rows(
    about: Mapping[str, Any],
    test: np.ndarray,
    scores: np.ndarray,
    pick: np.ndarray,
    best: int,
    clusters: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """Success of picking and of what it is compared with, each with its 95 % interval over groups.

    Parameters
    ----------
    about : columns that are the same in every row
    test, scores : float32 (n, K), success and predicted success on the test questions
    pick : int (n,), instruction that is picked for each question
    best : the instruction that is best on the training questions
    clusters : int64 (n,), group of every test question
    """
    bootstrap = ClusterBootstrap(clusters, 0)
    picked = policies.picked(test, pick)
    one = np.ones(len(test))
    ratios = {
        "single best of the pool": (test[:, best], one),
        "picked per question": (picked, one),
        "gain of picking": (picked - test[:, best], one),
        "random of the pool": (test.mean(1), one),
        "any of the pool (lucky hits count)": (test.max(1), one),
        "within-question AUC": question_pairs(test, scores),
    }
    for what, (top, bottom) in ratios.items():
        interval = dict(zip(INTERVAL, bootstrap.ratio(top[:, None], bottom[:, None])[0]))
        yield {**about, "what": what, **interval, "n": len(test), "groups": bootstrap.n_clusters}


def pick_rows(
    parts: Parts, pool: Sequence[Prompt], test: np.ndarray, pick: np.ndarray, best: int
) -> Iterator[dict[str, Any]]:
    """The pick for every test question and whether it and the single best instruction were right.

    Parameters
    ----------
    parts : questions of the run, n of them in the test part
    pool : K instructions
    test : float32 (n, K), success on the test questions
    pick : int (n,), place in `pool` of the instruction that is picked for each question
    best : place in `pool` of the instruction that is best on the training questions

    Returns: rows of picks.csv, in the order of the test questions.
    """
    for i, q in enumerate(parts.test):
        j = int(pick[i])
        yield {
            "question_id": q.id,
            "group": parts.groups[q.id],
            "pick": pool[j].id,
            "instruction": pool[j].text,
            "right": test[i, j],
            "single_best_right": test[i, best],
        }
