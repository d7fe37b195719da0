"""scikit-learn chooses the settings of a selector: its splits take a log as rows of questions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_logs import made_log
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score

from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.cache import RememberingEmbedder, shared_embedder
from prompt_oirl.features.embedders import EmbedderInfo
from prompt_oirl.selection.evaluation_tables import evaluation_of
from prompt_oirl.selection.selector import PromptSelector


class Lengths:
    """Pretrained: two numbers of a text; counts what it is asked for."""

    info = EmbedderInfo("lengths", "1", "0")

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fit(self, texts: object) -> None: ...

    def encode(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), text.count("e")] for text in texts], dtype=np.float32)


def picked_success(selector: PromptSelector, frame: pd.DataFrame) -> float:
    """Success of the picks on a complete log, looked up."""
    texts = list(frame.question.unique())
    table = frame.groupby(["question", "prompt"]).correct.mean()
    return float(np.mean([table[pair] for pair in zip(texts, selector.select(texts))]))


def test_grid_search_finds_the_settings_that_pick_best() -> None:
    frame = made_log(missing=0)
    log = read_log(frame)
    # A prompt that costs more is never worth it at this weight, so the picks are worse.
    grid = {"model": ["linear", "interaction"], "cost_weight": [0.0, 10.0]}
    search = GridSearchCV(PromptSelector("tfidf"), grid, cv=GroupKFold(3)).fit(log, groups=log.groups)
    found = pd.DataFrame(search.cv_results_).set_index(["param_cost_weight", "param_model"])
    assert search.best_params_["cost_weight"] == 0
    for weight, model in found.index:
        for i, (train, test) in enumerate(GroupKFold(3).split(log, groups=log.groups)):
            selector = PromptSelector("tfidf", model, weight).fit(log[train])
            expected = picked_success(selector, frame[frame.question.isin(log[test].questions)])
            assert found.loc[(weight, model), f"split{i}_test_score"] == pytest.approx(expected)
    best = search.best_estimator_
    assert best.select(log.questions).shape == (len(log),)
    assert search.score(log) == pytest.approx(picked_success(best, frame))


def test_folds_by_group_share_no_near_duplicate() -> None:
    twins = made_log(40).assign(question=lambda d: d.question + " Really?")
    log = read_log(pd.concat([made_log(40), twins]))
    for train, test in GroupKFold(3).split(log, groups=log.groups):
        assert not set(log[train].groups) & set(log[test].groups)
    scores = cross_val_score(PromptSelector("tfidf", "linear"), log, cv=GroupKFold(3), groups=log.groups)
    assert scores.shape == (3,) and ((scores >= 0) & (scores <= 1)).all()


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.6]), st.sampled_from([0.0, 0.1]))
@settings(max_examples=10, deadline=None)
def test_score_is_the_success_that_evaluate_states(seed: int, missing: float, weight: float) -> None:
    log, new = (read_log(made_log(60, missing, seed=s)) for s in (seed, seed + 1))
    selector = PromptSelector("tfidf", "linear", weight).fit(log)
    order, predicted = selector.rank(new.questions, new.arms)
    best = np.full((1, len(new)), selector.best_)
    told = evaluation_of(new, new.groups, predicted[None], order[None, :, 0], best).policies
    assert told[1]["policy"] == "selector"
    assert selector.score(new) == pytest.approx(told[1]["success"], abs=1e-9)


def test_score_chooses_among_prompts_that_were_answered() -> None:
    """A part of a log scores as the table of its rows, though it knows of further prompts."""
    frame = made_log(80)
    selector = PromptSelector("tfidf", "linear").fit(frame)
    dropped = selector.prompts_[selector.best_]
    asked = set(frame.question.unique()[:40])
    kept = frame[~(frame.question.isin(asked) & (frame.prompt == dropped))]
    log = read_log(kept)
    part = log[[i for i, text in enumerate(log.questions) if text in asked]]
    assert dropped in part.prompts
    assert selector.score(part) == pytest.approx(selector.score(kept[kept.question.isin(asked)]))


def test_a_shared_embedder_reads_each_text_once_in_all_folds() -> None:
    log, lengths = read_log(made_log(60)), Lengths()
    shared = shared_embedder(lengths)
    assert isinstance(shared, RememberingEmbedder) and clone(PromptSelector(shared)).embedder is shared
    search = GridSearchCV(PromptSelector(shared), {"model": ["linear", "knn"]}, cv=GroupKFold(3))
    search.fit(log, groups=log.groups)
    assert len(lengths.asked) == len(set(lengths.asked)) == len({*log.questions, *log.prompts})
    assert "shared_embedder('lengths')" in repr(search.estimator)
