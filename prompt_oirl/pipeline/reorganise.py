"""Step 2's work: from an interaction log to label matrices, questions, near-duplicate clusters and folds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from prompt_oirl.data import interactions
from prompt_oirl.data.interactions import LogRow
from prompt_oirl.data.label_table import LabelTable, LabelTableBuilder
from prompt_oirl.data.near_duplicates import cluster_texts, in_order_of_appearance
from prompt_oirl.data.prompts import Prompt
from prompt_oirl.grading.readers import guess_kind
from prompt_oirl.io.files import InputError, Paths, write_array, write_csv, write_json, write_jsonl
from prompt_oirl.pipeline import offline_dataset
from prompt_oirl.pipeline.original_layout import label_vectors
from prompt_oirl.stats import splits
from prompt_oirl.voting import votes


def reorganise(
    llm: str, dataset: str, prompts: Sequence[Prompt], log: Path, paths: Paths, original_layout: bool = False
) -> list[Path]:
    """Write label matrices, questions, clusters and folds from an interaction log.

    Parameters
    ----------
    prompts : all prompts that may stand in the log, those of role train first
    log : JSONL or Parquet file, or the folder of a partitioned log; may be larger than memory
    original_layout : also write one label vector per split and prompt, under its published name

    Returns: the files written.
    Raises: InputError naming file and row of what is wrong with the log.
    """
    folder = paths.labels(llm)
    rows = interactions.stream(log, hint="run llama_step1_gen_offline.py, or give the log this name")
    rows = of_listed_prompts(interactions.of_one_source(rows, llm, dataset, str(log)), prompts, log)
    # One pass over the log; training labels are those of training prompts.
    takes = {
        "train": {p.id for p in prompts if p.role == "train"},
        "test": {p.id for p in prompts if p.role != "unseen"},
    }
    making = {split: LabelTableBuilder(str(log)) for split in takes}
    characters = answers = 0
    for row in rows:
        if row.answer is not None:
            characters += len(row.answer)
            answers += 1
        if row.prompt_id in takes.get(row.split, ()):
            making[row.split].add(row)
    asked = {split: set(table.prompts) for split, table in making.items()}
    train_prompts, prompts = asked_prompts(asked["train"], asked["test"], prompts, log)
    train = making["train"].table([p.id for p in train_prompts])
    test = making["test"].table([p.id for p in prompts])
    check_questions(train, test, log)
    arrays = {}
    for split, table, asked_there in (("train", train, train_prompts), ("test", test, prompts)):
        arrays[f"{dataset}_{split}_labels.npy"] = table.labels
        if original_layout:
            arrays |= label_vectors(dataset, split, table.labels, asked_there)
    for name, array in arrays.items():
        write_array(folder / name, array)
    again = interactions.stream(log, hint="run step 2 again")
    votes_files = write_votes(folder, dataset, again, test, prompts)

    n_train = len(train.questions)
    texts = train.questions + test.questions
    index = in_order_of_appearance(texts)
    distinct = list(dict.fromkeys(texts))
    text_clusters = cluster_texts(distinct)
    groups = dict(zip(texts, train.groups + test.groups))
    own = [groups[text] for text in distinct]
    # Variants of one problem as the data name them, else near-duplicates by their texts.
    clusters = text_clusters if None in own else in_order_of_appearance([str(group) for group in own])
    train_index, test_index = index[:n_train], index[n_train:]
    report = overlap(train_index, test_index, clusters)
    if clusters is not text_clusters:
        by_text = overlap(train_index, test_index, text_clusters)
        report |= {f"{name}_by_text": value for name, value in by_text.items() if "cluster" in name}

    names = ("questions.jsonl", "clusters.csv", "folds.csv", "overlap.csv", "names.json")
    tables = [folder / f"{dataset}_{name}" for name in names]
    lines = [*question_lines("train", train, train_index), *question_lines("test", test, test_index)]
    write_jsonl(tables[0], lines)
    write_clusters(tables[1], clusters, train_index, test_index)
    write_folds(tables[2], clusters)
    write_csv(tables[3], ({"measure": k, "value": v} for k, v in report.items()))
    mean_characters = round(characters / answers, 1) if answers else None
    write_json(
        tables[4], {"prompt_table": [asdict(p) for p in prompts], "answer_characters": mean_characters}
    )
    print(
        f"{dataset}: {n_train:,} training and {report['test_rows']:,} test rows, {len(distinct):,} distinct "
        f"questions in {report['clusters']:,} clusters; {report['test_rows_seen_in_train']:,} test rows "
        f"stand in train word for word, {report['test_rows_with_cluster_in_train']:,} as a near-duplicate"
    )
    if report["clusters"] < 2 * splits.HEADLINE_FOLDS:
        print(
            f"{dataset}: note: questions that differ in numbers and names alone are one problem; "
            f"{report['clusters']} problems are too few to learn from some and judge on others (crossfit); "
            "log more that differ"
        )
    return [*(folder / name for name in arrays), *votes_files, *tables]


def of_listed_prompts(rows: Iterable[LogRow], prompts: Sequence[Prompt], log: Path) -> Iterator[LogRow]:
    """Hand the rows on; refuse those of an unlisted prompt, or of one listed with another text or position.

    Parameters
    ----------
    rows : of one log, from its first row on
    prompts : the listed ones
    log : its file or folder, for the error

    Raises: InputError naming the row, counted from 1.
    """
    listed = {p.id: (p.text, p.position) for p in prompts}
    for number, row in enumerate(rows, 1):
        if row.prompt_id not in listed:
            raise InputError(
                f"{log}:{number}: prompt_id {row.prompt_id!r} is not in --prompts; pass the CSV that lists it"
            )
        if listed[row.prompt_id] != (row.prompt, row.position):
            raise InputError(
                f"{log}:{number}: prompt {row.prompt_id!r} has another text or position than in --prompts; "
                "pass the CSV that the log was made with"
            )
        yield row


def asked_prompts(
    in_train: set[str], in_test: set[str], prompts: Sequence[Prompt], log: Path
) -> tuple[list[Prompt], list[Prompt]]:
    """The training prompts, and all prompts that stand in the log; those of role unseen are left out.

    Parameters
    ----------
    in_train, in_test : ids of the prompts that stand in training rows and in test rows
    prompts : the listed ones; their order is kept
    log : its file or folder, for the error

    Raises: InputError if the log holds no prompt of role train, or one that stands in test rows alone.
    """
    asked = [p for p in prompts if p.id in in_train | in_test and p.role != "unseen"]
    train = [p for p in asked if p.role == "train"]
    unasked = [p.id for p in train if p.id not in in_train]
    if not train or unasked:
        raise InputError(f"{log}: no training rows for prompts {unasked or 'of role train'}; check --prompts")
    return train, asked


def check_questions(train: LabelTable, test: LabelTable, log: Path) -> None:
    """Refuse a log that leaves nothing to train on or to evaluate on.

    Parameters
    ----------
    train, test : training and test rows of the log
    log : its file or folder, for the error

    Raises: InputError if there are no training or no test rows, or fewer than five distinct training
    questions.
    """
    for kind, table in (("training", train), ("test", test)):
        if not table.questions:
            raise InputError(f"{log}: no {kind} rows; log training and test questions")
    if len(set(train.questions)) < splits.HEADLINE_FOLDS:
        raise InputError(
            f"{log}: fewer than {splits.HEADLINE_FOLDS} distinct training questions; log more of them"
        )


def write_votes(
    folder: Path, dataset: str, rows: Iterable[LogRow], table: LabelTable, prompts: Sequence[Prompt]
) -> list[Path]:
    """Write the parsed answers to the test rows, as the log's grader reads them.

    Parameters
    ----------
    folder, dataset : where the files go, and with what their names begin
    rows : of the whole log
    table : its test rows
    prompts : the columns of `table`

    Returns: the files written; none, and older ones are removed, if no test row has a text or there are more
    prompts than can vote.
    """
    paths = [folder / f"{dataset}_test_votes.npy", folder / f"{dataset}_test_votes_right.npy"]
    answered = (row for row in rows if row.split == "test" and row.answer is not None)
    first = next(answered, None)
    if first is None or len(prompts) > votes.MAX_PROMPTS:
        for path in paths:
            path.unlink(missing_ok=True)
        return []
    cells = list(votes.vote_cells(chain([first], answered), table.question_ids, [p.id for p in prompts]))
    parser = "original"
    if first.grader != "original":
        parser = guess_kind([cell[3] for cell in cells], [table.questions[cell[0]] for cell in cells])
    parsed = votes.vote_tables(cells, table.labels.shape, parser, table.questions)[0]
    write_array(paths[0], parsed.answers.astype(np.int16))
    write_array(paths[1], parsed.right.astype(np.float32))
    return paths


def question_lines(split: str, table: LabelTable, index: np.ndarray) -> Iterator[dict[str, Any]]:
    """One line per row of a split, for questions.jsonl.

    Parameters
    ----------
    split : train or test
    table : rows of the split
    index : int (n,), number of each row's text among the distinct texts
    """
    for i, text in enumerate(table.questions):
        yield {
            "split": split,
            "row": i,
            "question_id": table.question_ids[i],
            "question": text,
            "gold": table.golds[i],
            "question_index": int(index[i]),
        }


def write_clusters(path: Path, clusters: np.ndarray, train_index: np.ndarray, test_index: np.ndarray) -> None:
    """One line per distinct text: its cluster and how often it stands in either split.

    Parameters
    ----------
    path : CSV to write
    clusters : int (texts,), cluster of each distinct text
    train_index, test_index : int (n_train,) and (n_test,), number of each row's text
    """
    in_train, in_test = (np.bincount(part, minlength=len(clusters)) for part in (train_index, test_index))
    lines = (
        {"question_index": i, "cluster": c, "train_rows": in_train[i], "test_rows": in_test[i]}
        for i, c in enumerate(clusters)
    )
    write_csv(path, lines)


def write_folds(path: Path, clusters: np.ndarray) -> None:
    """One line per cluster: its fold in each assignment that steps 3 to 5 may ask for."""
    assignments = [(splits.HEADLINE_FOLDS, a) for a in range(offline_dataset.ASSIGNMENTS)]
    assignments.append((splits.SUBSET_FOLDS, 0))
    folds = {offline_dataset.fold_column(n, a): splits.assign_folds(clusters, n, a) for n, a in assignments}
    lines = (
        {"cluster": c} | {name: fold[c] for name, fold in folds.items()}
        for c in range(int(clusters.max()) + 1)
    )
    write_csv(path, lines)


def overlap(train_index: np.ndarray, test_index: np.ndarray, clusters: np.ndarray) -> dict[str, int]:
    """How much of the test part a lookup table of the training part would know.

    Parameters
    ----------
    train_index, test_index : int (n_train,) and (n_test,), number of each row's text
    clusters : int (texts,), cluster of each distinct text

    Returns: counts by name: rows, distinct questions and clusters, and the test rows whose text or whose
    cluster stands in training.
    """
    return {
        "train_rows": len(train_index),
        "test_rows": len(test_index),
        "distinct_questions": len(clusters),
        "clusters": len(np.unique(clusters)),
        "test_rows_seen_in_train": int(np.isin(test_index, train_index).sum()),
        "test_rows_with_cluster_in_train": int(np.isin(clusters[test_index], clusters[train_index]).sum()),
    }
