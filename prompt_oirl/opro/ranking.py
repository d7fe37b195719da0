"""How well predictions rank instructions that nobody measured, on the tiny model's logs and the released
ones.

In every ranking an instruction is predicted only by models that never saw an answer to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.prompts import load_prompts
from prompt_oirl.data.questions import RELEASED, load_questions
from prompt_oirl.data.released import read_released, to_interactions
from prompt_oirl.io.files import InputError, Paths
from prompt_oirl.opro import tasks
from prompt_oirl.opro.predicting_scorers import cells_for
from prompt_oirl.opro.prompt_rewards import (
    Measured,
    ModelName,
    PromptRewards,
    RewardSettings,
    TextVectors,
    rank_correlation,
)
from prompt_oirl.opro.search_proposer import SMALL

SAMPLED_QUESTIONS = 400  # of a released log's split: an instruction's mean needs no more


def arith_ranking(
    models: Sequence[ModelName], vectors: TextVectors, paths: Paths
) -> Iterator[dict[str, Any]]:
    """The tiny model's validation answers to 76 instructions, sixty of them in no training row at all.

    Parameters
    ----------
    models : names of reward models; only the first also learns from the six training prompts
    vectors : embeds questions and instructions
    paths : of the project; data/nano_log/ and data/arith/ are read

    Returns: rows of `ranking_row`.
    Raises: InputError if a file is missing.
    """
    log = interactions.read(paths.committed_log("nano", "arith"), hint="run make nano-log")
    role = {p.id: p.role for p in load_prompts(paths.root / "data" / "arith" / "prompts.csv")}
    validation = [row for row in log if row.split == "validation"]
    texts = {row.prompt: row.prompt_id for row in validation}
    group = {row.question: row.group or row.question_id for row in validation}
    measured = Measured.of_rows(validation)
    clusters = np.array([group[q] for q in measured.questions])
    unseen = np.array([role[texts[p]] == "unseen" for p in measured.prompts])
    subsets = {"all 76": np.ones(len(unseen), bool), "the sixty in no training row": unseen}
    log_name = "nano on arith"
    for model in models:
        predicted = PromptRewards(RewardSettings(model=model), vectors).fit(measured)
        for ranked, of in subsets.items():
            about = (log_name, "other instructions, the same questions", ranked, model)
            yield ranking_row(*about, measured.labels[:, of], predicted[:, of], clusters)
        # As few questions as a run of OPRO scores instructions on.
        few = np.random.default_rng(0).permutation(len(measured.questions))[:40]
        part = Measured([measured.questions[i] for i in few], measured.prompts, measured.labels[few])
        predicted = PromptRewards(RewardSettings(model=model), vectors).fit(part)
        about = (log_name, "other instructions, 40 questions", "all 76", model)
        yield ranking_row(*about, part.labels, predicted, clusters[few])
    six = Measured.of_rows(sample([row for row in log if row.split == "train"]))
    rewards = PromptRewards(RewardSettings(model=models[0]), vectors)
    rewards.fit(six)
    predicted, _ = rewards.predict(measured.questions, measured.prompts)
    about = (log_name, "six training prompts, training questions", "the sixty in no training row", models[0])
    yield ranking_row(*about, measured.labels[:, unseen], predicted[:, unseen], clusters)


def space_ranking(model: ModelName, vectors: TextVectors, paths: Paths) -> Iterator[dict[str, Any]]:
    """The small search space on the train questions of step 4, learned from each other or from
    data/nano_log/.

    Parameters
    ----------
    model : name of a reward model
    vectors : embeds questions and instructions
    paths : of the project; data/nano_opro_log/, data/nano_log/ and data/arith/ are read

    Returns: rows of `ranking_row`; none, and a line on stdout, if data/nano_opro_log/ is missing.
    Raises: InputError if another file is missing.
    """
    path = paths.committed_log("nano_opro", "arith")
    if not path.is_file():
        print(f"{path} is missing; run make opro-log")
        return
    arith = tasks.load_task("arith", paths)
    parts = tasks.divide(arith, 32, 50, 200, 0)
    train, space = {q.id for q in parts.train}, set(SMALL.instructions())
    rows = [
        row
        for row in interactions.read(path, hint="run make opro-log")
        if row.question_id in train and row.prompt in space
    ]
    measured = Measured.of_rows(rows)
    whole = ~np.isnan(measured.labels).any(0)  # a killed batch may have left an instruction half measured
    kept = [p for p, w in zip(measured.prompts, whole) if w]
    measured = Measured(measured.questions, kept, measured.labels[:, whole])
    group = {q.text: parts.groups[q.id] for q in parts.train}
    clusters = np.array([group[q] for q in measured.questions])
    log_name, ranked = "nano on arith", f"{len(kept)} of the small search space"
    predicted = PromptRewards(RewardSettings(model=model), vectors).fit(measured)
    about = (log_name, "other instructions, the same questions", ranked, model)
    yield ranking_row(*about, measured.labels, predicted, clusters)
    other = interactions.read(paths.committed_log("nano", "arith"), hint="run make nano-log")
    rewards = PromptRewards(RewardSettings(model=model), vectors)
    rewards.fit(Measured.of(cells_for(parts, [r for r in other if r.split == "validation"], "nano")))
    predicted, _ = rewards.predict(measured.questions, measured.prompts)
    about = (log_name, "76 other phrasings, other questions", ranked, model)
    yield ranking_row(*about, measured.labels, predicted, clusters)


def released_ranking(model: ModelName, vectors: TextVectors, paths: Paths) -> Iterator[dict[str, Any]]:
    """LLaMA-2's answers to ten held-out prompts, predicted from the six training prompts' training rows.

    Parameters
    ----------
    model : name of a reward model
    vectors : embeds questions and instructions
    paths : of the project; the fetched questions and released logs are read

    Returns: one row of `ranking_row` per dataset; one whose files are missing or damaged is left
    out, with a line on stdout.
    """
    from prompt_oirl.data.near_duplicates import cluster_texts

    prompts = load_prompts()
    for dataset in RELEASED:
        try:
            questions = load_questions(dataset, paths)
            columns = read_released(dataset, questions, prompts, paths)
        except InputError as error:
            print(f"{dataset} is left out: {error}")
            continue
        rows = list(to_interactions(dataset, columns, questions))
        train = sample([row for row in rows if row.split == "train"])
        held_out = {p.id for p in prompts if p.role == "held_out"}
        test = sample([row for row in rows if row.split == "test" and row.prompt_id in held_out])
        rewards = PromptRewards(RewardSettings(model=model), vectors)
        rewards.fit(Measured.of_rows(train))
        asked = Measured.of_rows(test)
        predicted, _ = rewards.predict(asked.questions, asked.prompts)
        clusters = cluster_texts(asked.questions)
        learned, ranked = "six training prompts, training questions", "the ten held-out prompts"
        yield ranking_row(f"llama2 on {dataset}", learned, ranked, model, asked.labels, predicted, clusters)


def sample(rows: Sequence[LogRow]) -> list[LogRow]:
    """All rows of SAMPLED_QUESTIONS questions drawn at random."""
    texts = list(dict.fromkeys(row.question for row in rows))
    drawn = np.random.default_rng(0).permutation(len(texts))[:SAMPLED_QUESTIONS]
    kept = {texts[i] for i in drawn}
    return [row for row in rows if row.question in kept]


def ranking_row(
    log: str,
    learned_from: str,
    ranked: str,
    model: str,
    measured: np.ndarray,
    predicted: np.ndarray,
    clusters: np.ndarray,
) -> dict[str, Any]:
    """One row of opro_ranking.csv: how well predictions rank P instructions; it is printed too.

    Parameters
    ----------
    log, learned_from, ranked, model : what the row says of the log, of what the predictions learned from, of
    the instructions and of the reward model
    measured : float (n, P), success, NaN where an instruction was not asked
    predicted : float (n, P); instructions with a NaN drop out
    clusters : int64 (n,), group of every question

    Returns: the columns; the rank correlation is Spearman's with its 95 % interval.
    """
    value, low, high = rank_correlation(measured, predicted, clusters)
    print(f"{log}, {ranked}, {learned_from}, {model}: {value:.2f} ({low:.2f} to {high:.2f})")
    return {
        "log": log,
        "learned_from": learned_from,
        "ranked": ranked,
        "model": model,
        "spearman": value,
        "ci_low": low,
        "ci_high": high,
        "instructions": measured.shape[1],
        "questions": len(clusters),
        "groups": len(np.unique(clusters)),
    }
