"""Which prompt is best: few lucky answers do not beat many, equal counts keep the order of the means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.embedders import EmbedderInfo
from prompt_oirl.reward_models.cells import Cells, logit
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.stats.cells import LEAST_PRIOR, MOST_PRIOR, PromptSuccess, independent_answers


class FixedEmbedder:
    """Every text is the same point: only the counts matter here."""

    info = EmbedderInfo("fixed", "1", "")

    def fit(self, texts: Sequence[str]) -> None: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 2), dtype=np.float32)


EXAMPLES = settings(max_examples=60, deadline=None)


def known(*prompts: tuple[int, int], samples: int = 1) -> PromptSuccess:
    """Prompts of (right, asked), each question asked `samples` times with copies of one answer."""
    n = max(asked for _, asked in prompts)
    labels = np.full((n, len(prompts)), np.nan)
    for j, (right, asked) in enumerate(prompts):
        labels[:asked, j] = np.arange(asked) < right
    counts = np.where(np.isnan(labels), 0.0, samples)
    return PromptSuccess.of(labels, independent_answers(labels, counts))


@pytest.mark.parametrize(
    ("prompts", "best"),
    [
        (((1, 1), (400, 500)), 1),
        (((5, 5), (270, 300)), 1),
        (((400, 500), (1, 1)), 0),
        (((1, 1), (1, 1), (400, 500), (390, 500)), 2),
        (((3, 3), (90, 100), (250, 300), (0, 1)), 1),
        # Enough answers do beat many.
        (((40, 40), (270, 300)), 0),
        (((30, 50), (150, 500)), 0),
        # All are known equally well: the mean alone counts, though it proves nothing.
        (((251, 500), (250, 500)), 0),
        (((2, 5), (3, 5)), 1),
        # Ties go to more answers, then to the first.
        (((8, 10), (80, 100)), 1),
        (((50, 100), (50, 100)), 0),
    ],
)
def test_the_best_prompt(prompts: tuple[tuple[int, int], ...], best: int) -> None:
    assert known(*prompts).best == best


def test_success_of_two_prompts() -> None:
    """Golden, by hand: p = 401.5 / 502, tau^2 = 0, so 100 answers at the mean."""
    found = known((1, 1), (400, 500))
    p = 401.5 / 502
    assert found.weight == MOST_PRIOR
    error = np.sqrt(p * (1 - p) / np.array([101, 600]))
    prior = p - (error - error[1]) * np.array([101, 600]) / 100
    np.testing.assert_allclose(found.prior, prior, rtol=1e-12)
    np.testing.assert_allclose(
        found.success, [(1 + 100 * p) / 101 - error[0] + error[1], (400 + 100 * p) / 600], atol=1e-12
    )
    far = known((10, 100), (90, 100))  # tau^2 = .32 - .0025, p (1 - p) = .25
    assert far.weight == LEAST_PRIOR


@EXAMPLES
@given(
    right=st.lists(st.integers(0, 30), min_size=2, max_size=6),
    samples=st.integers(1, 3),
)
def test_with_equal_counts_the_order_is_that_of_the_means(right: list[int], samples: int) -> None:
    found = known(*((r, 30) for r in right), samples=samples)
    order = np.argsort(found.success, kind="stable")
    assert [right[j] for j in order] == sorted(right)
    assert found.best == int(np.argmax(right))
    assert ((found.success > 0) & (found.success < 1)).all()


@EXAMPLES
@given(
    prompts=st.lists(
        st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=6
    ),
    data=st.data(),
)
def test_selector_and_model_agree_and_the_order_of_questions_does_not_matter(
    prompts: list[tuple[int, int]], data: st.DataObject
) -> None:
    rows = [(f"Why word{i}?", f"p{j}", int(i < r)) for j, (r, n) in enumerate(prompts) for i in range(n)]
    made = pd.DataFrame(data.draw(st.permutations(rows)), columns=["question", "prompt", "correct"])
    log = read_log(made)
    selector = PromptSelector(FixedEmbedder())
    train = selector.training_set(log)
    logits = logit(PromptSuccess.of(Cells.of(train).y, Cells.of(train).a).success)
    best = log.prompts[selector.best_]
    assert logits[selector.best_] == logits.max()
    np.testing.assert_allclose(selector.standing_, 1 / (1 + np.exp(-logits)), rtol=1e-9)
    asked = dict(zip(log.prompts, log.counts.sum(0)))
    tied = [log.prompts[j] for j in np.flatnonzero(selector.standing_ == selector.standing_.max())]
    assert asked[best] == max(asked[text] for text in tied)
    assert known(*prompts).success == pytest.approx(
        [selector.standing_[log.prompts.index(f"p{j}")] for j in range(len(prompts))], abs=1e-12
    )


def test_copies_of_one_answer_count_as_one_question() -> None:
    """60 cells asked five times with the same result tell no more than 60 answers."""
    once, five = known((50, 60), (40, 60)), known((50, 60), (40, 60), samples=5)
    np.testing.assert_allclose(five.asked, once.asked)
    np.testing.assert_allclose(five.success, once.success)


def test_a_prompt_that_was_asked_once_is_not_the_best_one() -> None:
    rows = [(f"Why does the {w}{i} fall?", "many", int(i % 5 > 0)) for i, w in enumerate(["apple"] * 100)]
    made = pd.DataFrame([*rows, ("Why does the apple0 fall?", "once", 1)])
    made.columns = ["question", "prompt", "correct"]
    with pytest.warns(UserWarning, match="best overall"):
        selector = PromptSelector("tfidf").fit(made)
    assert selector.prompts_[selector.best_] == "many" and set(selector.select(["new"])) == {"many"}
