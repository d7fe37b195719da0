"""The prompt_writer task: a small language model writes the prompt for a question.

State = the question, action = the prompt's text, reward = whether the LLM then answered right, all from an
interaction log that was paid for already. What the writer says is rewarded without the LLM, by the calibrated
reward model of Prompt-OIRL (log_reward.py), which never saw validation or test questions; whether the LLM
really answers written prompts better is measured apart (scripts/evaluate_prompt_writer.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prompt_oirl.alol.rewards import log_reward
from prompt_oirl.alol.rows import EXPECTED, FINAL, Row
from prompt_oirl.alol.tasks.task import Prepared, Request, Settings, Task, drawn
from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.near_duplicates import cluster_texts
from prompt_oirl.data.questions import is_unicode
from prompt_oirl.io.files import InputError

VALIDATION_SHARE = 0.1
JUDGE = "judge"
SIZES: dict[str, int] = {"test": 1000}


def state(question: str) -> str:
    """What the writer reads."""
    return question.strip() + "\n"


def read_log(log: Path, seed: int) -> dict[str, list[LogRow]]:
    """Rows by split: test as logged; of all groups without a test row a tenth for validation, drawn by
    `seed`.

    Where the log names no groups they are clusters of near-duplicate questions; the released logs have test
    questions in training, which goes with its cluster. Prompts that stand elsewhere than after the question
    are left out: the writer's will stand there.
    """
    logged = interactions.read(log, hint="pass --log FILE, or run llama_step1_gen_offline.py")
    logged = list(interactions.of_one_source(logged, logged[0].llm, logged[0].dataset, str(log)))
    for number, row in enumerate(logged, 1):
        if not is_unicode(row.question + row.prompt):
            raise InputError(f"{log}:{number}: half of a surrogate pair, which is no text; fix the row")
    logged = [
        row for row in logged if row.position == "after" and row.question.strip() and row.prompt.strip()
    ]
    if any(not row.group for row in logged):
        for row, cluster in zip(logged, cluster_texts([row.question for row in logged])):
            row.group = f"cluster-{cluster}"
    test = [row for row in logged if row.split == "test"]
    tested = {row.group for row in test}
    rest = [row for row in logged if row.split != "test" and row.group not in tested]
    groups = sorted({str(row.group) for row in rest})
    if not test or len(groups) < 2:
        raise InputError(
            f"{log}: {len(test):,} test rows, and {len(groups)} groups of questions without one; at least "
            "two are needed to train a writer, pass --log FILE"
        )
    n = max(1, round(VALIDATION_SHARE * len(groups)))
    held = {groups[i] for i in np.random.default_rng([seed, 7]).permutation(len(groups))[:n]}
    return {
        "train": [row for row in rest if row.group not in held],
        "validation": [row for row in rest if row.group in held],
        "test": test,
    }


def make_rows(
    splits: dict[str, list[LogRow]],
    fit: log_reward.LogRewardFit,
    train_reward: Literal["correct", "model"],
    sizes: dict[str, int],
    seed: int,
) -> dict[str, list[Row]]:
    """Rows of each split: a question is the prompt, the prompt it was asked with is the response.

    Parameters
    ----------
    splits : rows of the log, see `read_log`
    fit : reward model of the training rows, in their order
    train_reward : of a training row: `correct` is the logged verdict, `model` its cross-fitted expectation
    sizes : rows of a split at most, drawn at random (test has one row per question); a split left out has all
    seed : of the draws
    """
    found = {}
    for number, (split, rows) in enumerate(splits.items()):
        made = []
        for i, row in enumerate(rows):
            verdict = float(row.correct)
            reward = float(fit.cross_fitted[i]) if split == "train" and train_reward == "model" else verdict
            meta: dict[str, Any] = {name: getattr(row, name) for name in ("question_id", "prompt_id", "gold")}
            if split == "train":
                meta[EXPECTED] = float(fit.expected[i])
            name, rewarded = (
                f"{row.question_id}/{row.prompt_id}/{row.sample}",
                {"correct": verdict, FINAL: reward},
            )
            made.append(Row(name, state(row.question), row.prompt, rewarded, str(row.group), meta=meta))
        if split == "test":  # a question is asked for once, whatever prompts were logged with it
            made = list({row.prompt: row for row in reversed(made)}.values())[::-1]
        found[split] = drawn(made, sizes.get(split), [seed, number])
    return found


@lru_cache(maxsize=2)
def _loaded(folder: Path, fingerprint: str) -> log_reward.LogRewardModel:
    return log_reward.load(folder)


def rewards(folder: Path) -> Callable[[Sequence[Row], Sequence[str]], list[dict[str, float]]]:
    """r(question, written prompt) by the reward model in `folder`; 0 for an empty prompt."""

    def score(rows: Sequence[Row], responses: Sequence[str]) -> list[dict[str, float]]:
        reward_model = _loaded(folder, log_reward.fingerprint(folder))
        texts = [text if text.strip() else "." for text in responses]
        scores = reward_model.score([row.prompt.removesuffix("\n") for row in rows], texts)
        return [{FINAL: float(s) if text.strip() else 0.0} for s, text in zip(scores, responses)]

    return score


def prepare(request: Request) -> Prepared:
    """Rows, and in data/judge/ the reward model of the training rows."""
    splits = read_log(request.log_file, request.seed)
    fit = log_reward.fit(splits["train"], request.reward_model, request.embedder, request.seed)
    files = log_reward.save(request.data / JUDGE, fit, request.reward_model, request.embedder, request.seed)
    rows = make_rows(splits, fit, request.train_reward, SIZES | request.sizes, request.seed)
    return Prepared(rows, files, log_reward.describe(fit))


TASK = Task(
    name="prompt_writer",
    make_reward=lambda data: rewards(data / JUDGE),
    inputs=lambda request: [request.log_file],
    prepare=prepare,
    max_prompt_length=250,
    max_response_length=120,
    top_p=1.0,
    settings=Settings(600, 1e-3, 300, 5e-4, batch_size=64, value_samples=8),
    base_model="data/nano_llama",
)
