"""Features in files, logs in pieces, many questions: the same results as in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import run_step, tiny_interactions, write_tiny_log
from in_process import run_in_process

from prompt_oirl.data import interactions, near_duplicates
from prompt_oirl.features import mapped as mapped_module
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.io.files import REPO_ROOT, InputError, Paths
from prompt_oirl.reward_models import (
    TrainingSet,
    boosted,
    cells,
    interaction,
    make,
    pages,
    pairs,
    to_bytes,
    training_set,
)
from prompt_oirl.reward_models.question_features import QuestionFeatures

SIZE, PROMPTS = 24, 3


def example(mapped: bool, folder: Path) -> tuple[TrainingSet, TrainingSet]:
    """400 training and 100 validation questions, a fifth of the cells unknown."""
    rng = np.random.default_rng(0)
    questions = rng.normal(size=(500, SIZE + 5)).astype(np.float32)
    prompts = rng.normal(size=(PROMPTS, SIZE)).astype(np.float32)
    prompts /= np.linalg.norm(prompts, axis=1, keepdims=True)
    chance = 1 / (1 + np.exp(-2 * questions[:, :1] - questions[:, 1 : PROMPTS + 1]))
    labels = (rng.random(chance.shape) < chance).astype(np.float32)
    weights = (rng.random(labels.shape) < 0.8).astype(np.float32)
    labels[weights == 0] = np.nan
    sets = []
    for rows in (np.arange(400), np.arange(400, 500)):
        features: np.ndarray | MappedQuestions = questions[rows]
        if mapped:
            np.save(folder / "a.npy", questions[:, :SIZE])
            np.save(folder / "b.npy", questions[:, SIZE:])
            parts = [np.load(folder / name, mmap_mode="r") for name in ("a.npy", "b.npy")]
            features = MappedQuestions(parts, rows)
        sets.append(TrainingSet(features, prompts, labels[rows], weights[rows], SIZE))
    return sets[0], sets[1]


@pytest.mark.parametrize("block", [2**16, 37])
@pytest.mark.parametrize("name", ["xgboost", "interaction"])
def test_features_in_files_give_the_model_of_features_in_memory(
    name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = example(False, tmp_path)
    plain = make(name)
    plain.tune(train, validation)
    for module in (mapped_module, boosted, training_set, interaction, cells):
        monkeypatch.setattr(module, "BLOCK", block)
    mapped_train, mapped_validation = example(True, tmp_path)
    mapped = make(name)
    mapped.tune(mapped_train, mapped_validation)
    assert mapped.settings == plain.settings
    if name == "xgboost":
        assert mapped.arrays()["booster"].tobytes() == plain.arrays()["booster"].tobytes()
    elif block > len(train.questions):
        assert to_bytes(mapped) == to_bytes(plain)
    one, other = (
        m.predict(s.questions, s.prompts) for m, s in ((plain, validation), (mapped, mapped_validation))
    )
    assert np.abs(one - other).max() < 1e-5
    assert one.std() > 0.05


@pytest.mark.parametrize("name", ["fast", "paper"])
def test_the_size_of_pages_is_known_beforehand(name: str, tmp_path: Path) -> None:
    train = example(True, tmp_path)[0]
    features = pairs.PairFeatures().fit(train) if name == "fast" else None
    before = set(pages.page_folder().iterdir())
    matrix = pairs.QuantisedPairs(features, train, 64).matrix
    written = sum(file.stat().st_size for file in set(pages.page_folder().iterdir()) - before)
    columns = matrix.num_col()
    known = pages.page_bytes(int(train.weights.sum()), columns)
    assert 0 <= written - 0.98 * known < columns * 64 * 8  # each page holds a number per bin as well


def test_pages_that_do_not_fit_are_refused() -> None:
    pages.check_room(1)
    with pytest.raises(InputError, match="need 1,000,000,000,000,000,000 bytes in .* set TMPDIR"):
        pages.check_room(10**18)


def test_descriptions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    train, _ = example(False, tmp_path)
    features = QuestionFeatures().fit(train.questions, train.embedding_size)
    assert features.room(10).shape == (10, features.size)
    with pytest.raises(InputError, match="descriptions of all questions need .* set TMPDIR"):
        features.room(10**15)


def test_pages_of_a_killed_process_are_removed_by_the_next(tmp_path: Path) -> None:
    command = "import os, signal, sys; from prompt_oirl.reward_models.pages import page_folder as folder; "
    command += "(folder() / 'pairs.page').write_text('x'); print(folder(), flush=True); "

    def run(then: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", command + then],
            cwd=REPO_ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )

    killed = Path(run("os.kill(os.getpid(), signal.SIGKILL)").communicate()[0].strip())
    assert (killed / "pairs.page").is_file()
    living = run("sys.stdin.read()")
    folder = Path((living.stdout.readline() if living.stdout else "").strip())
    assert list(tmp_path.iterdir()) == [folder]
    other = Path(run("").communicate()[0].strip())
    assert set(tmp_path.iterdir()) == {folder, other}
    living.communicate()


def test_a_subset_shares_bins_but_never_labels(tmp_path: Path) -> None:
    train, validation = example(False, tmp_path)
    other = replace(train, labels=train.labels.copy())
    other.labels[:, 1] = 1 - other.labels[:, 1]
    models = []
    for whole in (train, other):
        model = make("xgboost")
        model.tune(whole.subset((0, 2)), validation.subset((0, 2)))
        models.append(model)
    assert models[0].arrays()["booster"].tobytes() == models[1].arrays()["booster"].tobytes()
    scores = models[0].predict(validation.questions, validation.prompts)
    assert scores[:, 0].tolist() != scores[:, 2].tolist()
    misses = [(scores[:, j] - np.nan_to_num(validation.labels[:, j])) ** 2 for j in (0, 2)]
    assert np.mean(misses) < 0.23  # 0.25 is a coin


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mapped")
    write_tiny_log(root)
    run_step(2, root)
    run_step(3, root)
    return root


def test_step4_writes_the_same_tables_from_files(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # two threads add up in another order
    tables = []
    for memory in ("2", "0"):
        run_step(4, prepared, "--subsets", "3", "--split", "paper", "--memory_gb", memory)
        table = Paths(prepared).models("tiny") / "toy_xgboost_validation.csv"
        tables.append(table.read_bytes())
        for record in table.parent.glob("*.json"):
            record.unlink()
    assert tables[0] == tables[1]


def test_step4_names_the_models_that_train_from_files(prepared: Path) -> None:
    result = run_step(4, prepared, "--memory_gb", "0", "--model", "linear", check=False)
    assert result.returncode == 1
    assert (
        "needs its features in memory: raise --memory_gb, or choose xgboost or interaction" in result.stderr
    )


def convert(log: Path, out: Path) -> None:
    script = REPO_ROOT / "scripts" / "convert_log.py"
    result = run_in_process([sys.executable, script, "--log", log, "--out", out], REPO_ROOT)
    assert result.returncode == 0, result.stderr


def test_a_partitioned_log_is_the_same_log(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    log = write_tiny_log(whole)
    convert(log, Paths(parts).partitioned_log("tiny", "toy").parents[1])
    folder = Paths(parts).partitioned_log("tiny", "toy")
    convert(folder, tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == log.read_bytes()
    for root in (whole, parts):
        run_step(2, root)
    written = sorted(p.name for p in Paths(whole).labels("tiny").glob("toy_[!i]*") if "step2" not in p.name)
    assert len(written) > 8
    for name in written:
        assert (Paths(whole).labels("tiny") / name).read_bytes() == (
            Paths(parts).labels("tiny") / name
        ).read_bytes()


def test_a_partition_appears_when_all_is_written_and_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interactions, "CHUNK", 5)
    rows = tiny_interactions()

    def torn() -> Iterator[interactions.LogRow]:
        yield from rows[:5]
        raise InputError("a bad row")

    with pytest.raises(InputError, match="a bad row"):
        interactions.write_partitioned(tmp_path, torn())
    assert list(tmp_path.iterdir()) == []
    assert interactions.write_partitioned(tmp_path, rows) == len(rows)
    part = tmp_path / "llm=tiny" / "dataset=toy"
    with pytest.raises(InputError, match="dataset=toy holds a log already"):
        interactions.write_partitioned(tmp_path, [replace(row, correct=0.0) for row in rows])
    assert interactions.read(part, hint="") == rows
    assert [p.name for p in tmp_path.iterdir()] == ["llm=tiny"]


def test_parts_of_a_log_that_grew(tmp_path: Path) -> None:
    """Each file has its own columns; names in rows count as much as the folder's; no file goes unread."""
    rows = tiny_interactions()
    part = Paths(tmp_path).partitioned_log("my bot", "toy")
    assert part.relative_to(tmp_path) == Path("data/logs/llm=my%20bot/dataset=toy")
    part.mkdir(parents=True)
    names = ["question_id", "question", "gold", "prompt_id", "prompt", "split", "correct", "schema"]
    old, new = ([asdict(row) for row in some] for some in (rows[:10], rows[10:]))
    pd.DataFrame(old)[names].to_parquet(part / "part-0.parquet")
    pd.DataFrame([row | {"group": "g", "correct": 0.7} for row in new])[[*names, "group"]].to_parquet(
        part / "part-1.parquet"
    )
    (part / "_SUCCESS").write_text("")
    found = interactions.read(part, hint="")
    assert [(row.llm, row.dataset, row.group) for row in found[9:11]] == [
        ("my bot", "toy", None),
        ("my bot", "toy", "g"),
    ]
    assert len(found) == len(rows) and found[0].sample == 0
    pd.DataFrame(old).to_parquet(part / "part-2.parquet")  # these rows say llm tiny
    with pytest.raises(InputError, match="a row of llm 'tiny'"):
        list(interactions.of_one_source(interactions.stream(part, hint=""), "my bot", "toy", str(part)))
    pd.DataFrame([old[0] | {"colour": "red"}]).to_parquet(part / "part-2.parquet")
    with pytest.raises(InputError, match=r"part-2\.parquet:1: unknown fields \['colour'\]"):
        interactions.read(part, hint="")
    (part / "part-2.parquet").rename(part / "part-00002")
    with pytest.raises(InputError, match="part-00002: a log's folder holds .parquet files alone"):
        interactions.read(part, hint="")


def test_text_that_parquet_cannot_store(tmp_path: Path) -> None:
    rows = [replace(row, answer="\ud800") for row in tiny_interactions()]
    with pytest.raises(InputError, match=r"'\\ud800', half a character"):
        interactions.write_partitioned(tmp_path, rows)
    assert list(tmp_path.iterdir()) == []


def test_pieces_keep_the_order_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactions, "CHUNK", 5)  # 100 rows a file: several files, more than nine pieces
    rows = tiny_interactions()
    interactions.write_partitioned(tmp_path, rows)
    folder = tmp_path / "llm=tiny" / "dataset=toy"
    assert len(list(folder.glob("*.parquet"))) > 2
    assert list(interactions.stream(folder, hint="")) == rows


def test_a_log_is_read_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    row = json.dumps(asdict(tiny_interactions()[0]))
    path.write_text(row + "\nnot json\n")
    rows = interactions.stream(path, hint="mend it")
    assert next(rows).llm == "tiny"
    with pytest.raises(InputError, match="log.jsonl:2: not valid JSON"):
        next(rows)


def test_minhash_finds_nearly_the_clusters_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasketch")
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(400)])
    texts = []
    for _ in range(120):
        base = rng.choice(words, 14)
        for _ in range(3):
            changed = base.copy()
            changed[rng.integers(14)] = rng.choice(words)
            texts.append(" ".join(changed) + f" {rng.integers(100)}")
    exact = near_duplicates.cluster_texts(texts)
    monkeypatch.setattr(near_duplicates, "EXACT_LIMIT", 10)
    likely = near_duplicates.cluster_texts(texts)
    same = exact[:, None] == exact
    found = (likely[:, None] == likely) & same
    assert exact.max() < 150
    assert found.sum() > 0.98 * same.sum()
    assert not ((likely[:, None] == likely) & ~same).any()  # what is joined is joined by its cosine
