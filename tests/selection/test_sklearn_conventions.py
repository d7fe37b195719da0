"""PromptSelector in scikit-learn's own machinery, and which of its checks cannot apply to texts."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_logs import made_log
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.selector import PromptSelector


class TakenForNumbers(PromptSelector):
    """Says that it takes arrays of numbers, or `check_estimator` would try next to nothing."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


NUMBERS = "fits on an array of numbers; a log holds texts, and the refusal says so"
SPARSE = "wants the word sparse in the refusal of a sparse array, which is refused as any array is"
CANNOT_APPLY = {
    **dict.fromkeys(
        [
            "check_fit_score_takes_y",
            "check_estimators_overwrite_params",
            "check_dont_overwrite_parameters",
            "check_estimators_fit_returns_self",
            "check_readonly_memmap_input",
            "check_n_features_in_after_fitting",
            "check_positive_only_tag_during_fit",
            "check_estimators_dtypes",
            "check_complex_data",
            "check_dtype_object",
            "check_pipeline_consistency",
            "check_estimators_pickle",
            "check_f_contiguous_array_estimator",
            "check_methods_sample_order_invariance",
            "check_methods_subset_invariance",
            "check_fit2d_1sample",
            "check_fit2d_1feature",
            "check_dict_unchanged",
            "check_fit_idempotent",
            "check_fit_check_is_fitted",
            "check_n_features_in",
            "check_fit1d",
            "check_fit2d_predict1d",
        ],
        NUMBERS,
    ),
    "check_estimators_empty_data_messages": "wants ValueError of an empty array; ours is InputError",
    "check_estimators_nan_inf": "wants NaN refused in numbers, of which none are taken",
    "check_estimator_sparse_tag": SPARSE,
    "check_estimator_sparse_array": SPARSE,
    "check_estimator_sparse_matrix": SPARSE,
}


def quick(**settings: Any) -> PromptSelector:
    return PromptSelector(**{"embedder": "tfidf", "model": "linear", **settings})


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return made_log(60)


def row_groups(frame: pd.DataFrame) -> pd.Series:
    log = read_log(frame)
    return frame.question.map(dict(zip(log.questions, log.groups)))


@pytest.mark.filterwarnings("ignore")
def test_check_estimator_but_for_what_is_about_arrays_of_numbers() -> None:
    done = check_estimator(
        TakenForNumbers("tfidf"), expected_failed_checks=CANNOT_APPLY, on_skip=None, on_fail=None
    )
    status = {result["check_name"]: result["status"] for result in done}
    assert [name for name, said in status.items() if said == "failed"] == []
    assert {name for name, said in status.items() if said == "xfail"} == set(CANNOT_APPLY)
    assert sum(said == "passed" for said in status.values()) >= 10


def test_what_those_checks_are_about_holds_on_a_log(frame: pd.DataFrame) -> None:
    selector, texts = quick(seed=3), list(frame.question.unique()[:9])
    kept = frame.copy()
    given = copy.deepcopy(selector.get_params())
    with pytest.raises(NotFittedError):
        selector.predict(texts)
    assert selector.fit(frame) is selector and selector.get_params() == given
    pd.testing.assert_frame_equal(frame, kept)
    first, names = selector.predict_proba(texts), set(vars(selector))
    assert not hasattr(selector, "n_features_in_") and not hasattr(selector, "feature_names_in_")
    assert set(vars(selector)) == names, "predicting sets nothing"
    np.testing.assert_array_equal(selector.fit(frame).predict_proba(texts), first)
    again = pickle.loads(pickle.dumps(selector))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(texts), first)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_allclose(
        selector.predict_proba([texts[i] for i in order]), first[order], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(np.vstack([selector.predict_proba([t]) for t in texts]), first, atol=1e-6)


def test_tags_say_that_texts_come_in() -> None:
    tags = quick().__sklearn_tags__()
    assert tags.input_tags.string and not tags.input_tags.two_d_array and not tags.target_tags.required
    assert tags.requires_fit and not is_classifier(quick())


def test_labels_may_be_kept_apart(frame: pd.DataFrame) -> None:
    rows, labels = frame.drop(columns="correct"), frame.correct
    whole, apart = quick().fit(frame), quick().fit(rows, labels)
    texts = list(frame.question.unique())
    np.testing.assert_array_equal(apart.predict_proba(texts), whole.predict_proba(texts))
    assert apart.score(rows, labels.to_numpy()) == whole.score(frame)
    shuffled = frame.sample(frac=1, random_state=0)  # y counts by place, as everywhere in scikit-learn
    assert quick().fit(shuffled, list(shuffled.correct)).score(frame) == pytest.approx(whole.score(frame))
    assert quick().fit(frame.assign(correct=0), labels).score(frame) == whole.score(frame)
    with pytest.raises(InputError, match=r"y has shape \(3,\), expected \(\d+,\)"):
        quick().fit(rows, [1, 0, 1])
    with pytest.raises(InputError, match="y goes with a DataFrame of answers, not with PromptLog"):
        quick().score(read_log(frame), labels)


def test_predict_is_select(frame: pd.DataFrame) -> None:
    log, selector = read_log(frame), quick().fit(frame)
    wanted = selector.select(log.questions)
    assert selector.predict(log).tolist() == wanted.tolist()
    assert selector.predict(np.array(log.questions)).tolist() == wanted.tolist()
    assert selector.predict(pd.Series(log.questions)).tolist() == wanted.tolist()
    place = {text: i for i, text in enumerate(log.questions)}
    assert selector.predict(frame).tolist() == [wanted[place[text]] for text in frame.question]
    segments = frame.assign(segment=np.where(frame.kind > 1, "a", "b"))
    selector = quick().fit(segments)
    log = read_log(segments)
    assert selector.predict(log).tolist() == selector.select(log.questions, segments=log.segments).tolist()
    assert selector.predict(segments).shape == (len(segments),)


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(question=rows.question.str.strip())


def test_rows_with_labels_go_through_a_pipeline_a_search_and_folds_by_group(frame: pd.DataFrame) -> None:
    rows, labels, groups = frame.drop(columns="correct"), frame.correct.to_numpy(), row_groups(frame)
    rows["question"] = rows.question + "  "
    pipeline = make_pipeline(FunctionTransformer(tidy), quick())
    splits = list(GroupKFold(3).split(rows, labels, groups))
    scores = cross_val_score(pipeline, rows, labels, cv=GroupKFold(3), groups=groups, error_score="raise")
    wanted = [quick().fit(frame.iloc[train]).score(frame.iloc[test]) for train, test in splits]
    assert scores.tolist() == pytest.approx(wanted)
    for train, test in splits:
        assert not set(groups.iloc[train]) & set(groups.iloc[test])
    picks = cross_val_predict(pipeline, rows, labels, cv=GroupKFold(3), groups=groups)
    for train, test in splits:
        assert picks[test].tolist() == quick().fit(frame.iloc[train]).predict(frame.iloc[test]).tolist()
    grid = {"promptselector__model": ["linear", "knn"]}
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(3), error_score="raise")
    search.fit(rows, labels, groups=groups)
    found = dict(
        zip(
            [p["promptselector__model"] for p in search.cv_results_["params"]],
            search.cv_results_["mean_test_score"],
        )
    )
    assert found["linear"] == pytest.approx(np.mean(wanted))
    best = search.best_estimator_
    assert isinstance(best, Pipeline) and best.predict(rows).shape == (len(rows),)
    assert search.score(rows, labels) == pytest.approx(best.named_steps["promptselector"].score(frame))
    assert not hasattr(clone(pipeline).named_steps["promptselector"], "model_")
