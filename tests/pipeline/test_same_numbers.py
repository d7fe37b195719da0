"""Step 5's crossfit and `prompt-oirl evaluate` give one gain on the same rows, vectors and folds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_step

from prompt_oirl import PromptSelector, evaluate
from prompt_oirl.data import interactions
from prompt_oirl.data.prompt_log import PromptLog
from prompt_oirl.data.user_log import read_log
from prompt_oirl.features.embedders import EmbedderInfo, TfidfEmbedder
from prompt_oirl.io.files import REPO_ROOT, Paths
from prompt_oirl.pipeline import fits, offline_dataset
from prompt_oirl.pipeline.evaluate import evaluate_selectors
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.plan import Plan, splits_by_name
from prompt_oirl.reports import summary


class StoredVectors:
    """The vectors that step 3 stored, by text."""

    def __init__(self, data: OfflineDataset):
        questions, prompts, size = data.features("paper")
        self.info = EmbedderInfo("stored", "1", "", False)
        self._of = dict(zip(data.names.texts, np.asarray(questions)[:, :size]))
        self._of |= dict(zip([p.text for p in data.names.prompts], prompts))

    def fit(self, texts: list[str]) -> None:
        """Nothing to fit."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.stack([self._of[text] for text in texts])


def prepare(llm: str, dataset: str, root: Path, embedder: str) -> OfflineDataset:
    """Steps 2 and 3."""
    flags = ["--llm", llm, "--dataset", dataset]
    prompts = ["--prompts", str(REPO_ROOT / "data" / "arith" / "prompts.csv")] if dataset == "arith" else []
    run_step(2, root, *flags, *prompts)
    run_step(3, root, *flags, "--embedder", embedder)
    return offline_dataset.load(llm, dataset, Paths(root))


def step5_gain(data: OfflineDataset, model: str, root: Path) -> list[float]:
    """IRL-0's gain over the train-best prompt by question: step 4 trains, step 5's code evaluates."""
    llm, dataset, n_prompts = data.names.llm, data.names.dataset, len(data.names.train_prompts)
    flags = ["--llm", llm, "--dataset", dataset, "--split", "crossfit", "--subsets", str(n_prompts)]
    run_step(4, root, *flags, "--model", model)
    paths = Paths(root)
    plan = Plan(llm, model, split="crossfit", subsets=str(n_prompts))
    inputs, splits = fits.input_hashes(llm, dataset, paths), splits_by_name(data.names, 1)
    folds = []
    for fit in plan.fits(data.names):
        record = fits.finished_record(fit, fits.fit_key(fit, inputs), paths)
        assert record is not None
        folds.append((fit, splits[fit.split], fits.load_fit(fit, record, paths)))
    wanted = {"selector": "irl_0", "metric": "gain_over_train_best", "weighting": "question"}
    results = [evaluate_selectors(data, folds)]
    (row,) = (r for r in summary.summary_rows(data, results, model, "fast", 0) if wanted.items() <= r.items())
    return [row[column] for column in ("value", "ci_low", "ci_high")]


def logs_of(data: OfflineDataset, path: Path) -> tuple[PromptLog, PromptLog]:
    """The training and the test rows of the training prompts, as a user's logs."""
    known = {p.id for p in data.names.train_prompts}
    rows = [row for row in interactions.read(path, hint="") if row.prompt_id in known]
    frame = pd.DataFrame(
        [
            {
                "question": r.question,
                "prompt": r.prompt,
                "correct": r.correct,
                "split": r.split,
                "prompt_id": r.prompt_id,
            }
            for r in rows
        ]
    )
    train, test = (read_log(frame[frame.split == split].drop(columns="split")) for split in ("train", "test"))
    return train, test


def evaluated_gain(data: OfflineDataset, model: str, path: Path) -> list[float]:
    """The gain that `evaluate` finds on the same rows and clusters."""
    train, test = logs_of(data, path)
    place = {text: i for i, text in enumerate(data.names.texts)}
    groups = data.names.clusters[[place[text] for text in [*train.questions, *test.questions]]]
    embedder = TfidfEmbedder() if data.embedder.fitted else StoredVectors(data)
    return list(evaluate(PromptSelector(embedder, model), test, train, groups=groups).gain)


def log_path(llm: str, dataset: str, root: Path) -> Path:
    path = Paths(root).labels(llm) / f"{dataset}_interactions.jsonl"
    return path if path.is_file() else Paths(root).committed_log(llm, dataset)


def check(llm: str, dataset: str, root: Path, embedder: str, models: list[str]) -> None:
    data = prepare(llm, dataset, root, embedder)
    for model in models:
        steps = step5_gain(data, model, root)
        evaluated = evaluated_gain(data, model, log_path(llm, dataset, root))
        print(llm, dataset, model, embedder, steps, evaluated)
        assert np.abs(np.array(steps) - evaluated).max() < 1e-9, (dataset, model)


@pytest.fixture
def arith_root(tmp_path: Path) -> Path:
    """A root with the committed log of the tiny model."""
    folder = Paths(tmp_path).committed_log("nano", "arith").parent
    folder.parent.mkdir(parents=True)
    folder.symlink_to(REPO_ROOT / "data" / folder.name)
    return tmp_path


@pytest.mark.slow
def test_the_gain_is_the_same_on_the_committed_log(arith_root: Path) -> None:
    check("nano", "arith", arith_root, "tfidf", ["linear"])


@pytest.mark.slow
def test_the_gain_is_the_same_with_sentence_vectors(arith_root: Path) -> None:
    check("nano", "arith", arith_root, "minilm", ["interaction", "linear"])


@pytest.mark.slow
@pytest.mark.real_logs
@pytest.mark.parametrize(
    ("dataset", "models"),
    [("mawps", ["interaction", "linear"]), ("svamp", ["linear"]), ("gsm8k", ["linear"])],
)
def test_the_gain_is_the_same_on_the_released_logs(dataset: str, models: list[str], real_root: Path) -> None:
    check("llama2", dataset, real_root, "tfidf", models)
