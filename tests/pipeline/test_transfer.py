"""Training on one log and choosing on another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from offline_datasets import INFO, SEEN, dataset

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.features.embedders import save_embeddings
from prompt_oirl.io.files import InputError
from prompt_oirl.pipeline.offline_dataset import OfflineDataset
from prompt_oirl.pipeline.transfer import joint_clusters, transfer, transfer_rows

N = 300


def varied(name: str, shift: int = 0) -> list[str]:
    """Texts without a near-duplicate but that of another `shift`."""
    words = np.random.default_rng(0).integers(0, 5000, (N, 12))
    letters = str.maketrans("0123456789", "abcdefghij")  # numbers are masked, so words are of letters
    return [
        " ".join(name + str(w).translate(letters) for w in row) + f" {i + shift}"
        for i, row in enumerate(words)
    ]


def log_of(folder: Path, name: str, sign: float = 1.0, seed: int = 0) -> OfflineDataset:
    """Questions whose best prompt is told by the first two features; `sign` -1 turns that round."""
    data = dataset(folder, n_texts=N, repeats=2, seed=seed)
    rng = np.random.default_rng(seed)
    prompts = np.eye(SEEN + 2, 4, dtype=np.float32)
    arrays = {
        "questions": rng.normal(size=(N, 4)).astype(np.float32),
        "prompts": prompts,
        "surface": data.surface,
    }
    save_embeddings(folder, arrays, INFO)
    pull = np.column_stack([arrays["questions"][:, 0], arrays["questions"][:, 1], np.zeros((N, 3))])
    chance = 1 / (1 + np.exp(-3 * sign * pull))
    index = data.names.train_index
    return replace(
        data,
        names=replace(data.names, dataset=name, texts=varied(name)),
        train_labels=(rng.random((len(index), SEEN)) < chance[index, :SEEN]).astype(np.float32),
        test_labels=(rng.random((N, SEEN + 2)) < chance[data.names.test_index]).astype(np.float32),
    )


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OfflineDataset]:
    folder = tmp_path_factory.mktemp("logs")
    return {
        name: log_of(folder / name, name, sign, seed)
        for seed, (name, sign) in enumerate((("plums", 1.0), ("kites", 1.0), ("turned", -1.0)))
    }


def test_what_holds_in_both_logs_is_carried_over(logs: dict[str, OfflineDataset]) -> None:
    gain = {}
    for name in logs:
        result = transfer(logs[name], logs["plums"], "linear")
        assert not np.isnan(result.scores).any() and len(result.labels) == N
        gain[name] = (result.success["picked"] - result.success["target_best"]).mean()
    assert gain["plums"] > 0.05 and gain["kites"] > 0.05
    assert gain["turned"] < -0.05


def test_rows_have_intervals_and_the_same_questions(logs: dict[str, OfflineDataset]) -> None:
    rows = {r["metric"]: r for r in transfer_rows(transfer(logs["kites"], logs["plums"], "linear"))}
    assert all(r["ci_low"] <= r["value"] <= r["ci_high"] and r["n"] == N for r in rows.values())
    picked, best = rows["success_picked"]["value"], rows["success_source_best"]["value"]
    assert rows["gain_over_source_best"]["value"] == pytest.approx(picked - best)
    assert rows["auc_within_prompt"]["value"] > 0.6


def test_near_duplicates_across_logs_never_teach(logs: dict[str, OfflineDataset]) -> None:
    plums, kites = logs["plums"], logs["kites"]
    # The same problems with other numbers: every question of one log has its twin in the other.
    a, b = (
        replace(d, names=replace(d.names, texts=varied("w", shift))) for d, shift in ((plums, 0), (kites, 1))
    )
    of_a, of_b = joint_clusters(a, b)
    assert (of_a == of_b).all()
    result = transfer(a, b, "linear")
    assert result.train_rows == pytest.approx(0.8 * len(a.names.train_index), rel=0.02)
    apart = transfer(plums, kites, "linear")  # only what stands in no cluster of the fold is left out
    assert apart.train_rows <= len(plums.names.train_index)


def test_groups_of_either_log_are_kept_together(logs: dict[str, OfflineDataset]) -> None:
    plums = logs["plums"]
    pairs = replace(plums, names=replace(plums.names, clusters=np.arange(N) // 2))
    of_source, of_target = joint_clusters(pairs, logs["kites"])
    assert (of_source[::2] == of_source[1::2]).all()
    assert len(np.intersect1d(of_source, of_target)) < N


def test_logs_that_cannot_be_compared_are_refused(logs: dict[str, OfflineDataset]) -> None:
    plums, kites = logs["plums"], logs["kites"]
    others = [Prompt(f"x{j}", f"other {j}") for j in range(SEEN)]
    renamed = replace(kites, names=replace(kites.names, prompts=[*others, *kites.names.prompts[SEEN:]]))
    with pytest.raises(InputError, match="share 0 training prompts"):
        transfer(plums, renamed)
    with pytest.raises(InputError, match="embedded differently"):
        transfer(plums, replace(kites, embedder=replace(INFO, name="another")))
    with pytest.raises(InputError, match="fitted to its own texts"):
        transfer(plums, replace(kites, embedder=replace(INFO, fitted=True)))
    alike = [f"How many plums are left of {i} when Tom eats all but two of them?" for i in range(N)]
    with pytest.raises(InputError, match="so alike"):
        transfer(*(replace(d, names=replace(d.names, texts=alike)) for d in (plums, kites)))
