"""Choosing by the segment of a question, where nothing else tells which prompt is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_segments import RIGHT, segmented_log

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError, content_key, write_json
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import HEADER
from prompt_oirl.selection.voting import evaluate_votes, learn_rewards

NEW = ["fabaj cbdia", "ihgfe jabcd eaaab"]


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    return segmented_log()


@pytest.fixture(scope="module")
def fitted(log: pd.DataFrame) -> PromptSelector:
    return PromptSelector("tfidf").fit(log)


@pytest.mark.parametrize("model", ["interaction", "boosted_interaction", "xgboost", "linear", "mlp"])
def test_each_segment_gets_its_prompt(log: pd.DataFrame, model: str) -> None:
    selector = PromptSelector("tfidf", model).fit(log)
    for segment, prompt in RIGHT.items():
        assert selector.select(NEW, segments=[segment] * 2).tolist() == [prompt] * 2


def test_without_segments_nothing_is_found(log: pd.DataFrame) -> None:
    with_segments, without = (
        evaluate(PromptSelector("tfidf"), made).gain for made in (log, log.drop(columns="segment"))
    )
    assert with_segments[1] > 0.3 and without[1] <= 0 <= without[2]


def test_segments_of_another_log_are_known_by_name(log: pd.DataFrame) -> None:
    other = segmented_log(80, seed=1)
    assert evaluate(PromptSelector("tfidf"), other, log).gain[1] > 0.3
    renamed = other.assign(segment=other.segment + "!")
    assert evaluate(PromptSelector("tfidf"), renamed, log).gain[0] < 0.1


def test_votes_of_another_model_see_segments(log: pd.DataFrame) -> None:
    read = read_log(log)
    buy = evaluate_votes(read, learn_rewards(PromptSelector("tfidf", "linear"), read)).buy
    assert (buy.way, buy.budget) == ("predicted", 1) and buy.gain[1] > 0.2


def test_an_unknown_segment_is_an_average_one(fitted: PromptSelector) -> None:
    absent = fitted.predict_proba(NEW)
    for segments in (["essays", None], ["", float("nan")]):
        np.testing.assert_array_equal(fitted.predict_proba(NEW, segments=segments), absent)  # type: ignore[arg-type]
    each = [fitted.predict_proba(NEW, segments=[segment] * 2) for segment in RIGHT]
    assert (np.min(each, 0) < absent).all() and (absent < np.max(each, 0)).all()


def test_all_ways_of_asking_agree(fitted: PromptSelector) -> None:
    segments = ["facts", "riddles"]
    p = fitted.predict_proba(NEW, segments=segments)
    order, same = fitted.rank(NEW, segments=segments)
    np.testing.assert_array_equal(p, same)
    picks, chances = fitted.choose(NEW, k=2, segments=segments)
    assert picks[:, 0].tolist() == ["Answer.", "Draw."] == [fitted.prompts_[j] for j in order[:, 0]]
    np.testing.assert_array_equal(chances[:, 0], p.max(1))


def test_segments_must_fit_the_questions(fitted: PromptSelector) -> None:
    with pytest.raises(InputError, match="segments: 1 for 2 questions"):
        fitted.select(NEW, segments=["facts"])


def test_segments_are_saved(fitted: PromptSelector, tmp_path: Path) -> None:
    again = PromptSelector.load(fitted.save(tmp_path))
    assert again.segments_ == fitted.segments_ and set(again.segments_.names) == set(RIGHT)
    segments = ["sums", "essays"]
    np.testing.assert_array_equal(
        again.predict_proba(NEW, segments=segments), fitted.predict_proba(NEW, segments=segments)
    )


def changed(folder: Path, **new: object) -> Path:
    header = json.loads((folder / HEADER).read_text()) | new
    write_json(folder / HEADER, {k: v for k, v in header.items() if k != "check" and v is not None})
    header = json.loads((folder / HEADER).read_text())
    write_json(folder / HEADER, header | {"check": content_key(header)})
    return folder


def test_a_selector_saved_without_segments_is_read(log: pd.DataFrame, tmp_path: Path) -> None:
    selector = PromptSelector("tfidf").fit(log.drop(columns="segment"))
    again = PromptSelector.load(changed(selector.save(tmp_path), segments=None))
    np.testing.assert_array_equal(
        again.predict_proba(NEW, segments=["sums"] * 2), selector.predict_proba(NEW)
    )


@pytest.mark.parametrize(
    "segments", ["sums", [["sums", 0.5]], [{"name": "sums"}], [{"name": "a", "share": "b"}]]
)
def test_damaged_segments_are_refused(fitted: PromptSelector, segments: object, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        PromptSelector.load(changed(fitted.save(tmp_path), segments=segments))
