"""How well the tiny model answers: one row per (question, prompt, sample), and the tables of its README."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prompt_oirl import grading
from prompt_oirl.generation import Decoding
from prompt_oirl.llms import LLM, item_seed
from prompt_oirl.llms.chat import conversation
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


def any_prompt_without_luck(right: np.ndarray) -> np.ndarray:
    """Success (questions,) of knowing which prompts solve a question; `right` is (questions, prompts, 2).

    One sample says which prompts solve it (all of them, if none does), the other says how often these do;
    averaged over both directions. Counting a question as solved if any answer is right counts lucky hits too.
    """
    judged = []
    for chooser, judge in ((0, 1), (1, 0)):
        good = right[:, :, chooser] > 0
        good |= ~good.any(1, keepdims=True)
        judged.append((right[:, :, judge] * good).sum(1) / good.sum(1))
    return np.mean(judged, 0)


def headroom(right: np.ndarray) -> dict[str, float]:
    """What choosing among the prompts can bring; `right` is (questions, prompts, 2)."""
    return {
        "best_single": float(right.mean((0, 2)).max()),
        "any_of_n": float(any_prompt_without_luck(right).mean()),
        "any_of_n_raw": float(right[:, :, 0].max(1).mean()),
        "repeat_agreement": float((right[:, :, 0] == right[:, :, 1]).mean()),
    }


def spread_beyond_noise(right: np.ndarray) -> float:
    """Standard deviation over prompts of their true accuracy; `right` is (questions, prompts, samples).

    The covariance of the accuracies on two disjoint halves of the questions holds no sampling noise.
    """
    halves = right[::2].mean((0, 2)), right[1::2].mean((0, 2))
    return float(np.sqrt(max(0.0, np.cov(*halves)[0, 1])))


def learned_pick(
    texts: Sequence[str], right: np.ndarray, new_texts: Sequence[str], new_right: np.ndarray
) -> tuple[np.ndarray, int]:
    """Success (new questions,) of the prompt that a simple model picks, and the prompt that is best in training.

    One logistic regression per prompt on TF-IDF of words; `right` is (questions, prompts) of 0 and 1, `new_right`
    success rates of the same prompts on the new questions.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    seen, new = words.fit_transform(texts), words.transform(new_texts)
    scores = np.column_stack(
        [
            LogisticRegression(C=10, max_iter=1000).fit(seen, column).predict_proba(new)[:, 1]
            if 0 < column.mean() < 1
            else np.full(len(new_texts), column.mean())
            for column in right.T
        ]
    )
    return new_right[np.arange(len(new_right)), scores.argmax(1)], int(right.mean(0).argmax())
