"""One LLM's log of one dataset as steps 2 and 3 leave it: labels, features, clusters, folds.

Step 2 writes the questions, names, clusters, folds and label matrices; step 3 the settings and the
embeddings. `load` checks that all of it belongs together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prompt_oirl.data.prompts import Prompt
from prompt_oirl.features.embedders import EmbedderInfo, load_embeddings
from prompt_oirl.features.mapped import MappedQuestions
from prompt_oirl.features.prompt_axes import prompt_features
from prompt_oirl.io.arrays import load_array
from prompt_oirl.io.files import InputError, Paths, read_csv, require
from prompt_oirl.io.json_files import read_json, read_jsonl
from prompt_oirl.io.manifest import check_finished
from prompt_oirl.stats import splits
from prompt_oirl.voting.votes import VoteTable

STEP2 = "run llama_step2_reorg_data.py first"
STEP3 = "run llama_step3_data_processing.py first"
STEP2_FILES = (
    "names.json",
    "questions.jsonl",
    "clusters.csv",
    "folds.csv",
    "train_labels.npy",
    "test_labels.npy",
)
# Random fold assignments that step 2 draws for the headline folds: so many that a mean over all of them has a
# Monte Carlo error below a tenth of a point on the released logs (a single one: 0.3 to 0.65).
ASSIGNMENTS = 50


def fold_column(n_folds: int, assignment: int) -> str:
    """Column of folds.csv."""
    return f"folds{n_folds}_seed{assignment}"


@dataclass(frozen=True)
class DatasetIndex:
    """What step 2 knows of one dataset. Question rows are in log order, training rows before test rows.

    `question_index` (rows,) numbers distinct texts by first appearance, `clusters` (texts,) is the
    near-duplicate cluster of each distinct text, `answer_characters` the mean length of the logged answers.
    """

    llm: str
    dataset: str
    prompts: list[Prompt]
    texts: list[str]
    train_index: np.ndarray
    test_index: np.ndarray
    clusters: np.ndarray
    folds: dict[str, np.ndarray]
    test_question_ids: list[str]
    answer_characters: float | None

    @property
    def train_prompts(self) -> list[Prompt]:
        """Prompts that reward models learn from; they stand first."""
        return [p for p in self.prompts if p.role == "train"]

    @property
    def train_clusters(self) -> np.ndarray:
        """Cluster of each training row."""
        return self.clusters[self.train_index]

    @property
    def test_clusters(self) -> np.ndarray:
        """Cluster of each test row."""
        return self.clusters[self.test_index]

    def paper_split(self) -> splits.Split:
        """The published split: training rows against test rows."""
        return splits.paper_split(len(self.train_index), len(self.test_index))

    def crossfit_splits(self, n_folds: int, assignment: int) -> list[splits.Split]:
        """One split per fold of a random assignment (0 to `ASSIGNMENTS` - 1) of the clusters."""
        name = fold_column(n_folds, assignment)
        if name not in self.folds:
            raise InputError(
                f"{self.dataset}_folds.csv has no column {name}: at most {ASSIGNMENTS} assignments are drawn"
            )
        return splits.crossfit_splits(
            self.train_clusters, self.test_clusters, self.folds[name], name, assignment, assignment
        )


def load_names(llm: str, dataset: str, paths: Paths) -> DatasetIndex:
    """Read what step 2 wrote; refuses rows that do not fit together.

    Parameters
    ----------
    llm, dataset : names of the log
    paths : folders of the pipeline

    Raises: InputError if a file is missing, damaged or of another run.
    """
    folder = paths.labels(llm)
    header = read_json(folder / f"{dataset}_names.json", hint=STEP2)
    try:
        prompts = [Prompt(**p) for p in header["prompt_table"]]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / f'{dataset}_names.json'}: not written by this step 2 ({error}); {STEP2}"
        ) from error
    try:
        texts: list[str] = []
        index: dict[str, list[int]] = {"train": [], "test": []}
        ids: list[str] = []
        for row in read_jsonl(folder / f"{dataset}_questions.jsonl", hint=STEP2):
            if row["question_index"] == len(texts):
                texts.append(row["question"])
            index[row["split"]].append(row["question_index"])
            if row["split"] == "test":
                ids.append(row["question_id"])
        of_texts = read_csv(folder / f"{dataset}_clusters.csv", hint=STEP2, columns=["cluster"])
        clusters = np.array([int(r["cluster"]) for r in of_texts])
        rows = read_csv(folder / f"{dataset}_folds.csv", hint=STEP2, columns=["cluster"])
        folds = {c: np.array([int(r[c]) for r in rows]) for c in (rows[0] if rows else {}) if c != "cluster"}
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{folder}: {dataset}_questions.jsonl, _clusters.csv or _folds.csv is damaged ({error!r}); "
            f"{STEP2}"
        ) from error
    if len(clusters) != len(texts) or len(rows) != clusters.max(initial=-1) + 1:
        raise InputError(
            f"{folder}: {dataset}_clusters.csv, _folds.csv and _questions.jsonl do not belong together; "
            f"{STEP2}"
        )
    train, test = (np.array(index[split], dtype=int) for split in ("train", "test"))
    length = header.get("answer_characters")
    return DatasetIndex(llm, dataset, prompts, texts, train, test, clusters, folds, ids, length)


def load_labels(names: DatasetIndex, paths: Paths) -> tuple[np.ndarray, np.ndarray]:
    """Labels float32 (rows, prompts) of the training and of the test rows, NaN if never asked."""
    found = []
    for split, index, prompts in (
        ("train", names.train_index, names.train_prompts),
        ("test", names.test_index, names.prompts),
    ):
        path, shape = (
            paths.labels(names.llm) / f"{names.dataset}_{split}_labels.npy",
            (len(index), len(prompts)),
        )
        found.append(load_array(path, hint=STEP2, ndim=2, dtype="f", labels=True))
        if found[-1].shape != shape:
            raise InputError(f"{path}: shape {found[-1].shape}, expected {shape}; {STEP2}")
    return found[0], found[1]


@dataclass(frozen=True)
class OfflineDataset:
    """Everything a fit or an evaluation needs. Label matrices are float32 (rows, prompts), NaN if never
    asked.

    `votes` are the parsed answers to the test rows, None if the log holds no texts.
    """

    names: DatasetIndex
    train_labels: np.ndarray
    test_labels: np.ndarray
    surface: np.ndarray
    embedder: EmbedderInfo
    embeddings_folder: Path
    confidences: np.ndarray | None
    verdicts: np.ndarray | None
    votes: VoteTable | None = None

    def features(
        self, split_name: str, memory_gb: float = np.inf
    ) -> tuple[np.ndarray | MappedQuestions, np.ndarray, int]:
        """Question features float32 (texts, d), prompt vectors (P, e) and how many columns are embedding.

        Features of more than `memory_gb` (10^9 bytes) stay in their files until a block of them is used.
        """
        suffix = f"_{split_name}" if self.embedder.fitted else ""
        (questions, prompts), _ = load_embeddings(
            self.embeddings_folder,
            [f"questions{suffix}", f"prompts{suffix}"],
            [len(self.names.texts), len(self.names.prompts)],
        )
        place = np.arange(len(prompts))
        n_train = len(self.names.train_prompts)
        prompts = prompt_features(prompts, np.where(place < n_train, place, -1), prompts[:n_train])
        parts = [questions, self.surface]
        if sum(part.nbytes for part in parts) > memory_gb * 1e9:
            return MappedQuestions(parts), prompts, questions.shape[1]
        return np.concatenate(parts, 1), prompts, questions.shape[1]


def load(llm: str, dataset: str, paths: Paths) -> OfflineDataset:
    """Read what steps 2 and 3 wrote for one dataset.

    Parameters
    ----------
    llm, dataset : names of the log
    paths : folders of the pipeline

    Raises: InputError if a file is missing, damaged or does not fit the others.
    """
    names = load_names(llm, dataset, paths)
    folder, vectors = paths.labels(llm), paths.embeddings / llm / dataset
    train_labels, test_labels = load_labels(names, paths)
    (surface,), info = load_embeddings(vectors, ["surface"], [len(names.texts)])
    lmsc: list[np.ndarray | None] = [None, None]
    for i, name in enumerate(("confidence", "verdict")):
        path = folder / f"{dataset}_lmsc_{name}.npy"
        if path.is_file():
            lmsc[i] = load_array(path, hint=STEP2, ndim=2)
    votes = None
    if (folder / f"{dataset}_test_votes.npy").is_file():
        shape = test_labels.shape
        answers = load_array(folder / f"{dataset}_test_votes.npy", hint=STEP2, ndim=2, dtype="i")
        right = load_array(
            folder / f"{dataset}_test_votes_right.npy", hint=STEP2, ndim=2, dtype="f", labels=True
        )
        if answers.shape != shape or right.shape != shape:
            raise InputError(
                f"{folder}: {dataset}_test_votes*.npy do not fit the labels of shape {shape}; {STEP2}"
            )
        votes = VoteTable(answers, right)
    return OfflineDataset(names, train_labels, test_labels, surface, info, vectors, lmsc[0], lmsc[1], votes)


def input_files(llm: str, dataset: str, paths: Paths) -> list[Path]:
    """Files whose content decides a fit or an evaluation; their hashes go into keys and manifests.

    Parameters
    ----------
    llm, dataset : names of the log
    paths : folders of the pipeline

    Raises: InputError if a file is missing, or is not what a finished step 2 or 3 recorded.
    """
    folder, vectors = paths.labels(llm), paths.embeddings / llm / dataset
    optional = [
        folder / f"{dataset}_{name}.npy"
        for name in ("lmsc_confidence", "lmsc_verdict", "test_votes", "test_votes_right")
    ]
    of_step3 = [folder / f"{dataset}_settings.csv", vectors / "embedder.json"]
    files = [folder / f"{dataset}_{name}" for name in STEP2_FILES] + of_step3
    for path in files:
        require(path, STEP3 if path in of_step3 else STEP2)
    check_finished(folder / f"{dataset}_step2.json", paths.root, STEP2)
    check_finished(folder / f"{dataset}_step3.json", paths.root, STEP3)
    return files + [p for p in optional if p.is_file()]


def all_splits(names: DatasetIndex, assignments: int) -> Iterator[splits.Split]:
    """Every split that a fitted embedder needs its own vectors for."""
    yield names.paper_split()
    yield from names.crossfit_splits(splits.SUBSET_FOLDS, 0)
    for assignment in range(assignments):
        yield from names.crossfit_splits(splits.HEADLINE_FOLDS, assignment)


def parse_datasets(flag: str, known: Sequence[str], hint: str) -> list[str]:
    """The datasets that a flag names: `all`, or a comma list.

    Parameters
    ----------
    flag : what was given for --dataset
    known : names to choose from
    hint : what to do if a dataset is not there, the end of the error

    Raises: InputError on a name that is not known, or if there is none.
    """
    chosen = list(known) if flag == "all" else [name.strip() for name in flag.split(",") if name.strip()]
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        choices = f"choose all or from {', '.join(known)}, or" if known else "there is none yet;"
        raise InputError(f"--dataset {flag}: {choices} {hint}")
    return chosen
