"""PromptSelector: scikit-learn's conventions, odd logs, and a selector that survives saving byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_logs import ODD, PROMPTS, made_log
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError, content_key, write_json
from prompt_oirl.reward_models import MODELS
from prompt_oirl.selection.evaluate import evaluate
from prompt_oirl.selection.evaluation_tables import calibration_rows, expected_calibration_error
from prompt_oirl.selection.selector import PromptSelector
from prompt_oirl.selection.storage import HEADER
from prompt_oirl.stats.off_policy import cell_values


def quick(**settings: object) -> PromptSelector:
    return PromptSelector(**{"embedder": "tfidf", **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    return made_log()


@pytest.fixture(scope="module")
def fitted(log: pd.DataFrame) -> PromptSelector:
    return quick().fit(log)


def test_it_follows_scikit_learn(log: pd.DataFrame) -> None:
    selector = quick(model="knn", cost_weight=0.1, seed=3)
    assert selector.get_params() == {"embedder": "tfidf", "model": "knn", "cost_weight": 0.1, "seed": 3}
    assert clone(selector.fit(log)).get_params() == selector.get_params() and not hasattr(
        clone(selector), "model_"
    )
    assert selector.set_params(seed=4).seed == 4 and "knn" in repr(selector)
    with pytest.raises(NotFittedError):
        quick().select(["a"])
    with pytest.raises(NotFittedError):
        quick().save("nowhere")


def test_it_learns_what_is_there_to_learn(fitted: PromptSelector) -> None:
    new = made_log(seed=1).drop_duplicates("question").query("kind < 3")
    right = np.array([PROMPTS[kind] for kind in new.kind])
    assert (fitted.select(list(new.question)) == right).mean() > 0.9


def test_shapes_order_and_ties(fitted: PromptSelector) -> None:
    questions = ["How many?", "", "\u05e9\u05dc\u05d5\u05dd \u202e", "x" * 10_000]
    p = fitted.predict_proba(questions)
    assert p.shape == (4, 3) and p.dtype == np.float32 and ((p >= 0) & (p <= 1)).all()
    np.testing.assert_array_equal(
        fitted.predict_proba(questions, list(reversed(fitted.prompts_))), p[:, ::-1]
    )
    three = fitted.select(questions, k=3)
    assert three.shape == (4, 3) and all(set(row) == set(PROMPTS) for row in three)
    np.testing.assert_array_equal(fitted.select(questions), three[:, 0])
    assert fitted.predict_proba([]).shape == (0, 3) and fitted.select([]).shape == (0,)
    flat = np.full((2, 3), 0.5, dtype=np.float32)
    assert fitted.order(flat, fitted.prompts_)[:, 0].tolist() == [fitted.best_] * 2


def test_prompts_that_the_log_lacks(fitted: PromptSelector) -> None:
    p = fitted.predict_proba(["How many?"], ["Think step by step.", "Never seen", ""])
    assert p.shape == (1, 3) and np.isfinite(p).all() and ((p >= 0) & (p <= 1)).all()
    assert fitted.select(["How many?"], ["Never seen"]).tolist() == ["Never seen"]


def test_cost_and_abstaining(log: pd.DataFrame) -> None:
    questions = list(log.question.unique()[:40])
    free, dear = quick().fit(log), quick(cost_weight=10).fit(log)
    assert set(dear.select(questions)) == {PROMPTS[0]} and len(set(free.select(questions))) > 1
    p = free.predict_proba(questions).max(1)
    picks = free.select(questions, abstain_below=float(np.median(p)))
    np.testing.assert_array_equal(picks == None, p < np.float32(np.median(p)))  # noqa: E711
    assert (free.select(questions, abstain_below=1.0) == None).all()  # noqa: E711
    # It is the pick that must be likely to succeed, not a dearer prompt that is not asked.
    picks, p = dear.choose(questions, abstain_below=0.5)
    np.testing.assert_array_equal(picks[:, 0] == None, p[:, 0] < 0.5)  # noqa: E711
    assert (dear.predict_proba(questions).max(1)[picks[:, 0] == None] >= 0.5).any()  # noqa: E711


@pytest.mark.parametrize(
    ("settings", "changed", "message"),
    [
        ({"cost_weight": 1.0}, {"cost": None}, "cost_weight needs costs"),
        ({"cost_weight": -1.0}, {}, "cost_weight -1.0: give a number from 0"),
        ({"cost_weight": float("nan")}, {}, "cost_weight nan: give a number from 0"),
        ({"cost_weight": "1"}, {}, "cost_weight 1: give a number from 0"),
        ({"seed": -1}, {}, "seed -1: give a whole number from 0"),
        ({"model": "magic"}, {}, "magic: choose one of"),
        ({"embedder": "magic"}, {}, "magic: choose minilm, minilm-bf16, tfidf"),
    ],
)
def test_bad_settings(log: pd.DataFrame, settings: dict, changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quick(**settings).fit(log.assign(**changed))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.select("one text"), "give a list of texts, not one str"),
        (lambda s: s.select([1]), r"questions\[0\] is int, expected text"),
        (lambda s: s.select(["\ud800"]), r"questions\[0\] holds half of a surrogate pair"),
        (lambda s: s.select(["a"], prompts="b"), "prompts: give a list"),
        (lambda s: s.select(["a"], prompts=[]), "there is no prompt to choose from"),
        (lambda s: s.select(["a"], k=4), "k=4: choose 1 to 3"),
        (lambda s: s.select(["a"], k=0), "k=0: choose 1 to 3"),
        (lambda s: s.select(["a"], abstain_below=20), "abstain_below 20: give a probability, 0 to 1"),
        (lambda s: s.select(["a"], abstain_below=float("nan")), "abstain_below nan: give a probability"),
    ],
)
def test_bad_questions(fitted: PromptSelector, call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(fitted)  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("model", ["interaction", "linear", "knn", "xgboost"])
@pytest.mark.parametrize("name", ODD)
def test_odd_logs_are_handled(name: str, model: str, tmp_path: Path) -> None:
    selector = quick(model=model).fit(ODD[name])
    questions = ["How many apples are left?", *ODD[name].question.iloc[:3]]
    p = selector.predict_proba(questions)
    assert np.isfinite(p).all() and ((p >= 0) & (p <= 1)).all()
    assert set(selector.select(questions)) <= set(ODD[name].prompt)
    again = PromptSelector.load(selector.save(tmp_path / "s"))
    np.testing.assert_array_equal(again.predict_proba(questions), p)


def test_little_is_said_and_picks_the_best_overall() -> None:
    for name, reason in (
        ("one prompt", "one prompt only"),
        ("all right", "every answer"),
        ("few questions", "12 different questions"),
    ):
        with pytest.warns(UserWarning, match=f"{reason}.*best overall"):
            selector = quick().fit(ODD[name])
        assert set(selector.select(["a", "b"])) == {selector.prompts_[selector.best_]}


@pytest.mark.parametrize("model", MODELS)
def test_saving_keeps_every_bit(log: pd.DataFrame, model: str, tmp_path: Path) -> None:
    selector = quick(model=model, cost_weight=0.01, seed=2).fit(log)
    again = PromptSelector.load(selector.save(tmp_path / "s"))
    questions = list(log.question.unique())[:30] + ["new"]
    np.testing.assert_array_equal(again.predict_proba(questions), selector.predict_proba(questions))
    assert again.select(questions, k=2).tolist() == selector.select(questions, k=2).tolist()
    assert again.get_params() == selector.get_params() and again.prompts_ == selector.prompts_
    np.testing.assert_array_equal(again.cost_, selector.cost_)


def test_saving_anew_leaves_one_selector(log: pd.DataFrame, tmp_path: Path) -> None:
    quick(model="knn").fit(log).save(tmp_path)
    quick(model="linear").fit(log).save(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2 and PromptSelector.load(tmp_path).model == "linear"


def damage_model(folder: Path) -> None:
    path = next(folder.glob("model-*"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")


def change(folder: Path, **new: object) -> None:
    header = json.loads((folder / HEADER).read_text()) | new
    del header["check"]
    write_json(folder / HEADER, header | {"check": content_key(header)})


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / HEADER).read_text()
    assert old in text
    (folder / HEADER).write_text(text.replace(old, new))


DAMAGE = {
    "no folder": (lambda f: (f / HEADER).unlink(), "save a fitted PromptSelector there first"),
    "torn header": (lambda f: (f / HEADER).write_text("{"), "not valid JSON"),
    "other schema": (lambda f: change(f, schema=99), "not a selector of this version"),
    "no prompts": (lambda f: change(f, prompts=None), "damaged"),
    "prompt edited": (
        lambda f: edit(f, '"text": "Answer:"', '"text": "Answer :"'),
        "was altered after it was saved",
    ),
    "best prompt edited": (lambda f: edit(f, '"best": ', '"best": 9'), "was altered after it was saved"),
    "cost weight edited": (
        lambda f: edit(f, '"cost_weight": 0', '"cost_weight": 1'),
        "was altered after it was saved",
    ),
    "model altered": (damage_model, "not the file selector.json names"),
    "model gone": (lambda f: next(f.glob("model-*")).unlink(), "is missing or not the file"),
    "path leaves the folder": (
        lambda f: change(
            f, files={"model": {"name": "../x", "sha256": ""}, "embedder": {"name": "../x", "sha256": ""}}
        ),
        "is missing or not the file",
    ),
    "other embedder": (
        lambda f: change(f, embedder_info={"name": "else", "revision": "1"}),
        "made with embedder else",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_selector_is_refused(fitted: PromptSelector, name: str, tmp_path: Path) -> None:
    hurt, message = DAMAGE[name]
    hurt(fitted.save(tmp_path))  # type: ignore[no-untyped-call]
    with pytest.raises(InputError, match=message) as refused:
        PromptSelector.load(tmp_path)
    assert "\n" not in str(refused.value)


# --- evaluation ------------------------------------------------------------------------------------------


def test_evaluation_finds_a_gain_where_there_is_one_and_none_elsewhere() -> None:
    low, high = evaluate(quick(), read_log(made_log(200))).gain[1:]
    assert low > 0.15 and high < 0.6
    gain, low, high = evaluate(quick(), read_log(made_log(200, depends=False))).gain
    assert low <= 0 <= high and gain > -0.05


def test_no_group_is_evaluated_by_a_selector_that_saw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_log(60).assign(group=lambda d: d.kind.astype(str) + "-" + (d.index // 9).astype(str))
    log, seen = read_log(made), []

    def spy(self: PromptSelector, part: PromptLog) -> PromptSelector:
        seen.append((self, part.questions))
        return original(self, part)

    original = PromptSelector.fit
    monkeypatch.setattr(PromptSelector, "fit", spy)
    rank = PromptSelector.rank

    def check(
        self: PromptSelector, questions: list[str], prompts: list[str], segments: None
    ) -> tuple[np.ndarray, np.ndarray]:
        group_of = dict(zip(log.questions, log.groups))
        trained = next(texts for selector, texts in seen if selector is self)
        assert not {group_of[q] for q in questions} & {group_of[q] for q in trained}
        return rank(self, questions, prompts, segments)

    monkeypatch.setattr(PromptSelector, "rank", check)
    evaluate(quick(model="knn"), log)
    assert len(seen) == 5
    seen.clear()
    evaluate(quick(model="knn"), log, read_log(made_log(60)))  # the same questions from another log
    assert len(seen) == 5


def test_values_are_the_labels_on_a_complete_log() -> None:
    log = read_log(made_log(40, missing=0))
    rng = np.random.default_rng(0)
    pick = rng.integers(0, 3, 40)
    values = cell_values(log.labels, log.counts, rng.random((40, 3)))[np.arange(40), pick]
    np.testing.assert_allclose(values, log.labels[np.arange(40), pick], atol=1e-6)


def test_values_are_unbiased_with_missing_cells() -> None:
    truth, estimates = made_log(400, missing=0, seed=5), []
    pick = np.arange(400) % 3
    wanted = read_log(truth).labels[np.arange(400), pick].mean()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        kept = truth[
            (rng.random(len(truth)) < np.array([0.9, 0.5, 0.3])[[PROMPTS.index(p) for p in truth.prompt]])
        ]
        log = read_log(pd.concat([kept, truth.iloc[:0]]))
        column = [log.prompts.index(PROMPTS[j]) for j in range(3)]
        index = {q: i for i, q in enumerate(truth.question.unique())}
        mine = np.array([column[pick[index[q]]] for q in log.questions])
        values = cell_values(log.labels, log.counts, np.full(log.labels.shape, 0.4))
        estimates.append(values[np.arange(len(mine)), mine].mean())
    assert abs(np.mean(estimates) - wanted) < 4 * np.std(estimates) / np.sqrt(60) + 0.01


def test_calibration_of_true_probabilities() -> None:
    rng = np.random.default_rng(0)
    p = rng.random((20_000, 2)).astype(np.float32)
    y = (rng.random(p.shape) < p).astype(np.float32)
    rows = calibration_rows(y, p, np.ones_like(p))
    assert (
        len(rows) == 15
        and sum(r["answers"] for r in rows) == 40_000
        and expected_calibration_error(rows) < 0.02
    )
    assert expected_calibration_error(calibration_rows(y, p / 2, np.ones_like(p))) > 0.2


def test_the_same_evaluation_twice() -> None:
    first, second = (evaluate(quick(), read_log(made_log(80))) for _ in range(2))
    assert (
        repr(first.policies) == repr(second.policies) and (first.probabilities == second.probabilities).all()
    )


def test_sure_questions_are_answered_better() -> None:
    evaluated = evaluate(quick(), read_log(made_log(160)))
    rows = evaluated.coverage
    assert rows[9]["success"] > rows[-1]["success"] + 0.1 and [r["coverage"] for r in rows] == sorted(
        r["coverage"] for r in rows
    )
    assert evaluated.measures["auc"] > 0.6
