"""One fit on two Dask workers: the local run's bytes; a worker that dies; files that are not ours."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import run_step, step_command, write_tiny_log
from hypothesis import given
from hypothesis import strategies as st
from test_cluster import wait_for_a_model
from test_larger_than_memory import example

from prompt_oirl.features.embedders import TfidfEmbedder
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.pipeline import fits, offline_dataset, spread
from prompt_oirl.pipeline.fit_data import content_hash, fit_data
from prompt_oirl.pipeline.plan import FitSpec
from prompt_oirl.reward_models import TrainingSet, boosted, cells, interaction, make, pairs, to_bytes, trees
from prompt_oirl.reward_models.question_features import QuestionFeatures
from prompt_oirl.reward_models.trees import Bins
from prompt_oirl.selection.simulation import hide, simulate
from prompt_oirl.stats.splits import HEADLINE_FOLDS

distributed = pytest.importorskip("distributed")
Rows = tuple[
    TrainingSet, TrainingSet, np.ndarray, np.ndarray
]  # train, validation, held-out questions, prompts


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Of two worker processes of one thread."""
    workers = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with workers, distributed.Client(workers) as client:
        yield client


@pytest.fixture
def arith(tmp_path: Path) -> Rows:
    """The committed log of the tiny model."""
    log = pd.read_parquet(REPO_ROOT / "data" / "nano_log" / "arith.parquet").query("split == 'train'")
    labels = log.pivot_table(index="question", columns="prompt", values="correct", sort=False)
    embedder = TfidfEmbedder()
    embedder.fit(labels.index)
    np.save(tmp_path / "questions.npy", embedder.encode(labels.index))
    questions = MappedQuestions([np.load(tmp_path / "questions.npy", mmap_mode="r")])
    known = labels.to_numpy(np.float32)
    whole = TrainingSet(questions, embedder.encode(labels.columns), known, np.ones_like(known), 256)
    rows = np.arange(len(known))
    return whole.rows(rows[:1500]), whole.rows(rows[1500:1800]), whole.questions[1800:2500], whole.prompts


@pytest.fixture
def mawps(real_root: Path) -> Rows:
    """The released log, a fold of its clusters held out."""
    for step in (2, 3):
        run_step(step, real_root, "--llm", "llama2", "--dataset", "mawps")
    data = offline_dataset.load("llama2", "mawps", Paths(real_root))
    split = data.names.crossfit_splits(HEADLINE_FOLDS, 0)[0]
    shared = fit_data(data, [split], memory_gb=0)[split.name]
    everything = tuple(range(shared.train_labels.shape[1]))
    fit = FitSpec("llama2", "mawps", "crossfit", split.name, everything, "xgboost", "fast")
    train, validation, _ = fits.training_sets(fit, shared)
    return train, validation, shared.questions[np.unique(data.names.test_index[split.test])], shared.prompts


@pytest.mark.parametrize(
    "log", ["arith", pytest.param("mawps", marks=[pytest.mark.real_logs, pytest.mark.slow])]
)
def test_two_workers_grow_the_trees_of_the_local_run(
    log: str, client: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And make its picks on held-out questions."""
    monkeypatch.setattr(pairs, "LARGE", 500)
    train, validation, questions, prompts = request.getfixturevalue(log)
    assert len(train.questions) > 1000 and len(questions) > 100
    models = [make("xgboost", depths=(4,), spread=how) for how in (None, partial(spread.grow, client))]
    for model in models:
        model.tune(train, validation)
    local, together = models
    assert local.settings == together.settings
    one, other = (model.predict(questions, prompts) for model in models)
    assert one.std() > 0.05 and len(set(one.argmax(1))) > 1
    assert (one.argmax(1) == other.argmax(1)).all()
    assert local.arrays()["booster"].tobytes() == together.arrays()["booster"].tobytes()


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_many_questions_give_the_same_bytes_for_any_number_of_threads(
    preset: str, arith: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every sum of second derivatives, written with each node, is on the grid, so none was rounded."""
    monkeypatch.setattr(pairs, "LARGE", 1000)
    monkeypatch.setattr(boosted, "PAPER_ROUNDS", 3)
    mapped, validation = arith[:2]
    plain = replace(mapped, questions=np.asarray(mapped.questions))
    found = set()
    for train, threads in ((plain, 1), (mapped, 1), (plain, 2)):
        model: Any = make("xgboost", preset, depths=(8,), nthread=threads)
        model.tune(train, validation)
        found.add(model.arrays()["booster"].tobytes())
    assert len(found) == 1
    grown = json.loads(model.booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    sums = np.concatenate([tree["sum_hessian"] for tree in grown]).astype(np.float32).astype(np.float64)
    assert (sums < 2).sum() > 30  # larger ones are on it as any float32 is
    assert (sums * trees.GRID % 1 == 0).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_sums_of_rounded_gradients_do_not_depend_on_the_order(seed: int, n: int) -> None:
    import xgboost

    rng = np.random.default_rng(seed)
    margin = (rng.normal(size=n) * rng.choice([0.1, 3, 30])).astype(np.float32)
    label, weight = rng.random(n).astype(np.float32), rng.integers(1, 1000, n).astype(np.float32)
    gradients = trees.rounded_gradients(margin, xgboost.DMatrix(margin[:, None], label, weight=weight))
    chance = 1 / (1 + np.exp(-margin.astype(np.float64)))
    for rounded, true in zip(gradients, (chance - label, chance * (1 - chance))):
        assert np.abs(rounded / weight - true).max() < 3e-7
        added = 0.0
        for value in rounded[rng.permutation(n)].astype(np.float64):
            added += value
        assert added == math.fsum(rounded.astype(np.float64))


def test_what_a_worker_reads_must_be_what_the_client_has(tmp_path: Path) -> None:
    train, _ = example(True, tmp_path)
    features = pairs.PairFeatures().fit(train)
    bins = Bins(spread.by_name(train), features, features)
    share = [spread.by_name(train.rows(np.arange(10)))]
    spread.check(bins, content_hash(np.asarray(train.questions)), share)
    with pytest.raises(InputError, match="other question features than the client's"):
        spread.check(bins, "another", share)
    np.save(tmp_path / "a.npy", np.load(tmp_path / "a.npy")[:300])
    with pytest.raises(InputError, match=r"a\.npy: fewer question features than the client has"):
        spread.opened(bins.sample)
    (tmp_path / "a.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="question features cannot be read here"):
        spread.opened(bins.sample)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(InputError, match=r"question features cannot be read here: .*a\.npy"):
        spread.opened(bins.sample)


@pytest.fixture
def simulated(tmp_path: Path) -> Rows:
    """Simulated answers of ten prompts, a third of the cells unknown, with clusters."""
    log = simulate(4, train=1500, test=300, rates=np.linspace(0.45, 0.6, 10).tolist(), seed=3)
    train = hide(log, np.full(log.truth.shape, 0.7)).training_set()
    np.save(tmp_path / "questions.npy", train.questions)
    questions: Any = MappedQuestions([np.load(tmp_path / "questions.npy", mmap_mode="r")])
    clusters = np.arange(1500) // 2
    train = replace(train, questions=questions, clusters=clusters)
    return train, train, log.vectors[~log.train], log.prompt_vectors


@pytest.fixture
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 400 questions."""
    for module in (cells, interaction):
        monkeypatch.setattr(module, "BLOCK", 400)


@pytest.mark.parametrize("dies", [False, True], ids=["both live", "one killed"])
@pytest.mark.parametrize(
    "log",
    [
        "simulated",
        pytest.param("arith", marks=pytest.mark.slow),
        pytest.param("mawps", marks=[pytest.mark.real_logs, pytest.mark.slow]),
    ],
)
@pytest.mark.usefixtures("few_are_many")
def test_two_workers_make_the_interaction_model_of_the_local_run(
    log: str, dies: bool, client: Any, request: pytest.FixtureRequest
) -> None:
    """Its bytes and its picks, also when a worker dies that keeps the only phi of its blocks."""
    train, _, questions, prompts = request.getfixturevalue(log)
    shared = []

    def describe(*fit: Any) -> Any:
        shared.append(spread.describe(client, *fit))
        if dies:
            os.kill(max(client.run(os.getpid).values()), signal.SIGKILL)  # its nanny starts another
        return shared[-1]

    local: Any = make("interaction")
    together: Any = make("interaction", spread=describe)
    for model in (local, together):
        model.fit(train)
    assert len(shared) == 1 and shared[0][0].tobytes() == local.study.phi.tobytes()
    assert local.study.gain == together.study.gain and local.study.p_value == together.study.p_value
    assert to_bytes(local) == to_bytes(together)
    one, other = (model.predict(questions, prompts) for model in (local, together))
    assert one.std() > 0.05 and (one.argmax(1) == other.argmax(1)).all()
    if dies:
        client.wait_for_workers(2, timeout=30)


@pytest.mark.usefixtures("few_are_many")
def test_blocks_of_the_interaction_model_must_be_what_the_client_has(simulated: Rows, client: Any) -> None:
    train, *_ = simulated
    features = QuestionFeatures().fit(train.questions, train.embedding_size)
    file = Path(train.questions.files().names[0])  # type: ignore[attr-defined]
    file.rename(file.with_name("away.npy"))  # the client's map stays
    with pytest.raises(InputError, match=r"question features cannot be read here: .*questions\.npy"):
        spread.describe(client, features, train)
    np.save(file, np.asarray(train.questions)[::-1])
    with pytest.raises(InputError, match="other question features than the client's"):
        spread.describe(client, features, train)


@pytest.mark.usefixtures("few_are_many")
def test_a_fit_that_lost_all_workers_is_one_clear_line(
    simulated: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "AWAY", 0)
    train, *_ = simulated
    features = QuestionFeatures().fit(train.questions, train.embedding_size)
    workers = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    with workers, distributed.Client(workers) as client:
        _, each = spread.describe(client, features, train)
        workers.scale(0)
        while client.nthreads():
            time.sleep(0.1)
        with pytest.raises(InputError, match="all workers were lost .* run the same command again"):
            list(each(np.shape))


def step4(root: Path, *more: str, subsets: str = "3") -> list[str]:
    """Step 4 on features in files, as if 20 questions were many."""
    flags = step_command(4, root, "--subsets", subsets, "--split", "paper", "--memory_gb", "0", *more)[1:]
    run = "import runpy, sys; from prompt_oirl.reward_models import cells, interaction, pairs; "
    run += "pairs.LARGE = cells.BLOCK = interaction.BLOCK = 20; "
    run += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return [sys.executable, "-c", run, *flags]


@pytest.mark.slow
def test_step4_resumes_after_a_worker_died(tmp_path: Path, client: Any) -> None:
    """The local run's bytes, the first fit's from before the worker died."""
    root, cwd = tmp_path / "root", REPO_ROOT / "llama_exps"
    write_tiny_log(root)
    for step in (2, 3):
        run_step(step, root)
    shutil.copytree(root, tmp_path / "local")
    subprocess.run(step4(tmp_path / "local"), cwd=cwd, check=True, capture_output=True)
    together = step4(root, "--dask", client.scheduler.address)
    run = subprocess.Popen(together, cwd=cwd, stderr=subprocess.PIPE, text=True)
    models, local = (Paths(where).models("tiny") for where in (root, tmp_path / "local"))
    wait_for_a_model(run, models)
    os.kill(max(client.run(os.getpid).values()), signal.SIGKILL)  # its nanny starts another
    errors = run.communicate(timeout=60)[1]
    assert run.returncode == 1, errors
    assert " was lost " in errors and "run the same command again" in errors
    kept = {path: path.stat().st_mtime_ns for path in models.glob("*.json")}
    assert 0 < len(kept) < len(list(local.glob("*.json")))
    client.wait_for_workers(2, timeout=30)
    subprocess.run(together, cwd=cwd, check=True, capture_output=True)
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    for path in [*local.glob("*.safetensors"), local / "toy_xgboost_validation.csv"]:
        assert (models / path.name).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_step4_shares_an_interaction_model_and_resumes(tmp_path: Path, client: Any) -> None:
    """The local run's bytes; finished fits are not done again."""
    root, cwd = tmp_path / "root", REPO_ROOT / "llama_exps"
    write_tiny_log(root)
    for number in (2, 3):
        run_step(number, root)
    shutil.copytree(root, tmp_path / "local")
    step = partial(step4, subsets="2,3")
    model = ("--model", "interaction")
    subprocess.run(step(tmp_path / "local", *model), cwd=cwd, check=True, capture_output=True)
    together = step(root, *model, "--dask", client.scheduler.address)
    subprocess.run(together, cwd=cwd, check=True, capture_output=True)
    models, local = (Paths(where).models("tiny") for where in (root, tmp_path / "local"))
    written = list(local.glob("*.safetensors"))
    assert len(written) > 1
    for path in written:
        assert (models / path.name).read_bytes() == path.read_bytes()
    first, *others = sorted(models.glob("*.json"))
    first.unlink()
    kept = {path: path.stat().st_mtime_ns for path in others}
    subprocess.run(together, cwd=cwd, check=True, capture_output=True)
    assert first.is_file() and all(path.stat().st_mtime_ns == before for path, before in kept.items())
