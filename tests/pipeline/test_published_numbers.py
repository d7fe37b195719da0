"""Numbers that Prompt-OIRL released for LLaMA-2, computed again from its logs through this library."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from prompt_oirl.data.near_duplicates import in_order_of_appearance
from prompt_oirl.data.prompts import Prompt, load_prompts
from prompt_oirl.data.questions import RELEASED, load_questions
from prompt_oirl.data.released import read_critic_scores, read_released
from prompt_oirl.features.embedders import EmbedderInfo, save_embeddings
from prompt_oirl.io.files import Paths
from prompt_oirl.pipeline.evaluate import SelectorResults, evaluate_selectors
from prompt_oirl.pipeline.offline_dataset import DatasetIndex, OfflineDataset
from prompt_oirl.pipeline.original_layout import label_vectors, published_arrays
from prompt_oirl.pipeline.plan import FitSpec
from prompt_oirl.reports.published import metric_rows, performance_rows
from prompt_oirl.stats import policies
from prompt_oirl.stats.metrics import precision_recall_f1
from prompt_oirl.stats.splits import prompt_subsets

pytestmark = pytest.mark.real_logs

K = range(1, 7)


@dataclass(frozen=True)
class Log:
    """One dataset: labels (rows, prompts), self-critique, and which distinct question each row asks."""

    prompts: list[Prompt]
    train: np.ndarray
    test: np.ndarray
    verdicts: np.ndarray
    confidences: np.ndarray
    texts: list[str]
    train_index: np.ndarray
    test_index: np.ndarray


@lru_cache(maxsize=3)
def read_log(dataset: str, paths: Paths) -> Log:
    prompts, questions = load_prompts(), load_questions(dataset, paths)
    labels: dict[str, list[np.ndarray]] = {"train": [], "test": []}
    for column in read_released(dataset, questions, prompts, paths):
        labels[column.split].append(column.labels)
    n_train = len(labels["train"][0])
    index = in_order_of_appearance([q.text for q in questions])
    verdicts, confidences = read_critic_scores(dataset, prompts, len(questions) - n_train, paths)
    return Log(
        prompts,
        np.stack(labels["train"], 1),
        np.stack(labels["test"], 1),
        verdicts,
        confidences,
        list(dict.fromkeys(q.text for q in questions)),
        index[:n_train],
        index[n_train:],
    )


@pytest.fixture
def log(real_root: Path) -> Callable[[str], Log]:
    return lambda dataset: read_log(dataset, Paths(real_root))


# --- success rates -----------------------------------------------------------------------------------

# prompt: gsm8k train, test; svamp train, test; mawps train, test
SUCCESS = {
    "nan": (0.2472, 0.2480, 0.6317, 0.6369, 0.6438, 0.6457),
    "CoT": (0.2547, 0.2400, 0.5789, 0.5776, 0.6170, 0.6018),
    "APE": (0.2462, 0.2460, 0.5322, 0.5469, 0.5410, 0.5525),
    "Dis": (0.0637, 0.0710, 0.2277, 0.2390, 0.1965, 0.1958),
    "ToT": (0.0617, 0.0690, 0.1363, 0.1433, 0.1320, 0.1151),
    "Decomp": (0.2043, 0.2370, 0.4693, 0.4838, 0.4588, 0.4665),
    "gpt4_0": (None, 0.2210, None, 0.5446, None, 0.5335),
    "gpt4_1": (None, 0.2340, None, 0.5239, None, 0.5039),
    "gpt4_2": (None, 0.2200, None, 0.4919, None, 0.5104),
    "gpt4_3": (None, 0.1970, None, 0.3936, None, 0.3745),
    "gpt4_4": (None, 0.1910, None, 0.3753, None, 0.3697),
    "gpt4_5": (None, 0.2410, None, 0.5661, None, 0.5626),
    "gpt4_6": (None, 0.1350, None, 0.3307, None, 0.2944),
    "gpt4_7": (None, 0.2240, None, 0.5262, None, 0.5365),
    "gpt4_8": (None, 0.2380, None, 0.5881, None, 0.5869),
    "gpt4_9": (None, 0.0450, None, 0.1100, None, 0.1276),
}


def to_four(value: float) -> float:
    return round(float(value), 4)


@pytest.mark.parametrize("i", range(3), ids=RELEASED)
def test_success_of_every_prompt(log: Callable[[str], Log], i: int) -> None:
    data = log(RELEASED[i])
    assert [p.id for p in data.prompts] == list(SUCCESS)
    train = [row[2 * i] for row in SUCCESS.values() if row[2 * i] is not None]
    assert [to_four(v) for v in data.train.mean(0)] == train
    assert [to_four(v) for v in data.test.mean(0)] == [row[2 * i + 1] for row in SUCCESS.values()]


@pytest.mark.parametrize(
    ("dataset", "six", "sixteen", "all_right"),
    [
        ("gsm8k", (0.1852, 0.2480, 0.5010), (0.1911, 0.6480), 0.001),
        ("svamp", (0.4379, 0.6369, 0.8369), (0.4424, 0.9072), 0.019),
        ("mawps", (0.4296, 0.6457, 0.8546), (0.4361, 0.9258), 0.011),
    ],
)
def test_mean_best_and_any(
    log: Callable[[str], Log],
    dataset: str,
    six: tuple[float, ...],
    sixteen: tuple[float, ...],
    all_right: float,
) -> None:
    labels = log(dataset).test
    seen = labels[:, :6]
    got = (seen.mean(), seen.mean(0).max(), seen.any(1).mean())
    assert tuple(to_four(v) for v in got) == six
    assert (to_four(labels.mean()), to_four(labels.any(1).mean())) == sixteen
    assert round(float(seen.all(1).mean()), 3) == all_right


def mean_by_k(success: Callable[[tuple[int, ...]], np.ndarray]) -> list[float]:
    means: dict[int, list[float]] = {}
    for subset in prompt_subsets(6):
        means.setdefault(len(subset), []).append(float(success(subset).mean()))
    return [to_four(np.mean(means[k])) for k in K]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("svamp", [0.4379, 0.5617, 0.6158, 0.6444, 0.6643, 0.6797]),
        ("mawps", [0.4296, 0.5673, 0.6280, 0.6588, 0.6799, 0.6973]),
    ],
)
def test_lookup_of_the_same_question(log: Callable[[str], Log], dataset: str, expected: list[float]) -> None:
    data = log(dataset)

    def success(subset: tuple[int, ...]) -> np.ndarray:
        columns = list(subset)
        scores = policies.lookup_scores(data.train_index, data.train[:, columns], data.test_index)
        pick = policies.argmax_sound(scores, data.train[:, columns].mean(0), seed=0)
        return policies.picked(data.test[:, columns], pick)

    assert mean_by_k(success) == expected


def test_the_best_prompt_chosen_honestly_on_train(log: Callable[[str], Log]) -> None:
    on_test = {
        "gsm8k": [0.1852, 0.2317, 0.2432, 0.2425, 0.2413, 0.2400],
        "svamp": [0.4379, 0.5561, 0.5980, 0.6151, 0.6270, 0.6369],
        "mawps": [0.4296, 0.5615, 0.6096, 0.6278, 0.6384, 0.6457],
    }
    for dataset, expected in on_test.items():
        data = log(dataset)
        train = data.train.mean(0)
        assert mean_by_k(lambda s, d=data, t=train: d.test[:, max(s, key=lambda j: t[j])]) == expected


# --- through evaluation and the published tables ----------------------------------------------------------


class Blind:
    """A reward model that gives every pair the same score below one half: all of its picks are ties."""

    settings: dict[str, object] = {}

    def predict(self, questions: np.ndarray, prompts: np.ndarray) -> np.ndarray:
        return np.full((len(questions), len(prompts)), 0.25, dtype=np.float32)


def offline(data: Log, dataset: str, folder: Path) -> OfflineDataset:
    """The released labels with vectors of no meaning: what is tested here does not depend on them."""
    vectors = np.random.default_rng(0).normal(size=(len(data.texts), 2)).astype(np.float32)
    info = EmbedderInfo("random", "0", "0")
    stored = {"questions": vectors, "prompts": vectors[: len(data.prompts)], "surface": vectors}
    save_embeddings(folder, stored, info)
    ids = [f"{dataset}-{i}" for i in range(len(data.test))]
    every = np.arange(len(data.texts))
    names = DatasetIndex(
        "llama2", dataset, data.prompts, data.texts, data.train_index, data.test_index, every, {}, ids, None
    )
    train, test = data.train.astype(np.float32), data.test.astype(np.float32)
    return OfflineDataset(names, train, test, vectors, info, folder, data.confidences, data.verdicts)


def evaluate_subset(data: OfflineDataset, subset: tuple[int, ...]) -> SelectorResults:
    split = data.names.paper_split()
    fit = FitSpec("llama2", data.names.dataset, "paper", split.name, subset, "xgboost", "fast")
    return evaluate_selectors(data, [(fit, split, Blind())])


def released_rows(mirror: Path, dataset: str, selector: str) -> list[tuple[float, float]]:
    """Mean and standard deviation for K = 1..6 as released."""
    with (mirror / "released_results" / "success_rate_by_k.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (int(row["k"]), float(row["mean"]), float(row["std_over_subsets"]))
            for row in csv.DictReader(file)
            if (row["llm"], row["dataset"], row["selector"]) == ("llama2", dataset, selector)
        ]
    assert [k for k, _, _ in rows] == list(K)
    return [(mean, std) for _, mean, std in rows]


@pytest.mark.parametrize("dataset", RELEASED)
def test_selectors_without_a_reward_model_equal_the_released_table(
    log: Callable[[str], Log], mirror: Path, dataset: str
) -> None:
    data = log(dataset)
    labels = {subset: data.test[:, list(subset)] for subset in prompt_subsets(6)}
    picks = {s: policies.argmax_published(data.confidences[:, list(s)]) for s in labels}
    success = {
        "mean_of_prompts": lambda s: labels[s],
        "best_of_training_prompts_on_test": lambda s: labels[s][:, labels[s].mean(0).argmax()],
        "lmsc_confidence": lambda s: policies.picked(labels[s], picks[s]),
        "any_of_k_oracle": lambda s: labels[s].any(1),
    }
    for selector, succeeds in success.items():
        for k, (mean, std) in zip(K, released_rows(mirror, dataset, selector)):
            values = [float(succeeds(s).mean()) for s in labels if len(s) == k]
            assert to_four(np.mean(values)) == mean, (selector, k)
            if selector != "mean_of_prompts":  # released without a spread
                assert to_four(np.std(values)) == std, (selector, k)


def test_the_performance_table_equals_the_released_one(
    log: Callable[[str], Log], mirror: Path, tmp_path: Path
) -> None:
    """MAWPS, the whole way through the evaluation; the columns that do not depend on a reward model."""
    data = offline(log("mawps"), "mawps", tmp_path)
    results = [evaluate_subset(data, subset) for subset in prompt_subsets(6)]
    rows = list(performance_rows(results))
    best = released_rows(mirror, "mawps", "best_of_training_prompts_on_test")
    critique = released_rows(mirror, "mawps", "lmsc_confidence")
    oracle = released_rows(mirror, "mawps", "any_of_k_oracle")
    for k, row in zip(K, rows):
        assert row["X"] == k
        got = (to_four(row["Training Best Mean"]), to_four(row["Training Best Std"]))
        assert got == best[k - 1]
        assert to_four(row["LLM combined"]) == critique[k - 1][0]
        assert to_four(row["LLM Confidence Train Prompts"]) == 0.5549
        assert to_four(row["LLM Confidence w/ Test Prompts"]) == 0.4783
        assert row["IRL 100 Mean"] is None
        members = [j.success["oracle"].mean() for j in results if len(j.subset) == k]
        assert (to_four(np.mean(members)), to_four(np.std(members))) == oracle[k - 1]


@pytest.mark.parametrize(
    ("dataset", "gpt4_0", "over_16", "over_6", "lookup"),
    [
        ("gsm8k", 0.2210, 0.2010, 0.2280, 0.2400),  # no repeats: lookup is the prompt best on train
        ("svamp", 0.5446, 0.4891, 0.5576, 0.6797),
        ("mawps", 0.5335, 0.4783, 0.5549, 0.6973),
    ],
)
def test_judging_one_prompt_and_all_six_as_released(
    log: Callable[[str], Log],
    mirror: Path,
    tmp_path: Path,
    dataset: str,
    gpt4_0: float,
    over_16: float,
    over_6: float,
    lookup: float,
) -> None:
    data = offline(log(dataset), dataset, tmp_path)
    single, everything = evaluate_subset(data, (3,)), evaluate_subset(data, tuple(range(6)))
    for selector, column in (
        ("held_out_only", "held_out_only"),
        ("all_mixed", "all_mixed"),
        ("irl_10", "irl10"),
    ):
        success = single.success[f"{selector}_as_published"]
        assert to_four(success.mean()) == gpt4_0
        if selector != "irl_10":
            assert released_rows(mirror, dataset, column)[0] == (gpt4_0, 0.0)
    assert to_four(everything.success["lmsc_16_as_published"].mean()) == over_16
    assert to_four(everything.success["lmsc_as_published"].mean()) == over_6
    assert (
        to_four(everything.success["oracle"].mean())
        == released_rows(mirror, dataset, "any_of_k_oracle")[5][0]
    )


# --- self-critique as a predictor of labels ----------------------------------------------------------

CRITIC = {  # accuracy, precision, recall, F1 over the 6 training prompts, then over the 10 held-out ones
    "gsm8k": ((0.227, 0.187, 0.963, 0.306), (0.231, 0.197, 0.970, 0.324)),
    "svamp": ((0.474, 0.441, 0.963, 0.586), (0.464, 0.447, 0.976, 0.601)),
    "mawps": ((0.470, 0.433, 0.964, 0.572), (0.457, 0.441, 0.974, 0.596)),
}
SAYS_RIGHT = {"gsm8k": 0.950, "svamp": 0.950, "mawps": 0.948}


@pytest.mark.parametrize("dataset", RELEASED)
def test_self_critique_as_a_label_predictor(log: Callable[[str], Log], tmp_path: Path, dataset: str) -> None:
    data = log(dataset)
    for columns, expected in zip((slice(0, 6), slice(6, 16)), CRITIC[dataset]):
        precision, recall, f1, accuracy = precision_recall_f1(
            data.test[:, columns], data.verdicts[:, columns]
        )
        assert tuple(round(v, 3) for v in (accuracy, precision, recall, f1)) == expected
    assert round(float(data.verdicts[:, :6].mean()), 3) == SAYS_RIGHT[dataset]
    stored = offline(data, dataset, tmp_path)
    (row,) = metric_rows(stored, [evaluate_subset(stored, tuple(range(6)))])
    for side, expected in zip(("Train", "Test"), CRITIC[dataset]):
        got = tuple(
            round(row[metric][f"LLM {side} Metric"], 3) for metric in ("acc", "precision", "recall", "F1")
        )
        assert got == expected
    # a reward model that never says yes is as accurate as "always wrong", and no more
    assert row["acc"]["Train Accuracy Mean"] == pytest.approx(1 - data.test[:, :6].mean())
    assert row["precision"]["Train Precision Mean"] is None


# --- arrays of steps 2 and 3 -------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", RELEASED)
def test_every_published_array_byte_for_byte(log: Callable[[str], Log], mirror: Path, dataset: str) -> None:
    data = log(dataset)
    made = dict(published_arrays(dataset, data.train, data.test[:, :6]))
    for split, labels in (("train", data.train), ("test", data.test)):
        made |= label_vectors(dataset, split, labels.astype(np.float32), data.prompts[:6])
    with (mirror / "released_results" / "step2_step3_sha256.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 798
    of_dataset = [row for row in rows if row["file"].startswith(f"{dataset}_")]
    assert {row["file"] for row in of_dataset} == set(made) and len(of_dataset) == 266
    different = []
    for row in of_dataset:
        array = made[row["file"]]
        shape = "x".join(map(str, array.shape))
        found = (str(array.dtype), shape, hashlib.sha256(array.tobytes()).hexdigest())
        if found != (row["dtype"], row["shape"], row["sha256_of_raw_data"]):
            different.append((row["file"], row["dtype"], row["shape"], *found))
    assert not different
