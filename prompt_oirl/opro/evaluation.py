"""The table of step 2: accuracy of given instructions, paired against the first one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.io.files import sha256
from prompt_oirl.opro.scorers import Score
from prompt_oirl.stats.metrics import ClusterBootstrap

NO_STEP = -1  # the step of instructions that no loop proposed
COLUMNS = ["task", "part", "scorer", "grader", "prompt_id", "position", "accuracy", "ci_low", "ci_high"]
COLUMNS += ["gain_over_first", "gain_ci_low", "gain_ci_high", "n", "groups", "instruction"]


def settings(options: Any) -> dict[str, Any]:
    """What decides the table; `options` are the flags of step 2."""
    names = ["task", "part", "position", "top", "grader", "train_size", "validation_size", "test_size"]
    return {
        "instructions": sha256(options.instructions),
        "questions": options.questions and sha256(options.questions),
        **{name: getattr(options, name) for name in (*names, "temperature", "max_gen_len", "seed")},
        "scorer": options.scorer_name,
    }


def table_rows(
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
        value, low, high = bootstrap.mean(score.values[:, None])[0]
        gain, gain_low, gain_high = bootstrap.mean((score.values - first.values)[:, None])[0]
        yield {
            **about,
            "prompt_id": prompt.id,
            "position": prompt.position,
            "accuracy": value,
            "ci_low": low,
            "ci_high": high,
            "gain_over_first": gain,
            "gain_ci_low": gain_low,
            "gain_ci_high": gain_high,
            "n": len(score.values),
            "groups": bootstrap.n_clusters,
            "instruction": prompt.text,
        }
