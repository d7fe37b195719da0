"""A selector learned anew: what it gains by served answers, and what stays whole."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from prompt_oirl import PromptSelector
from prompt_oirl.cli.main import main
from prompt_oirl.data.user_log import read_log
from prompt_oirl.io.files import InputError
from prompt_oirl.selection.update import PREVIOUS, learn_anew, replace_selector

RIGHT = {"a": 0.9, "b": 0.3}


def answers(n: int, chance_of_a: float, seed: int, offset: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    prompt = np.where(rng.random(n) < chance_of_a, "a", "b")
    return pd.DataFrame(
        {
            "question": [f"{w:05d} of item {offset + i}" for i, w in enumerate(rng.integers(1e5, size=n))],
            "prompt": prompt,
            "correct": (rng.random(n) < np.vectorize(RIGHT.get)(prompt)).astype(int),
            "propensity": np.where(prompt == "a", chance_of_a, 1 - chance_of_a),
            "group": np.arange(offset, offset + n),
        }
    )


@pytest.fixture(scope="module")
def misled() -> PromptSelector:
    """A selector that took b for the better prompt."""
    cold = answers(60, 0.5, 0).drop(columns="propensity")
    return PromptSelector("tfidf").fit(cold.assign(correct=(cold.prompt == "b").astype(int)))


def test_a_selector_that_was_misled_is_replaced_by_one_shown_to_be_better(
    misled: PromptSelector, tmp_path: Path
) -> None:
    folder = misled.save(tmp_path / "selector")
    old = (folder / "selector.json").read_bytes()
    log = read_log(answers(600, 0.2, 1, 100))  # b is served, a explored
    found = learn_anew(misled, log)
    assert found.gain[1] > 0.3 and found.objection is None and "points" in found.sentence()
    assert found.selector.prompts_[found.selector.best_] == "a"
    replace_selector(found.selector, folder)
    assert (folder / PREVIOUS / "selector.json").read_bytes() == old
    assert PromptSelector.load(folder / PREVIOUS).prompts_[misled.best_] == "b"
    assert PromptSelector.load(folder).prompts_[found.selector.best_] == "a"
    replace_selector(misled, folder)  # a second time, over what was kept
    assert PromptSelector.load(folder / PREVIOUS).prompts_[found.selector.best_] == "a"


def test_replacing_needs_a_selector(misled: PromptSelector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no selector to replace"):
        replace_selector(misled, tmp_path)


def test_the_command_updates_in_place_and_keeps_the_settings(
    misled: PromptSelector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = misled.save(tmp_path / "selector")
    log = tmp_path / "log.csv"
    answers(600, 0.2, 1, 100).to_csv(log, index=False)
    main(["fit", str(log), "--update", str(folder)])
    assert "points" in capsys.readouterr().out
    assert PromptSelector.load(folder).embedder == "tfidf"
    with pytest.raises(SystemExit):
        main(["fit", str(log), "--update", str(folder), "--model", "knn"])
    assert "leave out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fit", str(log)])
    assert "--out" in capsys.readouterr().err
    main(["value", str(log), "--policy", str(folder), "--policy", "prompt:b", "--format", "csv"])
    shown = capsys.readouterr()
    assert shown.out.startswith("policy,estimator,value,low,high") and "too high" in shown.err
