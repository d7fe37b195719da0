"""How well the tiny model answers: one row per (question, prompt, sample), and the tables of its README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl import grading
from prompt_oirl.generation import Decoding
from prompt_oirl.llms import LLM
from prompt_oirl.llms.chat import conversation
from prompt_oirl.llms.sampling import item_seed
from prompt_oirl.prompts import Prompt

DECODING = Decoding(temperature=0.6, top_p=0.9, max_new_tokens=96)


@dataclass(frozen=True)
class Answers:
    """Arrays of shape (questions, prompts, samples), and the texts in the same nesting."""

    right: np.ndarray
    cut: np.ndarray
    tokens: np.ndarray
    texts: list[list[list[str]]]


def ask(
    llm: LLM,
    rows: Sequence[dict[str, Any]],
    prompts: Sequence[Prompt],
    samples: int,
    decoding: Decoding = DECODING,
    report: Callable[[int], Any] = lambda n: None,
) -> Answers:
    """Every row's question with every prompt, prompt by prompt; `report` is told how many answers came."""
    shape = (len(rows), len(prompts), samples)
    right, cut, tokens = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    texts = [[[""] * samples for _ in prompts] for _ in rows]
    for j, prompt in enumerate(prompts):
        places = [(i, k) for i in range(len(rows)) for k in range(samples)]
        answers = llm.generate(
            [conversation(rows[i]["question"], prompt) for i, _ in places],
            max_new_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seeds=[item_seed(decoding.seed, "nano", rows[i]["question"], prompt.text, k) for i, k in places],
        )
        for (i, k), answer in zip(places, answers):
            right[i, j, k] = grading.strict(answer.text, rows[i]["gold"])
            cut[i, j, k] = answer.finish_reason == "length"
            tokens[i, j, k] = answer.tokens_out
            texts[i][j][k] = answer.text
        report(len(places))
    return Answers(right, cut, tokens, texts)


def headroom(right: np.ndarray) -> dict[str, float]:
    """What choosing among the prompts can bring, without luck: one sample chooses, the other judges.

    `right` is (questions, prompts, 2). `any_of_n` counts a question as solvable by the prompts that sample 1
    solved, judged by sample 2 averaged over those prompts; where none did, over all prompts.
    """
    best = right.mean((0, 2))
    judged = []
    for chooser, judge in ((0, 1), (1, 0)):
        good = right[:, :, chooser] > 0
        good = np.where(good.any(1, keepdims=True), good, True)
        judged.append((right[:, :, judge] * good).sum(1) / good.sum(1))
    return {
        "best_single": float(best.max()),
        "any_of_n": float(np.mean(judged)),
        "any_of_n_raw": float((right[:, :, 0].max(1)).mean()),
        "repeat_agreement": float((right[:, :, 0] == right[:, :, 1]).mean()),
    }


def beyond_noise(right: np.ndarray) -> float:
    """Standard deviation of the prompts' true accuracies: (questions, prompts, 2) -> covariance of the samples."""
    first, second = right[:, :, 0].mean(0), right[:, :, 1].mean(0)
    # Both samples share the questions, which hit all prompts alike; what is left of them is estimated by halves.
    half = np.arange(len(right)) % 2 == 0
    a, b = first * 0 + right[half][:, :, 0].mean(0), second * 0 + right[~half][:, :, 1].mean(0)
    c, d = right[~half][:, :, 0].mean(0), right[half][:, :, 1].mean(0)
    covariance = (np.cov(a, b)[0, 1] + np.cov(c, d)[0, 1]) / 2
    return float(np.sqrt(max(0.0, covariance)))
