"""Steps 2 to 5 as a user runs them, on a tiny log: what they write and print, and that twice is the same."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from conftest import STEPS, run_step, tiny_interactions, write_tiny_log
from tiny_runs import HELD_OUT, SEEN, SMALL, files, read, times, tiny_runs, write_log

from prompt_oirl.data import interactions
from prompt_oirl.io.files import REPO_ROOT, Paths

# Header lines as Prompt-OIRL's step 5 writes them (specification of the five published tables).
PUBLISHED = {
    "performance": "X,Training Best Mean,Training Best Std,IRL 0 Mean,IRL 0 Std,All Mixed Mean,All Mixed Std,"
    "IRL 10 Mean,IRL 10 Std,IRL 100 Mean,IRL 100 Std,"
    "LLM Confidence w/ Test Prompts,LLM Confidence Train Prompts,LLM combined",
    **{
        metric: f"X,Test {title} Mean,Test {title} Std,Train {title} Mean,Train {title} Std,"
        "LLM Test Metric,LLM Train Metric"
        for metric, title in (
            ("acc", "Accuracy"),
            ("precision", "Precision"),
            ("recall", "Recall"),
            ("F1", "F1"),
        )
    },
}


def run_all(root: Path, *flags: str) -> list[subprocess.CompletedProcess[str]]:
    """Steps 2 to 5; `flags` go to steps 4 and 5. Nothing may be said on stderr."""
    results = [run_step(number, root, *(flags if number > 3 else ())) for number in STEPS]
    for result in results:
        assert result.stderr == ""
    return results


def check_summary(path: Path) -> list[dict[str, str]]:
    """Every row of summary.csv carries n, questions, clusters and an interval around its value."""
    rows = read(path)
    assert rows
    for row in rows:
        n, n_questions, n_clusters = (int(row[c]) for c in ("n", "n_questions", "n_clusters"))
        assert 1 <= n_clusters <= n_questions <= n, row
        if row["value"]:
            low, value, high = (float(row[c]) for c in ("ci_low", "value", "ci_high"))
            assert low <= value <= high, row
        else:
            assert not row["ci_low"] and not row["ci_high"], row
    return rows


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which steps 2 to 5 ran with their defaults; read only."""
    return tiny_runs(tmp_path_factory) / "finished"


@pytest.fixture
def root(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A root of one's own that went through steps 2 and 3."""
    return Path(shutil.copytree(tiny_runs(tmp_path_factory) / "4", tmp_path / "root"))


# --- what is written ---------------------------------------------------------------------------------


def test_every_documented_output_exists(finished: Path):
    labels, vectors, models = (
        finished / "llama_exps" / "LMtiny",
        finished / "embeddings" / "tiny" / "toy",
        finished / "llama_exps" / "tiny_models",
    )
    expected = [
        "toy_questions.jsonl",
        "toy_clusters.csv",
        "toy_folds.csv",
        "toy_overlap.csv",
        "toy_names.json",
        "toy_test_votes.npy",
        "toy_test_votes_right.npy",
    ]
    expected += [
        "toy_train_labels.npy",
        "toy_test_labels.npy",
        "toy_settings.csv",
        "toy_step2.json",
        "toy_step3.json",
    ]
    assert {p.name for p in labels.iterdir()} == {*expected, "toy_interactions.jsonl"}
    assert {"embedder.json", "surface.npy", "questions_paper.npy", "prompts_paper.npy"} <= {
        p.name for p in vectors.iterdir()
    }
    assert [row["subset"] for row in read(labels / "toy_settings.csv")] == [
        "0",
        "1",
        "2",
        "0_1",
        "0_2",
        "1_2",
        "0_1_2",
    ]

    trained = {p.stem for p in models.glob("*.safetensors")}
    # paper: 7 subsets and 3 sanity variants; two folds: 7 subsets; five folds: all prompts and the variants
    assert len(trained) == 7 + 3 + 2 * 7 + 5 * 4
    assert {p.stem for p in models.glob("*.json")} == trained
    assert len(read(models / "toy_xgboost_validation.csv")) == len(trained)

    for protocol in ("paper", "crossfit"):
        names = {p.name for p in (finished / "results" / "tiny" / "toy" / protocol).iterdir()}
        tables = {f"TOY_tiny_{name}_comparison" for name in PUBLISHED}
        assert names == {f"{t}{s}" for t in tables for s in (".csv", ".png")} | {
            "summary.csv",
            "picks.csv",
            "cost.csv",
            "manifest.json",
        }


def test_votes_stand_beside_the_other_selectors(finished: Path):
    """The tiny log's answers all agree, so a vote is right where the first answer asked was marked right."""
    labels = finished / "llama_exps" / "LMtiny"
    answers, right = (np.load(labels / f"toy_test_{name}.npy") for name in ("votes", "votes_right"))
    assert (answers == 0).all() and (right == np.load(labels / "toy_test_labels.npy")).all()
    folder = finished / "results" / "tiny" / "toy" / "crossfit"
    found = {
        (r["selector"], r["metric"]): r["value"]
        for r in read(folder / "summary.csv")
        if (r["split"], r["k"], r["features"]) == ("crossfit", "3", "both")
    }
    for metric in ("success_rate", "gain_over_train_best"):
        assert found["vote_weighted", metric] == found["irl_0", metric]
        assert found["vote_majority", metric] == found["irl_0", metric]
        assert found["vote_16_majority", metric] == found["vote_16_weighted", metric]
    calls = {r["selector"]: int(r["calls_per_question"]) for r in read(folder / "cost.csv")}
    assert (calls["vote_majority"], calls["vote_16_majority"], calls["vote_16_3"]) == (3, 5, 3)


def test_csv_headers(finished: Path):
    for protocol in ("paper", "crossfit"):
        folder = finished / "results" / "tiny" / "toy" / protocol
        headers = {p.name: p.read_text(encoding="utf-8").split("\n")[0] for p in folder.glob("*.csv")}
        for name, header in PUBLISHED.items():
            assert headers[f"TOY_tiny_{name}_comparison.csv"] == header
        assert headers["summary.csv"] == (
            "llm,dataset,split,k,subset,selector,metric,weighting,value,n,n_questions,n_clusters,ci_low,ci_high,monte_carlo,"
            "seed,model,preset,features,note"
        )
        assert headers["picks.csv"] == "question_id,assignment,selector,prompt_id,score,success"
        assert headers["cost.csv"] == (
            "llm,dataset,split,k,selector,calls_per_question,tokens_per_question,price_per_million_tokens,"
            "dollars_per_1000_questions,success_rate,successes_per_dollar"
        )
    validation = finished / "llama_exps" / "tiny_models" / "toy_xgboost_validation.csv"
    assert validation.read_text(encoding="utf-8").split("\n")[0] == (
        "llm,dataset,split,k,subset,model,preset,features,settings,seed,questions,answers,success_rate,accuracy,"
        "predicted_positive,log_loss,log_loss_of_prompt_means,auc_pooled,auc_within_prompt,auc_within_question"
    )


@pytest.mark.parametrize("protocol", ["paper", "crossfit"])
def test_every_summary_row_has_n_and_interval_and_gains_are_paired(finished: Path, protocol: str):
    rows = check_summary(finished / "results" / "tiny" / "toy" / protocol / "summary.csv")
    assert {row["n"] for row in rows} == {"16"}
    assert {row["split"] for row in rows} == ({"paper"} if protocol == "paper" else {"crossfit", "crossfit2"})
    key = ("split", "k", "subset", "selector", "features")
    success = {tuple(r[c] for c in key): r for r in rows if r["metric"] == "success_rate"}
    gains = {tuple(r[c] for c in key): r for r in rows if r["metric"] == "gain_over_train_best"}
    baseline = {k for k in success if k[3] == "train_best"}
    assert baseline and gains.keys() == success.keys() - baseline
    for (split, k, subset, selector, features), gain in gains.items():
        own = float(success[split, k, subset, selector, features]["value"])
        base = float(success[split, k, subset, "train_best", features]["value"])
        assert float(gain["value"]) == pytest.approx(own - base, abs=2e-6)
    assert {r["metric"] for r in rows} >= {
        "auc_pooled",
        "auc_within_prompt",
        "auc_within_question",
        "log_loss",
    }


def test_paper_numbers_repeat_from_the_log(finished: Path):
    """Success rates, picks and the published table against a recount of the log itself."""
    log = tiny_interactions(**SMALL)
    correct = {(r.split, r.question_id, r.prompt_id): r.correct for r in log}
    test_ids = list(dict.fromkeys(r.question_id for r in log if r.split == "test"))
    train_mean = {
        p: np.mean([c for (s, _, q), c in correct.items() if s == "train" and q == p]) for p in SEEN
    }
    best = max(SEEN, key=lambda p: train_mean[p])
    test = {p: np.array([correct["test", i, p] for i in test_ids]) for p in SEEN + HELD_OUT}
    expected = {f"prompt_{p}": test[p].mean() for p in SEEN + HELD_OUT} | {
        "train_best": test[best].mean(),
        "test_best_as_published": max(test[p].mean() for p in SEEN),
        "random": np.mean([test[p] for p in SEEN]),
        "oracle": np.max([test[p] for p in SEEN], axis=0).mean(),
    }
    folder = finished / "results" / "tiny" / "toy" / "paper"
    at = {
        r["selector"]: float(r["value"])
        for r in read(folder / "summary.csv")
        if r["k"] == "3" and r["metric"] == "success_rate" and r["features"] == "both"
    }
    for selector, value in expected.items():
        assert at[selector] == pytest.approx(value, abs=1e-6), selector

    picks = read(folder / "picks.csv")
    by_selector: dict[str, list[float]] = defaultdict(list)
    for pick in picks:
        assert float(pick["success"]) == correct["test", pick["question_id"], pick["prompt_id"]]
        by_selector[pick["selector"]].append(float(pick["success"]))
    assert {p["prompt_id"] for p in picks if p["selector"] == "train_best"} == {best}
    for selector, outcomes in by_selector.items():
        assert len(outcomes) == len(test_ids)
        assert np.mean(outcomes) == pytest.approx(at[selector], abs=1e-6)

    published = {r["X"]: r for r in read(folder / "TOY_tiny_performance_comparison.csv")}
    assert list(published) == ["1", "2", "3"]
    assert float(published["3"]["Training Best Mean"]) == pytest.approx(
        expected["test_best_as_published"], abs=1e-6
    )
    assert float(published["3"]["IRL 0 Mean"]) == pytest.approx(at["irl_0_as_published"], abs=1e-6)
    singles = [test[p].mean() for p in SEEN]  # with one prompt there is nothing to choose
    assert float(published["1"]["IRL 0 Mean"]) == pytest.approx(np.mean(singles), abs=1e-6)
    assert float(published["1"]["IRL 0 Std"]) == pytest.approx(np.std(singles), abs=1e-6)
    assert published["3"]["IRL 0 Std"] == "0" and published["3"]["IRL 100 Mean"] == ""


def test_cross_fitting_judges_every_test_row_once(finished: Path):
    picks = read(finished / "results" / "tiny" / "toy" / "crossfit" / "picks.csv")
    ids = [f"toy-{i}" for i in range(40, 56)]
    for selector in {p["selector"] for p in picks}:
        assert [p["question_id"] for p in picks if p["selector"] == selector] == ids


def test_figures_are_whole_pngs(finished: Path):
    from matplotlib.image import imread

    figures = sorted((finished / "results").rglob("*.png"))
    assert len(figures) == 10
    for figure in figures:
        data = figure.read_bytes()
        assert data.startswith(b"\x89PNG\r\n\x1a\n") and data[-8:-4] == b"IEND"
        height, width, _ = imread(figure).shape
        assert width > height > 300
        colours = np.rint(imread(figure)[..., :3] * 255).astype(int) @ (1 << 16, 1 << 8, 1)
        assert len(np.unique(colours)) > 10  # more than an empty frame


# --- twice -------------------------------------------------------------------------------------------


def test_a_second_run_skips_and_force_redoes(finished: Path, tmp_path: Path):
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    before, tables = times(root), files(root, ".csv", ".npy", ".png")
    again = {number: run_step(number, root) for number in STEPS}
    assert "up to date" in again[2].stdout and "up to date" in again[3].stdout
    assert "IRL-0" in again[5].stdout  # the table is shown again
    validation = "llama_exps/tiny_models/toy_xgboost_validation.csv"  # collected anew from the records
    after = times(root)
    assert {p for p in before if after[p] != before[p]} <= {validation}
    assert after.keys() == before.keys()

    written = {
        2: "llama_exps/LMtiny/toy_folds.csv",
        3: "llama_exps/LMtiny/toy_settings.csv",
        5: "results/tiny/toy/paper/summary.csv",
    }
    for number, path in written.items():
        assert "up to date" not in run_step(number, root, "--force").stdout
        assert times(root)[path] != before[path]
    assert files(root, ".csv", ".npy", ".png") == tables


def test_a_changed_log_is_not_taken_for_done(finished: Path, tmp_path: Path):
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    old = files(root, ".csv")
    write_tiny_log(root, **SMALL, seed=5)
    for number in (2, 3):
        assert "up to date" not in run_step(number, root).stdout
    refused = run_step(5, root, check=False)  # the old models belong to the old log
    assert refused.returncode == 1 and "llama_step4_offline_evaluation.py" in refused.stderr
    run_step(4, root, "--subsets", "3", "--split", "paper")
    run_step(5, root, "--subsets", "3", "--split", "paper")
    summary_csv = "results/tiny/toy/paper/summary.csv"
    assert files(root, ".csv")[summary_csv] != old[summary_csv]


def test_two_roots_give_the_same_bytes_whatever_the_number_of_jobs(finished: Path, tmp_path: Path):
    write_tiny_log(tmp_path, **SMALL)
    for number in STEPS:
        run_step(number, tmp_path, *(["--jobs", "2"] if number == 4 else []), own_process=number == 4)
    kinds = (".csv", ".npy", ".png", ".safetensors", ".jsonl")
    expected, found = files(finished, *kinds), files(tmp_path, *kinds)
    assert found.keys() == expected.keys()
    assert [p for p in expected if found[p] != expected[p]] == []


# --- flags -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["xgboost", "lightgbm", "linear", "mlp", "knn"])
def test_every_model_runs(root: Path, model: str):
    for number in (4, 5):
        assert run_step(number, root, "--model", model, "--subsets", "1,3", "--split", "paper").stderr == ""
    folder = (
        "paper" if model == "xgboost" else f"paper_{model}"
    )  # models do not overwrite each other's results
    rows = check_summary(root / "results" / "tiny" / "toy" / folder / "summary.csv")
    assert {r["model"] for r in rows} == {model} and {r["k"] for r in rows} == {"1", "3"}
    validation = read(root / "llama_exps" / "tiny_models" / f"toy_{model}_validation.csv")
    sanity_variants = 3 if model == "xgboost" else 0
    assert len(validation) == 3 + 1 + sanity_variants
    assert all(0 <= float(r["accuracy"]) <= 1 and float(r["log_loss"]) > 0 for r in validation)


@pytest.mark.slow
def test_paper_preset_runs(root: Path):
    flags = ("--preset", "paper", "--split", "paper", "--subsets", "3")
    for number in (4, 5):
        run_step(number, root, *flags)
    rows = check_summary(root / "results" / "tiny" / "toy" / "paper_paper" / "summary.csv")
    assert {r["preset"] for r in rows} == {"paper"}
    (validation,) = {
        r["settings"] for r in read(root / "llama_exps" / "tiny_models" / "toy_xgboost_paper_validation.csv")
    }
    assert validation == "rounds=2000"


def test_subsets_and_one_split_only(root: Path):
    for number in (4, 5):
        run_step(number, root, "--subsets", "1,3", "--split", "paper")
    results = root / "results" / "tiny" / "toy"
    assert [p.name for p in results.iterdir()] == ["paper"]
    rows = check_summary(results / "paper" / "summary.csv")
    assert {r["k"] for r in rows} == {"1", "3"} and {r["split"] for r in rows} == {"paper"}
    assert [r["X"] for r in read(results / "paper" / "TOY_tiny_performance_comparison.csv")] == ["1", "3"]
    trained = {p.stem for p in (root / "llama_exps" / "tiny_models").glob("*.safetensors")}
    assert {stem.split("_paper")[0] for stem in trained} == {
        "toy_xgboost_0",
        "toy_xgboost_1",
        "toy_xgboost_2",
        "toy_xgboost_0_1_2",
    }


def test_two_fold_assignments(root: Path):
    run_step(3, root, "--assignments", "2")
    for number in (4, 5):
        run_step(
            number, root, "--split", "crossfit", "--subsets", "3", "--assignments", "2", "--model", "knn"
        )
    folder = root / "results" / "tiny" / "toy" / "crossfit_knn_x2"
    rows = check_summary(folder / "summary.csv")
    assert {r["n"] for r in rows} == {"16"}  # questions count once, however often they were judged
    picks = [p for p in read(folder / "picks.csv") if p["selector"] == "irl_0"]
    for assignment in ("0", "1"):
        assert [p["question_id"] for p in picks if p["assignment"] == assignment] == [
            f"toy-{i}" for i in range(40, 56)
        ]
    about = {"selector": "irl_0", "metric": "success_rate", "weighting": "row"}
    (value,) = [r["value"] for r in rows if about.items() <= r.items()]
    assert float(value) == pytest.approx(np.mean([float(p["success"]) for p in picks]), abs=1e-6)


@pytest.mark.parametrize("number", STEPS)
def test_help_shows_an_example(number: int):
    result = run_step(number, Path("unused"), "--help")
    assert f"python {STEPS[number]}" in " ".join(result.stdout.split())
    for flag in ("--llm", "--dataset", "--root"):
        assert flag in result.stdout


@pytest.mark.parametrize(
    ("number", "flags", "named"),
    [
        (2, ["--nonsense"], "--nonsense"),
        (3, ["--embeder", "tfidf"], "--embeder"),
        (4, ["--model", "forest"], "xgboost"),
        (4, ["--jobs", "many"], "many"),
        (5, ["--split", "sideways"], "crossfit"),
        (5, ["--price", "cheap"], "cheap"),
    ],
)
def test_unknown_flags_and_values_are_refused(number: int, flags: list[str], named: str, tmp_path: Path):
    result = run_step(number, tmp_path, *flags, check=False)
    assert result.returncode != 0 and named in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


# --- no network --------------------------------------------------------------------------------------

# Loaded by every Python process of the step, its workers too; notes an attempt even if its error is lost.
NO_NETWORK = """
import os, socket, sys
def refuse(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname") or (
        event == "socket.connect" and arguments[0].family != socket.AF_UNIX
    ):
        with open(os.environ["NETWORK_ATTEMPTS"], "a") as file:
            print(event, arguments[1:], file=file)
        raise OSError(f"network is off: {event}")
sys.addaudithook(refuse)
"""


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every connection and name look-up of a child process fails and is noted in the returned file."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("NETWORK_ATTEMPTS", str(tmp_path / "attempts"))
    return tmp_path / "attempts"


@pytest.mark.slow
def test_steps_never_touch_the_network(tmp_path: Path, no_network: Path):
    blocked = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"]
    assert "network is off" in subprocess.run(blocked, capture_output=True, text=True).stderr
    no_network.unlink()
    # Where the system allows it, the steps run without any network interface as well.
    isolated = ["unshare", "-rn"] if shutil.which("unshare") else []
    if isolated and subprocess.run([*isolated, "true"], capture_output=True).returncode:
        isolated = []

    root = tmp_path / "root"
    write_tiny_log(root, **SMALL)
    few = ["--subsets", "3", "--split", "paper"]
    flags = {2: [], 3: ["--embedder", "minilm"], 4: [*few, "--jobs", "2"], 5: few}
    for number, script in STEPS.items():
        command = [*isolated, sys.executable, script, "--llm", "tiny", "--root", str(root), *flags[number]]
        result = subprocess.run(command, cwd=REPO_ROOT / "llama_exps", capture_output=True, text=True)
        assert (result.returncode, result.stderr) == (0, ""), result.stderr
    assert not no_network.exists(), no_network.read_text()
    assert check_summary(root / "results" / "tiny" / "toy" / "paper" / "summary.csv")


def test_an_unknown_embedder_is_one_clear_line(root: Path, no_network: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # else the hub's client tries again for a minute
    result = run_step(3, root, "--embedder", "nowhere/no-such-model", check=False, own_process=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    assert "nowhere/no-such-model" in result.stderr and "tfidf" in result.stderr


# --- logs that are not complete matrices -------------------------------------------------------------


def test_incomplete_logs_work(tmp_path: Path):
    rng = np.random.default_rng(3)
    rows = [r for r in tiny_interactions() if rng.random() < 0.7]
    rows = [r for r in rows if not (r.question_id == "toy-64" and r.prompt_id in SEEN)]  # nothing known of it
    write_log(tmp_path, rows)
    run_all(tmp_path, "--subsets", "1,3")
    labels = np.load(tmp_path / "llama_exps" / "LMtiny" / "toy_train_labels.npy")
    assert np.isnan(labels).sum() == labels.size - sum(r.split == "train" for r in rows)
    for protocol in ("paper", "crossfit"):
        folder = tmp_path / "results" / "tiny" / "toy" / protocol
        check_summary(folder / "summary.csv")
        for row in read(folder / "TOY_tiny_performance_comparison.csv"):
            for column in ("Training Best Mean", "IRL 0 Mean", "All Mixed Mean", "IRL 10 Mean"):
                assert row[column] and 0 <= float(row[column]) <= 1, (protocol, row["X"], column)


def test_n_counts_the_answers_behind_a_value(tmp_path: Path):
    """CoT was not asked on six test questions, APE on none of them."""
    some = {f"toy-{i}" for i in range(40, 46)}
    rows = [
        r
        for r in tiny_interactions(**SMALL)
        if r.split == "train"
        or not (r.prompt_id == "APE" or (r.question_id in some and r.prompt_id == "CoT"))
    ]
    write_log(tmp_path, rows)
    run_all(tmp_path, "--subsets", "3", "--split", "paper")
    summary_rows = check_summary(tmp_path / "results" / "tiny" / "toy" / "paper" / "summary.csv")
    at = {r["selector"]: r for r in summary_rows if r["metric"] == "success_rate" and r["features"] == "both"}
    known = [r.correct for r in rows if r.split == "test" and r.prompt_id == "CoT"]
    assert float(at["prompt_CoT"]["value"]) == pytest.approx(np.mean(known), abs=1e-6)
    assert float(at["test_best_as_published"]["value"]) == max(
        float(at[f"prompt_{p}"]["value"]) for p in ("nan", "CoT")
    )
    assert "prompt_APE" not in at or not at["prompt_APE"]["value"]
    assert int(at["prompt_CoT"]["n"]) == len(known) == 10


def test_an_answer_never_given_counts_as_neither_right_nor_wrong(tmp_path: Path):
    """With every known test answer wrong, nothing can be recalled, however many cells are missing."""
    rows = [
        dataclasses.replace(r, correct=0.0) if r.split == "test" else r
        for i, r in enumerate(tiny_interactions(**SMALL))
        if r.split == "train" or i % 3
    ]
    write_log(tmp_path, rows)
    run_all(tmp_path, "--subsets", "3", "--split", "paper")
    folder = tmp_path / "results" / "tiny" / "toy" / "paper"
    (recall,) = read(folder / "TOY_tiny_recall_comparison.csv")
    assert recall["Train Recall Mean"] == "" and recall["Test Recall Mean"] == ""
    (precision,) = read(folder / "TOY_tiny_precision_comparison.csv")
    assert all(float(precision[f"{side} Precision Mean"] or 0) == 0 for side in ("Train", "Test"))


def test_repeated_samples_become_rates(tmp_path: Path):
    rows = tiny_interactions(**SMALL)
    twice = rows + [dataclasses.replace(r, sample=1, correct=1.0) for r in rows]
    write_log(tmp_path, twice)
    run_all(tmp_path, "--subsets", "3", "--split", "paper")
    first = np.array([r.correct for r in rows if r.split == "train" and r.prompt_id == "CoT"])
    labels = np.load(tmp_path / "llama_exps" / "LMtiny" / "toy_train_labels.npy")
    assert np.array_equal(labels[:, list(SEEN).index("CoT")], (first + 1) / 2)
    check_summary(tmp_path / "results" / "tiny" / "toy" / "paper" / "summary.csv")


def test_a_log_and_prompts_of_ones_own(tmp_path: Path):
    """README's "Your own log": only the fields it asks for, prompts from a CSV, another llm and dataset."""
    table = tmp_path / "my_prompts.csv"
    own = {"short": "Answer briefly.", "steps": "Go step by step.", "check": "Check your answer twice."}
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("prompt_id", "role", "position", "text")])
        csv.writer(file).writerows(
            (i, "held_out" if i == "check" else "train", "after", t) for i, t in own.items()
        )
    names = dict(zip((*SEEN, *HELD_OUT), ("short", "steps", None, "check", None)))
    log = Paths(tmp_path).labels("mybot") / "sums_interactions.jsonl"
    log.parent.mkdir(parents=True)
    with log.open("w", encoding="utf-8") as file:
        for r in tiny_interactions(**SMALL):
            if (name := names[r.prompt_id]) is not None:
                kept = ("schema", "split", "question_id", "question", "gold", "correct")
                row = {field: getattr(r, field) for field in kept} | {"prompt_id": name, "prompt": own[name]}
                file.write(json.dumps(row | {"llm": "mybot", "dataset": "sums"}) + "\n")
    for number in STEPS:
        flags = ["--prompts", str(table)] if number == 2 else ["--subsets", "2"] if number > 3 else []
        assert run_step(number, tmp_path, "--llm", "mybot", "--dataset", "sums", *flags).stderr == ""
    folder = tmp_path / "results" / "mybot" / "sums" / "paper"
    assert (folder / "SUMS_mybot_performance_comparison.csv").is_file()
    rates = {r["selector"] for r in check_summary(folder / "summary.csv") if r["metric"] == "success_rate"}
    assert {"prompt_short", "prompt_steps", "irl_0", "irl_10"} <= rates


# --- the released logs -------------------------------------------------------------------------------


@pytest.mark.slow
def test_released_mawps_arrays_are_the_published_ones(real_root: Path, mirror: Path):
    flags = ("--llm", "llama2", "--dataset", "mawps")
    imported = run_step(2, real_root, *flags, "--original_layout")
    assert (
        "mawps: the published grader repeats 32,215 of 32,220 labels from the stored answers"
        in imported.stdout
    )
    assert "6,000 training and 1,685 test rows, 1,744 distinct questions" in imported.stdout
    run_step(3, real_root, *flags, "--original_layout")
    rows = [
        r
        for r in read(mirror / "released_results" / "step2_step3_sha256.csv")
        if r["file"].startswith("mawps_")
    ]
    assert len(rows) > 250
    wrong = []
    for row in rows:
        array = np.load(real_root / "llama_exps" / "LMllama2" / row["file"], allow_pickle=False)
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        shape = "x".join(map(str, array.shape))
        if (str(array.dtype), shape, digest) != (row["dtype"], row["shape"], row["sha256_of_raw_data"]):
            wrong.append((row["file"], str(array.dtype), shape))
    assert wrong == []


def test_a_log_of_one_problem_is_said_to_be_too_few(tmp_path: Path):
    rows = tiny_interactions(**SMALL)
    for row in rows:
        row.question = f"How many apples are {row.question_id.removeprefix('toy-')} and 3 apples?"
    interactions.write(Paths(tmp_path).labels("tiny") / "toy_interactions.jsonl", rows)
    assert "1 problems are too few to learn from some and judge on others" in run_step(2, tmp_path).stdout


def test_groups_of_the_data_stand_in_for_near_duplicates_and_a_committed_log_is_found(tmp_path: Path):
    """Folds follow the groups; unseen prompts are left out; the log is the Parquet file under data/."""
    rows = [
        dataclasses.replace(r, group=f"{r.split}-{int(r.question_id.split('-')[1]) // 3}", llm="tiny")
        for r in tiny_interactions(**SMALL)
    ]
    unseen = [dataclasses.replace(r, prompt_id="u1", prompt="Go on.") for r in rows if r.prompt_id == "nan"]
    prompts = (REPO_ROOT / "data" / "prompts.csv").read_text(encoding="utf-8") + "u1,unseen,after,Go on.\n"
    (tmp_path / "prompts.csv").write_text(prompts, encoding="utf-8")
    interactions.write(Paths(tmp_path).committed_log("tiny", "toy"), rows + unseen)
    printed = run_step(2, tmp_path, "--prompts", str(tmp_path / "prompts.csv")).stdout
    folder = tmp_path / "llama_exps" / "LMtiny"
    clusters = [int(r["cluster"]) for r in read(folder / "toy_clusters.csv")]
    texts = list(dict.fromkeys(r.question for r in rows))
    group_of = {r.question: r.group for r in rows}
    for text, cluster in zip(texts, clusters):
        assert {group_of[t] for t, c in zip(texts, clusters) if c == cluster} == {group_of[text]}
    assert np.load(folder / "toy_test_labels.npy").shape[1] == len(SEEN + HELD_OUT)
    overlap = {r["measure"]: int(r["value"]) for r in read(folder / "toy_overlap.csv")}
    assert (
        overlap["test_rows_with_cluster_in_train"] == 0 < overlap["test_rows_with_cluster_in_train_by_text"]
    )
    assert "0 as a near-duplicate" in printed
