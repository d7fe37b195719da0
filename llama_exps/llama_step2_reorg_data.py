"""Step 2: turn the released LLaMA-2 logs (or any interaction log) into labels, clusters and folds.

    cd llama_exps
    python llama_step2_reorg_data.py                       # gsm8k, svamp and mawps of LLaMA-2
    python llama_step2_reorg_data.py --dataset gsm8k       # one of them

Reads data/fetched/ (see scripts/fetch_data.py), checks every line of it, proves the row order by grading the
stored answers again, and writes llama_exps/LMllama2/: the interaction log, label vectors under their published
names, questions, near-duplicate clusters and folds. With another --llm it reads LM<llm>/<dataset>_interactions.jsonl.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from prompt_oirl import interactions, offline_dataset, questions, released_logs, splits, voting
from prompt_oirl.artifacts import (
    REPO_ROOT,
    InputError,
    Paths,
    write_array,
    write_csv,
    write_json,
    write_jsonl,
)
from prompt_oirl.near_duplicates import cluster_texts, in_order_of_appearance
from prompt_oirl.prompts import PUBLISHED, Prompt, load_prompts
from prompt_oirl.steps import Manifest, run_step


@dataclass
class Args:
    llm: str = released_logs.LLM
    """Whose log. llama2 is imported from the released files."""
    dataset: str = "all"
    """all, or a comma list such as gsm8k,svamp."""
    prompts: Path = PUBLISHED
    """CSV of prompts (columns prompt_id, role, position, text)."""
    root: Path = REPO_ROOT
    """Folder that holds data/, llama_exps/, embeddings/ and results/."""
    force: bool = False
    """Redo even if nothing changed."""


def main(args: Args) -> None:
    paths = Paths(args.root)
    folder = paths.labels(args.llm)
    known = [p.name.removesuffix("_interactions.jsonl") for p in sorted(folder.glob("*_interactions.jsonl"))]
    known += [
        p.stem
        for p in sorted(paths.committed_log(args.llm, "x").parent.glob("*.parquet"))
        if p.stem not in known
    ]
    if args.llm == released_logs.LLM:
        known = [*questions.RELEASED, *(name for name in known if name not in questions.RELEASED)]
    name = "<dataset>" if args.dataset == "all" else args.dataset
    missing = f"put a log at {folder / f'{name}_interactions.jsonl'} (llama_step1_gen_offline.py makes one)"
    for dataset in offline_dataset.parse_datasets(args.dataset, known, missing):
        released = args.llm == released_logs.LLM and dataset in questions.RELEASED
        log = folder / f"{dataset}_interactions.jsonl"
        committed = paths.committed_log(args.llm, dataset)
        if not released and not log.is_file() and committed.is_file():
            log = committed
        inputs = [args.prompts, *(source_files(dataset, paths) if released else [log])]
        manifest = Manifest(
            folder / f"{dataset}_step2.json", {"llm": args.llm, "dataset": dataset}, inputs, args.root
        )
        if manifest.is_current() and not args.force:
            print(f"{dataset}: up to date ({folder})")
            continue
        prompts = load_prompts(args.prompts)
        outputs = import_released(dataset, prompts, paths) if released else []
        outputs += reorganise(args.llm, dataset, prompts, log, paths)
        manifest.finish(outputs)


def source_files(dataset: str, paths: Paths) -> list[Path]:
    """The fetched files a dataset is made from; missing ones are found again, with a remedy, when read."""
    upstream = paths.fetched / "Prompt-OIRL"
    sources = {
        "gsm8k": "grade-school-math/grade_school_math/data/*.jsonl",
        "svamp": "SVAMP/data/cv_svamp_augmented/*/train.csv",
    }
    patterns = [sources.get(dataset, "SVAMP/data/cv_mawps/*/train.csv")]
    found = [p for pattern in patterns for p in paths.fetched.glob(pattern)]
    logs = list((upstream / "llama_exps" / "llama2_chat_logs" / dataset).glob("*.txt"))
    if not logs:
        raise InputError(f"missing the released {dataset} logs below {upstream}: {questions.FETCH}")
    return [*found, *logs, *(upstream / "critics").glob(f"Processed_llama_{dataset}_*.npy")]


def import_released(dataset: str, prompts: Sequence[Prompt], paths: Paths) -> list[Path]:
    """Write the released logs as interactions, with the replay report and the self-critique scores."""
    folder = paths.labels(released_logs.LLM)
    asked = questions.load_questions(dataset, paths)
    columns = released_logs.read_released(dataset, asked, prompts, paths)
    report = list(released_logs.replay(columns, asked))
    n_test = sum(q.split == "test" for q in asked)
    verdicts, confidences = released_logs.read_critic_scores(dataset, prompts, n_test, paths)
    written = [
        folder / f"{dataset}_{name}"
        for name in ("interactions.jsonl", "replay.csv", "lmsc_verdict.npy", "lmsc_confidence.npy")
    ]
    interactions.write(written[0], released_logs.to_interactions(dataset, columns, asked))
    write_csv(written[1], report, ["prompt_id", "split", "answers", "agree"])
    write_array(written[2], verdicts)
    write_array(written[3], confidences)
    graded, agree = (sum(int(str(row[key])) for row in report) for key in ("answers", "agree"))
    print(f"{dataset}: the published grader repeats {agree:,} of {graded:,} labels from the stored answers")
    return written


def reorganise(llm: str, dataset: str, prompts: Sequence[Prompt], log: Path, paths: Paths) -> list[Path]:
    """Write label vectors, questions, clusters and folds from an interaction log."""
    folder = paths.labels(llm)
    rows = interactions.read(log, remedy="run llama_step1_gen_offline.py, or give the log this name")
    interactions.check_one_source(rows, llm, dataset, str(log))
    check_prompts(rows, prompts, log)
    in_train = {row.prompt_id for row in rows if row.split == "train"}
    in_test = {row.prompt_id for row in rows if row.split == "test"}
    prompts = [p for p in prompts if p.id in in_train | in_test and p.role != "unseen"]
    train_prompts = [p for p in prompts if p.role == "train"]
    unasked = [p.id for p in train_prompts if p.id not in in_train]
    if not train_prompts or unasked:
        raise InputError(f"{log}: no training rows for prompts {unasked or 'of role train'}; check --prompts")
    tables = {
        "train": interactions.label_table(rows, "train", [p.id for p in train_prompts], str(log)),
        "test": interactions.label_table(rows, "test", [p.id for p in prompts], str(log)),
    }
    for split, table in tables.items():
        if not table.questions:
            kind = "training" if split == "train" else split
            raise InputError(f"{log}: no {kind} rows; log training and test questions")
    if len(set(tables["train"].questions)) < splits.HEADLINE_FOLDS:
        raise InputError(
            f"{log}: fewer than {splits.HEADLINE_FOLDS} distinct training questions; log more of them"
        )
    outputs = []
    for split, columns in (("train", train_prompts), ("test", prompts)):
        for j, prompt in enumerate(columns):
            outputs.append(folder / f"{dataset}_{split}_{prompt.id}.npy")
            label = tables[split].labels[:, j]
            write_array(outputs[-1], label.astype(bool) if np.isin(label, (0, 1)).all() else label)
    outputs += write_votes(folder, dataset, rows, tables["test"], prompts)

    texts = tables["train"].questions + tables["test"].questions
    index = in_order_of_appearance(texts)
    distinct = list(dict.fromkeys(texts))
    text_clusters = cluster_texts(distinct)
    groups = dict(zip(texts, tables["train"].groups + tables["test"].groups))
    own = [groups[text] for text in distinct]
    # Variants of one problem as the data name them, else near-duplicates by their texts.
    clusters = text_clusters if None in own else in_order_of_appearance([str(group) for group in own])
    n_train = len(tables["train"].questions)
    where = [
        folder / f"{dataset}_{name}"
        for name in ("questions.jsonl", "clusters.csv", "folds.csv", "overlap.csv", "names.json")
    ]
    write_jsonl(
        where[0],
        (
            {
                "split": split,
                "row": i,
                "question_id": t.question_ids[i],
                "question": t.questions[i],
                "gold": t.golds[i],
            }
            | {"question_index": int(index[offset + i])}
            for split, t, offset in (("train", tables["train"], 0), ("test", tables["test"], n_train))
            for i in range(len(t.questions))
        ),
    )
    counts = [np.bincount(part, minlength=len(distinct)) for part in (index[:n_train], index[n_train:])]
    write_csv(
        where[1],
        (
            {"question_index": i, "cluster": c, "train_rows": counts[0][i], "test_rows": counts[1][i]}
            for i, c in enumerate(clusters)
        ),
        ["question_index", "cluster", "train_rows", "test_rows"],
    )
    assignments = [(splits.HEADLINE_FOLDS, a) for a in range(offline_dataset.ASSIGNMENTS)] + [
        (splits.SUBSET_FOLDS, 0)
    ]
    folds = {offline_dataset.fold_column(n, a): splits.assign_folds(clusters, n, a) for n, a in assignments}
    n_clusters = int(clusters.max()) + 1
    write_csv(
        where[2],
        ({"cluster": c} | {name: fold[c] for name, fold in folds.items()} for c in range(n_clusters)),
        ["cluster", *folds],
    )
    lengths = [len(row.answer) for row in rows if row.answer is not None]
    report = overlap(index[:n_train], index[n_train:], clusters)
    if clusters is not text_clusters:
        by_text = overlap(index[:n_train], index[n_train:], text_clusters)
        report |= {f"{name}_by_text": value for name, value in by_text.items() if "cluster" in name}
    write_csv(where[3], ({"measure": k, "value": v} for k, v in report.items()), ["measure", "value"])
    write_json(
        where[4],
        {
            "prompts": [p.text for p in train_prompts],
            "training_set": [f"{folder.name}/{dataset}_train_{p.id}.npy" for p in train_prompts],
            "test_set": [f"{folder.name}/{dataset}_test_{p.id}.npy" for p in train_prompts],
            "prompt_table": [asdict(p) for p in prompts],
            "answer_characters": round(float(np.mean(lengths)), 1) if lengths else None,
        },
    )
    print(
        f"{dataset}: {n_train:,} training and {report['test_rows']:,} test rows, {len(distinct):,} distinct questions in {n_clusters:,} clusters; "
        f"{report['test_rows_seen_in_train']:,} test rows stand in train word for word, {report['test_rows_with_cluster_in_train']:,} as a near-duplicate"
    )
    return [*outputs, *where]


def write_votes(
    folder: Path,
    dataset: str,
    rows: Sequence[interactions.Interaction],
    table: interactions.LabelTable,
    prompts: Sequence[Prompt],
) -> list[Path]:
    """Write the parsed answers to the test rows, read as the log's grader reads them; nothing if there are no texts."""
    paths = [folder / f"{dataset}_test_votes.npy", folder / f"{dataset}_test_votes_right.npy"]
    test = [row for row in rows if row.split == "test" and row.answer is not None]
    if not test or len(prompts) > voting.MAX_PROMPTS:
        for path in paths:
            path.unlink(missing_ok=True)
        return []
    parser = test[0].grader if test[0].grader in voting.PARSERS else "strict"
    cells = voting.vote_cells(test, table.question_ids, [p.id for p in prompts])
    votes = voting.vote_table(cells, table.labels.shape, parser)
    write_array(paths[0], votes.answers.astype(np.int16))
    write_array(paths[1], votes.right.astype(np.float32))
    return paths


def check_prompts(rows: Sequence[interactions.Interaction], prompts: Sequence[Prompt], log: Path) -> None:
    """Refuse rows that would be left out without a word: of an unlisted prompt, or one with another text."""
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


def overlap(train_index: np.ndarray, test_index: np.ndarray, clusters: np.ndarray) -> dict[str, int]:
    """How much of the test part a lookup table of the training part would know."""
    return {
        "train_rows": len(train_index),
        "test_rows": len(test_index),
        "distinct_questions": len(clusters),
        "clusters": len(np.unique(clusters)),
        "test_rows_seen_in_train": int(np.isin(test_index, train_index).sum()),
        "test_rows_with_cluster_in_train": int(np.isin(clusters[test_index], clusters[train_index]).sum()),
    }


if __name__ == "__main__":
    run_step(main, Args)
