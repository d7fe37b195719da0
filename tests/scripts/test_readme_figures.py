"""Figures in sentences of README and docs/own_logs.md are those of the committed tables, rounded."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


def words(page: str) -> str:
    """A page without its line breaks."""
    return re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8"))


README, OWN_LOGS = words("README.md"), words("docs/own_logs.md")


def table(name: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / "reference" / f"{name}.csv")


@pytest.mark.parametrize(("dataset", "unit"), [("gsm8k", " points"), ("svamp", ""), ("mawps", "")])
def test_gain_of_the_selector(dataset: str, unit: str):
    rows = table(f"selection_real_{dataset}").query("model == 'interaction'")
    gain = rows[rows.measure.str.startswith("gain")].iloc[0]
    said = f"{dataset.upper()} {gain.value:+.2f}{unit} [{gain.low:+.2f}, {gain.high:+.2f}]"
    assert said in README and said in OWN_LOGS


def test_gain_of_the_demos_first_model():
    rows = table("nano_models").query("model == 'xgboost' and features == 'both' and selector == 'irl_0'")
    gain = 100 * rows[rows.metric == "gain_over_train_best"].iloc[0][["value", "ci_low", "ci_high"]].astype(
        float
    )
    assert f"picking gains {gain.value:+.1f} [{gain.ci_low:+.1f}, {gain.ci_high:+.1f}]" in README


def test_real_logs_of_others():
    logs = table("real_verdicts").set_index("log")
    value, low, high = logs.loc["bbh_codex", ["estimate", "low", "high"]]
    assert f"two prompts, code-davinci-002): {value:+.1f} [{low:+.1f}, {high:+.1f}]" in README
    assert logs.loc["bbh_codex", "verdict"] == "worth it"
    others = logs[logs.index.str.startswith(("re2_", "openai_", "tot_"))]
    assert len(others) == 8 and "Eight other logs" in README and (others.verdict == "not shown").all()


def test_mean_gain_of_opro():
    row = table("opro_runs").query("what == 'test gain, mean of 3 runs'").iloc[0]
    value, low, high = 100 * row[["value", "ci_low", "ci_high"]].to_numpy(float)
    assert f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]" in README


def test_gain_on_the_demo_log():
    rows = table("selection_real_arith").query("model == 'interaction'")
    gain = rows[rows.measure.str.startswith("gain")].iloc[0]
    said = f"{gain.value:.1f} [{gain.low:.1f}, {gain.high:.1f}]"
    assert said in README and said in OWN_LOGS


@pytest.mark.parametrize(
    ("policy", "budget"),
    [("predicted", 10), ("best", 1), ("adaptive_predicted", 6), ("adaptive_predicted", 7)],
)
def test_votes(policy: str, budget: int):
    rows = table("voting").query("dataset == 'gsm8k' and grader == 'strict' and policy == @policy")
    row = rows[rows.budget == budget].iloc[0]
    assert f"{row.success:.3f} [{row.low:.3f}, {row.high:.3f}]" in README


def test_what_training_on_good_rows_gains():
    row = table("alol_arith_differences").query(
        "algorithm == 'a_lol_ref_free' and baseline == 'nll' "
        "and segment == 'all' and metric == 'final_reward'"
    )
    value, low, high = 100 * row.iloc[0][["value", "ci_low", "ci_high"]].to_numpy(float)
    assert f"{value:.1f} points [{low:.1f}, {high:.1f}]" in README


def test_speed_and_size():
    bench = table("bench")

    def line(start: str, unit: str) -> pd.Series:
        found = bench[bench.work.str.startswith(start) & (bench.unit == unit)]
        assert len(found) == 1, (start, unit)
        return found.iloc[0]

    fit = line("step 4, one GSM8K model of six prompts", "seconds by the clock")
    assert (
        f"takes {fit.ours:.1f} seconds on one core, where the published settings take {fit.baseline:.0f}"
        in README
    )
    assert f"{fit.ratio:.0f} times" in README
    sweep = "step 4, 63 subsets x 3 datasets, paper split, two workers: "
    minutes, memory = line(f"{sweep}time", "minutes by the clock"), line(f"{sweep}peak", "GB")
    assert f"take {minutes.ours:.1f} minutes and {memory.ours:.2f} GB" in README
    for model, name in (("xgboost", "XGBoost"), ("interaction", "the interaction model")):
        start = f"{model} trained from files on 10,000,000 answers: "
        minutes, memory = line(f"{start}all", "minutes by the clock"), line(f"{start}peak", "GB")
        assert f"{minutes.ours:.1f} minutes and {memory.ours:.1f} GB ({name})" in README


@pytest.mark.parametrize("labelled", ["llama2", "new"])
def test_how_often_graders_err(labelled: str):
    rows = table("graders").query("set == @labelled and half == 'held_out'").set_index("grader")
    page = words("docs/prompt_oirl.md")
    said = {
        name: "{:.1f} % [{:.1f}, {:.1f}]".format(*100 * rows.loc[name, ["error_rate", "ci_low", "ci_high"]])
        for name in ("original", "strict")
    }
    assert f"| {said['original']} | {said['strict']} |" in page
